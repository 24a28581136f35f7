import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type Data,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { pair } from 'simplewebsockets/testing'
import { bomb } from '../support/bomb.ts'
import { closePayload, frame, handshake, RawPeer, type Shake } from '../support/rawpeer.ts'
import { alarms, MIB, Scene, turn } from '../support/scene.ts'

// Handshake

const many = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`h${index}`, '']))
const without = (name: string): Shake => ({ headers: { [name]: undefined } })
const instead = (name: string, value: string): Shake => ({ headers: { [name]: value } })
/** A header that comes twice. */
const twice = (name: string): string => {
  const [whole = ''] = new RegExp(`${name}: .*\r\n`).exec(handshake()) ?? []
  return handshake().replace(whole, whole + whole)
}

for (const [what, words, status, told = true] of [
  ['994 headers beside its own', { headers: many(994) }, 101],
  ['995 headers, a thousand with its own', { headers: many(995) }, 431],
  [
    '2,000 headers before its own',
    handshake().replace('Upgrade:', `${'a:\r\n'.repeat(2_000)}Upgrade:`),
    431,
  ],
  [
    '2,000 headers behind its own',
    handshake().replace('\r\n\r\n', `\r\n${'a:\r\n'.repeat(2_000)}\r\n`),
    431,
  ],
  ['no Upgrade', without('Upgrade'), 426, false],
  ['an empty Upgrade', instead('Upgrade', ''), 426, false],
  ['Upgrade twice', twice('Upgrade'), 400],
  ['an upgrade to h2c', instead('Upgrade', 'h2c'), 400],
  ['Upgrade in capitals', instead('Upgrade', 'WEBSOCKET'), 101],
  ['no Connection', without('Connection'), 426, false],
  ['an empty Connection', instead('Connection', ''), 426, false],
  ['Connection twice', twice('Connection'), 101],
  ['no key', without('Sec-WebSocket-Key'), 400],
  ['an empty key', instead('Sec-WebSocket-Key', ''), 400],
  ['a short key', instead('Sec-WebSocket-Key', 'AAAA'), 400],
  ['the key twice', twice('Sec-WebSocket-Key'), 400],
  ['no version', without('Sec-WebSocket-Version'), 426],
  ['version 8', instead('Sec-WebSocket-Version', '8'), 426],
  ['the version twice', twice('Sec-WebSocket-Version'), 426],
  ['the extension constructor', instead('Sec-WebSocket-Extensions', 'constructor'), 101],
  ['the extension ,;constructor', instead('Sec-WebSocket-Extensions', ',;constructor'), 400],
  ['the extension __proto__', instead('Sec-WebSocket-Extensions', '__proto__'), 101],
  [
    'permessage-deflate with a strange parameter',
    instead('Sec-WebSocket-Extensions', 'permessage-deflate; constructor'),
    101,
  ],
  ['an empty subprotocol', instead('Sec-WebSocket-Protocol', ''), 400],
  ['the subprotocol twice', instead('Sec-WebSocket-Protocol', 'a, a'), 400],
  ['1,000 subprotocols', instead('Sec-WebSocket-Protocol', [...Array(1_000).keys()].join()), 101],
  [
    'a subprotocol of 32,000 spaces',
    instead('Sec-WebSocket-Protocol', `a${' '.repeat(32_000)}b`),
    431,
  ],
  [
    'a subprotocol of 15,000 spaces',
    instead('Sec-WebSocket-Protocol', `a${' '.repeat(15_000)}b`),
    400,
  ],
  ['the subprotocol constructor', instead('Sec-WebSocket-Protocol', 'constructor'), 101],
  [
    'two origins',
    handshake().replace('Upgrade', 'Origin: http://a\r\nOrigin: http://b\r\nUpgrade'),
    403,
  ],
  ['two hosts', twice('Host'), 400],
  ['POST', { method: 'POST' }, 405],
  ['HTTP/1.0', { version: '1.0' }, 505],
  ['HTTP/9.9', { version: '9.9' }, 400],
  ['no HTTP', '\0\0\0\0\r\n\r\n', 400],
  ['GET //', { target: '//' }, 101],
  ['GET ///../', { target: '///../' }, 101],
  ['GET /%00', { target: '/%00' }, 400],
  ['GET /%', { target: '/%' }, 400],
  ['GET /%zz', { target: '/%zz' }, 400],
  ['GET /%c0%ae', { target: '/%c0%ae' }, 400],
  ['a 64 KB url', { target: `/${'x'.repeat(65_536)}` }, 431],
  ['a query twice', { target: '/?vsn=1&vsn=2&token=a&token=b' }, 101],
  ['a query with brackets', { target: '/?vsn[]=1&__proto__=x&constructor' }, 101],
] as [string, Shake | string, number, boolean?][]) {
  test(`a handshake with ${what} gets ${status}`, async () => {
    await using scene = await Scene.set({ protocols: ['chat'], compression: true })
    const peer = await RawPeer.connect(scene.port)
    peer.write(typeof words === 'string' ? words : handshake(words))
    const { status: got, headers } = await peer.answer()
    assert.equal(got, status)
    if (status === 101) {
      assert.equal(scene.server.clients.size, 3)
      const [stranger] = [...scene.server.clients].slice(-1)
      assert.ok(stranger)
      assert.equal(stranger.request.token({ query: true }), undefined)
      const gone = once(stranger, 'close')
      peer.send(8, closePayload(1000))
      assert.equal((await gone).code, 1000)
    } else {
      assert.equal(headers.get('connection'), 'close')
    }
    await peer.gone()
    assert.deepEqual(scene.refused, status === 101 || !told ? [] : [status])
    await scene.calm()
  })
}

test('a header of 1 MB that drips byte by byte gets 431', async () => {
  await using scene = await Scene.set()
  const peer = await RawPeer.connect(scene.port)
  peer.tcp.setNoDelay(true)
  peer.write('GET / HTTP/1.1\r\nX-Long: ')
  const answer = peer.answer()
  for (let count = 0; count < MIB && peer.tcp.writable && scene.refused.length === 0; count++) {
    peer.tcp.write('x')
    if (count % 64 === 0) await turn()
  }
  assert.equal((await answer).status, 431)
  await peer.gone()
  assert.deepEqual(scene.refused, [431])
  await scene.calm()
})

test('a handshake that never ends gets 408', async () => {
  await using scene = await Scene.set({ handshakeTimeout: 50 })
  const [silent, half] = [await RawPeer.connect(scene.port), await RawPeer.connect(scene.port)]
  half.write('GET / HTTP/1.1\r\nHost: local')
  for (const peer of [silent, half]) {
    assert.equal((await peer.answer()).status, 408)
    await peer.gone()
  }
  assert.deepEqual(scene.refused, [408, 408])
  await scene.calm()
})

for (const [what, words, options] of [
  ['right after its request', handshake(), {}],
  ['inside its request', handshake().slice(0, -9), {}],
  ['right after our 401', handshake(), { authorize: ({ url }) => url !== '/stranger' }],
] as [string, string, ServerOptions][]) {
  test(`a peer that resets ${what} harms no other peer`, async () => {
    await using scene = await Scene.set(options)
    for (let round = 0; round < 20; round++) {
      const peer = await RawPeer.connect(scene.port)
      const request = words.replace('GET / ', 'GET /stranger ')
      await new Promise((resolve) => peer.tcp.write(request, resolve))
      if (what.includes('401')) assert.equal((await peer.answer()).status, 401)
      if (round % 2 === 0) await turn()
      await peer.reset()
    }
    while (scene.server.clients.size > 2) {
      const last = [...scene.server.clients].at(-1)
      if (last) await once(last, 'close')
    }
    await scene.calm()
  })
}

test('a peer that resets right after our 101 is a close with 1006', async () => {
  await using scene = await Scene.set()
  for (let round = 0; round < 20; round++) {
    const { peer, there, errors } = await scene.stranger()
    const gone = once(there, 'close')
    await peer.reset()
    assert.equal((await gone).code, 1006)
    assert.deepEqual(errors, [])
  }
  await scene.calm()
})

test("two toolkits' servers on one http server: an upgrade for neither stays untouched", async () => {
  const http = createServer().listen(0, 'localhost')
  await onceEmitted(http, 'listening')
  const { port } = http.address() as AddressInfo
  await using server = new WebsocketServer({ path: '/ours' })
  server.attach(http)
  const seen: string[] = []
  http.on('upgrade', ({ url = '' }, tcp) => {
    seen.push(url)
    if (url === '/theirs') tcp.end('HTTP/1.1 299 Theirs\r\nConnection: close\r\n\r\n')
    if (url === '/nobody') setImmediate(() => tcp.destroy())
  })
  const theirs = await RawPeer.knock(port, { target: '/theirs' })
  assert.equal((await theirs.answer()).status, 299)
  const nobody = await RawPeer.knock(port, { target: '/nobody' })
  assert.equal((await nobody.rest()).toString(), '')
  const ours = await RawPeer.enter(port, { target: '/ours' })
  assert.equal(server.clients.size, 1)
  assert.deepEqual(seen, ['/theirs', '/nobody', '/ours'])
  for (const peer of [theirs, nobody, ours]) peer.tcp.destroy()
  http.close()
  assert.deepEqual(alarms, [])
})

// Frames

const bad = Buffer.from([0xc3, 0x28])
const long = (value: bigint | number, bytes: 2 | 8): Buffer =>
  frame(2, '', { length: { value, bytes } })
const repeated = (part: Buffer, count: number): Buffer =>
  Buffer.concat(Array<Buffer>(count).fill(part))
const TOO_BIG = 'Maximum message size of 1048576 Bytes exceeded'

for (const [what, bytes, code, text] of [
  ['a second reserved bit', frame(1, 'x', { reserved: 2 }), 1002, 'RSV2 and RSV3 must be clear'],
  ['a third reserved bit', frame(1, 'x', { reserved: 1 }), 1002, 'RSV2 and RSV3 must be clear'],
  ['all reserved bits', frame(1, 'x', { reserved: 7 }), 1002, 'RSV2 and RSV3 must be clear'],
  ['a reserved bit on a ping', frame(9, 'x', { reserved: 4 }), 1002, 'RSV1 must be clear'],
  [
    'a compressed frame never negotiated',
    frame(1, 'x', { reserved: 4 }),
    1002,
    'RSV1 must be clear',
  ],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(
    (opcode) => [`opcode ${opcode}`, frame(opcode), 1002, `invalid opcode ${opcode}`] as const,
  ),
  ['a frame without a mask', frame(1, 'x', { masked: false }), 1002, 'MASK must be set'],
  ['a length of 2^31', long(2 ** 31, 8), 1009, TOO_BIG],
  ['a length of 2^53', long(2 ** 53, 8), 1009, TOO_BIG],
  ['a length of 2^63 - 1', long(2n ** 63n - 1n, 8), 1009, TOO_BIG],
  ['a length of 2^63', long(2n ** 63n, 8), 1002, 'the highest bit of a length must be clear'],
  [
    'a length of 2^64 - 1',
    long(2n ** 64n - 1n, 8),
    1002,
    'the highest bit of a length must be clear',
  ],
  [
    'a length longer written than it must be',
    Buffer.concat([frame(1, '', { length: { value: 2, bytes: 8 } }), Buffer.from('ä')]),
    1002,
    'a length must take no more bytes than it needs',
  ],
  ['one byte too many', frame(2, Buffer.alloc(MIB + 1)), 1009, TOO_BIG],
  [
    'one byte too many in fragments',
    Buffer.concat([frame(2, Buffer.alloc(MIB), { fin: false }), frame(0, 'x')]),
    1009,
    TOO_BIG,
  ],
  [
    '131,073 one-byte fragments',
    Buffer.concat([
      frame(1, 'x', { fin: false }),
      repeated(frame(0, 'x', { fin: false }), 131_072),
    ]),
    1008,
    'Too many message fragments',
  ],
  [
    'endless empty fragments',
    Buffer.concat([frame(1, '', { fin: false }), repeated(frame(0, '', { fin: false }), 200_000)]),
    1008,
    'Too many message fragments',
  ],
  ['a stray continuation', frame(0, 'x'), 1002, 'invalid opcode 0'],
  [
    'a message inside a message',
    Buffer.concat([frame(1, 'x', { fin: false }), frame(1, 'y')]),
    1002,
    'invalid opcode 1',
  ],
  ['a fragmented ping', frame(9, 'x', { fin: false }), 1002, 'FIN must be set'],
  ['a fragmented close', frame(8, '', { fin: false }), 1002, 'FIN must be set'],
  ['a ping of 126 bytes', frame(9, Buffer.alloc(126)), 1002, 'invalid payload length 126'],
  ['a pong of 64 KiB', frame(10, Buffer.alloc(65_536)), 1002, 'invalid payload length 127'],
  ['bad UTF-8', frame(1, bad), 1007, 'invalid UTF-8 sequence'],
  [
    'bad UTF-8 split across fragments',
    Buffer.concat([frame(1, bad.subarray(0, 1), { fin: false }), frame(0, bad.subarray(1))]),
    1007,
    'invalid UTF-8 sequence',
  ],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map(
    (given) =>
      [
        `a close with ${given}`,
        frame(8, closePayload(given)),
        1002,
        `invalid status code ${given}`,
      ] as const,
  ),
  ['a close of 1 byte', frame(8, 'x'), 1002, 'invalid payload length 1'],
  ['a close with bad UTF-8', frame(8, closePayload(1000, bad)), 1007, 'invalid UTF-8 sequence'],
] as [string, Buffer, number, string][]) {
  test(`${what} gets ${code}`, async () => {
    await using scene = await Scene.set()
    const { peer, there, errors } = await scene.stranger()
    const gone = once(there, 'close')
    peer.write(bytes)
    assert.deepEqual(await peer.closed(), { code, description: text })
    peer.tcp.destroy()
    assert.deepEqual(await gone, { code, description: text })
    assert.deepEqual(errors, [code])
    await scene.calm()
  })
}

for (const [what, bytes] of [
  [
    'good UTF-8 split inside a character',
    Buffer.concat([
      frame(1, Buffer.from('ä').subarray(0, 1), { fin: false }),
      frame(0, Buffer.from('ä').subarray(1)),
    ]),
  ],
  [
    'a ping between fragments',
    Buffer.concat([frame(1, '', { fin: false }), frame(9, 'x'), frame(0, 'ä')]),
  ],
] as [string, Buffer][]) {
  test(`${what} is a message like any other`, async () => {
    await using scene = await Scene.set()
    const { peer, there, errors } = await scene.stranger()
    const message = once(there, 'message')
    peer.write(bytes)
    assert.equal(await message, 'ä')
    const gone = once(there, 'close')
    peer.send(8)
    assert.equal((await gone).code, 1005)
    await peer.gone()
    assert.deepEqual(errors, [])
    await scene.calm()
  })
}

test('a close without a code is answered by one, and is 1005', async () => {
  await using scene = await Scene.set()
  const { peer, there, errors } = await scene.stranger()
  const gone = once(there, 'close')
  peer.send(8)
  assert.equal((await peer.closed())?.code, 1005)
  assert.deepEqual(await gone, { code: 1005, description: 'Reason not provided' })
  await peer.gone()
  assert.deepEqual(errors, [])
  await scene.calm()
})

for (const [what, share] of [
  ['a bomb of 6 MB', 6],
  ['a bomb of 64 MB', 64],
  ['a bomb of 1 GB', 1024],
] as const) {
  test(`${what} gets 1009, and takes no memory`, async () => {
    await using scene = await Scene.set({ compression: true })
    const extension = { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } }
    const { peer, there, errors } = await scene.stranger(extension)
    const payload = bomb(share)
    const before = process.memoryUsage().rss
    const gone = once(there, 'close')
    peer.send(2, payload, { reserved: 4 })
    assert.deepEqual(await peer.closed(), { code: 1009, description: TOO_BIG })
    peer.tcp.destroy()
    assert.deepEqual(await gone, { code: 1009, description: TOO_BIG })
    assert.ok(process.memoryUsage().rss - before < 48 * MIB)
    assert.deepEqual(errors, [1009])
    await scene.calm()
  })
}

test('compressed junk gets 1007', async () => {
  await using scene = await Scene.set({ compression: true })
  const extension = { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } }
  const { peer, there, errors } = await scene.stranger(extension)
  const gone = once(there, 'close')
  peer.send(1, Buffer.alloc(100, 0xff), { reserved: 4 })
  assert.equal((await peer.closed())?.code, 1007)
  peer.tcp.destroy()
  assert.equal((await gone).code, 1007)
  assert.deepEqual(errors, [1007])
  await scene.calm()
})

test('a socket that dies in the middle of inflating is a close', async () => {
  await using scene = await Scene.set({ compression: true, maxReceivedMessageSize: 64 * MIB })
  const extension = { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } }
  const payload = bomb(16)
  for (let round = 0; round < 5; round++) {
    const { peer, there } = await scene.stranger(extension)
    listen(there, 'message', () => {})
    const gone = once(there, 'close')
    await new Promise((resolve) => peer.tcp.write(frame(2, payload, { reserved: 4 }), resolve))
    await turn()
    await peer.reset()
    assert.equal((await gone).code, 1006)
  }
  await scene.calm()
})

test('a socket that dies in the middle of inflating junk is a close, too', async () => {
  await using scene = await Scene.set({ compression: true, maxReceivedMessageSize: 64 * MIB })
  const extension = { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } }
  const junk = Buffer.concat([bomb(16), Buffer.alloc(100, 0xff)])
  for (let round = 0; round < 5; round++) {
    const { peer, there } = await scene.stranger(extension)
    const gone = once(there, 'close')
    await new Promise((resolve) => peer.tcp.write(frame(2, junk, { reserved: 4 }), resolve))
    await turn()
    await peer.reset()
    assert.ok([1006, 1007].includes((await gone).code))
  }
  await scene.calm()
})

test('a message in a hundred thousand TCP chunks of a byte is a message', async () => {
  await using scene = await Scene.set()
  const { peer, there } = await scene.stranger()
  peer.tcp.setNoDelay(true)
  const message = once(there, 'message')
  const bytes = frame(2, Buffer.alloc(100_000, 7))
  for (let at = 0; at < bytes.length; at++) {
    peer.tcp.write(bytes.subarray(at, at + 1))
    if (at % 256 === 0) await turn()
  }
  assert.equal((await message).length, 100_000)
  const gone = once(there, 'close')
  await peer.reset()
  await gone
  await scene.calm()
})

test('a flood of pings whose pongs are never read takes no memory', async () => {
  await using scene = await Scene.set()
  const { peer, there } = await scene.stranger()
  const flood = repeated(frame(9, Buffer.alloc(125)), 8_000)
  let pings = 0
  const all = new Promise<void>((resolve) => {
    listen(there, 'ping', () => {
      if (++pings === 160_000) resolve()
    })
  })
  for (let round = 0; round < 20; round++) {
    if (!peer.tcp.write(flood)) await onceEmitted(peer.tcp, 'drain')
  }
  await all
  assert.ok(there.bufferedAmount < MIB, `${there.bufferedAmount} bytes wait`)
  await scene.calmBut(1)
  peer.send(9, 'the last')
  let last = ''
  for (let count = 0; count < 160_000 && last !== 'the last'; count++) {
    last = (await peer.next(10))?.payload.toString() ?? 'the last'
  }
  const gone = once(there, 'close')
  peer.send(8)
  assert.equal((await peer.closed())?.code, 1005)
  assert.ok(peer.tcp.bytesRead < 8_000 * 127 * 20, 'not every ping was answered')
  await gone
  await scene.calm()
})

// Misuse of the API

for (const [what, slip] of [
  ['a close text of floats', (end) => end.close(1000, new Float32Array(4) as unknown as string)],
  ['a close text that is a number', (end) => end.close(1000, 5 as unknown as string)],
  ['a close text of null', (end) => end.close(1000, null as unknown as string)],
  ['a message of undefined', (end) => end.send(undefined as unknown as string)],
  ['a message of null', (end) => end.send(null as unknown as string)],
  ['a message that is an object', (end) => end.send({} as unknown as string)],
  ['a message of NaN', (end) => end.send(NaN)],
  ['a broadcast of undefined', (end) => end.broadcast(undefined as unknown as string)],
  ['a ping of an object', (end) => end.ping({} as unknown as string)],
] as [string, (end: WebsocketConnection) => unknown][]) {
  test(`${what} throws a TypeError, and the connection goes on`, async () => {
    await using scene = await Scene.set()
    const [here] = scene.neighbours
    const [there] = scene.server.clients
    assert.ok(here && there)
    for (const end of [here, there]) {
      assert.throws(() => void slip(end), TypeError)
      assert.ok(end.isOpen)
    }
    await scene.calm()
  })
}

test('a close text of 124 bytes is cut to 123', async () => {
  await using scene = await Scene.set()
  const { peer, there } = await scene.stranger()
  void there.close(1000, 'x'.repeat(124))
  assert.deepEqual(await peer.closed(), { code: 1000, description: 'x'.repeat(123) })
  peer.tcp.destroy()
  assert.equal((await once(there, 'close')).description, 'x'.repeat(123))
  await scene.calm()
})

for (const [what, misbehave] of [
  [
    'throws',
    () => {
      throw new Error('boom')
    },
  ],
  [
    'throws what is no error',
    () => {
      throw null
    },
  ],
  ['rejects', () => Promise.reject(new Error('boom'))],
  ['rejects with nothing', () => Promise.reject()],
  ['never settles', () => new Promise(() => {})],
] as [string, () => unknown][]) {
  test(`a message listener that ${what} delays and harms no other listener`, async () => {
    await using scene = await Scene.set()
    const failed: string[] = []
    listen(scene.server, 'error', (error) => void failed.push(error.name))
    const entered = once(scene.server, 'client')
    const peer = await RawPeer.enter(scene.port, { target: '/stranger' })
    const there = await entered
    const seen: Data[] = []
    listen(there, 'message', misbehave)
    listen(there, 'message', (message) => void seen.push(message))
    for (const text of ['one', 'two']) peer.send(1, text)
    peer.send(9)
    await peer.next(10)
    assert.deepEqual(seen, ['one', 'two'])
    assert.deepEqual(failed, what.includes('never') ? [] : ['CallbackError', 'CallbackError'])
    assert.ok(there.isOpen)
    await peer.reset()
    await once(there, 'close')
    await scene.calm()
  })
}

test('a listener may remove itself and add others while it is called', async () => {
  await using scene = await Scene.set()
  const { peer, there } = await scene.stranger()
  const seen: string[] = []
  const stop = listen(there, 'message', (message) => {
    seen.push(`first ${message}`)
    stop()
    stop()
    listen(there, 'message', (next) => void seen.push(`second ${next}`))
  })
  for (const text of ['a', 'b', 'c']) peer.send(1, text)
  peer.send(9)
  await peer.next(10)
  await turn()
  assert.deepEqual(seen, ['first a', 'second b', 'second c'])
  await peer.reset()
  await once(there, 'close')
  await scene.calm()
})

for (const where of ['client', 'connect'] as const) {
  test(`a connection may be closed inside a ${where} listener`, async () => {
    await using scene = await Scene.set()
    const client = new WebsocketClient()
    if (where === 'client') listen(scene.server, 'client', (there) => there.close(4000, 'not now'))
    else listen(client, 'connect', (here) => here.close(4000, 'not now'))
    const closed = once(client, 'closed')
    const here = await client.open(`ws://localhost:${scene.port}`)
    const reason = { code: 4000, description: 'not now' }
    assert.deepEqual(await once(here, 'close'), reason)
    assert.deepEqual(await closed, reason)
    await scene.calm()
  })
}

// Slow and flooding peers

test('a peer that never reads is closed with 1013 past maxBufferedAmount', async () => {
  await using scene = await Scene.set({ maxBufferedAmount: 4 * MIB, closeTimeout: 5_000 })
  const { peer, there, errors } = await scene.stranger()
  const message = new Uint8Array(MIB)
  let sent = 0
  for (; there.isOpen && sent < 100; sent++) {
    there.send(message)
    assert.ok(there.bufferedAmount <= 4 * MIB)
    await turn()
  }
  assert.ok(sent < 100)
  assert.equal(there.send('no more'), false)
  const reason = { code: 1013, description: `more than ${4 * MIB} bytes wait to be read` }
  await scene.calmBut(1)
  assert.deepEqual(await peer.closed(), reason)
  peer.tcp.destroy()
  assert.deepEqual(await once(there, 'close'), reason)
  assert.equal(scene.server.stats().dropped, 1)
  assert.deepEqual(errors, [])
  await scene.calm()
})

test('a peer that never reads loses what is too much where slowConsumer is `drop`', async () => {
  await using scene = await Scene.set({ maxBufferedAmount: 2 * MIB, slowConsumer: 'drop' })
  const { peer, there } = await scene.stranger()
  const message = new Uint8Array(MIB)
  for (let count = 0; count < 100 && scene.server.stats().dropped < 3; count++) {
    there.send(message)
    assert.ok(there.bufferedAmount <= 2 * MIB)
    await turn()
  }
  assert.equal(scene.server.stats().dropped, 3)
  assert.ok(there.isOpen)
  await scene.calmBut(1)
  const drained = once(there, 'drain')
  const reading = peer.closed() // reads all that waits
  await drained
  there.send('after')
  void there.close()
  assert.equal((await reading)?.code, 1000)
  peer.tcp.destroy()
  await once(there, 'close')
  await scene.calm()
})

test('a peer that sends faster than its listener settles waits; nothing is lost or turned round', async () => {
  await using scene = await Scene.set()
  const { peer, there } = await scene.stranger()
  const seen: number[] = []
  let release: () => void = () => {}
  const stuck = new Promise<void>((resolve) => (release = resolve))
  const done = new Promise<void>((resolve) => {
    listen(there, 'message', async (message) => {
      seen.push((message as Uint8Array).length - 1_000)
      if (seen.length === 1) await stuck
      if (seen.length === 5_000) resolve()
    })
  })
  const before = process.memoryUsage().rss
  let written = 0
  for (; written < 5_000; written++) peer.tcp.write(frame(2, Buffer.alloc(1_000 + written)))
  await scene.calmBut(1)
  assert.ok(peer.tcp.writableLength > 0, 'the peer feels it')
  assert.ok(there.isOpen)
  assert.deepEqual(seen, [0])
  assert.ok(process.memoryUsage().rss - before < 128 * MIB)
  release()
  await done
  assert.deepEqual(seen, [...Array(5_000).keys()])
  const gone = once(there, 'close')
  await peer.reset()
  await gone
  await scene.calm()
})

test('a peer that drips its bytes one by one is served like any other', async () => {
  await using scene = await Scene.set()
  const peer = await RawPeer.connect(scene.port)
  peer.tcp.setNoDelay(true)
  const entered = once(scene.server, 'client')
  for (const byte of Buffer.from(handshake({ target: '/stranger' }))) {
    peer.tcp.write(Buffer.from([byte]))
    await turn()
  }
  assert.equal((await peer.answer()).status, 101)
  const there = await entered
  const message = once(there, 'message')
  for (const byte of frame(1, 'slowly')) {
    peer.tcp.write(Buffer.from([byte]))
    await turn()
  }
  assert.equal(await message, 'slowly')
  await peer.reset()
  await once(there, 'close')
  await scene.calm()
})

test('five hundred connections opened and never used go when the server closes', async () => {
  const scene = await Scene.set({ closeTimeout: 50 })
  const peers: RawPeer[] = []
  for (let count = 0; count < 500; count++) peers.push(await RawPeer.enter(scene.port))
  assert.equal(scene.server.clients.size, 502)
  await scene.calmBut(500)
  await scene.server.close()
  assert.equal(scene.server.clients.size, 0)
  for (const peer of peers) await peer.gone()
  assert.deepEqual(alarms, [])
})

test('a listener that never settles does not delay a close without a network', async () => {
  const [there, here] = pair({ server: { closeTimeout: 5 } })
  listen(there, 'message', () => new Promise(() => {}))
  here.send('one')
  here.send('two')
  assert.equal((await here.close()).code, 1000)
  assert.equal((await once(there, 'close')).code, 1000)
  assert.deepEqual(alarms, [])
})

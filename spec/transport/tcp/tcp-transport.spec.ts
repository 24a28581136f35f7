import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { PeerConnectError } from '../../../lib/server/handshake/peer-connect-error.ts'
import { resolveClient } from '../../../lib/options/node.ts'
import { resolveServer, type ServerOptions } from '../../../lib/options/server.ts'
import * as tcp from '../../../lib/transport/tcp/index.ts'
import type { DialRequest, TransportReceiver, Transport } from '../../../lib/transport/transport.ts'
import { closePayload, frame } from '../../support/rawpeer.ts'
import { transportContract } from '../../support/transport/contract.ts'
import { join, turned } from '../../support/transport/join.ts'
import { call, serve, unmasked, Wire, type End } from '../../support/transport/wire.ts'

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==' // with its answer, of RFC 6455 §1.3
const PROOF = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

const deaf: TransportReceiver = {
  onMessage: () => {},
  onPing: () => {},
  onPong: () => {},
  onFlushed: () => {},
  onPeerClose: () => {},
  onInvalid: () => {},
  onClosed: () => {},
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

for (const [how, options] of [
  ['plain', {}],
  ['compressed', { compression: { threshold: 0 } }],
  ['in fragments', { fragmentationThreshold: 100 }],
  ['compressed, in fragments', { compression: { threshold: 0 }, fragmentationThreshold: 10 }],
] as const) {
  transportContract(`TCP, ${how}, from the server`, () => join(tcp, options))
  transportContract(`TCP, ${how}, from the client`, () => turned(tcp, options))
}

for (const compression of [false, { threshold: 0 }]) {
  test(`fragments may end inside a character, compressed: ${compression !== false}`, async () => {
    const { ends, release } = await join(tcp, { fragmentationThreshold: 3, compression })
    const received = new Promise((resolve) => {
      ends[1].start({ ...deaf, onMessage: resolve })
    })
    const closed = new Promise((resolve) => ends[0].start({ ...deaf, onClosed: resolve }))
    ends[0].send('grüße 😀 und €')
    assert.equal(await received, 'grüße 😀 und €')
    ends[0].terminate()
    await closed
    await release()
  })
}

for (const [what, change] of [
  ['a fragment', { url: new URL('ws://localhost:1/#x') }],
  ['a header of two lines', { headers: { a: 'b\r\nc: d' } }],
  ['a subprotocol twice', { protocols: ['a', 'a'] }],
] as [string, Partial<DialRequest>][]) {
  test(`a call with ${what} can't be dialled at all, and throws`, () => {
    const call = { url: new URL('ws://localhost:1'), protocols: [], headers: {}, ...change }
    const told = { onOpen: () => assert.fail(), onError: () => assert.fail() }
    assert.throws(() => tcp.dial({ ...call, settings: resolveClient() }, told))
  })
}

test('Node is told of no wake, and has nothing to let go of', (t) => {
  const timers = t.mock.method(globalThis, 'setTimeout')
  const sleep = tcp.onWake(() => assert.fail('nobody knows'))
  sleep()
  sleep()
  assert.equal(timers.mock.callCount(), 0)
})

/** Lets a peer in on a wire that asks with these headers. */
function enter(headers: Record<string, string>, options: ServerOptions = {}): [Transport, Wire] {
  const wire = new Wire()
  const request = new IncomingMessage(wire as unknown as Socket) // all that is known of it is that
  request.method = 'GET'
  const asked = { upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': KEY }
  Object.assign(request.headers, asked, headers)
  return [tcp.makeUpgrader(resolveServer(options))(request, wire, Buffer.alloc(0)), wire]
}

const answer = ({ written }: Wire): string => Buffer.concat(written).toString()

/** Opens a server's end, with a receiver that hears all. */
async function open(
  receiver: Partial<TransportReceiver>,
  and: Buffer = Buffer.alloc(0),
): Promise<End> {
  let opened: End | undefined
  await serve(tcp, {}, and, (end) => {
    end.transport.start({ ...deaf, ...receiver })
    opened = end
  })
  return opened ?? assert.fail()
}

test('the key is answered as RFC 6455 §1.3 has it', () => {
  const [, wire] = enter({})
  assert.equal(
    answer(wire),
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${PROOF}\r\n\r\n`,
  )
})

for (const key of ['', 'short', `${KEY}=`, 'dGhlIHNhbXBsZSBub25jZQ', 'dGhlIHNhbXBsZSBub25jZ!==']) {
  test(`a key that is none is refused: ${JSON.stringify(key)}`, () => {
    assert.throws(
      () => enter({ 'sec-websocket-key': key }),
      (error) => error instanceof PeerConnectError && error.status === 400,
    )
  })
}

test('the first subprotocol offered that is spoken is chosen', () => {
  const [transport, wire] = enter(
    { 'sec-websocket-protocol': 'a, c, b' },
    { protocols: ['b', 'c'] },
  )
  assert.equal(transport.protocol, 'c')
  assert.match(answer(wire), /\r\nSec-WebSocket-Protocol: c\r\n\r\n$/)
})

test('where none of the subprotocols is spoken, none is chosen', () => {
  const [transport, wire] = enter({ 'sec-websocket-protocol': 'a' }, { protocols: ['b'] })
  assert.equal(transport.protocol, '')
  assert.doesNotMatch(answer(wire), /protocol:/i)
})

for (const offer of ['', 'a,', 'a b', 'a, a', 'ü']) {
  test(`a list of subprotocols that is none is refused: ${JSON.stringify(offer)}`, () => {
    assert.throws(
      () => enter({ 'sec-websocket-protocol': offer }, { protocols: ['a'] }),
      (error) => error instanceof PeerConnectError && error.status === 400,
    )
  })
}

test('a peer that has left is not let in', () => {
  const gone = new Wire()
  gone.destroy()
  const request = new IncomingMessage(gone as unknown as Socket)
  request.headers['sec-websocket-key'] = KEY
  const upgrade = tcp.makeUpgrader(resolveServer())
  assert.throws(
    () => upgrade(request, gone, Buffer.alloc(0)),
    (error) => error instanceof PeerConnectError && error.status === 0,
  )
  assert.equal(answer(gone), '')
})

test('a compression is agreed on where both want it', () => {
  const offer = { 'sec-websocket-extensions': 'permessage-deflate; client_max_window_bits' }
  const agreement = /Sec-WebSocket-Extensions: permessage-deflate; .*no_context_takeover\r\n/
  assert.match(answer(enter(offer, { compression: true })[1]), agreement)
  assert.doesNotMatch(answer(enter(offer, {})[1]), /extensions/i)
  assert.doesNotMatch(answer(enter({}, { compression: true })[1]), /extensions/i)
})

test('a client takes over what comes with the handshake, and ws lets go of the socket', async () => {
  const heard: unknown[] = []
  let opened: End | undefined
  await call(tcp, {}, frame(1, 'early', { masked: false }), (end) => {
    end.transport.start({ ...deaf, onMessage: (data) => heard.push(data) })
    opened = end
  })
  await turn()
  assert.deepEqual(heard, ['early'])
  for (const event of ['data', 'end', 'error']) {
    assert.equal(opened?.wire.listenerCount(event), 1, event)
  }
  opened?.wire.destroy()
})

test('what comes with the handshake is read', async () => {
  const heard: unknown[] = []
  const { wire } = await open({ onMessage: (data) => heard.push(data) }, frame(1, 'early'))
  await turn()
  assert.deepEqual(heard, ['early'])
  wire.destroy()
})

test('nothing is written behind a close frame', async () => {
  const { transport, wire } = await open({})
  transport.close({ code: 1000, description: 'x' })
  transport.send('late')
  transport.ping(Buffer.from('late'))
  transport.close({ code: 1001, description: 'later' })
  wire.bring(frame(9, 'late'))
  await turn()
  assert.deepEqual(unmasked(Buffer.concat(wire.written)), ['88 3 3 03e878'])
  wire.destroy()
})

test('a ping that waits for room is not answered behind a close frame', async () => {
  const { transport, wire } = await open({})
  wire.stall()
  transport.send(new Uint8Array(100_000))
  await turn()
  wire.bring(frame(9, 'waits'))
  transport.close({ code: 1000, description: '' })
  wire.flow()
  await turn()
  const written = unmasked(Buffer.concat(wire.written))
  assert.deepEqual(
    written.map((what) => what.slice(0, 2)),
    ['82', '88'],
  )
  wire.destroy()
})

test('of what waits unread when TCP breaks nothing is lost', async () => {
  const heard: unknown[] = []
  let over = 0
  const { transport, wire } = await open({
    onMessage: (data) => heard.push(data),
    onClosed: ({ code }) => (over = code),
  })
  transport.pause()
  await turn()
  for (const text of ['one', 'two', 'three']) wire.bring(frame(1, text))
  transport.resume() // in the same turn
  wire.destroy(new Error('reset'))
  await turn()
  assert.deepEqual(heard, ['one', 'two', 'three'])
  assert.equal(over, 1006)
})

test('a message that begins in what was kept while reading was paused is timed', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const clock = t.mock.method(performance, 'now', () => 0)
  const told: string[] = []
  const { transport, wire } = await open({
    onMessage: () => transport.pause(),
    onInvalid: ({ description }) => told.push(description),
  })
  wire.bring(Buffer.concat([frame(1, 'whole'), frame(1, 'half').subarray(0, 8)]))
  await turn()
  transport.resume()
  await turn()
  clock.mock.mockImplementation(() => 60_000)
  t.mock.timers.tick(60_000)
  assert.deepEqual(told, ['a message took more than 30000 ms'])
  wire.destroy()
})

test('a message that ends in what was kept while reading was paused is timed no longer', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const clock = t.mock.method(performance, 'now', () => 0)
  const told: unknown[] = []
  const { transport, wire } = await open({
    onMessage: (data) => told.push(data),
    onInvalid: ({ description }) => told.push(description),
  })
  const whole = frame(1, 'whole')
  wire.bring(whole.subarray(0, 8))
  await turn()
  transport.pause()
  transport.readChunk?.()
  wire.bring(whole.subarray(8))
  await turn()
  transport.resume()
  await turn()
  clock.mock.mockImplementation(() => 60_000)
  t.mock.timers.tick(60_000)
  assert.deepEqual(told, ['whole'])
  wire.destroy()
})

test('an answer to what a peer sent before it left takes no memory', async () => {
  const { transport, wire } = await open({ onMessage: () => transport.send('x'.repeat(100_000)) })
  transport.pause()
  await turn()
  wire.bring(frame(1, 'question'))
  wire.destroy()
  await turn()
  assert.equal(transport.bufferedAmount, 0)
})

test('a peer that pings on and on, in chunks that end inside a ping, is no slow message', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let now = 0
  t.mock.method(performance, 'now', () => now)
  const told: string[] = []
  const { wire } = await open({
    onPing: () => told.push('ping'),
    onInvalid: ({ description }) => told.push(description),
  })
  const ping = frame(9, 'ping')
  wire.bring(ping.subarray(0, 4))
  for (let count = 0; count < 4; count++) {
    now += 20_000
    t.mock.timers.tick(20_000)
    wire.bring(Buffer.concat([ping.subarray(4), ping.subarray(0, 4)]))
    await turn()
  }
  assert.deepEqual(told, ['ping', 'ping', 'ping', 'ping'])
  wire.destroy()
})

test('a bad frame of a peer that has left is not told of behind the end', async () => {
  const told: string[] = []
  const { transport, wire } = await open({
    onInvalid: () => told.push('invalid'),
    onClosed: () => told.push('closed'),
  })
  transport.pause()
  await turn()
  wire.bring(frame(3))
  wire.destroy()
  await turn()
  assert.deepEqual(told, ['closed'])
})

test('what the peer says first is what counts, also where both came at once', async () => {
  const told: number[] = []
  const { transport, wire } = await open({
    onInvalid: ({ code }) => {
      told.push(code)
      transport.close({ code, description: '' })
    },
  })
  transport.pause()
  await turn()
  wire.bring(frame(1, Buffer.of(0xff)))
  wire.bring(frame(8, closePayload(1000)))
  transport.resume()
  await turn()
  assert.deepEqual(told, [1007])
  assert.deepEqual(wire.ends, ['fin'])
  wire.destroy()
})

test('a masked frame that is dribbled is read once it is whole', async () => {
  const heard: unknown[] = []
  const { wire } = await open({ onMessage: (data) => heard.push(data) })
  const text = 'grüße '.repeat(2_000)
  const bytes = frame(1, text, { key: Buffer.of(1, 2, 3, 4) })
  for (const byte of bytes) wire.bring(Buffer.of(byte))
  await turn()
  assert.deepEqual(heard, [text])
  wire.destroy()
})

// Pings

const MAX_UNREAD = 64 * 1024

/** Returns the control frames that were written: the opcode of each, and its text. */
function controls({ written }: Wire): string[] {
  return unmasked(Buffer.concat(written)).filter((line) => line.startsWith('8a'))
}

const pong = (text: string): string => {
  const bytes = Buffer.from(text)
  return `8a ${bytes.length.toString(16)} ${bytes.length} ${bytes.toString('hex')}`
}

test('every ping is answered while the peer reads', async () => {
  const { wire } = await open({})
  for (const text of ['a', 'b', '', 'a']) wire.bring(frame(9, text))
  await turn()
  assert.deepEqual(controls(wire), ['a', 'b', '', 'a'].map(pong))
  wire.destroy()
})

test('every ping is answered up to the bound', async () => {
  const { wire } = await open({})
  wire.stall()
  wire.write(Buffer.alloc(MAX_UNREAD))
  wire.written = []
  wire.bring(frame(9, 'a'))
  wire.bring(frame(9, 'b'))
  await turn()
  wire.flow()
  await turn()
  assert.deepEqual(controls(wire), ['a', 'b'].map(pong))
  wire.destroy()
})

test('above it only the latest ping is answered, once all was read, time and again', async () => {
  const { wire } = await open({})
  for (const round of ['first', 'second']) {
    wire.stall()
    wire.write(Buffer.alloc(MAX_UNREAD + 1))
    wire.written = []
    for (let number = 0; number < 100; number++) wire.bring(frame(9, `${round} ${number}`))
    await turn()
    assert.deepEqual(wire.written, [])
    wire.flow()
    await turn()
    assert.deepEqual(controls(wire), [pong(`${round} 99`)])
  }
  wire.destroy()
})

test('a peer that has left is answered nothing', async () => {
  const { wire } = await open({})
  wire.stall()
  wire.write(Buffer.alloc(MAX_UNREAD + 1))
  wire.written = []
  wire.bring(frame(9, 'a'))
  await turn()
  wire.destroy()
  wire.flow()
  await turn()
  assert.deepEqual(wire.written, [])
})

// Pausing

test('while it is paused nothing of what has arrived is delivered, and then all is', async () => {
  const heard: unknown[] = []
  const { transport, wire } = await open({
    onMessage: (data) => {
      heard.push(data)
      if (data !== 'three') transport.pause()
    },
    onPing: () => heard.push('ping'),
  })
  wire.bring(Buffer.concat([frame(1, 'one'), frame(9), frame(1, 'two'), frame(1, 'three')]))
  await turn()
  assert.deepEqual(heard, ['one'])
  transport.resume()
  assert.deepEqual(heard, ['one'], 'not in the turn of the listener')
  await turn()
  assert.deepEqual(heard, ['one', 'ping', 'two'])
  transport.resume()
  await turn()
  assert.deepEqual(heard, ['one', 'ping', 'two', 'three'])
  wire.destroy()
})

test('the end of TCP waits for what is kept back', async () => {
  const told: unknown[] = []
  const { transport, wire } = await open({
    onMessage: (data) => {
      told.push(data)
      if (data === 'one') transport.pause()
    },
    onClosed: () => told.push('closed'),
  })
  wire.bring(Buffer.concat([frame(1, 'one'), frame(1, 'two')]))
  await turn()
  wire.finish()
  transport.readChunk?.()
  await turn()
  assert.deepEqual([told, wire.ends], [['one'], []])
  assert.equal(transport.heldBytes, frame(1, 'two').length)
  transport.resume()
  await turn()
  assert.deepEqual([told, wire.ends[0]], [['one', 'two', 'closed'], 'fin'])
})

test('a chunk that is read while it is paused is kept, and shows that the peer lives', async () => {
  const heard: unknown[] = []
  const { transport, wire } = await open({ onMessage: (data) => heard.push(data) })
  transport.pause()
  await turn()
  wire.bring(frame(1, 'one'))
  await turn()
  transport.readChunk?.()
  await turn()
  wire.bring(frame(1, 'two'))
  await turn()
  assert.deepEqual(heard, [])
  assert.equal(transport.heldBytes, frame(1, 'one').length)
  transport.resume()
  await turn()
  assert.deepEqual(heard, ['one', 'two'])
  wire.destroy()
})

test('a stream that counts no bytes is counted here', async () => {
  const { transport, wire } = await open({})
  Object.assign(wire, { bytesRead: undefined })
  wire.push(frame(1, 'text'))
  transport.send('text')
  await turn()
  assert.equal(transport.bytesReceived, frame(1, 'text').length)
  assert.equal(transport.bytesSent, frame(1, 'text', { masked: false }).length)
  wire.destroy()
})

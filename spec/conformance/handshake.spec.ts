import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConnectError, once, WebsocketClient, type ClientOptions } from 'simplewebsockets'
import { frame, handshake, proofOf, RawPeer } from '../support/rawpeer.ts'
import { BINARY, CLOSE, rawServer, served, TEXT, turn } from './meeting.ts'

// RFC 6455 §4, the opening handshake: a server first, then a client.

const options = { protocols: ['chat', 'superchat'] }

/** A handshake with a line instead of another, or without it. */
const instead = (name: string, ...lines: readonly string[]): string =>
  handshake().replace(new RegExp(`${name}: .*\r\n`), lines.map((line) => `${line}\r\n`).join(''))

/** A handshake with more lines. */
const plus = (...lines: readonly string[]): string =>
  handshake().replace('\r\n\r\n', `\r\n${lines.join('\r\n')}\r\n\r\n`)

for (const [what, request] of [
  ['no more than it must have', handshake()],
  ['Upgrade in capitals', instead('Upgrade', 'Upgrade: WEBSOCKET')],
  ['Upgrade in both', instead('Upgrade', 'Upgrade: WebSocket')],
  ['Connection in small letters', instead('Connection', 'Connection: upgrade')],
  ['Connection as browsers have it', instead('Connection', 'Connection: keep-alive, Upgrade')],
  ['Connection the other way round', instead('Connection', 'Connection: Upgrade,keep-alive')],
  [
    'Connection in two lines',
    instead('Connection', 'Connection: keep-alive', 'Connection: Upgrade'),
  ],
  ['header names in small letters', handshake().replaceAll(/^[\w-]+:/gm, (n) => n.toLowerCase())],
  ['header names in capitals', handshake().replaceAll(/^[\w-]+:/gm, (n) => n.toUpperCase())],
  ['no spaces behind the colons', handshake().replaceAll(': ', ':')],
  ['spaces around its values', handshake().replaceAll(/^([\w-]+): (.*)$/gm, '$1:   $2  ')],
  ['its lines in another order', reversed()],
  ['an absolute target', handshake({ target: 'http://localhost/' })],
  ['an absolute target and a query', handshake({ target: 'http://localhost/a?b=c' })],
  ['headers it need not know', plus('X-Any: thing', 'Cookie: a=b', 'Accept: */*')],
  ['an extension it need not know', plus('Sec-WebSocket-Extensions: x-any; a=1; b="2", x-other')],
] as const) {
  test(`§4.2.1 a server lets in a client that asks with ${what}`, async () => {
    const { peer, lines } = await knocked(request)
    const [status = '', ...headers] = lines
    assert.match(status, /^HTTP\/1\.1 101 /)
    assert.deepEqual(headers.map((line) => line.toLowerCase()).sort(), [
      'connection: upgrade',
      `sec-websocket-accept: ${proofOf(request.split('\r\n'))}`.toLowerCase(),
      'upgrade: websocket',
    ])
    peer.send(TEXT, 'hello')
    peer.send(CLOSE)
    assert.equal((await peer.closed())?.code, 1005)
    await peer.gone()
  })
}

function reversed(): string {
  const [first = '', ...lines] = handshake().trimEnd().split('\r\n')
  return [first, ...lines.reverse(), '', ''].join('\r\n')
}

/** Knocks at a server of ours, and is what it says. */
async function knocked(request: string): Promise<{ peer: RawPeer; lines: string[] }> {
  const { port } = await served(options)
  const peer = await RawPeer.connect(port)
  peer.write(request)
  return { peer, lines: await peer.request() }
}

for (const [what, request, status] of [
  ['POST', handshake({ method: 'POST' }), 405],
  ['HEAD', handshake({ method: 'HEAD' }), 405],
  ['HTTP/1.0', handshake({ version: '1.0' }), 505],
  ['no Upgrade', instead('Upgrade'), 426],
  ['another Upgrade', instead('Upgrade', 'Upgrade: h2c'), 400],
  ['an Upgrade that only begins so', instead('Upgrade', 'Upgrade: websockets'), 400],
  ['Upgrade twice', plus('Upgrade: websocket'), 400],
  ['no Connection', instead('Connection'), 426],
  ['another Connection', instead('Connection', 'Connection: keep-alive'), 426],
  ['a Connection that only begins so', instead('Connection', 'Connection: Upgraded'), 426],
  ['no key', instead('Sec-WebSocket-Key'), 400],
  ['an empty key', instead('Sec-WebSocket-Key', 'Sec-WebSocket-Key: '), 400],
  ['a key of 15 bytes', instead('Sec-WebSocket-Key', `Sec-WebSocket-Key: ${keyOf(15)}`), 400],
  ['a key of 17 bytes', instead('Sec-WebSocket-Key', `Sec-WebSocket-Key: ${keyOf(17)}`), 400],
  ['a key of 18 bytes', instead('Sec-WebSocket-Key', `Sec-WebSocket-Key: ${keyOf(18)}`), 400],
  [
    'a key that is no base64',
    instead('Sec-WebSocket-Key', `Sec-WebSocket-Key: ${'_'.repeat(22)}==`),
    400,
  ],
  [
    'a key of 16 characters',
    instead('Sec-WebSocket-Key', 'Sec-WebSocket-Key: 0123456789abcdef'),
    400,
  ],
  ['two keys', plus(`Sec-WebSocket-Key: ${keyOf(16)}`), 400],
  ['no version', instead('Sec-WebSocket-Version'), 426],
  ['version 8', instead('Sec-WebSocket-Version', 'Sec-WebSocket-Version: 8'), 426],
  ['version 14', instead('Sec-WebSocket-Version', 'Sec-WebSocket-Version: 14'), 426],
  ['version 013', instead('Sec-WebSocket-Version', 'Sec-WebSocket-Version: 013'), 426],
  ['version 13,8', instead('Sec-WebSocket-Version', 'Sec-WebSocket-Version: 13,8'), 426],
  ['version 13 twice', plus('Sec-WebSocket-Version: 13'), 426],
  ['an empty version', instead('Sec-WebSocket-Version', 'Sec-WebSocket-Version: '), 426],
  ['an empty subprotocol', plus('Sec-WebSocket-Protocol: '), 400],
  ['a list with an empty subprotocol', plus('Sec-WebSocket-Protocol: chat,,superchat'), 400],
  ['a subprotocol twice', plus('Sec-WebSocket-Protocol: chat, chat'), 400],
  ['a subprotocol that is no token', plus('Sec-WebSocket-Protocol: ch@t'), 400],
] as const) {
  test(`§4.2.1 a server refuses a client that asks with ${what}`, async () => {
    const { port } = await served(options)
    const peer = await RawPeer.connect(port)
    peer.write(request)
    peer.send(TEXT, 'too soon')
    const answer = await peer.answer()
    assert.equal(answer.status, status)
    if (status === 426) assert.equal(answer.headers.get('upgrade'), 'websocket')
    if (what.includes('version')) assert.equal(answer.headers.get('sec-websocket-version'), '13')
    await peer.gone()
  })
}

function keyOf(length: number): string {
  return Buffer.alloc(length, 7).toString('base64')
}

for (const [what, lines, chosen] of [
  ['offers nothing', [], undefined],
  ['offers one it knows', ['Sec-WebSocket-Protocol: chat'], 'chat'],
  ['offers one it does not know', ['Sec-WebSocket-Protocol: other'], undefined],
  ['offers one in other letters', ['Sec-WebSocket-Protocol: CHAT'], undefined],
  ['prefers the second', ['Sec-WebSocket-Protocol: superchat, chat'], 'superchat'],
  ['offers it last', ['Sec-WebSocket-Protocol: a, b ,\tchat'], 'chat'],
  ['offers in two lines', ['Sec-WebSocket-Protocol: a', 'Sec-WebSocket-Protocol: chat'], 'chat'],
] as const) {
  test(`§4.2.2 a client that ${what} is answered with ${chosen ?? 'no subprotocol'}`, async () => {
    const { server, port } = await served(options)
    const entered = once(server, 'client')
    const peer = await RawPeer.connect(port)
    peer.write(plus(...lines))
    const { status, headers } = await peer.answer()
    assert.deepEqual([status, headers.get('sec-websocket-protocol')], [101, chosen])
    assert.equal((await entered).protocol, chosen ?? '')
    await peer.reset()
  })
}

test("§4.2.2 a server answers with no extension that wasn't offered", async () => {
  const { port } = await served({ compression: true })
  const peer = await RawPeer.knock(port)
  const { status, headers } = await peer.answer()
  assert.deepEqual([status, headers.get('sec-websocket-extensions')], [101, undefined])
  await peer.reset()
})

test('§4.2 a frame in the chunk of the handshake is heard', async () => {
  const { server, port } = await served(options)
  const entered = once(server, 'client')
  const peer = await RawPeer.enter(port, { and: frame(TEXT, 'hello') })
  assert.equal(await once(await entered, 'message'), 'hello')
  await peer.reset()
})

test('§4.2 a handshake that comes byte by byte is one', async () => {
  const { server, port } = await served(options)
  const entered = once(server, 'client')
  const peer = await RawPeer.connect(port)
  peer.tcp.setNoDelay(true)
  for (const byte of Buffer.concat([Buffer.from(handshake()), frame(TEXT, 'hello')])) {
    peer.write(Buffer.of(byte))
    await turn()
  }
  assert.equal((await peer.answer()).status, 101)
  assert.equal(await once(await entered, 'message'), 'hello')
  await peer.reset()
})

// A client

/** Resolves with the request of a client, header names in small letters. */
async function asked(
  given: ClientOptions = {},
  path = '',
): Promise<{ line: string; headers: Map<string, string>; names: string[] }> {
  const raw = await rawServer()
  const client = new WebsocketClient(given)
  const opening = client.open(raw.url + path).catch(() => {})
  const peer = await raw.peer()
  const [line = '', ...fields] = await peer.request()
  peer.tcp.destroy()
  await opening
  const pairs = fields.map((field): [string, string] => {
    const colon = field.indexOf(':')
    return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()]
  })
  return { line, headers: new Map(pairs), names: pairs.map(([name]) => name) }
}

test('§4.1 a client asks as it has to', async () => {
  const raw = await rawServer()
  const { line, headers, names } = await asked({ protocols: ['a', 'b'] }, '/path?query=1')
  assert.equal(line, 'GET /path?query=1 HTTP/1.1')
  assert.equal(headers.get('host'), `localhost:${raw.port}`)
  assert.equal(headers.get('upgrade')?.toLowerCase(), 'websocket')
  assert.equal(headers.get('connection')?.toLowerCase(), 'upgrade')
  assert.equal(headers.get('sec-websocket-version'), '13')
  assert.deepEqual(headers.get('sec-websocket-protocol')?.split(/, ?/), ['a', 'b'])
  assert.equal(headers.get('sec-websocket-extensions'), undefined)
  assert.equal(headers.get('origin'), undefined)
  assert.equal(new Set(names).size, names.length, 'no header comes twice')
})

test('§4.1 a client asks for / where its url has no path', async () => {
  assert.equal((await asked()).line, 'GET / HTTP/1.1')
  assert.equal((await asked({}, '?a=b')).line, 'GET /?a=b HTTP/1.1')
})

test('§4.1 a client makes a new key of 16 bytes for each handshake', async () => {
  const keys = new Set<string>()
  for (let count = 0; count < 10; count++) {
    const key = (await asked()).headers.get('sec-websocket-key') ?? ''
    assert.match(key, /^[A-Za-z0-9+/]{22}==$/)
    assert.equal(Buffer.from(key, 'base64').length, 16)
    keys.add(key)
  }
  assert.equal(keys.size, 10)
})

/** Answers a client of ours with these lines; `PROOF` stands for what its key asks for. */
async function answered(
  lines: readonly string[],
  given: ClientOptions = {},
): Promise<{ client: WebsocketClient; peer: RawPeer; opening: Promise<unknown> }> {
  const raw = await rawServer()
  const client = new WebsocketClient({ closeTimeout: 500, ...given })
  const opening = client.open(raw.url).catch((error: unknown) => error)
  const peer = await raw.peer()
  const proof = proofOf(await peer.request())
  peer.write(`${lines.join('\r\n')}\r\n\r\n`.replaceAll('PROOF', proof))
  return { client, peer, opening }
}

const STATUS = 'HTTP/1.1 101 Switching Protocols'
const UPGRADE = 'Upgrade: websocket'
const CONNECTION = 'Connection: Upgrade'
const ACCEPT = 'Sec-WebSocket-Accept: PROOF'

for (const [what, lines] of [
  ['no more than it must have', [STATUS, UPGRADE, CONNECTION, ACCEPT]],
  ['another text behind its status', ['HTTP/1.1 101 Fine', UPGRADE, CONNECTION, ACCEPT]],
  ['no text behind its status', ['HTTP/1.1 101 ', UPGRADE, CONNECTION, ACCEPT]],
  ['its lines in another order', [STATUS, ACCEPT, CONNECTION, UPGRADE]],
  ['Upgrade in capitals', [STATUS, 'Upgrade: WEBSOCKET', CONNECTION, ACCEPT]],
  ['Connection in small letters', [STATUS, UPGRADE, 'Connection: upgrade', ACCEPT]],
  ['Connection as a list', [STATUS, UPGRADE, 'Connection: keep-alive, Upgrade', ACCEPT]],
  [
    'header names in small letters',
    [STATUS, 'upgrade: websocket', 'connection: Upgrade', 'sec-websocket-accept: PROOF'],
  ],
  [
    'header names in capitals',
    [STATUS, 'UPGRADE: websocket', 'CONNECTION: Upgrade', 'SEC-WEBSOCKET-ACCEPT: PROOF'],
  ],
  ['spaces around its proof', [STATUS, UPGRADE, CONNECTION, 'Sec-WebSocket-Accept: \t PROOF \t ']],
  ['headers it need not know', [STATUS, UPGRADE, CONNECTION, ACCEPT, 'X-Any: thing', 'Date: now']],
] as const) {
  test(`§4.1 a client is let in by an answer with ${what}`, async () => {
    const { client, peer, opening } = await answered(lines)
    await opening
    assert.ok(client.connection)
    peer.send(TEXT, 'hello', { masked: false })
    assert.equal(await once(client.connection, 'message'), 'hello')
    peer.tcp.destroy()
    await once(client, 'closed')
  })
}

for (const [what, lines, status] of [
  ['no Upgrade', [STATUS, CONNECTION, ACCEPT]],
  ['another Upgrade', [STATUS, 'Upgrade: h2c', CONNECTION, ACCEPT]],
  ['an Upgrade to more', [STATUS, 'Upgrade: websocket, h2c', CONNECTION, ACCEPT]],
  ['two Upgrades', [STATUS, UPGRADE, 'Upgrade: h2c', CONNECTION, ACCEPT]],
  ['no Connection', [STATUS, UPGRADE, ACCEPT]],
  ['another Connection', [STATUS, UPGRADE, 'Connection: keep-alive', ACCEPT]],
  ['a Connection that only begins so', [STATUS, UPGRADE, 'Connection: Upgraded', ACCEPT]],
  ['no proof', [STATUS, UPGRADE, CONNECTION]],
  ['an empty proof', [STATUS, UPGRADE, CONNECTION, 'Sec-WebSocket-Accept: ']],
  ['another proof', [STATUS, UPGRADE, CONNECTION, `Sec-WebSocket-Accept: ${keyOf(20)}`]],
  ['two proofs', [STATUS, UPGRADE, CONNECTION, ACCEPT, ACCEPT]],
  ['a proof with more behind it', [STATUS, UPGRADE, CONNECTION, `${ACCEPT}x`]],
  ['a subprotocol', [STATUS, UPGRADE, CONNECTION, ACCEPT, 'Sec-WebSocket-Protocol: chat']],
  ['an extension', [STATUS, UPGRADE, CONNECTION, ACCEPT, 'Sec-WebSocket-Extensions: x-any']],
  ['status 200', ['HTTP/1.1 200 OK', UPGRADE, CONNECTION, ACCEPT], 200],
  ['status 302', ['HTTP/1.1 302 Found', 'Location: /else', 'Content-Length: 0'], 302],
  ['status 401', ['HTTP/1.1 401 Unauthorized', 'Content-Length: 0'], 401],
  ['status 426', ['HTTP/1.1 426 Upgrade Required', 'Content-Length: 0'], 426],
  ['no HTTP', ['SSH-2.0-OpenSSH_9.6']],
] as [string, string[], number?][]) {
  test(`§4.1 a client fails at an answer with ${what}`, async () => {
    const { client, peer, opening } = await answered(lines)
    const error = await opening
    assert.ok(error instanceof ConnectError)
    if (status !== undefined) assert.equal(error.status, status)
    assert.equal(client.connection, undefined)
    peer.tcp.end()
    await peer.gone()
  })
}

for (const [what, lines, protocol] of [
  ['its first subprotocol', ['Sec-WebSocket-Protocol: chat'], 'chat'],
  ['its second subprotocol', ['Sec-WebSocket-Protocol: superchat'], 'superchat'],
  ['another subprotocol', ['Sec-WebSocket-Protocol: other'], undefined],
  ['a subprotocol in other letters', ['Sec-WebSocket-Protocol: Chat'], undefined],
  ['two subprotocols', ['Sec-WebSocket-Protocol: chat, superchat'], undefined],
  [
    'two lines of subprotocols',
    ['Sec-WebSocket-Protocol: chat', 'Sec-WebSocket-Protocol: superchat'],
    undefined,
  ],
  ['an empty subprotocol', ['Sec-WebSocket-Protocol: '], undefined],
  // As browsers do it: the standard's own words would let it in.
  ['no subprotocol', [], undefined],
] as const) {
  const outcome = protocol === undefined ? 'fails at' : 'is let in by'
  test(`§4.1 a client that offers subprotocols ${outcome} an answer with ${what}`, async () => {
    const all = [STATUS, UPGRADE, CONNECTION, ACCEPT, ...lines]
    const { client, peer, opening } = await answered(all, options)
    const outcome = await opening
    assert.equal(client.connection?.protocol, protocol)
    if (protocol === undefined) assert.ok(outcome instanceof ConnectError)
    peer.tcp.destroy()
    await once(client, 'closed')
  })
}

test('§4.1 a frame in the chunk of the answer is heard', async () => {
  const raw = await rawServer()
  const client = new WebsocketClient()
  const opening = client.open(raw.url)
  const peer = await raw.accept({}, frame(BINARY, 'hello', { masked: false }))
  assert.deepEqual(await once(await opening, 'message'), new Uint8Array(Buffer.from('hello')))
  peer.tcp.destroy()
  await once(client, 'closed')
})

test('§4.1 an answer that comes byte by byte is one', async () => {
  const raw = await rawServer()
  const client = new WebsocketClient()
  const opening = client.open(raw.url)
  const peer = await raw.peer()
  peer.tcp.setNoDelay(true)
  const proof = proofOf(await peer.request())
  const head = `${[STATUS, UPGRADE, CONNECTION, ACCEPT].join('\r\n')}\r\n\r\n`
  const bytes = Buffer.from(head.replace('PROOF', proof))
  for (const byte of Buffer.concat([bytes, frame(TEXT, 'hello', { masked: false })])) {
    peer.write(Buffer.of(byte))
    await turn()
  }
  assert.equal(await once(await opening, 'message'), 'hello')
  peer.tcp.destroy()
  await once(client, 'closed')
})

test('§4 our own ends let each other in', async () => {
  const { port } = await served(options)
  await using client = new WebsocketClient(options)
  const here = await client.open(`ws://localhost:${port}`)
  assert.equal(here.protocol, 'chat')
})

// A request without a Host, or with two, is no request of HTTP/1.1: RFC 9112 §3.2.

for (const [what, request] of [
  ['no Host', instead('Host')],
  ['two Hosts', plus('Host: elsewhere')],
] as const) {
  test(`§4.2.1 a server refuses a client that asks with ${what}`, async () => {
    const { port } = await served(options)
    const peer = await RawPeer.connect(port)
    peer.write(request)
    assert.equal((await peer.answer()).status, 400)
    await peer.gone()
  })
}

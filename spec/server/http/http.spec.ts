import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { test } from 'node:test'
import { listen, PeerConnectError, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import {
  writeResponse,
  boundAddress,
  listenOn,
  createHttpServer,
  rejectUpgrade,
  closeHttp,
} from '../../../lib/server/http/http.ts'
import { resolveServer } from '../../../lib/options/server.ts'
import { handshake, RawPeer, type Answer, type Shake } from '../../support/rawpeer.ts'

/** Says something to a server, and gives its answer, of which nothing may be left over. */
async function told(
  words: Shake | string,
  options: ServerOptions = {},
): Promise<{ answer: Answer; refused: number[] }> {
  await using server = new WebsocketServer(options)
  const refused: number[] = []
  listen(server, 'peerError', ({ status }) => void refused.push(status))
  const { port } = await server.serve(0)
  const peer = await RawPeer.connect(port)
  peer.write(typeof words === 'string' ? words : handshake(words))
  const heard = await peer.answer()
  assert.equal((await peer.rest()).toString(), '')
  await peer.gone()
  return { answer: heard, refused }
}

const plain = (method: string, path: string): string =>
  `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`

for (const [method, path, status] of [
  ['GET', '/here', 426],
  ['GET', '/here/?x=1', 426],
  ['POST', '/here', 426],
  ['GET', '/', 404],
  ['GET', '/there', 404],
  ['GET', '/%zz', 404],
] as const) {
  test(`${method} ${path} over plain HTTP gets ${status} where /here is served`, async () => {
    const { answer, refused } = await told(plain(method, path), { path: '/here' })
    assert.equal(answer.status, status)
    assert.equal(answer.headers.get('connection'), 'close')
    assert.equal(answer.headers.get('upgrade'), status === 426 ? 'websocket' : undefined)
    assert.equal(answer.headers.get('content-type'), 'text/plain; charset=utf-8')
    assert.notEqual(answer.body, '')
    assert.deepEqual(refused, [], 'who asks for a page was no peer')
  })
}

test('without a path every plain request gets 426', async () => {
  assert.equal((await told(plain('GET', '/any/where'))).answer.status, 426)
})

for (const [status, shake, headers] of [
  [405, { method: 'PUT' }, { allow: 'GET' }],
  [505, { version: '1.0' }, {}],
  [
    426,
    { headers: { 'Sec-WebSocket-Version': '7' } },
    { upgrade: 'websocket', 'sec-websocket-version': '13' },
  ],
  [400, { headers: { 'Sec-WebSocket-Key': 'short' } }, {}],
  [403, { headers: { Origin: 'https://elsewhere.example' } }, {}],
  [401, { target: '/no' }, { 'www-authenticate': 'Bearer' }],
] as [number, Shake, Record<string, string>][]) {
  test(`a refusal with ${status} is well-formed HTTP with the headers that go with it`, async () => {
    const { answer, refused } = await told(shake, { authorize: ({ url }) => url !== '/no' })
    assert.equal(answer.status, status)
    assert.equal(answer.headers.get('connection'), 'close')
    assert.equal(answer.headers.get('content-length'), `${Buffer.byteLength(answer.body)}`)
    for (const [name, value] of Object.entries(headers)) {
      assert.equal(answer.headers.get(name), value)
    }
    assert.deepEqual(refused, [status])
  })
}

test('the length of an answer counts its bytes, not its letters', async () => {
  const { answer } = await told(
    {},
    {
      authorize: () => {
        throw new PeerConnectError('für später', { status: 429 })
      },
    },
  )
  assert.deepEqual([answer.status, answer.text], [429, 'Too Many Requests'])
  assert.equal(answer.body, 'für später\n')
  assert.equal(answer.headers.get('content-length'), '13')
})

for (const [what, cause, status, body] of [
  ['an Error', new Error('secret'), 500, 'Internal Server Error\n'],
  ['a text', 'secret', 500, 'Internal Server Error\n'],
  [
    'a PeerConnectError with a cause',
    new PeerConnectError('secret', { status: 403, cause: new Error('secret') }),
    403,
    'Forbidden\n',
  ],
  [
    'one with a status of your own',
    new PeerConnectError('secret', { status: 499, cause: new Error('secret') }),
    499,
    '',
  ],
  [
    'one that is meant for the peer',
    new PeerConnectError('come back at noon'),
    403,
    'come back at noon\n',
  ],
] as const) {
  test(`of ${what} in authorize the peer reads ${JSON.stringify(body)}`, async () => {
    const { answer } = await told(
      {},
      {
        authorize: () => {
          throw cause
        },
      },
    )
    assert.deepEqual([answer.status, answer.body], [status, body])
    assert.equal(answer.text, status === 499 ? 'Refused' : answer.text)
  })
}

test('a request that expects something gets 417, and the connection ends', async () => {
  const expecting = 'GET / HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n\r\n'
  const { answer, refused } = await told(expecting, { handshakeTimeout: 50 })
  assert.deepEqual([answer.status, refused], [417, []])
})

for (const headers of [{ 'Content-Length': '5' }, { 'Transfer-Encoding': 'chunked' }]) {
  const [name = ''] = Object.keys(headers)
  test(`an upgrade with a ${name} gets 400, and is told of`, async () => {
    const { answer, refused } = await told({ headers: { ...headers } })
    assert.deepEqual([answer.status, refused], [400, [400]])
  })
}

test('a header that is too long gets 431, and is told of', async () => {
  const { answer, refused } = await told({ headers: { 'X-Long': 'x'.repeat(20_000) } })
  assert.deepEqual([answer.status, refused], [431, [431]])
})

test('a request that does not end gets 408, and is told of', async () => {
  const { answer, refused } = await told('GET / HTTP/1.1\r\nHo', { handshakeTimeout: 20 })
  assert.deepEqual([answer.status, refused], [408, [408]])
})

test('what is no HTTP gets 400, and is told of', async () => {
  const { answer, refused } = await told('SSH-2.0-OpenSSH_9.6\r\n')
  assert.deepEqual([answer.status, refused], [400, [400]])
})

test('a refusal without a listener is counted all the same', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const peer = await RawPeer.knock(port, { headers: { Origin: 'https://elsewhere.example' } })
  assert.equal((await peer.answer()).status, 403)
  await peer.gone()
  assert.equal(server.stats().refusals.origin, 1)
})

/** Resolves with the two ends of a TCP connection. */
async function joined(): Promise<[here: Socket, peer: RawPeer]> {
  const server = createServer().listen(0, 'localhost')
  await onceEmitted(server, 'listening')
  const accepted = onceEmitted(server, 'connection')
  const peer = await RawPeer.connect((server.address() as AddressInfo).port)
  const [here] = (await accepted) as [Socket]
  server.close()
  return [here, peer]
}

test('a peer that has gone is not answered', async () => {
  const [here, peer] = await joined()
  here.destroy()
  writeResponse(here, 404, 'too late')
  assert.equal((await peer.rest()).toString(), '')
})

test('a refusal without a status hangs up without a word', async () => {
  const [here, peer] = await joined()
  rejectUpgrade(here, new PeerConnectError('the peer has left', { status: 0 }))
  assert.ok(here.destroyed)
  assert.equal((await peer.rest()).toString(), '')
})

test('an answer to a peer that resets meanwhile does no harm', async () => {
  const [here, peer] = await joined()
  await peer.reset()
  here.write('x') // the kernel learns of it by this
  writeResponse(here, 404, 'too late')
  if (!here.closed) await onceEmitted(here, 'close')
  assert.ok(here.destroyed)
})

test('what is bound to nothing has no port', () => {
  assert.deepEqual(boundAddress(undefined), { port: 0, host: '', address: '' })
})

test('what goes wrong while it listens is told of, and ends no process', async () => {
  const failures: Error[] = []
  const http = createHttpServer(resolveServer(), {
    onRejected: () => {},
    onFailure: (error) => void failures.push(error),
  })
  const before = new Error('told by `listening` already')
  http.emit('error', before)
  await listenOn(http, 0, 'localhost')
  const cause = new Error('accept EMFILE') // which no spec can bring about on every system
  http.emit('error', cause)
  assert.deepEqual(failures, [cause])
  await closeHttp(http, 1_000)
})

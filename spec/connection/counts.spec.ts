import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  listen,
  memoryBackplane,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketServer,
  type DropReason,
  type RefusalReason,
  type ServerOptions,
} from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import { newCounts } from '../../lib/connection/counts.ts'
import { turn } from '../conformance/meeting.ts'
import { handshake, RawPeer, type Shake } from '../support/rawpeer.ts'

const evil = { headers: { Origin: 'https://evil.com' } }

test('counting begins at zero, for every maker anew', () => {
  const [one, other] = [newCounts(), newCounts()]
  one.drops.closing++
  assert.deepEqual(other.drops, {
    ...{ slowConsumer: 0, rateLimit: 0, closing: 0, unread: 0, backplane: 0, channels: 0 },
    history: 0,
    invalid: 0,
    slowLoop: 0,
  })
})

for (const [reason, status, shake, options = {}] of [
  ['request', 405, { method: 'POST' }],
  ['request', 400, { headers: { 'Sec-WebSocket-Key': 'short' } }],
  ['request', 400, { headers: { 'Sec-WebSocket-Key': 'short' } }, { compression: true }],
  ['request', 400, { headers: { 'Sec-WebSocket-Protocol': ',' } }],
  ['request', 426, { headers: { 'Sec-WebSocket-Version': '8' } }],
  ['request', 431, { headers: { 'X-Long': 'x'.repeat(20_000) } }],
  ['path', 404, { target: '/elsewhere' }],
  ['path', 400, { target: '/%' }],
  ['host', 421, { headers: { Host: 'evil.example' } }],
  ['origin', 403, evil],
  ['maxConnections', 503, {}, { maxConnections: 1 }],
  ['maxConnectionsPerAddress', 429, {}, { maxConnectionsPerAddress: 1 }],
  ['handshakeTimeout', 503, { target: '/here?slow' }, { handshakeTimeout: 30 }],
  ['handshakeTimeout', 408, '', { handshakeTimeout: 30 }],
  ['authorize', 401, { target: '/here?no' }],
  ['authorize', 402, { target: '/here?pay' }],
  ['authorize', 500, { target: '/here?boom' }],
] as [RefusalReason, number, Shake | '', ServerOptions?][]) {
  test(`a peer that gets ${status} for the reason '${reason}' is counted so`, async () => {
    await using server = new WebsocketServer({
      path: '/here',
      closeTimeout: 100,
      authorize: ({ query }) => {
        if (query.has('pay')) throw new PeerConnectError('pay first', { status: 402 })
        if (query.has('boom')) throw new Error('boom')
        return query.has('slow') ? new Promise<never>(() => {}) : !query.has('no')
      },
      ...options,
    })
    const told: RefusalReason[] = []
    listen(server, 'peerError', (error) => void told.push(error.reason))
    const { port } = await server.serve(0)
    const inside = await RawPeer.enter(port, { target: '/here' })
    const peer = await RawPeer.connect(port)
    if (shake !== '') peer.write(handshake({ target: '/here', ...shake }))
    assert.equal((await peer.answer()).status, status)
    const { refused, refusals } = server.stats()
    assert.deepEqual([refused, refusals[reason]], [1, 1])
    assert.deepEqual(told, [reason])
    for (const { tcp } of [inside, peer]) tcp.destroy()
  })
}

test('a client that asks for no dialect of the channels is counted so', async () => {
  const server = new WebsocketServer()
  new ChannelServer(server)
  await assert.rejects(link(server, new WebsocketClient(), 'ws://localhost/websocket?vsn=9.0.0'))
  assert.equal(server.stats().refusals.channels, 1)
})

test('a reason that there is not is counted as one of authorize', async () => {
  const authorize = (): never => {
    throw new PeerConnectError('no', { reason: 'because' as RefusalReason })
  }
  const server = new WebsocketServer({ authorize })
  await assert.rejects(link(server, new WebsocketClient()))
  const { refused, refusals } = server.stats()
  assert.deepEqual([refused, refusals.authorize, 'because' in refusals], [1, 1, false])
})

test('a handshake that waits while its server closes is counted so', async () => {
  const server = new WebsocketServer({ authorize: () => new Promise<never>(() => {}) })
  const entering = link(server, new WebsocketClient())
  while (server.stats().handshakes === 0) await turn()
  await server.close()
  await assert.rejects(entering)
  assert.equal(server.stats().refusals.closing, 1)
})

for (const [reason, options, work] of [
  [
    'slowConsumer',
    { maxBufferedAmount: 100, slowConsumer: 'drop' },
    async (server) => {
      const [there] = await link(server, new WebsocketClient())
      for (let count = 0; count < 3; count++) there.send('x'.repeat(60))
    },
  ],
  [
    'rateLimit',
    { rateLimit: { messages: 1, policy: 'drop', per: 60_000 } },
    async (server) => {
      const [there, here] = await link(server, new WebsocketClient())
      listen(there, 'message', () => {})
      for (let count = 0; count < 3; count++) here.send('x')
      await here.close()
      await once(there, 'close')
    },
  ],
  [
    'closing',
    { maxWaitingBytes: 600 },
    async (server) => {
      const [there, here] = await link(server, new WebsocketClient())
      listen(there, 'message', () => new Promise(() => {}))
      void once(there, 'pong').catch(() => {}) // which keeps reading going
      for (let count = 0; count < 6; count++) here.send('12345')
      await once(here, 'close')
    },
  ],
] as [DropReason, ServerOptions, (server: WebsocketServer) => Promise<void>][]) {
  test(`messages that are dropped for the reason '${reason}' are counted so`, async () => {
    const server = new WebsocketServer(options)
    await work(server)
    const { dropped, drops } = server.stats()
    assert.deepEqual([dropped, drops[reason]], [2, 2])
  })
}

test('messages from the backplane that make no sense are counted so', async () => {
  let receive: (message: Uint8Array) => void = () => {}
  const server = new WebsocketServer({
    backplane: {
      ...memoryBackplane(),
      subscribe: (_, callback) => {
        receive = callback
        return () => {}
      },
    },
  })
  await link(server, new WebsocketClient())
  receive(Uint8Array.of(9, 9, 9))
  assert.equal(server.stats().drops.backplane, 1)
})

test('pushes to a membership that is no more are counted so', async () => {
  const server = new WebsocketServer()
  const channels = new ChannelServer(server)
  listen(channels.topic('room'), 'join', ({ accept }) => accept())
  const [, here] = await link(server, new WebsocketClient(), 'ws://localhost/websocket?vsn=2.0.0')
  const answers = listen(here, 'message')
  here.send('["1","1","room","phx_join",{}]')
  await answers.next()
  here.send('["0","2","room","late",{}]')
  await here.ping()
  assert.equal(server.stats().drops.channels, 1)
})

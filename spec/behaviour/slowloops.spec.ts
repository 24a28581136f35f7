import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ConnectError,
  listen,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketServer,
  type WebsocketConnection,
} from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import { Raw, reply } from '../support/channels/raw.ts'
import { turn } from '../conformance/meeting.ts'
import { RawPeer } from '../support/rawpeer.ts'

const MOST = 1_000

type Ends<Context extends {}> = [there: WebsocketConnection<Context>, here: WebsocketConnection]

/** Connects one more client. */
const enter = <Context extends {}>(server: WebsocketServer<Context>): Promise<Ends<Context>> =>
  link(server, new WebsocketClient())

/** Connects as many clients as may wait in a loop, and closes them again. */
async function fill(server: WebsocketServer): Promise<void> {
  for (let count = 0; count < MOST; count++) {
    const [there, here] = await enter(server)
    await here.close()
    await once(there, 'close')
  }
}

test('while 1,000 clients wait in a loop, handshakes get 503 with Retry-After, and the loop goes on', async (t) => {
  const print = t.mock.method(console, 'error', () => {})
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const loop = listen(server, 'client')
  await fill(server)
  const told = once(server, 'peerError')
  const { status, headers, body } = await (await RawPeer.knock(port)).answer()
  assert.deepEqual([status, body], [503, 'the server is busy\n'])
  assert.match(headers.get('retry-after') ?? '', /^[1-5]$/)
  assert.deepEqual([(await told).status, (await told).reason], [503, 'slowLoop'])
  assert.equal(server.stats().refusals.slowLoop, 1)
  await assert.rejects(enter(server), ConnectError)
  assert.equal(print.mock.callCount(), 1, 'printed once')
  assert.match(String(print.mock.calls[0]?.arguments[0]), /because a loop over `client` has/)
  assert.equal((await loop.next()).done, false)
  await enter(server)
  for (let count = 0; count < MOST; count++) assert.equal((await loop.next()).done, false)
  assert.equal(server.stats().dropped, 0)
})

for (const [how, end] of [
  ['left', (loop) => loop.return?.()],
  [
    'empty',
    async (loop) => {
      for (let count = 0; count < MOST; count++) await loop.next()
    },
  ],
] as [string, (loop: AsyncIterator<unknown>) => Promise<unknown>][]) {
  test(`a full loop that is ${how} lets clients in again`, async () => {
    const server = new WebsocketServer()
    const [full, other] = [listen(server, 'client'), listen(server, 'client')]
    await fill(server)
    await end(full)
    await assert.rejects(enter(server), ConnectError, 'the other loop is full, too')
    await end(other)
    await enter(server)
  })
}

test('a server that was closed with a full loop lets clients in when it serves again', async () => {
  const server = new WebsocketServer()
  const loop = listen(server, 'client')
  await fill(server)
  await server.close()
  await enter(server)
  await server.close()
  for (let count = 0; count < MOST; count++) assert.equal((await loop.next()).done, false)
  assert.equal((await loop.next()).done, true)
})

test('clients that authorize lets in after a loop is full get 503, too', async () => {
  const decide: ((verdict: boolean) => void)[] = []
  const server = new WebsocketServer({
    authorize: () => new Promise<boolean>((resolve) => decide.push(resolve)),
  })
  const loop = listen(server, 'client')
  const entering = Array.from({ length: MOST + 3 }, () => enter(server))
  while (decide.length < entering.length) await turn()
  for (const allow of decide) allow(true)
  const outcomes = await Promise.allSettled(entering)
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, MOST)
  assert.equal(server.stats().refusals.slowLoop, 3)
  await assert.rejects(enter(server), ConnectError)
  assert.equal(decide.length, MOST + 3, 'authorize is not asked while the loop is full')
  assert.equal(server.clients.size, MOST)
  await loop.return?.()
})

test('a loop over peerError keeps the last 1,000, counts the others, and never ends', async () => {
  let count = 0
  const server = new WebsocketServer({
    authorize: () => {
      throw new PeerConnectError(String(count++))
    },
  })
  const loop = listen(server, 'peerError')
  for (let times = 0; times < MOST + 2; times++) await assert.rejects(enter(server))
  const { dropped, drops } = server.stats()
  assert.deepEqual([dropped, drops.slowLoop], [2, 2])
  for (let number = 2; number < MOST + 2; number++) {
    const { value } = (await loop.next()) as IteratorYieldResult<PeerConnectError>
    assert.equal(value.message, String(number))
  }
  await assert.rejects(enter(server))
  assert.equal(((await loop.next()).value as PeerConnectError).message, String(MOST + 2))
})

test('loops over what rooms and connections tell drop the oldest, which their server counts', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const loops = [listen(room, 'join'), listen(room, 'leave')]
  const [there, here] = await enter(server)
  const pings = listen(there, 'ping')
  for (let times = 0; times < MOST + 1; times++) {
    room.add(there).delete(there)
    await here.ping(String(times))
  }
  assert.equal(server.stats().drops.slowLoop, 3)
  for (const loop of loops) assert.deepEqual(await loop.next(), { done: false, value: there })
  assert.deepEqual(await pings.next(), { done: false, value: '1' })
})

test('while 1,000 joins wait in a loop, joins are answered `too busy`, and the loop goes on', async () => {
  const server = new WebsocketServer()
  const options = { maxChannels: false, joinRate: false } as const
  const topic = new ChannelServer(server, options).topic('room:*')
  const loop = listen(topic, 'join')
  const client = await Raw.enter(server)
  for (let count = 0; count < MOST; count++) {
    client.say([String(count), String(count), `room:${count}`, 'phx_join', {}])
  }
  assert.deepEqual(await client.heard(), [])
  assert.deepEqual(await client.ask(['a', 'a', 'room:a', 'phx_join', {}]), [
    reply(['a', 'a'], 'room:a', 'error', { reason: 'too busy' }),
  ])
  const { value } = (await loop.next()) as IteratorYieldResult<{ accept: () => void }>
  value.accept()
  assert.deepEqual(await client.heard(), [reply(['0', '0'], 'room:0', 'ok')])
  client.say(['b', 'b', 'room:b', 'phx_join', {}])
  for (let count = 0; count < MOST; count++) assert.equal((await loop.next()).done, false)
  assert.equal(server.stats().dropped, 0)
  await server.close()
})

test('a loop over `leave` of a topic drops the oldest, which the server counts', async () => {
  const server = new WebsocketServer()
  const channels = new ChannelServer(server, { joinRate: false })
  const loop = listen(channels.topic('room:*', { open: true }), 'leave')
  const client = await Raw.enter(server)
  for (let count = 0; count < MOST + 1; count++) {
    await client.join('room:1', String(count)) // which ends the membership before it
  }
  await client.ask([null, 'x', 'room:1', 'phx_leave', {}])
  assert.equal(server.stats().drops.slowLoop, 1)
  assert.equal((await loop.next()).done, false)
})

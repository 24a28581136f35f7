import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { test, type TestContext } from 'node:test'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'
import { link } from '../../lib/testing/index.ts'
import { RawPeer } from '../support/rawpeer.ts'

const names = [
  ...['open', 'close', 'message', 'drop', 'refusal', 'join', 'leave', 'backplane'],
] as const

/** Writes down what is published until the end of a test. */
function watched(t: TestContext): [name: string, event: Record<string, unknown>][] {
  const seen: [string, Record<string, unknown>][] = []
  for (const name of names) {
    const told = (event: unknown): void => {
      seen.push([name, { ...(event as Record<string, unknown>) }])
    }
    subscribe(`simplewebsockets:${name}`, told)
    t.after(() => unsubscribe(`simplewebsockets:${name}`, told))
  }
  return seen
}

test('a connection is told of from its beginning to its end', async (t) => {
  const seen = watched(t)
  await using server = new WebsocketServer()
  const [there, here] = await link(server, new WebsocketClient())
  listen(there, 'message', () => {})
  here.send('grüße')
  await here.ping()
  await here.close(4000, 'bye')
  await once(there, 'close').catch(() => {})
  assert.deepEqual(seen, [
    ['open', { connection: there }],
    ['message', { connection: there, size: 7 }],
    ['close', { connection: there, code: 4000, description: 'bye' }],
  ])
})

test('rooms tell which clients come and go', async (t) => {
  await using server = new WebsocketServer()
  const [client] = await link(server, new WebsocketClient())
  const seen = watched(t)
  server.room('red').add(client).delete(client)
  assert.deepEqual(seen, [
    ['join', { room: 'red', connection: client }],
    ['leave', { room: 'red', connection: client }],
  ])
})

test('topics tell which members join and leave', async (t) => {
  await using server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('room:*', { open: true })
  const { port } = await server.serve(0)
  const seen = watched(t)
  const left = once(topic, 'leave')
  const client = new ChannelClient()
  await client.open(`ws://localhost:${port}`)
  const channel = client.channel('room:1')
  await channel.join()
  await channel.leave()
  const { channel: there } = await left
  await client.close()
  const moves = seen.filter(([name]) => name === 'join' || name === 'leave')
  assert.deepEqual(moves, [
    ['join', { topic: 'room:1', channel: there }],
    ['leave', { topic: 'room:1', channel: there }],
  ])
})

test('a peer that is not let in is told of with its error', async (t) => {
  const seen = watched(t)
  await using server = new WebsocketServer({ authorize: () => false })
  const { port } = await server.serve(0)
  const refused = once(server, 'peerError')
  await (await RawPeer.knock(port)).answer()
  const error = await refused
  assert.deepEqual(seen, [['refusal', { error }]])
  assert.equal(error.reason, 'authorize')
})

test('a dropped message is told of with its reason', async (t) => {
  await using server = new WebsocketServer({ maxBufferedAmount: 1_000, slowConsumer: 'drop' })
  const [there] = await link(server, new WebsocketClient())
  const seen = watched(t)
  for (let count = 0; count < 5; count++) there.send('x'.repeat(600))
  assert.ok(seen.length > 0)
  for (const event of seen) {
    assert.deepEqual(event, ['drop', { reason: 'slowConsumer', connection: there }])
  }
})

test('the backplane is told of', async (t) => {
  const seen = watched(t)
  let tell: (state: 'up' | 'down') => void = () => {}
  await using server = new WebsocketServer({
    backplane: {
      publish: () => {},
      subscribe: () => () => {},
      close: () => {},
      listen: (told) => {
        tell = told
      },
    },
  })
  tell('down')
  assert.equal(server.isOpen, false)
  assert.deepEqual(seen, [['backplane', { state: 'down', refused: [] }]])
})

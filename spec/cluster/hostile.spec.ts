import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import { connect as connectNats } from '@nats-io/transport-node'
import { createClient } from 'redis'
import { listen, once, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer, Presence } from 'simplewebsockets/channels'
import { channelName } from '../../lib/backplane/broker.ts'
import { HEADER_LENGTH } from '../../lib/backplane/backplane-link.ts'
import { engineOf, is, open, RunningEngine, ways, without, type Way } from '../support/engines.ts'
import { noise, seeded } from '../support/random.ts'

/** Publishes bytes as another program on the same broker might. */
type Publish = (channel: string, bytes: Uint8Array) => Promise<unknown>

async function publisher(t: TestContext, way: Way, url: string): Promise<Publish> {
  if (way === 'nats') {
    const connection = await connectNats({ servers: new URL(url).host })
    t.after(() => connection.close())
    return (channel, bytes) => {
      connection.publish(channel, bytes)
      return connection.flush()
    }
  }
  const client = createClient({ url })
  client.on('error', () => {}) // the broker ends first
  await client.connect()
  t.after(() => {
    client.destroy()
  })
  return (channel, bytes) => client.publish(channel, Buffer.from(bytes))
}

/** Writes what the nodes would read: a whole message, of some kind, of a node that isn't there. */
function message(number: number, kind: number, payload: string | Uint8Array): Uint8Array {
  const head = Buffer.alloc(1 + HEADER_LENGTH, 9)
  head[0] = 0 // a whole message
  head[1] = kind
  head.writeUIntBE(number, HEADER_LENGTH - 5, 6)
  return Buffer.concat([head, Buffer.from(payload)])
}

const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
const word = `{"id":"x","version":1,"beat":1000,"topic":"room:1","joins":{"a":{"metas":[{"x":DEEP}]}},"leaves":{}}`

const payloads: readonly (string | Uint8Array)[] = [
  '',
  '\0',
  '{',
  deep,
  `[null,null,"room:1","said",${deep}]`,
  word.replace('DEEP', deep),
  word.replace('DEEP', '{"__proto__":{"toString":5}}'),
  '{"id":"x","version":2,"beat":1000,"topics":{"room:1":{"__proto__":{"metas":[null]}}}}',
  '{"toJSON":5}',
  noise(seeded(1), 5_000),
  Buffer.from([1, 255, 255, 255, 255, 0]),
  Buffer.from([0xff, 0xfe]),
]

for (const way of ways) {
  suite(`${way}: another program`, { skip: without(engineOf(way)), timeout: 60_000 }, () => {
    test('that publishes nonsense ends no node, no subscription and no membership', async (t) => {
      const engine = await RunningEngine.start(t, engineOf(way))
      const nodes = await Promise.all([
        startNode(t, way, engine.url),
        startNode(t, way, engine.url),
      ])
      const [one, other] = nodes
      const publish = await publisher(t, way, engine.url)
      const topics = ['clients', 'topic:room:1', 'presence:room:*', 'presence:room:*@x']
      let number = 0
      for (const topic of topics) {
        const channel = channelName('simplewebsockets.', topic)
        for (const payload of payloads) {
          await publish(channel, Buffer.from(payload))
          for (const kind of [0, 1, 2, 3, 4, 9]) {
            // Forged closes are no nonsense: a program that may publish is trusted with them.
            if (topic === 'clients' && kind === 2) continue
            await publish(channel, message(++number, kind, payload))
          }
        }
      }
      const heard = once(other.channel.messages, 'said')
      one.topic.emit('room:1', 'said', { text: 'still here' })
      assert.deepEqual((await heard).payload, { text: 'still here' })
      for (const { backplane, server } of nodes) {
        assert.equal(backplane.stats().state, 'up')
        assert.ok(server.stats().drops.backplane > 100)
        assert.equal(server.clients.size, 1)
      }
    })
  })
}

async function startNode(
  t: TestContext,
  way: Way,
  url: string,
): Promise<{
  server: WebsocketServer
  backplane: ReturnType<typeof open>['backplane']
  topic: ChannelServer
  channel: ReturnType<ChannelClient['channel']>
}> {
  const { backplane, close } = open(way, url)
  const server = new WebsocketServer({ backplane, path: '/socket' })
  const topic = new ChannelServer(server)
  const rooms = topic.topic('room:*')
  const presence = new Presence(rooms)
  listen(rooms, 'join', ({ channel, accept }) => {
    accept()
    presence.track(channel, 'member', {})
  })
  await is(backplane, 'up')
  const address = await server.serve(0, '127.0.0.1')
  const client = new ChannelClient()
  t.after(async () => {
    await client.close()
    await server.close()
    await close()
  })
  await client.open(`ws://127.0.0.1:${address.port}/socket`)
  const channel = client.channel('room:1')
  await channel.join()
  return { server, backplane, topic, channel }
}

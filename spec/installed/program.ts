// Uses every entry of the package in Node, as a program does that has installed it.
import assert from 'node:assert/strict'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type CloseReason,
  type Data,
} from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'
import { natsBackplane } from 'simplewebsockets/nats'
import { redisBackplane } from 'simplewebsockets/redis'
import { link, pair } from 'simplewebsockets/testing'

interface Chat {
  said: { text: string }
}

const server = new WebsocketServer({ authorize: () => ({ name: 'ann' }), keepaliveTimeout: 1_000 })
const channels = new ChannelServer(server)
const topic = channels.topic<Chat, Chat>('room:*')
listen(topic, 'join', ({ channel, accept }) => {
  const name: string | undefined = channel.connection?.context.name
  listen(channel.messages, 'said', ({ payload, reply }) => reply(`${name}: ${payload.text}`))
  accept()
})
const { port } = await server.serve(0)

const client = new ChannelClient()
await client.open(`ws://localhost:${port}/`)
const channel = client.channel<Chat, Chat>('room:1')
await channel.join()
assert.equal(await channel.push('said', { text: 'hello' }), 'ann: hello')
// @ts-expect-error: what is pushed has the type of its event
void channel.push('said', { txt: 'hello' }).catch(() => {})
await client.close()
await server.close()

// @ts-expect-error: no client of Redis
assert.throws(() => redisBackplane({}), /one of `redis` or of `ioredis`/)
// @ts-expect-error: no connection to NATS
assert.throws(() => natsBackplane({}), /one of `@nats-io/)

const [near, far] = pair()
far.send('hello')
const message: Data = await once(near, 'message')
assert.equal(message, 'hello')
// @ts-expect-error: an unknown event, which throws as well
assert.throws(() => listen(near, 'mesage', () => {}), /did you mean `message`/)

const echo = new WebsocketServer<{ name: string }>({ authorize: () => ({ name: 'bob' }) })
listen(echo, 'client', (end) => void end.close(4000, end.context.name))
const [, end] = await link(echo, new WebsocketClient({ reconnect: false }))
const reason: CloseReason = await once(end, 'close')
assert.deepEqual(reason, { code: 4000, description: 'bob' })
console.log('every entry works')

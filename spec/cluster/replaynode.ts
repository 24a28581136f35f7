// A server whose topics are kept in Redis, to be killed: replaynode.ts WAY URL PORT [FIRST…]
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { redisHistory } from 'simplewebsockets/redis'

const [, , way, url = '', port, ...first] = process.argv
const client = way === 'ioredis' ? new Redis(url) : createClient({ url })
const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)
channels.topic('room:*', { open: true, history: { size: 50, store: redisHistory(client) } })

/** Says something, and that Redis has it. */
const say = async (body: string): Promise<void> => {
  await channels.emit('room:1', 'said', { body })
  process.send?.(body)
}
for (const body of first) await say(body)
process.on('message', (body) => void say(String(body)))
client.on('error', () => {}) // of an engine that ends first
process.on('disconnect', () => process.exit())
await server.serve(Number(port), '127.0.0.1')
process.send?.('ready')

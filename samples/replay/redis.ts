// A room whose latest messages outlive its server: who comes back after a restart has missed nothing.
// Run: REDIS=redis://localhost:6379 node --conditions=source --import tsx samples/replay/redis.ts
import { createClient } from 'redis'
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { redisHistory } from 'simplewebsockets/redis'

const { PORT = '8080', REDIS = 'redis://localhost:6379' } = process.env
const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)

const client = createClient({ url: REDIS }) // or a Redis of ioredis
const store = redisHistory(client, { prefix: 'shop.' }) // of simplewebsockets/redis
const rooms = channels.topic('room:*', { history: { store } })

listen(rooms, 'join', ({ channel, accept }) => {
  listen(channel.messages, 'say', async ({ payload, reply }) => {
    await channels.emit(channel.topic, 'said', payload) // rejects with a HistoryError
    reply() // so the message is recorded
  })
  accept()
})
const { port } = await server.serve(Number(PORT))
console.log(`listening on ws://localhost:${port}`)

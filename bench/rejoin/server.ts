// A node with one recorded room. It emits 100 messages for each message of its parent process.
// Run by rejoin.ts: server.ts REDIS PORT
import { createClient } from 'redis'
import { WebsocketServer } from '../../lib/index.ts'
import { ChannelServer } from '../../lib/channels/index.ts'
import { redisBackplane, redisHistory } from '../../lib/redis.ts'

const MESSAGES = 100
const [url = '', port = '0'] = process.argv.slice(2)

const broker = await createClient({ url }).connect()
const server = new WebsocketServer({ path: '/socket', backplane: redisBackplane(broker) })
const channels = new ChannelServer(server)
const store = redisHistory(await createClient({ url }).connect(), { prefix: 'bench.rejoin.' })
channels.topic('room:*', { open: true, history: { size: 200, ttl: 300_000, store } })
await server.serve(Number(port), '127.0.0.1')

process.on('disconnect', () => process.exit())
process.on('message', () => {
  void emitAll().then(() => process.send?.('emitted'))
})
process.send?.('ready')

async function emitAll(): Promise<void> {
  for (let number = 1; number <= MESSAGES; number++) {
    await channels.emit('room:1', 'said', { number, text: 'x'.repeat(200) })
  }
}

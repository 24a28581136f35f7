// Measures how long members take to rejoin a recorded room on another node, after a crash of theirs,
// and what that costs Redis. Each missed 100 messages of 200 B.
// Run: REDIS=redis://127.0.0.1:6379 npm run rejoin -- 5000
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createClient } from 'redis'
import { listen } from '../../lib/index.ts'
import { ChannelClient } from '../../lib/channels/index.ts'

const MISSED = 100
const AT_ONCE = 100 // members that join at the same time before the crash
const PATIENCE = 60_000 // milliseconds
const url = process.env.REDIS ?? 'redis://127.0.0.1:6379'
const members = Number(process.argv[2] ?? 5_000)
const port = 20_000 + Math.floor(Math.random() * 20_000)

let joined = 0
let recovered = 0
let received = 0

const redis = await createClient({ url }).connect()
const first = await startServer()
const clients: ChannelClient[] = []
while (clients.length < members) {
  const some = Array.from({ length: Math.min(AT_ONCE, members - clients.length) }, () => connect())
  await Promise.all(some)
}
await emitAll(first)
await waitUntil(() => received === members * MISSED)
await Promise.all(clients.map((client) => client.close()))
await emitAll(first) // this is what the members miss
first.kill('SIGKILL')

const second = await startServer()
joined = recovered = received = 0
const before = await readCosts()
const start = performance.now()
for (const client of clients) void client.open(`ws://127.0.0.1:${port}/socket`)
await waitUntil(() => joined === members && received === members * MISSED)
const seconds = (performance.now() - start) / 1_000
const after = await readCosts()

console.log(`${members} members, ${MISSED} missed messages each: ${seconds.toFixed(1)} s`)
console.log(`joined ${joined}, of these recovered ${recovered}; ${received} messages received`)
console.log(`Redis: ${Math.round((after.cpu - before.cpu) * 1_000)} ms of CPU`)
console.log(`Redis: ${((after.bytes - before.bytes) / 1024 ** 2).toFixed(1)} MiB sent`)
second.kill()
process.exit()

async function startServer(): Promise<ChildProcess> {
  const file = new URL('server.ts', import.meta.url).pathname
  const server = fork(file, [url, String(port)])
  await once(server, 'message')
  return server
}

async function connect(): Promise<void> {
  const client = new ChannelClient({ heartbeat: false, keepaliveTimeout: false, timeout: PATIENCE })
  const room = client.channel('room:1')
  listen(room.messages, 'said', () => {
    received++
  })
  listen(room, 'join', (reply) => {
    joined++
    if ((reply as { recovered?: boolean }).recovered === true) recovered++
  })
  listen(client, 'error', () => {})
  clients.push(client)
  void client.open(`ws://127.0.0.1:${port}/socket`)
  await room.join()
}

async function emitAll(server: ChildProcess): Promise<void> {
  server.send('emit')
  await once(server, 'message')
}

/** Waits for a condition, at most `PATIENCE`. */
async function waitUntil(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE
  while (!condition() && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Returns the seconds of CPU that Redis has used, and the bytes that it has sent. */
async function readCosts(): Promise<{ cpu: number; bytes: number }> {
  const text = `${await redis.info('cpu')}\n${await redis.info('stats')}`
  const read = (name: string): number => Number(new RegExp(`^${name}:(.*)`, 'm').exec(text)?.[1])
  const cpu = read('used_cpu_user') + read('used_cpu_sys')
  return { cpu, bytes: read('total_net_output_bytes') }
}

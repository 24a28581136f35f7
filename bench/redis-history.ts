// Prints how long a recorded message takes to a subscriber on this machine, beside a bare PUBLISH, with the
// answer of the command, and what Redis works for it.
// Run: REDIS=redis://127.0.0.1:6379 node --conditions=source --import tsx bench/redis-history.ts
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { redisHistory, type RedisClient } from '../lib/redis.ts'
import { median, show, table } from './stats.ts'

const ROUNDS = 5_000
const WARM_UP = 1_000
const BOUNDS = { size: 100, ttl: 300_000, maxBytes: 1024 * 1024 }
const DATA = JSON.stringify({ text: 'x'.repeat(200) })
const url = process.env.REDIS ?? 'redis://127.0.0.1:6379'

/** Measures until a message is received, in microseconds; both ways take turns. */
async function measure(client: RedisClient): Promise<{ bare: number; recorded: number }> {
  const history = redisHistory(client, { prefix: `bench.${process.pid}.` })
  const subscriber = await createClient({ url }).connect()
  let received = (): void => {}
  await subscriber.subscribe(['bench.bare'], () => received(), true)
  await history.subscribe?.('room:1', { receive: () => received(), interrupted: () => {} })
  const times = { bare: [] as number[], recorded: [] as number[] }
  const time = async (into: number[], send: () => unknown): Promise<void> => {
    const begin = performance.now()
    const arrived = new Promise<void>((resolve) => (received = resolve))
    const sent = send()
    await arrived
    into.push((performance.now() - begin) * 1_000)
    await sent
  }
  for (let round = 0; round < ROUNDS + WARM_UP; round++) {
    if (round === WARM_UP) times.bare.length = times.recorded.length = 0
    await time(times.bare, () => client.publish('bench.bare', Buffer.from(DATA)))
    await time(times.recorded, () => history.append('room:1', DATA, BOUNDS))
  }
  await history.close?.()
  subscriber.destroy()
  return { bare: median(times.bare), recorded: median(times.recorded) }
}

const rows = [['client', 'bare p50, µs', 'recorded p50, µs', 'ratio']]
const nodeRedis = await createClient({ url }).connect()
const ioredis = new Redis(url)
for (const [name, client] of [
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
] as const) {
  const { bare, recorded } = await measure(client)
  rows.push([name, show(bare), show(recorded), show(recorded / bare, 2)])
}
console.log(table(rows))
const stats = await nodeRedis.info('commandstats')
for (const name of ['evalsha', 'publish']) {
  const usec = new RegExp(`cmdstat_${name}:.*usec_per_call=([\\d.]+)`).exec(stats)?.[1]
  console.log(`Redis works ${usec} µs for each ${name}`)
}
nodeRedis.destroy()
ioredis.disconnect()

import { createHash } from 'node:crypto'
import { channelName } from '../../backplane/broker.ts'
import { BrokerBackplane } from '../../backplane/broker-backplane.ts'
import { createRedisBroker, type RedisClient } from '../../backplane/redis-backplane.ts'
import type { RedisBroker } from '../../backplane/redis-broker.ts'
import { withoutCommand } from '../../format.ts'
import { brokerRules, type BrokerOptions } from '../../options/broker.ts'
import { deferred, type Deferred } from '../../promises.ts'
import { flag, isArray, resolveOptions } from '../../validation.ts'
import type {
  HistoryBounds,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
  HistorySubscriber,
} from './store.ts'

/** The options of `redisHistory`. */
export interface RedisHistoryOptions extends BrokerOptions {
  /**
   * Whether Redis keeps everything that it has confirmed, through a restart and a failover, and
   * evicts nothing. That needs at least `appendfsync always` and `maxmemory-policy noeviction`. If
   * false, a restart begins a new epoch for each topic, and the reply to a member that rejoins says
   * that messages may have been missed.
   *
   * @default false
   */
  durable?: boolean | undefined
}

const DAY = 86_400_000 // milliseconds for which an epoch is kept longer than its last message

/*
 * The common beginning of both scripts. A topic has a head, which is `run epoch offset bytes`, and
 * a list of its kept messages. Each item is the time of the message, the value of `bytes` before
 * it, and its data. The last item has the offset of the head; `bytes` counts all messages of the
 * epoch.
 *
 * Equal epochs must mean that no offset was lost or assigned twice. So the epoch is derived from
 * values that change whenever that may have happened: a restart and a promotion change the
 * replication id, FLUSHALL changes the id of the store, and an eviction changes the count of
 * evictions. A head is kept for longer than a period, so a head that expired and is created again
 * has another period. The run id of Redis doesn't work: a primary that comes back after a failover
 * still has it. (The replication id also changes when the first replica connects, and an hour after
 * the last one disconnected.)
 */
const POSITION = `
local head, list, id = KEYS[1], KEYS[2], KEYS[3]
local durable, candidate, day, ttl, size = ARGV[1] ~= '', ARGV[2], ARGV[3] + 0, ARGV[4] + 0, ARGV[5] + 0
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function info(section, pattern)
  return durable and '-' or string.match(redis.call('INFO', section), pattern)
end
local run = info('replication', 'master_replid:(%w+)')
local known, epoch, offset, bytes = string.match(redis.call('GET', head) or '', '(%S+) (%S+) (%d+) (%d+)')
local begins = known ~= run
if begins then
  redis.call('SET', id, candidate, 'NX')
  local parts = { run, redis.call('GET', id), math.floor(now / day), info('stats', 'evicted_keys:(%d+)') }
  epoch = string.sub(redis.sha1hex(table.concat(parts, '.')), 1, 20)
  offset, bytes = 0, 0
end
`

// The head is written first: a Redis that is out of memory refuses that, and with it the whole
// script.
const APPEND = `${POSITION}
local maxBytes, channel, data = ARGV[6] + 0, ARGV[7], ARGV[8]
local before = bytes
offset, bytes = offset + 1, bytes + #data
redis.call('SET', head, table.concat({ run, epoch, offset, bytes }, ' '), 'PX', ttl + day)
if begins then redis.call('DEL', list) end
local count = redis.call('RPUSH', list, now .. ' ' .. before .. ' ' .. data)
for _ = size + 1, count do redis.call('LPOP', list) end
while true do
  local time, skipped = string.match(redis.call('LINDEX', list, 0) or '', '^(%d+) (%d+)')
  if not time or (time + 0 > now - ttl and bytes - skipped <= maxBytes) then break end
  redis.call('LPOP', list)
end
redis.call('PEXPIRE', list, ttl)
redis.call('PUBLISH', channel, '\\0' .. epoch .. ' ' .. offset .. ' ' .. data)
return { epoch, offset }`
const APPEND_HASH = createHash('sha1').update(APPEND).digest('hex')

const READ = `${POSITION}
local count = math.min(offset - (tonumber(ARGV[6]) or offset), size)
local found = count > 0 and redis.call('LRANGE', list, -count, -1) or {}
return { epoch, offset, found, now - ttl }`

/**
 * Creates a history store in Redis. It survives restarts of your servers, and all nodes share it.
 * Redis assigns the offset of a message, keeps the message and publishes it in one step.
 *
 * The store sends commands through your client, or through a duplicate of it where it is a client
 * of `ioredis`, and subscribes through a connection of its own. A client of `redis` that wasn't
 * connected yet is connected, and is closed with the history; any other client is yours to close.
 *
 * @throws TypeError for what is no client, for a cluster, and for an unknown or invalid option.
 */
export function redisHistory(client: RedisClient, options?: RedisHistoryOptions): HistoryStore {
  return new RedisHistory(client, options)
}

/**
 * A history store in Redis. `epochGrace` is the time that an epoch is kept after its last message.
 */
export class RedisHistory implements HistoryStore {
  readonly #broker: RedisBroker<RedisClient>
  /** Keeps the subscriptions, and knows the states of the connections. */
  readonly #backplane: BrokerBackplane
  readonly #prefix: string
  readonly #maxBufferedAmount: number
  readonly #isDurable: boolean
  /** Milliseconds for which an epoch is kept longer than its last message. */
  readonly #epochGrace: number
  /**
   * The prefix of the ids that are offered to a Redis without a store id: a new id for each call.
   */
  readonly #idPrefix = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
  /** Resolves when the first connection is up or has failed. */
  readonly #firstConnection = deferred<void>()
  /** The subscriptions that haven't been active yet. */
  readonly #pendingSubscriptions = new Set<Deferred<void>>()
  /** Whether Redis has the script of `append` in its cache, so that EVALSHA works. */
  #isAppendCached = false
  #callCount = 0
  #bufferedSize = 0
  #isClosed = false

  constructor(client: RedisClient, options?: RedisHistoryOptions, epochGrace = DAY) {
    const { durable, ...settings } = resolveOptions({ ...brokerRules, durable: flag() }, options)
    this.#prefix = settings.prefix
    this.#maxBufferedAmount = settings.maxBufferedAmount
    this.#isDurable = durable
    this.#epochGrace = epochGrace
    this.#broker = createRedisBroker(client, { sendsOnce: true })
    this.#backplane = new BrokerBackplane(this.#broker, settings)
    this.#backplane.listen(() => {
      this.#isAppendCached = false // a Redis that restarted has an empty script cache
      this.#firstConnection.resolve()
    })
  }

  async append(topic: string, data: string, bounds: HistoryBounds): Promise<HistoryPosition> {
    // A client may add its own prefix to keys, but not to channels.
    const channel = channelName(this.#prefix, `history:${topic}`)
    const ownArgs = [String(bounds.maxBytes), channel, data]
    const [epoch, offset] = await this.#run(APPEND, topic, bounds, ownArgs)
    return { epoch: String(epoch), offset: Number(offset) }
  }

  async read(
    topic: string,
    since: number | undefined,
    bounds: HistoryBounds,
  ): Promise<HistoryPage> {
    const [epoch, latest, items, expiry] = await this.#run(READ, topic, bounds, [
      since === undefined ? '' : String(since),
    ])
    const offset = Number(latest)
    const texts = isArray(items) ? items.map(String) : []
    const entries = texts.flatMap((text, index) => {
      const [head = '', time] = /^(\d+) \d+ /.exec(text) ?? []
      if (Number(time) <= Number(expiry)) return []
      return [{ offset: offset - texts.length + index + 1, data: text.slice(head.length) }]
    })
    return { epoch: String(epoch), offset, entries }
  }

  async subscribe(topic: string, { receive, interrupted }: HistorySubscriber): Promise<() => void> {
    this.#checkOpen()
    const confirmation = deferred<void>()
    this.#pendingSubscriptions.add(confirmation)
    const onConfirmed = (): void => {
      if (!this.#pendingSubscriptions.delete(confirmation)) interrupted()
      confirmation.resolve()
    }
    const onMessage = (bytes: Uint8Array): void => {
      const message = parseMessage(bytes)
      if (message) receive(message)
    }
    const unsubscribe = await this.#backplane.subscribe(
      `history:${topic}`,
      onMessage,
      undefined,
      onConfirmed,
    )
    await confirmation.promise
    return () => void unsubscribe()
  }

  close(): void {
    this.#isClosed = true
    this.#firstConnection.resolve()
    this.#backplane.close()
    for (const confirmation of this.#pendingSubscriptions) confirmation.reject(closedError())
    this.#pendingSubscriptions.clear()
  }

  /**
   * Runs a script: `append` by its hash, once Redis has it in its cache. After SCRIPT FLUSH the
   * pending appends fail: sent again, they could change their order with others.
   */
  async #run(
    script: string,
    topic: string,
    { size, ttl }: HistoryBounds,
    ownArgs: readonly string[],
  ): Promise<unknown[]> {
    await this.#firstConnection.promise
    this.#checkOpen()
    const length = ownArgs.reduce((sum, text) => sum + text.length, 0)
    if (this.#bufferedSize + length > this.#maxBufferedAmount) {
      throw new Error(`more than ${this.#maxBufferedAmount} bytes wait for Redis`)
    }
    const usesHash = this.#isAppendCached && script === APPEND
    const head = channelName(this.#prefix, `history:${topic}`)
    const keys = [head, `${head}.entries`, `${this.#prefix}history`]
    const candidate = `${this.#idPrefix}${++this.#callCount}`
    const epochArgs = [this.#isDurable ? 'durable' : '', candidate, String(this.#epochGrace)]
    const limits = [Math.ceil(ttl), size].map(String)
    const call = usesHash ? ['EVALSHA', APPEND_HASH] : ['EVAL', script]
    this.#bufferedSize += length
    try {
      const args = [...keys, ...epochArgs, ...limits, ...ownArgs]
      const reply = await this.#broker.send([...call, '3', ...args])
      if (!isArray(reply)) throw new Error('no list came from Redis')
      if (script === APPEND) this.#isAppendCached = true
      return reply
    } catch (error) {
      if (usesHash) this.#isAppendCached = false
      throw withoutCommand(error)
    } finally {
      this.#bufferedSize -= length
    }
  }

  #checkOpen(): void {
    if (this.#isClosed) throw closedError()
  }
}

function closedError(): Error {
  return new Error('the history was closed')
}

/** Parses a published message: its epoch, its offset and its data, separated by spaces. */
function parseMessage(bytes: Uint8Array): Parameters<HistorySubscriber['receive']>[0] | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
  const [, epoch, offset, data] = /^(\w+) (\d+) ([^]*)$/.exec(text) ?? []
  if (epoch === undefined || data === undefined) return undefined // published by another program
  return { epoch, offset: Number(offset), data }
}

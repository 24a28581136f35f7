import { createHash } from 'node:crypto'
import { BrokerBackplane, channelOf } from '../../engine.ts'
import { withoutCommand } from '../../error-text.ts'
import { brokerRules, type BrokerOptions } from '../../options/broker.ts'
import { flag, isList, settle } from '../../options/rules.ts'
import { deferred, type Deferred } from '../../promises.ts'
import { brokerOf, type RedisBroker, type RedisClient } from '../../redis-broker.ts'
import type {
  HistoryBounds,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
  HistorySubscriber,
} from './store.ts'

/** Options of a history in Redis. */
export interface RedisHistoryOptions extends BrokerOptions {
  /**
   * Whether Redis keeps all that it has confirmed through a restart and a failover, and evicts nothing:
   * `appendfsync always` and `maxmemory-policy noeviction`, at least. Without it a restart begins a new
   * epoch for each topic, and members who come back are told that they may have missed something.
   *
   * @default false
   */
  durable?: boolean | undefined
}

const DAY = 86_400_000 // milliseconds that an epoch outlives the last of its messages

/*
 * Both scripts begin so. A topic has a head, which is `run epoch offset bytes`, and a list of its kept
 * messages: the time of each, `bytes` as it was before, and the data. The last one of the list has the
 * offset of the head; `bytes` are those of all messages of the epoch.
 *
 * Equal epochs must mean that no offset was lost or given twice. A restart and a promotion change the
 * replication id, FLUSHALL the id of the store, eviction its count; and a head lives for longer than a
 * period, so one that expired and begins again does so in another period. The run id of Redis won't do: a
 * primary that fails back has it still. (The replication id changes also when the first replica comes, and
 * an hour after the last one has gone.)
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

// The head is written first: a Redis without memory refuses that, and so all of it.
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
 * Makes a history over Redis, which outlives your servers, and which all nodes share: each message gets
 * its offset, is kept and is published in one step.
 *
 * Commands go through your client, or through another connection like it where that is one of `ioredis`;
 * it subscribes through a connection of its own. A client of `redis` that was not told to connect yet is
 * told so, and is closed with the history; any other stays yours to close.
 *
 * @throws TypeError for what is no client, for a cluster, and for an option that is unknown or can't be.
 */
export function redisHistory(client: RedisClient, options?: RedisHistoryOptions): HistoryStore {
  return new RedisHistory(client, options)
}

/** A history over Redis, with the time that an epoch outlives its last message. */
export class RedisHistory implements HistoryStore {
  readonly #broker: RedisBroker<RedisClient>
  /** Keeps the subscriptions, and knows how the connections are. */
  readonly #link: BrokerBackplane
  readonly #prefix: string
  readonly #maxBufferedAmount: number
  readonly #isDurable: boolean
  readonly #day: number
  /** Begins the ids that are offered to a store without one: a new one each time. */
  readonly #name = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
  /** Resolves when the first connection was made or has failed. */
  readonly #started = deferred<void>()
  /** The subscriptions that have never stood yet. */
  readonly #pending = new Set<Deferred<void>>()
  /** Whether Redis knows the script of `append` by its hash. */
  #isKnown = false
  #calls = 0
  #buffered = 0
  #isClosed = false

  constructor(client: RedisClient, options?: RedisHistoryOptions, day = DAY) {
    const { durable, ...rest } = settle({ ...brokerRules, durable: flag() }, options)
    this.#prefix = rest.prefix
    this.#maxBufferedAmount = rest.maxBufferedAmount
    this.#isDurable = durable
    this.#day = day
    this.#broker = brokerOf(client, { sendsOnce: true })
    this.#link = new BrokerBackplane(this.#broker, rest)
    this.#link.listen(() => {
      this.#isKnown = false // by a Redis that was started anew
      this.#started.resolve()
    })
  }

  async append(topic: string, data: string, bounds: HistoryBounds): Promise<HistoryPosition> {
    // A client may put a prefix of its own before keys, but not before channels.
    const channel = channelOf(this.#prefix, `history:${topic}`)
    const rest = [String(bounds.maxBytes), channel, data]
    const [epoch, offset] = await this.#run(APPEND, topic, bounds, rest)
    return { epoch: String(epoch), offset: Number(offset) }
  }

  async read(
    topic: string,
    since: number | undefined,
    bounds: HistoryBounds,
  ): Promise<HistoryPage> {
    const [epoch, latest, found, expired] = await this.#run(READ, topic, bounds, [
      since === undefined ? '' : String(since),
    ])
    const offset = Number(latest)
    const kept = isList(found) ? found.map(String) : []
    const entries = kept.flatMap((text, index) => {
      const [head = '', time] = /^(\d+) \d+ /.exec(text) ?? []
      if (Number(time) <= Number(expired)) return []
      return [{ offset: offset - kept.length + index + 1, data: text.slice(head.length) }]
    })
    return { epoch: String(epoch), offset, entries }
  }

  async subscribe(topic: string, { receive, interrupted }: HistorySubscriber): Promise<() => void> {
    this.#checkOpen()
    const first = deferred<void>()
    this.#pending.add(first)
    const confirmed = (): void => {
      if (!this.#pending.delete(first)) interrupted()
      first.resolve()
    }
    const received = (bytes: Uint8Array): void => {
      const message = messageIn(bytes)
      if (message) receive(message)
    }
    const stop = await this.#link.subscribe(`history:${topic}`, received, undefined, confirmed)
    await first.promise
    return () => void stop()
  }

  close(): void {
    this.#isClosed = true
    this.#started.resolve()
    this.#link.close()
    for (const first of this.#pending) first.reject(closed())
    this.#pending.clear()
  }

  /**
   * Runs a script: by its hash, once Redis has answered that it knows it. After SCRIPT FLUSH the appends
   * under way fail: sent again, they could change places with others.
   */
  async #run(
    script: string,
    topic: string,
    { size, ttl }: HistoryBounds,
    rest: readonly string[],
  ): Promise<unknown[]> {
    await this.#started.promise
    this.#checkOpen()
    const length = rest.reduce((sum, text) => sum + text.length, 0)
    if (this.#buffered + length > this.#maxBufferedAmount) {
      throw new Error(`more than ${this.#maxBufferedAmount} bytes wait for Redis`)
    }
    const isKnown = this.#isKnown && script === APPEND
    const head = channelOf(this.#prefix, `history:${topic}`)
    const keys = [head, `${head}.entries`, `${this.#prefix}history`]
    const candidate = `${this.#name}${++this.#calls}`
    const kind = [this.#isDurable ? 'durable' : '', candidate, String(this.#day)]
    const limits = [Math.ceil(ttl), size].map(String)
    const call = isKnown ? ['EVALSHA', APPEND_HASH] : ['EVAL', script]
    this.#buffered += length
    try {
      const answer = await this.#broker.send([...call, '3', ...keys, ...kind, ...limits, ...rest])
      if (!isList(answer)) throw new Error('no list came from Redis')
      if (script === APPEND) this.#isKnown = true
      return answer
    } catch (error) {
      if (isKnown) this.#isKnown = false
      throw withoutCommand(error)
    } finally {
      this.#buffered -= length
    }
  }

  #checkOpen(): void {
    if (this.#isClosed) throw closed()
  }
}

function closed(): Error {
  return new Error('the history was closed')
}

/** Returns a published message: its epoch, its offset and its data, with spaces between. */
function messageIn(bytes: Uint8Array): Parameters<HistorySubscriber['receive']>[0] | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
  const [, epoch, offset, data] = /^(\w+) (\d+) ([^]*)$/.exec(text) ?? []
  if (epoch === undefined || data === undefined) return undefined // another program has published it
  return { epoch, offset: Number(offset), data }
}

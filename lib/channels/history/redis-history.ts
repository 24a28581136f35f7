import { BrokerBackplane, channelOf } from '../../engine.ts'
import { withoutCommand } from '../../error-text.ts'
import { unexpected } from '../../errors.ts'
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
 * Both scripts begin so. A topic has a hash (`run`, `epoch`, `offset`, `bytes`) and a list of its kept
 * messages, each behind its time; the last one of the list has the offset of the hash.
 *
 * Equal epochs must mean that no offset was lost or given twice. A restart and a promotion change the
 * replication id, FLUSHALL the id of the store, eviction its count; and a hash lives for longer than a
 * period, so one that expired and begins again does so in another period.
 */
const POSITION = `
local head, list, id = KEYS[1], KEYS[2], KEYS[3]
local durable, candidate, day, ttl, size = ARGV[1] ~= '', ARGV[2], ARGV[3] + 0, ARGV[4] + 0, ARGV[5] + 0
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function info(section, pattern)
  return durable and '' or string.match(redis.call('INFO', section), pattern)
end
local run = info('replication', 'master_replid:(%w+)')
local life = redis.call('HMGET', head, 'run', 'epoch', 'offset', 'bytes')
local epoch, offset, bytes = life[2], tonumber(life[3]), tonumber(life[4])
local begins = life[1] ~= run
if begins then
  redis.call('SET', id, candidate, 'NX')
  local parts = { run, redis.call('GET', id), math.floor(now / day), info('stats', 'evicted_keys:(%d+)') }
  epoch = string.sub(redis.sha1hex(table.concat(parts, '.')), 1, 20)
  offset, bytes = 0, 0
end
`

// The hash is written first: a Redis without memory refuses that, and so all of it.
const APPEND = `${POSITION}
local maxBytes, data = ARGV[6] + 0, ARGV[7]
offset = offset + 1
redis.call('HSET', head, 'run', run, 'epoch', epoch, 'offset', offset)
if begins then redis.call('DEL', list) end
local count = redis.call('RPUSH', list, now .. ' ' .. data)
if count == 1 then bytes = 0 end
bytes = bytes + #data
local function isOld(entry)
  return string.match(entry, '%d+') + 0 <= now - ttl
end
while count > 0 and (count > size or bytes > maxBytes or isOld(redis.call('LINDEX', list, 0))) do
  local entry = redis.call('LPOP', list)
  bytes = bytes - #entry + string.find(entry, ' ', 1, true)
  count = count - 1
end
redis.call('HSET', head, 'bytes', bytes)
redis.call('PEXPIRE', head, ttl + day)
redis.call('PEXPIRE', list, ttl)
redis.call('PUBLISH', head, '\\0' .. epoch .. ' ' .. offset .. ' ' .. data)
return { epoch, offset }`

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
    this.#link.listen(() => this.#started.resolve())
  }

  async append(topic: string, data: string, bounds: HistoryBounds): Promise<HistoryPosition> {
    const rest = [String(bounds.maxBytes), data]
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
      const space = text.indexOf(' ')
      if (Number(text.slice(0, space)) <= Number(expired)) return []
      return [{ offset: offset - kept.length + index + 1, data: text.slice(space + 1) }]
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
    const stop = await this.#link.subscribe(`history:${topic}`, received, confirmed)
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

  /** Runs a script. By its text: Redis knows it again, and so the order of two calls is theirs. */
  async #run(
    script: string,
    topic: string,
    { size, ttl }: HistoryBounds,
    rest: readonly string[],
  ): Promise<unknown[]> {
    await this.#started.promise
    this.#checkOpen()
    const head = channelOf(this.#prefix, `history:${topic}`)
    const keys = [head, `${head}.entries`, `${this.#prefix}history`]
    const candidate = `${this.#name}${++this.#calls}`
    const kind = [this.#isDurable ? 'durable' : '', candidate, String(this.#day)]
    const limits = [Math.ceil(ttl), size].map(String)
    const length = rest.reduce((sum, text) => sum + text.length, 0)
    if (this.#buffered + length > this.#maxBufferedAmount) {
      throw new Error(`more than ${this.#maxBufferedAmount} bytes wait for Redis`)
    }
    this.#buffered += length
    try {
      const command = ['EVAL', script, '3', ...keys, ...kind, ...limits, ...rest]
      const answer = await this.#broker.send(command)
      if (!isList(answer)) throw unexpected('the answer of Redis', 'a list', answer)
      return answer
    } catch (error) {
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

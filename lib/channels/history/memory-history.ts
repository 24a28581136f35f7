import { bytes, resolveOptions } from '../../validation.ts'
import type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
} from './store.ts'

/** The options of `memoryHistory`. */
export interface MemoryHistoryOptions {
  /**
   * Maximum bytes of all topics together, measured as the length of their texts plus 100 for each
   * message and topic.
   *
   * @default 64 MiB
   */
  maxBytes?: number | undefined
}

interface Entry extends HistoryEntry {
  /** The time of the append, as `Date.now()`. */
  readonly at: number
}

/** The log of a topic, from its first message until it is deleted. */
interface TopicLog {
  readonly epoch: string
  offset: number
  entries: Entry[]
  /** The size of all entries and of the log itself, as `maxBytes` measures it. */
  size: number
  ttl: number
  usedAt: number
}

const rules = { maxBytes: bytes(64 * 1024 * 1024) }
const OVERHEAD = 100 // bytes that each entry and each log counts in addition to its texts
const DAY = 86_400_000 // milliseconds for which a position is kept longer than its messages
const SWEEP_INTERVAL = 10_000 // milliseconds

/** A history store in the memory of this process, for one ChannelServer. */
export class MemoryHistory implements HistoryStore {
  readonly #maxBytes: number
  /** The logs by topic, the one with the oldest append first. */
  readonly #logs = new Map<string, TopicLog>()
  /** The number of users that retain each topic. */
  readonly #retainCounts = new Map<string, number>()
  readonly #id = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
  /** Number of deleted logs. A part of the epoch, so that a topic's next log has another one. */
  #deletedCount = 0
  #size = 0
  #timer: NodeJS.Timeout | undefined

  /** @throws TypeError for an unknown or invalid option. */
  constructor(options?: MemoryHistoryOptions) {
    this.#maxBytes = resolveOptions(rules, options).maxBytes
  }

  /** Appends a message to the log of its topic. Returns its position. */
  append(topic: string, data: string, bounds: HistoryBounds): HistoryPosition {
    const log = this.#logOf(topic) ?? this.#create(topic)
    this.#logs.delete(topic) // so that `set` moves it to the end of the map
    this.#logs.set(topic, log)
    const now = Date.now()
    log.usedAt = now
    log.ttl = bounds.ttl
    log.offset++
    log.entries.push({ offset: log.offset, data, at: now })
    this.#resize(log, data.length + OVERHEAD)
    this.#trim(topic, log, bounds)
    this.#evict(topic, log)
    return { epoch: log.epoch, offset: log.offset }
  }

  /** Returns the kept messages after an offset; with `undefined` only the position. */
  read(topic: string, since: number | undefined, bounds: HistoryBounds): HistoryPage {
    const log = this.#logOf(topic)
    if (!log) return { epoch: this.#nextEpoch, offset: 0, entries: [] }
    const { epoch, offset } = log
    this.#trim(topic, log, bounds)
    const { entries } = log
    const first = since === undefined ? entries.length : since + 1 - (entries[0]?.offset ?? 0)
    return { epoch, offset, entries: entries.slice(Math.max(0, first)) }
  }

  /**
   * Protects a topic's log from expiry and eviction until the returned function is called.
   *
   * @internal
   */
  retain(topic: string): () => void {
    this.#retainCounts.set(topic, (this.#retainCounts.get(topic) ?? 0) + 1)
    return () => {
      const count = (this.#retainCounts.get(topic) ?? 0) - 1
      if (count > 0) this.#retainCounts.set(topic, count)
      else this.#retainCounts.delete(topic)
    }
  }

  /** Deletes the logs of all topics. */
  close(): void {
    for (const topic of [...this.#logs.keys()]) this.#delete(topic)
  }

  get #nextEpoch(): string {
    return `${this.#id}.${this.#deletedCount}`
  }

  #create(topic: string): TopicLog {
    const log = { epoch: this.#nextEpoch, offset: 0, entries: [], size: 0, ttl: 0, usedAt: 0 }
    this.#logs.set(topic, log)
    this.#resize(log, topic.length + OVERHEAD)
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_INTERVAL)
    this.#timer.unref?.()
    return log
  }

  #logOf(topic: string): TopicLog | undefined {
    const log = this.#logs.get(topic)
    if (!log || this.#retainCounts.has(topic)) return log
    if (Date.now() - log.usedAt <= log.ttl + DAY) return log
    this.#delete(topic)
    return undefined
  }

  #delete(topic: string): void {
    const log = this.#logs.get(topic)
    if (!log) return
    this.#logs.delete(topic)
    this.#size -= log.size
    this.#deletedCount++
    if (this.#logs.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #trim(topic: string, log: TopicLog, { size, ttl, maxBytes }: HistoryBounds): void {
    const { entries } = log
    const oldest = Date.now() - ttl
    // The characters of the texts.
    let textSize = log.size - topic.length - OVERHEAD * (entries.length + 1)
    let count = 0
    for (const { data, at } of entries) {
      if (entries.length - count <= size && at >= oldest && textSize <= maxBytes) break
      textSize -= data.length
      count++
    }
    this.#dropOldest(log, count)
  }

  /**
   * Frees memory after an append: deletes the logs of unused topics first, then the oldest entries
   * of the topic itself.
   */
  #evict(topic: string, log: TopicLog): void {
    for (const other of this.#logs.keys()) {
      if (this.#size <= this.#maxBytes) return
      if (other !== topic && !this.#retainCounts.has(other)) this.#delete(other)
    }
    let excess = this.#size - this.#maxBytes
    let count = 0
    for (; excess > 0 && count < log.entries.length; count++) {
      excess -= (log.entries[count]?.data.length ?? 0) + OVERHEAD
    }
    this.#dropOldest(log, count)
  }

  #dropOldest(log: TopicLog, count: number): void {
    if (count === 0) return
    for (const { data } of log.entries.splice(0, count)) this.#resize(log, -data.length - OVERHEAD)
  }

  #resize(log: TopicLog, change: number): void {
    log.size += change
    this.#size += change
  }

  #sweep(): void {
    const now = Date.now()
    for (const [topic, log] of this.#logs) {
      const { ttl } = log
      if (this.#logOf(topic) && log.entries[0] && now - log.entries[0].at > ttl) {
        this.#trim(topic, log, { size: Infinity, ttl, maxBytes: Infinity })
      }
    }
  }
}

/**
 * Creates a history store in the memory of this process, for the topics of one ChannelServer.
 *
 * @throws TypeError for an unknown or invalid option.
 */
export function memoryHistory(options?: MemoryHistoryOptions): HistoryStore {
  return new MemoryHistory(options)
}

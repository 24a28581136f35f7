import { bytes, settle } from '../../options/rules.ts'
import type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
} from './store.ts'

/** The options of a history in memory. */
export interface MemoryHistoryOptions {
  /**
   * Bytes kept of all topics together, measured as the length of their texts and 100 for each message
   * and topic.
   *
   * @default 67_108_864 (64 MiB)
   */
  maxBytes?: number | undefined
}

interface Entry extends HistoryEntry {
  readonly at: number
}

/** What is kept of a topic, from its first message until it is forgotten. */
interface Life {
  readonly epoch: string
  offset: number
  entries: Entry[]
  /** The size of all texts, and of the life itself. */
  size: number
  ttl: number
  usedAt: number
}

const rules = { maxBytes: bytes(64 * 1024 * 1024) }
const OVERHEAD = 100 // of an entry, and of a life
const DAY = 86_400_000 // milliseconds that a position is known for longer than its messages
const SWEEP = 10_000 // milliseconds

/** Keeps the history of topics in the memory of this process, for one ChannelServer. */
export class MemoryHistory implements HistoryStore {
  readonly #maxBytes: number
  /** By their topics, the one that was used least recently first. */
  readonly #lives = new Map<string, Life>()
  readonly #retained = new Map<string, number>()
  readonly #id = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
  /** How many lives have ended: so a topic that comes again has another epoch. */
  #ended = 0
  #size = 0
  #timer: NodeJS.Timeout | undefined

  /** @throws TypeError for an option that is unknown or can't be. */
  constructor(options?: MemoryHistoryOptions) {
    this.#maxBytes = settle(rules, options).maxBytes
  }

  /** Records a message behind the others of its topic. */
  append(topic: string, data: string, bounds: HistoryBounds): HistoryPosition {
    const life = this.#lifeOf(topic) ?? this.#begin(topic)
    this.#lives.delete(topic) // and behind all others
    this.#lives.set(topic, life)
    const now = Date.now()
    life.usedAt = now
    life.ttl = bounds.ttl
    life.offset++
    life.entries.push({ offset: life.offset, data, at: now })
    this.#resize(life, data.length + OVERHEAD)
    this.#trim(topic, life, bounds)
    this.#evict(topic, life)
    return { epoch: life.epoch, offset: life.offset }
  }

  /** Returns what is kept behind an offset; with `undefined` the position alone. */
  read(topic: string, since: number | undefined, bounds: HistoryBounds): HistoryPage {
    const life = this.#lifeOf(topic)
    if (!life) return { epoch: this.#nextEpoch, offset: 0, entries: [] }
    const { epoch, offset } = life
    this.#trim(topic, life, bounds)
    const { entries } = life
    const first = since === undefined ? entries.length : since + 1 - (entries[0]?.offset ?? 0)
    return { epoch, offset, entries: entries.slice(Math.max(0, first)) }
  }

  /**
   * Keeps a topic in memory while it is in use, until the returned function is called.
   *
   * @internal
   */
  retain(topic: string): () => void {
    this.#retained.set(topic, (this.#retained.get(topic) ?? 0) + 1)
    return () => {
      const count = (this.#retained.get(topic) ?? 0) - 1
      if (count > 0) this.#retained.set(topic, count)
      else this.#retained.delete(topic)
    }
  }

  /** Forgets everything. */
  close(): void {
    for (const topic of [...this.#lives.keys()]) this.#end(topic)
  }

  get #nextEpoch(): string {
    return `${this.#id}.${this.#ended}`
  }

  #begin(topic: string): Life {
    const life = { epoch: this.#nextEpoch, offset: 0, entries: [], size: 0, ttl: 0, usedAt: 0 }
    this.#lives.set(topic, life)
    this.#resize(life, topic.length + OVERHEAD)
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP)
    this.#timer.unref?.()
    return life
  }

  #lifeOf(topic: string): Life | undefined {
    const life = this.#lives.get(topic)
    if (!life || this.#retained.has(topic)) return life
    if (Date.now() - life.usedAt <= life.ttl + DAY) return life
    this.#end(topic)
    return undefined
  }

  #end(topic: string): void {
    const life = this.#lives.get(topic)
    if (!life) return
    this.#lives.delete(topic)
    this.#size -= life.size
    this.#ended++
    if (this.#lives.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #trim(topic: string, life: Life, { size, ttl, maxBytes }: HistoryBounds): void {
    const { entries } = life
    const oldest = Date.now() - ttl
    let kept = life.size - topic.length - OVERHEAD * (entries.length + 1) // characters of the texts
    let count = 0
    for (const { data, at } of entries) {
      if (entries.length - count <= size && at >= oldest && kept <= maxBytes) break
      kept -= data.length
      count++
    }
    this.#drop(life, count)
  }

  /** Makes room: for what is in use at the cost of what isn't, and else at the topic's own. */
  #evict(topic: string, life: Life): void {
    for (const other of this.#lives.keys()) {
      if (this.#size <= this.#maxBytes) return
      if (other !== topic && !this.#retained.has(other)) this.#end(other)
    }
    let over = this.#size - this.#maxBytes
    let count = 0
    for (; over > 0 && count < life.entries.length; count++) {
      over -= (life.entries[count]?.data.length ?? 0) + OVERHEAD
    }
    this.#drop(life, count)
  }

  #drop(life: Life, count: number): void {
    if (count === 0) return
    for (const { data } of life.entries.splice(0, count))
      this.#resize(life, -data.length - OVERHEAD)
  }

  #resize(life: Life, change: number): void {
    life.size += change
    this.#size += change
  }

  #sweep(): void {
    const now = Date.now()
    for (const [topic, life] of this.#lives) {
      const { ttl } = life
      if (this.#lifeOf(topic) && life.entries[0] && now - life.entries[0].at > ttl) {
        this.#trim(topic, life, { size: Infinity, ttl, maxBytes: Infinity })
      }
    }
  }
}

/**
 * Makes a history in the memory of this process, for the topics of one ChannelServer.
 *
 * @throws TypeError for an option that is unknown or can't be.
 */
export function memoryHistory(options?: MemoryHistoryOptions): HistoryStore {
  return new MemoryHistory(options)
}

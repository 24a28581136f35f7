import { unexpected } from '../errors.ts'
import { DELIVER, type Message } from '../message.ts'
import { count, isObject, milliseconds, optional, settle, type Settled } from '../options/rules.ts'
import type { RoomMember } from '../room.ts'
import { Broadcast } from './broadcast.ts'
import { MOST_SENDERS, positionIn, type Position, type Seen } from './position.ts'

/** How much of a topic is kept. */
export interface HistoryBounds {
  /** How many messages. */
  readonly size: number
  /** For how many milliseconds. */
  readonly age: number
}

/** A message as it is kept: the nth of a sender. */
export interface HistoryEntry {
  /** Whose it is: a name that a server has for a topic, and no other. */
  readonly sender: string
  /** Which of its messages, from 1; 0 is none, and says that the sender begins. */
  readonly n: number
  /** The message, as text; nothing for 0. */
  readonly data: string
}

/** How far the messages of a sender are known. */
export interface HistorySender {
  /** What it is called. */
  readonly sender: string
  /** The first of its numbers that was kept: 0 where it was known from its beginning. */
  readonly since: number
  /** The last of its numbers that was kept. */
  readonly head: number
}

/** What a history has of a topic. */
export interface HistoryRecord {
  /** The messages, oldest first. */
  readonly entries: readonly HistoryEntry[]
  /** All senders that are known, those included of whose messages none is kept any more. */
  readonly senders: readonly HistorySender[]
}

/**
 * Keeps messages of topics where they outlive a server, and for all nodes. Entries of a sender are kept
 * in the order in which they are given. What rejects harms nobody: it is told as a server's `error`.
 */
export interface History {
  /** Keeps an entry behind the others of its topic. */
  keep(topic: string, entry: HistoryEntry, bounds: HistoryBounds): Promise<unknown>
  /** Is what is kept of a topic. */
  read(topic: string, bounds: HistoryBounds): Promise<HistoryRecord>
}

/** Is how the last messages of each topic are kept, for members who come back. */
export interface HistoryOptions {
  /** How many messages of a topic are kept. Default: 100. */
  size?: number | undefined
  /** Milliseconds for which they are kept, and a topic that nobody is a member of. Default: 300_000. */
  age?: number | undefined
  /** How many topics are kept; of one more the one that was used least recently goes. Default: 1_000. */
  topics?: number | undefined
  /** Where they are kept, too, so that they outlive this server. Default: in its memory alone. */
  store?: History | undefined
  /** Milliseconds that a join waits for the store. Default: 1_000. */
  timeout?: number | undefined
}

const rules = {
  size: { ...count(), fallback: 100 },
  age: milliseconds(300_000, 1),
  topics: { ...count(), fallback: 1_000 },
  store: optional<History>('an object with `keep` and `read`, such as redisHistory()', isStore),
  timeout: milliseconds(1_000, 1),
}

/** Every option of a history, settled. */
export type HistorySettings = Settled<typeof rules>

/** Settles the options of a history. */
export function resolveHistory(given: HistoryOptions): HistorySettings {
  if (!isObject(given)) throw unexpected('`history`', 'an object, such as { size: 100 }', given)
  return settle(rules, given)
}

function isStore(value: unknown): boolean {
  if (!isObject(value)) return false
  return ['keep', 'read'].every((name) => typeof Reflect.get(value, name) === 'function')
}

/** A message that is kept, and since when. */
export interface Kept extends Position {
  readonly message: Broadcast
  readonly at: number
}

/** How far a sender is known. */
export interface Known {
  /** The first of its numbers that was heard of: 0 where it was known from its beginning. */
  readonly since: number
  /** The last of its numbers. */
  readonly head: number
  /** How many it had said before anybody could have missed them. */
  readonly before: number
}

/** What a log tells of. */
export interface LogEvents {
  /** This node has said something. */
  said(kept: Kept): void
  /** Something was missed, and it has begun anew. */
  doubted(): void
}

/**
 * The last messages of one topic as they are delivered on this node, its own and those of others: a
 * member of the topic that hears and never speaks.
 */
export class Log implements RoomMember {
  readonly isOpen = true
  readonly valid = true
  /** When it was last used. */
  used = Date.now()
  readonly #bounds: HistoryBounds
  readonly #events: LogEvents
  readonly #senders = new Map<string, Known>()
  #kept: Kept[] = []
  #name = ''

  constructor(bounds: HistoryBounds, events: LogEvents) {
    this.#bounds = bounds
    this.#events = events
    this.doubt()
  }

  /** Is what this node is called as a sender. */
  get name(): string {
    return this.#name
  }

  /** Is where this node's next message will stand. */
  get next(): Position {
    const sender = this.#name
    return { sender, n: (this.#senders.get(sender)?.head ?? 0) + 1 }
  }

  /** Is how far each sender is known. */
  get senders(): ReadonlyMap<string, Known> {
    return this.#senders
  }

  /** Is what is kept, oldest first. */
  get kept(): readonly Kept[] {
    this.forget()
    return this.#kept
  }

  close(): void {}

  [DELIVER](message: Message): boolean {
    const position = message instanceof Broadcast && positionIn(message.payload)
    if (!position || !this.#follows(position)) return false
    const kept = { ...position, message, at: Date.now() }
    this.used = kept.at
    this.#kept.push(kept)
    if (this.#kept.length >= 2 * this.#bounds.size) this.forget()
    if (position.sender === this.#name) this.#events.said(kept)
    return true
  }

  /** Something may have been missed: it begins anew, as nothing before that can be vouched for. */
  doubt(): void {
    this.#kept = []
    this.#senders.clear()
    this.#name = newName()
    this.#senders.set(this.#name, { since: 0, head: 0, before: 0 })
  }

  /** Lets go of what is too old, or too much. */
  forget(): void {
    const { size, age } = this.#bounds
    const oldest = Date.now() - age
    const first = this.#kept.findIndex(({ at }) => at >= oldest)
    const start = Math.max(first < 0 ? this.#kept.length : first, this.#kept.length - size)
    if (start > 0) this.#kept = this.#kept.slice(start)
  }

  /** Tells whether it is news. */
  #follows({ sender, n }: Position): boolean {
    const known = this.#senders.get(sender)
    if (known && n <= known.head) return false
    if (known && n === known.head + 1) {
      this.#senders.set(sender, { ...known, head: n })
      return true
    }
    const missed = known !== undefined || this.#senders.size >= MOST_SENDERS
    if (missed) this.doubt()
    this.#senders.set(sender, { since: n, head: n, before: n - 1 })
    if (missed) this.#events.doubted()
    return true
  }
}

/** What a member who comes back is given. */
export interface Recall {
  /** Whether it is all that was missed. */
  readonly recovered: boolean
  /** What was missed of what is kept, in order. */
  readonly missed: readonly Kept[]
  /** What will have been seen of each sender when the first of these is. */
  readonly seen: Seen
}

/** Finds what was missed since something was seen. */
export function recall(
  seen: Seen,
  senders: ReadonlyMap<string, Known>,
  kept: readonly Kept[],
): Recall {
  const missed = kept.filter(({ sender, n }) => n > (seen.get(sender) ?? 0))
  const counts = new Map<string, number>()
  const start = new Map([...senders].map(([sender, { head }]) => [sender, head]))
  for (const { sender, n } of missed) {
    if (!counts.has(sender)) start.set(sender, n - 1)
    counts.set(sender, (counts.get(sender) ?? 0) + 1)
  }
  const named = [...seen].map(([sender, n]) => ({ n, known: senders.get(sender) }))
  // One that was known while the client was there vouches for those that came after it.
  const vouched = named.some(({ n, known }) => known && known.since <= n)
  const known = named.every(({ n, known }) => known && n <= known.head)
  const whole = [...senders].every(
    ([sender, { head, before }]) =>
      head - (seen.get(sender) ?? before) === (counts.get(sender) ?? 0),
  )
  return { recovered: vouched && known && whole, missed, seen: start }
}

function newName(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
}

/** Where a message stands among those of a topic, in its payload: `sender:n`. */
export const POSITION = '$position'
/** What was seen of a topic, in the payload of a join and in the answer to it: `{ [sender]: n }`. */
export const SEEN = '$seen'

/** How far the messages of each sender were seen: the number of the last one, 0 for none. */
export type Seen = ReadonlyMap<string, number>

/** Where a message stands: the nth of a sender, from 1. */
export interface Position {
  readonly sender: string
  readonly n: number
}

/** Senders of a topic that are known at once: nodes come and go for as long as it is there. */
export const MOST_SENDERS = 256
const LONGEST_SENDER = 64

/** Tells whether a value is what JSON calls an object. */
export function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false
  return !Array.isArray(value) && !ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)
}

/** Writes a position. */
export function written({ sender, n }: Position): string {
  return `${sender}:${n}`
}

/** Is where a payload says that it stands; undefined where it doesn't, or makes no sense. */
export function positionIn(payload: unknown): Position | undefined {
  if (!isPlain(payload) || !Object.hasOwn(payload, POSITION)) return undefined
  const text = payload[POSITION]
  if (typeof text !== 'string') return undefined
  const [, sender, digits] = /^([^:]{1,64}):([1-9]\d{0,15})$/.exec(text) ?? []
  const n = Number(digits)
  return sender !== undefined && Number.isSafeInteger(n) ? { sender, n } : undefined
}

/**
 * Is what was seen, as a peer has it in a payload: undefined where nothing is said of it, and nothing
 * seen where that makes no sense.
 */
export function seenIn(payload: unknown): Seen | undefined {
  if (!isPlain(payload) || !Object.hasOwn(payload, SEEN)) return undefined
  const given = payload[SEEN]
  if (given === null) return undefined
  const entries = isPlain(given) ? Object.entries(given) : []
  if (entries.length > MOST_SENDERS) return new Map()
  const seen = new Map<string, number>()
  for (const [sender, n] of entries) {
    const isNumber = typeof n === 'number' && Number.isSafeInteger(n) && n >= 0
    if (!isNumber || sender.length > LONGEST_SENDER) return new Map()
    seen.set(sender, n)
  }
  return seen
}

/** Is a payload without one of its names. */
export function stripped(payload: unknown, name: string): unknown {
  if (!isPlain(payload) || !Object.hasOwn(payload, name)) return payload
  return Object.fromEntries(Object.entries(payload).filter(([key]) => key !== name))
}

/** What a client has seen of a topic, once its server has told where that stands. */
export class Trail {
  #seen: Map<string, number> | undefined

  /** Is what to join with: what was seen goes along. */
  asking(payload: unknown): unknown {
    if (!this.#seen || !isPlain(payload)) return payload
    return { ...payload, [SEEN]: Object.fromEntries(this.#seen) }
  }

  /** It is joined: is the answer without what is said of positions. */
  joined(reply: unknown): unknown {
    const seen = seenIn(reply)
    this.#seen = seen && new Map(seen)
    return seen ? stripped(reply, SEEN) : reply
  }

  /** A message has come: is its payload without its position. */
  passed(payload: unknown): unknown {
    const position = this.#seen && positionIn(payload)
    if (!position) return payload
    this.#seen?.set(position.sender, position.n)
    return stripped(payload, POSITION)
  }
}

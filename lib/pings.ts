import { cutText } from './close.ts'
import { toBytes, type Data } from './message.ts'
import type { Deferred } from './promises.ts'

/** A ping that waits for its pong. */
interface Ping {
  readonly payload: Uint8Array
  readonly sentAt: number
  /** Who asked for the round trip; nobody for the keepalive's own. */
  readonly asked: Deferred<number> | undefined
}

const MOST_PAYLOAD = 125 // bytes in a control frame, RFC 6455 §5.5

/** Copies what a ping carries, cut to the 125 bytes it may; text on a character boundary. */
export function pingPayload(data: Data): Uint8Array {
  if (typeof data === 'string') return toBytes(cutText(data, MOST_PAYLOAD))
  return new Uint8Array(data.subarray(0, MOST_PAYLOAD)) // `slice` of a Buffer is none
}

/** The pings of one connection that wait for their pong, in the order they went out. */
export class Pings {
  /** Milliseconds of the last round trip. */
  latency: number | undefined

  #waiting: Ping[] = []

  /** Tells whether somebody waits for a round trip. */
  get asked(): boolean {
    return this.#waiting.some((ping) => ping.asked)
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.length
  }

  /** Notes a ping that goes out now; of the keepalive's only the last one counts. */
  add(payload: Uint8Array, asked: Deferred<number> | undefined): void {
    if (!asked) this.#waiting = this.#waiting.filter((ping) => ping.asked)
    this.#waiting.push({ payload, sentAt: performance.now(), asked })
  }

  /**
   * Settles the ping that a pong answers and all earlier ones, RFC 6455 §5.5.3, and tells whose it
   * was; undefined for a pong that answers none.
   */
  answer(payload: Uint8Array): 'asked' | 'keepalive' | undefined {
    const index = this.#waiting.findIndex((ping) => equal(ping.payload, payload))
    const answered = this.#waiting.splice(0, index + 1)
    const now = performance.now()
    for (const { asked, sentAt } of answered) asked?.resolve(now - sentAt)
    const last = answered.at(-1)
    if (!last) return undefined
    this.latency = now - last.sentAt
    return last.asked ? 'asked' : 'keepalive'
  }

  /** Rejects all that wait. */
  reject(error: Error): void {
    for (const { asked } of this.#waiting.splice(0)) asked?.reject(error)
  }
}

function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index])
}

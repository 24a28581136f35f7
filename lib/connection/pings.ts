import type { Deferred } from '../promises.ts'
import { cutText } from './close-codes.ts'
import { toBytes, type Data } from './message.ts'

/** A ping that waits for its pong. */
interface Ping {
  readonly payload: Uint8Array
  readonly sentAt: number
  /** The caller's promise of the round trip; undefined for a ping of the keepalive. */
  readonly roundTrip: Deferred<number> | undefined
}

const MAX_PAYLOAD = 125 // bytes in a control frame, RFC 6455 §5.5

/** Copies the payload of a ping and cuts it to 125 bytes; text is cut on a character boundary. */
export function pingPayload(data: Data): Uint8Array {
  if (typeof data === 'string') return toBytes(cutText(data, MAX_PAYLOAD))
  return new Uint8Array(data.subarray(0, MAX_PAYLOAD)) // `slice` of a Buffer copies nothing
}

/** The pings of one connection that wait for their pong, in the order in which they were sent. */
export class PingTracker {
  /** Milliseconds of the last round trip, if there was one. */
  latency: number | undefined

  #pendingPings: Ping[] = []

  /** Whether a caller waits for a round trip. */
  get hasWaiter(): boolean {
    return this.#pendingPings.some((ping) => ping.roundTrip)
  }

  /** The number of pings that wait for their pong. */
  get size(): number {
    return this.#pendingPings.length
  }

  /** Adds a ping that is sent now. Of the keepalive's pings only the last one is kept. */
  add(payload: Uint8Array, roundTrip: Deferred<number> | undefined): void {
    if (!roundTrip) this.#pendingPings = this.#pendingPings.filter((ping) => ping.roundTrip)
    this.#pendingPings.push({ payload, sentAt: performance.now(), roundTrip })
  }

  /**
   * Settles the ping that a pong answers and all earlier ones, RFC 6455 §5.5.3. Returns the origin
   * of the answered ping: a caller or the keepalive. Returns undefined for a pong that answers no
   * ping.
   */
  onPong(payload: Uint8Array): 'asked' | 'keepalive' | undefined {
    const index = this.#pendingPings.findIndex((ping) => areEqual(ping.payload, payload))
    const answeredPings = this.#pendingPings.splice(0, index + 1)
    const now = performance.now()
    for (const { roundTrip, sentAt } of answeredPings) roundTrip?.resolve(now - sentAt)
    const last = answeredPings.at(-1)
    if (!last) return undefined
    this.latency = now - last.sentAt
    return last.roundTrip ? 'asked' : 'keepalive'
  }

  /** Rejects the promises of all pings that wait for their pong. */
  reject(error: Error): void {
    for (const { roundTrip } of this.#pendingPings.splice(0)) roundTrip?.reject(error)
  }
}

function areEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index])
}

import type { Duplex } from 'node:stream'

const MOST_WAITING = 64 * 1024 // bytes; above it only the latest ping is answered

/** Answers pings; while the peer doesn't read the pongs only the latest, RFC 6455 §5.5.3. */
export class Pongs {
  readonly #tcp: Duplex
  readonly #pong: (payload: Uint8Array) => void
  #unanswered: Uint8Array | undefined

  /** Makes one that sends with a function. */
  constructor(tcp: Duplex, pong: (payload: Uint8Array) => void) {
    this.#tcp = tcp
    this.#pong = pong
  }

  /** Answers a ping. */
  answer(payload: Uint8Array): void {
    if (this.#tcp.writableLength <= MOST_WAITING) {
      this.#pong(payload)
      return
    }
    if (!this.#unanswered) this.#tcp.once('drain', () => this.#drained())
    this.#unanswered = Uint8Array.from(payload) // which doesn't keep the chunk it came in alive
  }

  #drained(): void {
    const payload = this.#unanswered
    this.#unanswered = undefined
    if (payload) this.#pong(payload)
  }
}

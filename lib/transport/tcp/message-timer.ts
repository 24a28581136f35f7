const BYTES_PER_SECOND = 16 * 1024 // a message may take one more second for each 16 KiB
const SECOND = 1_000

/**
 * A timer for one message of a peer, from its first byte to its last. The message may take
 * `timeout` milliseconds, and one more second for each 16 KiB. The clock stops while reading is
 * paused on this side.
 */
export class MessageTimer {
  readonly #timeout: number
  readonly #onExpired: () => void
  #timer: ReturnType<typeof setTimeout> | undefined
  #number = -1 // of the message that is timed
  #startedAt = 0
  #pausedAt: number | undefined
  #bytes = 0

  constructor(timeout: number, onExpired: () => void) {
    this.#timeout = timeout
    this.#onExpired = onExpired
  }

  /** Times the message or frame with that number, of which `bytes` bytes have come so far. */
  update(number: number, bytes: number): void {
    this.#bytes = bytes
    if (this.#timer && number === this.#number) return
    this.#number = number
    this.#startedAt = performance.now()
    this.#timer ??= this.#startTimer(this.#timeout)
  }

  /** Stops the clock until `resume` is called. */
  pause(): void {
    this.#pausedAt ??= performance.now()
  }

  resume(): void {
    if (this.#pausedAt !== undefined) this.#startedAt += performance.now() - this.#pausedAt
    this.#pausedAt = undefined
  }

  /** Stops timing, because the last byte has come or no more bytes will come. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #startTimer(milliseconds: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      const remaining = this.#remaining
      if (remaining > 0) this.#timer = this.#startTimer(remaining)
      else this.#onExpired()
    }, milliseconds)
  }

  /** Milliseconds that the message may still take. */
  get #remaining(): number {
    if (this.#pausedAt !== undefined) return this.#timeout
    const extra = (this.#bytes / BYTES_PER_SECOND) * SECOND
    return this.#startedAt + this.#timeout + extra - performance.now()
  }
}

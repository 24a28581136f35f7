const BYTES_PER_SECOND = 16 * 1024 // a message may take a second more for so many bytes of it
const SECOND = 1_000

/**
 * Times one message of a peer from its first byte to its last: it may take `timeout` milliseconds,
 * and a second more for each 16 KiB of it. The clock stands still while reading is paused here.
 */
export class MessageTimer {
  readonly #timeout: number
  readonly #onExpired: () => void
  #timer: ReturnType<typeof setTimeout> | undefined
  #number = -1 // of the message
  #startedAt = 0
  #pausedAt: number | undefined
  #bytes = 0

  constructor(timeout: number, onExpired: () => void) {
    this.#timeout = timeout
    this.#onExpired = onExpired
  }

  /** Goes on timing the message, or frame, of that number: so many bytes of it have come. */
  update(number: number, bytes: number): void {
    this.#bytes = bytes
    if (this.#timer && number === this.#number) return
    this.#number = number
    this.#startedAt = performance.now()
    this.#timer ??= this.#arm(this.#timeout)
  }

  /** Stops the clock until `resume`. */
  pause(): void {
    this.#pausedAt ??= performance.now()
  }

  resume(): void {
    if (this.#pausedAt !== undefined) this.#startedAt += performance.now() - this.#pausedAt
    this.#pausedAt = undefined
  }

  /** Ends: the last byte has come, or no more will. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #arm(milliseconds: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      const left = this.#left
      if (left > 0) this.#timer = this.#arm(left)
      else this.#onExpired()
    }, milliseconds)
  }

  /** Milliseconds that the message may still take. */
  get #left(): number {
    if (this.#pausedAt !== undefined) return this.#timeout
    const extra = (this.#bytes / BYTES_PER_SECOND) * SECOND
    return this.#startedAt + this.#timeout + extra - performance.now()
  }
}

/** The connection whose channels share a backlog. */
interface BacklogOwner {
  /** Is called when reading may have to pause, or may go on. */
  changed(): void
  /** Ends the membership with most waiting. */
  endSlowest(): void
}

const MOST_WAITING = 1_000 // messages
const STANDSTILL = 5_000 // milliseconds at the bound, until the slowest membership ends
const RESUMED_BELOW = 15 / 16 // of the bound; what comes after it waits as long as reading pauses

/**
 * The messages that wait in all channels of one connection. At its bound, reading pauses; where that
 * lasts for five seconds, the membership with most waiting ends, so that the others and the heartbeat
 * go on.
 */
export class Backlog {
  readonly #owner: BacklogOwner
  readonly #maxBytes: number
  #messages = 0
  #bytes = 0
  #isFull = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /** Makes an empty one, bounded in bytes by `maxWaitingBytes`. */
  constructor(owner: BacklogOwner, maxBytes: number) {
    this.#owner = owner
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Adds to what waits. */
  add(messages: number, bytes: number): void {
    const hadRoom = this.#bytes < this.#maxBytes
    this.#messages += messages
    this.#bytes += bytes
    const hasRoom = this.#bytes < this.#maxBytes
    if (this.#isFull ? this.#isLow : this.#isAtBound) this.#turn()
    else if (this.#isFull && hasRoom !== hadRoom) this.#owner.changed() // as `isFull` may have
  }

  /**
   * Whether reading has to pause. While an arrival is awaited, a reply say, the number of messages
   * doesn't count, and the bytes do.
   */
  isFull(isAwaited: boolean): boolean {
    return this.#isFull && (!isAwaited || this.#bytes >= this.#maxBytes)
  }

  /** Forgets what waits, as the connection has closed. */
  stop(): void {
    clearTimeout(this.#timer)
  }

  /** Whether more waits than may. A single message within the size limit always fits. */
  get #isAtBound(): boolean {
    return this.#messages >= MOST_WAITING || (this.#messages > 1 && this.#bytes >= this.#maxBytes)
  }

  /** Whether reading may go on, once it has paused: it isn't to stop and go with each message. */
  get #isLow(): boolean {
    const isLowInBytes = this.#messages <= 1 || this.#bytes <= this.#maxBytes * RESUMED_BELOW
    return this.#messages <= MOST_WAITING * RESUMED_BELOW && isLowInBytes
  }

  #turn(): void {
    this.#isFull = !this.#isFull
    clearTimeout(this.#timer)
    if (this.#isFull) this.#watch()
    this.#owner.changed()
  }

  #watch(): void {
    this.#timer = setTimeout(() => {
      if (!this.#isFull) return
      this.#owner.endSlowest()
      if (this.#isFull) this.#watch()
    }, STANDSTILL)
    this.#timer.unref?.() // the connection keeps the process alive, or nothing does
  }
}

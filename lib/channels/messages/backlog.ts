/** The socket whose channels share a backlog. */
interface BacklogOwner {
  /** Called when reading may have to pause, or may go on. */
  onChange(): void
  /** Ends the channel with the most waiting bytes. */
  endSlowest(): void
}

const MAX_WAITING = 1_000 // messages
const STANDSTILL_LIMIT = 5_000 // milliseconds at the bound, until the slowest channel ends
// Reading resumes below this part of the bound. Later messages wait as long as reading pauses.
const RESUME_BELOW = 15 / 16

/**
 * The count and the bytes of the messages that wait in all channels of one connection. At the
 * bound, reading pauses. When the pause lasts for five seconds, the channel with the most waiting
 * bytes ends, so that the other channels and the heartbeat go on.
 */
export class Backlog {
  readonly #owner: BacklogOwner
  readonly #maxBytes: number
  #messages = 0
  #bytes = 0
  #isFull = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /** Creates an empty backlog; `maxBytes` is the `maxWaitingBytes` of the connection. */
  constructor(owner: BacklogOwner, maxBytes: number) {
    this.#owner = owner
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Adds messages and their bytes to the backlog; negative numbers remove them. */
  add(messages: number, bytes: number): void {
    const hadRoom = this.#bytes < this.#maxBytes
    this.#messages += messages
    this.#bytes += bytes
    const hasRoom = this.#bytes < this.#maxBytes
    if (this.#isFull ? this.#isLow : this.#isAtBound) this.#toggle()
    else if (this.#isFull && hasRoom !== hadRoom) this.#owner.onChange() // `isFull` may differ
  }

  /**
   * Returns whether reading has to pause. While the program awaits something that arrives, such as
   * a reply, only the bytes count, not the number of messages.
   */
  isFull(isAwaited: boolean): boolean {
    return this.#isFull && (!isAwaited || this.#bytes >= this.#maxBytes)
  }

  /** Stops the timer. Called when the connection has closed. */
  stop(): void {
    clearTimeout(this.#timer)
  }

  /** Whether the backlog is at its bound. A single message within the size limit always fits. */
  get #isAtBound(): boolean {
    return this.#messages >= MAX_WAITING || (this.#messages > 1 && this.#bytes >= this.#maxBytes)
  }

  /** Whether paused reading may go on: below the bound, so that it doesn't toggle each message. */
  get #isLow(): boolean {
    const isLowInBytes = this.#messages <= 1 || this.#bytes <= this.#maxBytes * RESUME_BELOW
    return this.#messages <= MAX_WAITING * RESUME_BELOW && isLowInBytes
  }

  #toggle(): void {
    this.#isFull = !this.#isFull
    clearTimeout(this.#timer)
    if (this.#isFull) this.#startTimer()
    this.#owner.onChange()
  }

  #startTimer(): void {
    this.#timer = setTimeout(() => {
      if (!this.#isFull) return
      this.#owner.endSlowest()
      if (this.#isFull) this.#startTimer()
    }, STANDSTILL_LIMIT)
    this.#timer.unref?.() // only the connection keeps the process alive
  }
}

const PERIOD = 1_000 // ms

/** How much a peer may send, as it comes over the wire. */
export interface RateLimit {
  /**
   * Frames in a period: a message in one frame counts as one, and so does each fragment of another,
   * each ping and each pong.
   *
   * @default false
   */
  messages?: number | false | undefined
  /**
   * Bytes of frames in a period, and so of one frame: with their headers, and compressed where they
   * are.
   *
   * @default false
   */
  bytes?: number | false | undefined
  /**
   * Milliseconds of a period.
   *
   * @default 1_000
   */
  per?: number | undefined
  /**
   * What happens past it: 'close' closes with 1008; 'drop' skips the frame, and the message that it is
   * a part of.
   *
   * @default 'close'
   */
  policy?: 'close' | 'drop' | undefined
}

/** Two token buckets for one connection. They allow a burst of one full period. */
export class Allowance {
  /** Whether what is too much is dropped; otherwise the connection closes. */
  readonly drops: boolean
  readonly #messages: Bucket
  readonly #bytes: Bucket

  /** Makes a full one. */
  constructor({ messages, bytes, per = PERIOD, policy }: RateLimit) {
    this.drops = policy === 'drop'
    this.#messages = new Bucket('messages', messages, per)
    this.#bytes = new Bucket('bytes', bytes, per)
  }

  /** Takes out a frame of so many bytes. Where it may not come it returns why, and takes nothing. */
  refusal(size: number): string | undefined {
    const now = performance.now()
    for (const bucket of [this.#messages, this.#bytes]) bucket.fill(now)
    if (!this.#messages.holds(1)) return this.#messages.refusal
    if (!this.#bytes.holds(size)) return this.#bytes.refusal
    this.#messages.take(1)
    this.#bytes.take(size)
    return undefined
  }
}

/** Holds what may come in one period, and fills evenly; one without a limit holds everything. */
class Bucket {
  readonly refusal: string
  readonly #most: number
  readonly #per: number
  #left: number
  #filledAt = performance.now()

  constructor(of: string, limit: number | false | undefined, per: number) {
    this.refusal = `more than ${limit} ${of} in ${per} ms`
    this.#most = this.#left = limit === false ? Infinity : (limit ?? Infinity)
    this.#per = per
  }

  fill(now: number): void {
    const periods = (now - this.#filledAt) / this.#per
    this.#filledAt = now
    if (periods > 0) this.#left = Math.min(this.#most, this.#left + this.#most * periods)
  }

  holds(amount: number): boolean {
    return amount <= this.#left
  }

  take(amount: number): void {
    this.#left -= amount
  }
}

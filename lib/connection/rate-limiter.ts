const PERIOD = 1_000 // ms

/** The limits of what a peer may send, counted as it comes over the wire. */
export interface RateLimit {
  /**
   * Frames in a period. A message in one frame counts as one, and so does each fragment of a
   * fragmented message, each ping and each pong.
   *
   * @default false
   */
  messages?: number | false | undefined
  /**
   * Bytes of frames in a period, and so the limit of one frame, too. Headers count; a compressed
   * frame counts with its compressed size.
   *
   * @default false
   */
  bytes?: number | false | undefined
  /**
   * Milliseconds in a period.
   *
   * @default 1_000
   */
  per?: number | undefined
  /**
   * The reaction to a frame past the limit: 'close' closes with 1008; 'drop' skips the frame and
   * the message that it is a part of.
   *
   * @default 'close'
   */
  policy?: 'close' | 'drop' | undefined
}

/** The limits of one connection, a token bucket for each. They allow a burst of one full period. */
export class RateLimiter {
  /** Whether a frame past the limit is dropped; otherwise the connection closes. */
  readonly drops: boolean
  readonly #messages: TokenBucket
  readonly #bytes: TokenBucket
  #refusal: string | undefined

  /** Creates a limiter with full buckets. */
  constructor({ messages, bytes, per = PERIOD, policy }: RateLimit) {
    this.drops = policy === 'drop'
    this.#messages = new TokenBucket('messages', messages, per)
    this.#bytes = new TokenBucket('bytes', bytes, per)
  }

  /**
   * Consumes a frame of `size` bytes. If that exceeds a limit, returns why and consumes nothing:
   * with the policy 'close' for this frame and all later ones, otherwise for this frame.
   */
  tryConsume(size: number): string | undefined {
    if (this.drops || this.#refusal === undefined) this.#refusal = this.#consume(size)
    return this.#refusal
  }

  #consume(size: number): string | undefined {
    const now = performance.now()
    for (const bucket of [this.#messages, this.#bytes]) bucket.fill(now)
    if (!this.#messages.has(1)) return this.#messages.refusal
    if (!this.#bytes.has(size)) return this.#bytes.refusal
    this.#messages.take(1)
    this.#bytes.take(size)
    return undefined
  }
}

/** A bucket with the tokens of one period, which refills evenly. Without a limit, never empty. */
class TokenBucket {
  readonly refusal: string
  readonly #max: number
  readonly #per: number
  #available: number
  #filledAt = performance.now()

  constructor(unit: string, limit: number | false | undefined, per: number) {
    this.refusal = `more than ${limit} ${unit} in ${per} ms`
    this.#max = this.#available = limit === false ? Infinity : (limit ?? Infinity)
    this.#per = per
  }

  fill(now: number): void {
    const periods = (now - this.#filledAt) / this.#per
    this.#filledAt = now
    if (periods > 0) this.#available = Math.min(this.#max, this.#available + this.#max * periods)
  }

  has(amount: number): boolean {
    return amount <= this.#available
  }

  take(amount: number): void {
    this.#available -= amount
  }
}

const PERIOD = 1_000 // ms

/** How much a peer may send. */
export interface RateLimit {
  /** How many messages in a period; pings count, too. Default: false. */
  messages?: number | false | undefined
  /** How many bytes of messages in a period, and so of one message. Default: false. */
  bytes?: number | false | undefined
  /** Milliseconds of a period. Default: 1_000. */
  per?: number | undefined
  /** What happens past it: close with 1008, or drop what is too much. Default: 'close'. */
  policy?: 'close' | 'drop' | undefined
}

/** Is what one peer may still send. A burst of a whole period is fine after a pause of one. */
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

  /** Takes a message out; tells why it may not come, and takes nothing then. */
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

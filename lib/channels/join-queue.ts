import type { ChannelServerSettings } from './options.ts'

/** A join, as far as its turn is concerned. */
interface Join {
  readonly topic: string
  /** Asks the listeners of its topic. */
  ask(payload: unknown): void
}

/** The connection whose joins wait here. */
interface JoinQueueOwner {
  /** Adds to the messages that wait on the connection, and to their bytes. */
  tally(messages: number, bytes: number): void
}

interface Waiting {
  readonly join: Join
  readonly payload: unknown
  readonly size: number
}

const MAX_SMALL = 4 * 1024 // bytes of a join that counts no more once its listeners are asked

/**
 * The joins of one connection. They are asked in their order, as fast as `joinRate` allows and as the
 * peer reads what they are answered. Of one topic one is under way at a time, until its listeners have
 * answered, also when its client has given it up meanwhile.
 */
export class JoinQueue {
  readonly #owner: JoinQueueOwner
  readonly #bucket: TokenBucket
  readonly #mostUnderWay: number
  /** By their topics, of which each has one here. */
  readonly #waiting = new Map<string, Waiting>()
  /** Large payloads count as what waits does, until their listeners have answered. */
  readonly #underWay = new Map<string, Waiting>()
  #isHeld = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(owner: JoinQueueOwner, { joinRate, maxChannels }: ChannelServerSettings) {
    this.#owner = owner
    this.#bucket = new TokenBucket(joinRate)
    // Only who leaves topics while their listeners are at work could have more.
    this.#mostUnderWay = maxChannels === false ? Infinity : maxChannels
  }

  /** Adds a join at the end, or in the place of the one of its topic that waits. */
  put(join: Join, payload: unknown, size: number): void {
    this.#discount(this.#waiting.get(join.topic))
    this.#waiting.set(join.topic, { join, payload, size })
    this.#owner.tally(1, size)
  }

  /** Removes a join that was given up before it was asked. */
  remove(join: Join): void {
    const { topic } = join
    const waiting = this.#waiting.get(topic)
    if (waiting?.join !== join) return
    this.#waiting.delete(topic)
    this.#discount(waiting)
  }

  /** Asks all joins that may be asked now. */
  run(): void {
    for (const [topic, waiting] of this.#waiting) {
      if (this.#underWay.has(topic)) continue
      if (this.#isHeld || this.#underWay.size >= this.#mostUnderWay) return
      if (!this.#bucket.take()) {
        this.#wait()
        return
      }
      this.#waiting.delete(topic)
      this.#underWay.set(topic, waiting)
      if (waiting.size <= MAX_SMALL) this.#discount(waiting)
      waiting.join.ask(waiting.payload)
    }
  }

  /** The listeners of a join have answered, or their time is up. */
  answered(join: Join): void {
    const underWay = this.#underWay.get(join.topic)
    if (underWay?.join !== join) return
    this.#underWay.delete(join.topic)
    if (underWay.size > MAX_SMALL) this.#discount(underWay)
    if (this.#waiting.size > 0) queueMicrotask(() => this.run())
  }

  /** Asks no more joins until `release`: the peer has much to read. */
  hold(): void {
    this.#isHeld = true
  }

  release(): void {
    this.#isHeld = false
    this.run()
  }

  /** Forgets all joins: the connection has closed. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#waiting.clear()
    this.#underWay.clear()
  }

  #discount(join: Waiting | undefined): void {
    if (join) this.#owner.tally(-1, -join.size)
  }

  #wait(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#bucket.fillOne()
      this.run()
    }, this.#bucket.delay)
  }
}

/** A token bucket: it begins full. */
class TokenBucket {
  readonly #burst: number
  readonly #perSecond: number
  #tokens: number
  #filledAt = 0

  constructor({ burst, perSecond }: ChannelServerSettings['joinRate']) {
    this.#burst = this.#tokens = burst
    this.#perSecond = perSecond
  }

  /** Milliseconds until there is one more. */
  get delay(): number {
    return Math.ceil(((1 - this.#tokens) * 1_000) / this.#perSecond)
  }

  /** Takes a token; tells whether there was one. */
  take(): boolean {
    this.#fill()
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }

  /** Makes sure that there is one: the time for it has passed, as a timer says. */
  fillOne(): void {
    this.#fill()
    this.#tokens = Math.max(this.#tokens, 1)
  }

  #fill(): void {
    const now = performance.now()
    const seconds = (now - this.#filledAt) / 1_000
    this.#filledAt = now
    if (this.#tokens >= this.#burst) return
    this.#tokens = Math.min(this.#tokens + seconds * this.#perSecond, this.#burst)
  }
}

import type { ChannelServerSettings } from './options.ts'
import type { ServerChannel } from './server-channel.ts'
import type { ServerSocket } from './socket.ts'

interface JoinEntry {
  readonly channel: ServerChannel<any>
  readonly payload: unknown
  readonly size: number
}

const MAX_SMALL_JOIN = 4 * 1024 // bytes; a small join leaves the backlog as soon as it starts

/**
 * The joins of one connection. They start in their order, as fast as `joinRate` allows and as fast
 * as the peer reads the replies. Each topic has one running join at a time: it runs until its
 * listeners have answered, even if the client has abandoned it.
 */
export class JoinQueue {
  readonly #socket: ServerSocket<any>
  readonly #bucket: TokenBucket
  readonly #maxRunning: number
  /** The waiting joins by topic, one for each. */
  readonly #waiting = new Map<string, JoinEntry>()
  /** The running joins by topic. Large ones stay in the backlog until they are answered. */
  readonly #running = new Map<string, JoinEntry>()
  #isPaused = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(socket: ServerSocket<any>, { joinRate, maxChannels }: ChannelServerSettings) {
    this.#socket = socket
    this.#bucket = new TokenBucket(joinRate)
    // More could run only when the client leaves topics whose listeners are still busy.
    this.#maxRunning = maxChannels === false ? Infinity : maxChannels
  }

  /** Adds a join at the end, or instead of the waiting join of the same topic. */
  enqueue(channel: ServerChannel<any>, payload: unknown, size: number): void {
    this.#removeFromBacklog(this.#waiting.get(channel.topic))
    this.#waiting.set(channel.topic, { channel, payload, size })
    this.#socket.addBacklog(1, size)
  }

  /** Removes a join that was abandoned before it started. */
  remove(channel: ServerChannel<any>): void {
    const { topic } = channel
    const entry = this.#waiting.get(topic)
    if (entry?.channel !== channel) return
    this.#waiting.delete(topic)
    this.#removeFromBacklog(entry)
  }

  /** Starts all joins that may start now. */
  startNext(): void {
    for (const [topic, entry] of this.#waiting) {
      if (this.#running.has(topic)) continue
      if (this.#isPaused || this.#running.size >= this.#maxRunning) return
      if (!this.#bucket.tryTake()) {
        this.#startTimer()
        return
      }
      this.#waiting.delete(topic)
      this.#running.set(topic, entry)
      if (entry.size <= MAX_SMALL_JOIN) this.#removeFromBacklog(entry)
      entry.channel.handleJoin(entry.payload)
    }
  }

  /** Ends a running join: its listeners have answered, or the join has timed out. */
  finish(channel: ServerChannel<any>): void {
    const entry = this.#running.get(channel.topic)
    if (entry?.channel !== channel) return
    this.#running.delete(channel.topic)
    if (entry.size > MAX_SMALL_JOIN) this.#removeFromBacklog(entry)
    if (this.#waiting.size > 0) queueMicrotask(() => this.startNext())
  }

  /** Starts no more joins until `resume`: the peer reads too slowly. */
  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.startNext()
  }

  /** Drops all joins. Called when the connection has closed. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#waiting.clear()
    this.#running.clear()
  }

  #removeFromBacklog(entry: JoinEntry | undefined): void {
    if (entry) this.#socket.addBacklog(-1, -entry.size)
  }

  #startTimer(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#bucket.fillOne()
      this.startNext()
    }, this.#bucket.delay)
  }
}

/** A token bucket that starts full. */
class TokenBucket {
  readonly #burst: number
  readonly #perSecond: number
  #tokens: number
  #filledAt = 0

  constructor({ burst, perSecond }: ChannelServerSettings['joinRate']) {
    this.#burst = this.#tokens = burst
    this.#perSecond = perSecond
  }

  /** Milliseconds until the next token. */
  get delay(): number {
    return Math.ceil(((1 - this.#tokens) * 1_000) / this.#perSecond)
  }

  /** Takes a token. Returns whether there was one. */
  tryTake(): boolean {
    this.#fill()
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }

  /** Makes sure that there is a token. A timer that waited for it may fire slightly too early. */
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

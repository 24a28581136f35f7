import {
  engineBackplane,
  type Engine,
  type EngineBackplane,
  type EngineEvents,
  type EngineOptions,
} from './engine.ts'
import { unexpected } from './errors.ts'
import { isObject } from './options/rules.ts'
import { Cutter, Joiner } from './parts.ts'

export type { Backplane, Unsubscribe } from './backplane.ts'
export type { EngineBackplane, EngineOptions, EngineStats } from './engine.ts'

/** Is what is used of a subscription of NATS. */
export interface NatsSubscription {
  /** Ends it. */
  unsubscribe(): void
}

/** Is what is used of a connection of `@nats-io/transport-node`. */
export interface NatsConnection {
  /** What the server says of itself: its limit for a message, in bytes. */
  readonly info?: { readonly max_payload: number } | undefined
  /** Publishes. */
  publish(subject: string, payload: Uint8Array): void
  /** Subscribes. */
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: { readonly data: Uint8Array }) => void },
  ): NatsSubscription
  /** Asks for a sign of life, behind all that was sent. */
  flush(): Promise<void>
  /** Tells how the connection is. */
  status(): AsyncIterable<{ readonly type: string }>
  /** Whether it has ended for good. */
  isClosed(): boolean
}

/**
 * Makes a backplane over NATS: a subject for each topic, heard while somebody here is in it. A message
 * longer than the server's `max_payload` goes in pieces.
 *
 * A connection, or a promise of it, so that a server that isn't there yet is no reason to wait: connect
 * with `waitOnFirstConnect: true` and `maxReconnectAttempts: -1`. It stays yours to close.
 *
 * @throws TypeError for what is no connection, and for an option that is unknown or can't be.
 */
export function natsBackplane(
  connection: NatsConnection | PromiseLike<NatsConnection>,
  options?: EngineOptions,
): EngineBackplane {
  if (!isObject(connection) || !('flush' in connection || 'then' in connection)) {
    throw unexpected('the connection', 'one of `@nats-io/transport-node`', connection)
  }
  return engineBackplane(new NatsEngine(connection), options)
}

const MAX_PAYLOAD = 1024 * 1024 // as long as the server doesn't say

class NatsEngine implements Engine {
  readonly restores = true
  readonly #promise: NatsConnection | PromiseLike<NatsConnection>
  readonly #subscriptions = new Map<string, NatsSubscription>()
  readonly #cutter = new Cutter()
  #connection: NatsConnection | undefined
  #events: EngineEvents | undefined
  #isReady = false
  #flush: Promise<void> | undefined
  #nextFlush: Promise<void> | undefined

  constructor(connection: NatsConnection | PromiseLike<NatsConnection>) {
    this.#promise = connection
  }

  get isReady(): boolean {
    return this.#isReady && this.#connection?.isClosed() === false
  }

  start(events: EngineEvents): void {
    this.#events = events
    void this.#watch(events)
  }

  async publish(channel: string, message: Uint8Array): Promise<void> {
    const connection = this.#connected()
    const pieces = this.#cutter.cut(message, connection.info?.max_payload ?? MAX_PAYLOAD)
    for (const piece of pieces) connection.publish(channel, piece)
    await this.#confirmed(connection)
  }

  async subscribe(channels: string[]): Promise<void> {
    const connection = this.#connected()
    for (const channel of channels) {
      if (!this.#subscriptions.has(channel)) this.#hear(connection, channel)
    }
    await connection.flush()
  }

  async unsubscribe(channels: string[]): Promise<void> {
    for (const channel of channels) {
      this.#subscriptions.get(channel)?.unsubscribe()
      this.#subscriptions.delete(channel)
    }
    await this.#connected().flush()
  }

  async ping(): Promise<void> {
    await this.#connected().flush()
  }

  close(): void {
    this.#events = undefined
    this.#isReady = false
    for (const subscription of this.#subscriptions.values()) subscription.unsubscribe()
    this.#subscriptions.clear()
  }

  #connected(): NatsConnection {
    if (!this.#connection || !this.isReady) throw new Error('NATS is not connected')
    return this.#connection
  }

  #hear(connection: NatsConnection, channel: string): void {
    const joiner = new Joiner()
    const subscription = connection.subscribe(channel, {
      callback: (error, { data }) => {
        const message = !error && joiner.take(data)
        if (message) this.#events?.received(channel, message)
        else if (message === false) this.#events?.dropped()
      },
    })
    this.#subscriptions.set(channel, subscription)
  }

  /**
   * Is when the server has all that was sent so far: one flush is under way at a time, and one waits
   * for what was sent since.
   */
  #confirmed(connection: NatsConnection): Promise<void> {
    this.#nextFlush ??= this.#flushed(connection, this.#flush)
    return this.#nextFlush
  }

  async #flushed(connection: NatsConnection, before: Promise<void> | undefined): Promise<void> {
    await before?.catch(() => {})
    this.#flush = this.#nextFlush
    this.#nextFlush = undefined
    await connection.flush()
  }

  async #watch(events: EngineEvents): Promise<void> {
    try {
      const connection = await this.#promise
      if (!this.#events) return
      this.#connection = connection
      this.#isReady = !connection.isClosed()
      if (this.isReady) events.connected()
      else events.lost()
      for await (const { type } of connection.status()) {
        if (!this.#events) return
        if (type !== 'disconnect' && type !== 'reconnect' && type !== 'close') continue
        this.#isReady = type === 'reconnect'
        if (this.#isReady) events.connected()
        else events.lost()
      }
    } catch (error) {
      this.#isReady = false
      events.lost(error)
    }
  }
}

import { BrokerBackplane, type BrokerClient, type BrokerEvents } from './engine.ts'
import { messageOf } from './error-text.ts'
import { unexpected } from './errors.ts'
import type { BrokerOptions } from './options/broker.ts'
import { isObject } from './options/rules.ts'

export type { Backplane, RefusedChannel, Unsubscribe } from './backplane.ts'
export type { BrokerBackplane, BrokerStats } from './engine.ts'
export type { BrokerOptions } from './options/broker.ts'

/** A change of a connection, as its `status()` tells it. */
export interface NatsStatus {
  /** What has happened. */
  readonly type: string
  /** What the server refuses, where that is it. */
  readonly error?: unknown
}

/** What a server of NATS says of itself. */
export interface NatsServerInfo {
  /** Its limit for a message, in bytes. */
  readonly max_payload: number
}

/** The part that is used of a message of NATS. */
export interface NatsMessage {
  /** Its payload. */
  readonly data: Uint8Array
}

/** How a subject of NATS is subscribed to. */
export interface NatsSubscribeOptions {
  /** Takes each message. */
  callback: (error: Error | null, message: NatsMessage) => void
}

/** The part that is used of a subscription of NATS. */
export interface NatsSubscription {
  /** Ends it. */
  unsubscribe(): void
}

/** The part that is used of a connection of `@nats-io/transport-node`. */
export interface NatsConnection {
  /** What the server says of itself. */
  readonly info?: NatsServerInfo | undefined
  /** Publishes. */
  publish(subject: string, payload: Uint8Array): void
  /** Subscribes. */
  subscribe(subject: string, options: NatsSubscribeOptions): NatsSubscription
  /** Asks for a sign of life, behind all that was sent. */
  flush(): Promise<void>
  /** Tells how the connection is. */
  status(): AsyncIterable<NatsStatus>
  /** Whether it has ended for good. */
  isClosed(): boolean
}

/**
 * Makes a backplane over NATS: a subject for each topic, subscribed to while this node has a member
 * there. A message longer than the server's `max_payload` goes in pieces.
 *
 * A connection, or a promise of it, so that your program need not wait for a server that isn't there
 * yet: connect with `waitOnFirstConnect: true` and `maxReconnectAttempts: -1`. It stays yours to close.
 *
 * @throws TypeError for what is no connection, and for an option that is unknown or can't be.
 */
export function natsBackplane(
  connection: NatsConnection | PromiseLike<NatsConnection>,
  options?: BrokerOptions,
): BrokerBackplane {
  if (!isObject(connection) || !('flush' in connection || 'then' in connection)) {
    throw unexpected('the connection', 'one of `@nats-io/transport-node`', connection)
  }
  return new BrokerBackplane(new NatsBroker(connection), options)
}

const MAX_PAYLOAD = 1024 * 1024 // as long as the server doesn't say
const MAX_REFUSED = 1_000 // subjects whose refused pieces are counted

class NatsBroker implements BrokerClient {
  readonly #promise: NatsConnection | PromiseLike<NatsConnection>
  /** Those that the connection keeps, and sends again by itself after a reconnection. */
  readonly #subscriptions = new Map<string, NatsSubscription>()
  #connection: NatsConnection | undefined
  #status: AsyncIterable<NatsStatus> | undefined
  #events: BrokerEvents | undefined
  #isReady = false
  #flush: Promise<void> | undefined
  #nextFlush: Promise<void> | undefined
  /** Pieces that the server has refused, by subject, until their publish is told. */
  readonly #refusedPieces = new Map<string, number>()
  /** What the server said of subscriptions past its limit since the last batch of them. */
  #limitErrors: unknown[] = []
  /** Whether the connection has sent its subscriptions again, and no batch has come since. */
  #hasResent = false
  /** Whether a subscription was refused for the limit, and none was ended since. */
  #isFull = false

  constructor(connection: NatsConnection | PromiseLike<NatsConnection>) {
    this.#promise = connection
  }

  get isReady(): boolean {
    return this.#isReady && this.#connection?.isClosed() === false
  }

  get maxPayload(): number {
    return this.#connection?.info?.max_payload ?? MAX_PAYLOAD
  }

  start(events: BrokerEvents): void {
    this.#events = events
    void this.#watch(events)
  }

  async publish(channel: string, pieces: readonly Uint8Array[]): Promise<boolean> {
    const connection = this.#connected()
    for (const piece of pieces) connection.publish(channel, piece)
    await this.#confirmed(connection)
    const count = this.#refusedPieces.get(channel) ?? 0
    if (count > pieces.length) this.#refusedPieces.set(channel, count - pieces.length)
    else this.#refusedPieces.delete(channel)
    return count === 0
  }

  async subscribe(channels: string[]): Promise<void> {
    const connection = this.#connected()
    // Nothing tells which of those that were sent again are past the limit: all are sent anew.
    if (this.#hasResent && this.#limitErrors.length > 0)
      this.#forget([...this.#subscriptions.keys()])
    this.#hasResent = false
    this.#limitErrors = []
    const asked = channels.filter((channel) => !this.#subscriptions.has(channel))
    for (const channel of asked) this.#subscribe(connection, channel)
    await connection.flush()
    await turn() // by then all errors that came before the answer are told
    this.#refuseLast(asked)
  }

  async unsubscribe(channels: string[]): Promise<void> {
    this.#forget(channels)
    await this.#connected().flush()
    if (!this.#isFull) return
    this.#isFull = false
    this.#events?.freed()
  }

  async ping(): Promise<void> {
    await this.#connected().flush()
  }

  close(): void {
    this.#events = undefined
    this.#isReady = false
    this.#forget([...this.#subscriptions.keys()])
    stop(this.#status)
  }

  #connected(): NatsConnection {
    if (!this.#connection || !this.isReady) throw new Error('NATS is not connected')
    return this.#connection
  }

  #subscribe(connection: NatsConnection, channel: string): void {
    const subscription = connection.subscribe(channel, {
      callback: (error, message) => {
        if (!error) {
          this.#events?.received(channel, message.data)
          return
        }
        // Refused, now or later: the connection has closed this subscription.
        if (this.#subscriptions.get(channel) !== subscription) return
        this.#subscriptions.delete(channel)
        this.#events?.refused('subscribe', channel, error)
      },
    })
    this.#subscriptions.set(channel, subscription)
  }

  #forget(channels: readonly string[]): void {
    for (const channel of channels) {
      this.#subscriptions.get(channel)?.unsubscribe()
      this.#subscriptions.delete(channel)
    }
  }

  #publishRefused(subject: string, cause: unknown): void {
    const count = this.#refusedPieces.get(subject) ?? 0
    // The connection may have other users, whose subjects stay.
    if (count > 0 || this.#refusedPieces.size < MAX_REFUSED) {
      this.#refusedPieces.set(subject, count + 1)
    }
    this.#events?.refused('publish', subject, cause)
  }

  /**
   * Tells which of a batch the server has refused for its limit. It names none of them: as it takes them
   * in order, they are the last ones.
   */
  #refuseLast(asked: readonly string[]): void {
    const count = this.#limitErrors.length
    if (count === 0) return
    const cause = this.#limitErrors[0]
    const refused = asked.filter((channel) => this.#subscriptions.has(channel)).slice(-count)
    this.#limitErrors = []
    this.#isFull = true
    this.#forget(refused)
    for (const channel of refused) this.#events?.refused('subscribe', channel, cause)
  }

  /**
   * Resolves when the server has all that was sent so far: one flush is under way at a time, and one
   * waits for what was sent since.
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
    await turn() // by then all refusals that came before the answer are told
  }

  async #watch(events: BrokerEvents): Promise<void> {
    try {
      const connection = await this.#promise
      if (!this.#events) return
      this.#connection = connection
      this.#isReady = !connection.isClosed()
      this.#status = connection.status()
      if (this.isReady) events.connected()
      else events.lost()
      for await (const { type, error } of this.#status) {
        if (!this.#events) return
        const subject = type === 'error' ? refusedSubject(error) : undefined
        if (subject !== undefined) this.#publishRefused(subject, error)
        if (type === 'error' && isLimit(error)) this.#limitErrors.push(error)
        if (type !== 'disconnect' && type !== 'reconnect' && type !== 'close') continue
        this.#isReady = type === 'reconnect'
        this.#hasResent = this.#isReady
        this.#limitErrors = []
        this.#refusedPieces.clear()
        if (this.#isReady) events.connected()
        else events.lost()
      }
    } catch (error) {
      this.#isReady = false
      events.lost(error)
    }
  }
}

/** Returns the subject of a refused publish; a refused subscription hears it itself. */
function refusedSubject(error: unknown): string | undefined {
  if (!isObject(error) || Reflect.get(error, 'operation') !== 'publish') return undefined
  const subject: unknown = Reflect.get(error, 'subject')
  return typeof subject === 'string' ? subject : undefined
}

/** Tells a refusal for `max_subscriptions`, which names no subject, from other errors. */
function isLimit(error: unknown): boolean {
  return /maximum subscriptions exceeded/i.test(messageOf(error))
}

/** Resolves in a later turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Ends a loop over the changes of a connection: its iterators have a `stop` beside what is typed. */
function stop(status: AsyncIterable<NatsStatus> | undefined): void {
  const end: unknown = status && Reflect.get(status, 'stop')
  if (typeof end === 'function') end.call(status)
}

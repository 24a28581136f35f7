import { messageOf } from '../format.ts'
import type { BrokerOptions } from '../options/broker.ts'
import { isObject, invalidValue } from '../validation.ts'
import type { BrokerClient, BrokerEvents } from './broker.ts'
import { BrokerBackplane } from './broker-backplane.ts'

/** A change of a connection's state, as reported by its `status()`. */
export interface NatsStatus {
  /** The kind of the change. */
  readonly type: string
  /** The error, for example the operation that the server refuses. */
  readonly error?: unknown
}

/** The information that a NATS server gives about itself. */
export interface NatsServerInfo {
  /** The maximum size of a message, in bytes. */
  readonly max_payload: number
}

/** The part of a NATS message that the backplane uses. */
export interface NatsMessage {
  /** The payload of the message. */
  readonly data: Uint8Array
}

/** The options of a NATS subscription. */
export interface NatsSubscribeOptions {
  /** The callback for each message, or for the error that ends the subscription. */
  callback: (error: Error | null, message: NatsMessage) => void
}

/** The part of a NATS subscription that the backplane uses. */
export interface NatsSubscription {
  /** Ends the subscription. */
  unsubscribe(): void
}

/** The part of a connection of `@nats-io/transport-node` that the backplane uses. */
export interface NatsConnection {
  /** The information that the server gives about itself. */
  readonly info?: NatsServerInfo | undefined
  /** Publishes a message. */
  publish(subject: string, payload: Uint8Array): void
  /** Subscribes to a subject. */
  subscribe(subject: string, options: NatsSubscribeOptions): NatsSubscription
  /** Resolves when the server has answered a ping that is sent after all earlier commands. */
  flush(): Promise<void>
  /** Returns the changes of the connection's state. */
  status(): AsyncIterable<NatsStatus>
  /** Whether the connection is closed for good. */
  isClosed(): boolean
}

/**
 * Creates a backplane over NATS. It uses one subject for each topic, and subscribes to it while
 * this node has a member of the topic. It splits a message longer than the server's `max_payload`
 * into chunks.
 *
 * Takes a connection, or a promise of one. With a promise your program need not wait for a server
 * that isn't available yet: connect with `waitOnFirstConnect: true` and `maxReconnectAttempts: -1`.
 * The backplane doesn't close the connection; the caller does.
 *
 * @throws TypeError for an invalid connection, for an unknown option, and for an invalid value.
 */
export function natsBackplane(
  connection: NatsConnection | PromiseLike<NatsConnection>,
  options?: BrokerOptions,
): BrokerBackplane {
  if (!isObject(connection) || !('flush' in connection || 'then' in connection)) {
    throw invalidValue('the connection', 'one of `@nats-io/transport-node`', connection)
  }
  return new BrokerBackplane(new NatsBroker(connection), options)
}

const MAX_PAYLOAD = 1024 * 1024 // until the server states its own
const MAX_REFUSED = 1_000 // subjects whose refused chunks are counted

class NatsBroker implements BrokerClient {
  readonly #connectionSource: NatsConnection | PromiseLike<NatsConnection>
  /** The subscriptions of the connection, which itself sends them again after a reconnection. */
  readonly #subscriptions = new Map<string, NatsSubscription>()
  #connection: NatsConnection | undefined
  #status: AsyncIterable<NatsStatus> | undefined
  #events: BrokerEvents | undefined
  #isReady = false
  #currentFlush: Promise<void> | undefined
  #nextFlush: Promise<void> | undefined
  /**
   * The numbers of chunks that the server has refused, by subject, until `publish` returns that.
   */
  readonly #refusedChunks = new Map<string, number>()
  /**
   * The errors for subscriptions above the server's limit since the last batch of subscriptions.
   */
  #limitErrors: unknown[] = []
  /** Whether the connection has sent its subscriptions again and there was no batch since then. */
  #hasResubscribed = false
  /** Whether a subscription was refused because of the limit and none was ended since then. */
  #isFull = false

  constructor(connection: NatsConnection | PromiseLike<NatsConnection>) {
    this.#connectionSource = connection
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

  async publish(channel: string, chunks: readonly Uint8Array[]): Promise<boolean> {
    const connection = this.#requireConnection()
    for (const chunk of chunks) connection.publish(channel, chunk)
    await this.#flushPublishes(connection)
    const count = this.#refusedChunks.get(channel) ?? 0
    if (count > chunks.length) this.#refusedChunks.set(channel, count - chunks.length)
    else this.#refusedChunks.delete(channel)
    return count === 0
  }

  async subscribe(channels: string[]): Promise<void> {
    const connection = this.#requireConnection()
    // No error names the resent subscriptions that are above the limit, so all are made anew.
    if (this.#hasResubscribed && this.#limitErrors.length > 0)
      this.#endSubscriptions([...this.#subscriptions.keys()])
    this.#hasResubscribed = false
    this.#limitErrors = []
    const newChannels = channels.filter((channel) => !this.#subscriptions.has(channel))
    for (const channel of newChannels) this.#subscribe(connection, channel)
    await connection.flush()
    await nextTurn() // by then all errors that arrived before the answer are reported
    this.#refuseLast(newChannels)
  }

  async unsubscribe(channels: string[]): Promise<void> {
    this.#endSubscriptions(channels)
    await this.#requireConnection().flush()
    if (!this.#isFull) return
    this.#isFull = false
    this.#events?.onCapacityFreed()
  }

  async ping(): Promise<void> {
    await this.#requireConnection().flush()
  }

  close(): void {
    this.#events = undefined
    this.#isReady = false
    this.#endSubscriptions([...this.#subscriptions.keys()])
    stopStatus(this.#status)
  }

  #requireConnection(): NatsConnection {
    if (!this.#connection || !this.isReady) throw new Error('NATS is not connected')
    return this.#connection
  }

  #subscribe(connection: NatsConnection, channel: string): void {
    const subscription = connection.subscribe(channel, {
      callback: (error, message) => {
        if (!error) {
          this.#events?.onMessage(channel, message.data)
          return
        }
        // The server refuses the subscription, now or later, and the connection has closed it.
        if (this.#subscriptions.get(channel) !== subscription) return
        this.#subscriptions.delete(channel)
        this.#events?.onRefused('subscribe', channel, error)
      },
    })
    this.#subscriptions.set(channel, subscription)
  }

  #endSubscriptions(channels: readonly string[]): void {
    for (const channel of channels) {
      this.#subscriptions.get(channel)?.unsubscribe()
      this.#subscriptions.delete(channel)
    }
  }

  #onPublishRefused(subject: string, cause: unknown): void {
    const count = this.#refusedChunks.get(subject) ?? 0
    // Other users of the connection may own subjects too. Their counts are never removed.
    if (count > 0 || this.#refusedChunks.size < MAX_REFUSED) {
      this.#refusedChunks.set(subject, count + 1)
    }
    this.#events?.onRefused('publish', subject, cause)
  }

  /**
   * Reports the subscriptions of a batch that the server has refused because of its limit. The
   * server names none of them. It handles them in order, so they are the last ones.
   */
  #refuseLast(newChannels: readonly string[]): void {
    const count = this.#limitErrors.length
    if (count === 0) return
    const cause = this.#limitErrors[0]
    const openChannels = newChannels.filter((channel) => this.#subscriptions.has(channel))
    const refusedChannels = openChannels.slice(-count)
    this.#limitErrors = []
    this.#isFull = true
    this.#endSubscriptions(refusedChannels)
    for (const channel of refusedChannels) this.#events?.onRefused('subscribe', channel, cause)
  }

  /**
   * Resolves when the server has received everything sent so far. One flush runs at a time, and one
   * more waits to cover what was sent since it began.
   */
  #flushPublishes(connection: NatsConnection): Promise<void> {
    this.#nextFlush ??= this.#flushAfter(connection, this.#currentFlush)
    return this.#nextFlush
  }

  async #flushAfter(
    connection: NatsConnection,
    previous: Promise<void> | undefined,
  ): Promise<void> {
    await previous?.catch(() => {})
    this.#currentFlush = this.#nextFlush
    this.#nextFlush = undefined
    await connection.flush()
    await nextTurn() // by then all refusals that arrived before the answer are reported
  }

  async #watch(events: BrokerEvents): Promise<void> {
    try {
      const connection = await this.#connectionSource
      if (!this.#events) return
      this.#connection = connection
      this.#isReady = !connection.isClosed()
      this.#status = connection.status()
      if (this.isReady) events.onConnected()
      else events.onDisconnected()
      for await (const { type, error } of this.#status) {
        if (!this.#events) return
        const subject = type === 'error' ? refusedPublishSubject(error) : undefined
        if (subject !== undefined) this.#onPublishRefused(subject, error)
        if (type === 'error' && isSubscriptionLimit(error)) this.#limitErrors.push(error)
        if (type !== 'disconnect' && type !== 'reconnect' && type !== 'close') continue
        this.#isReady = type === 'reconnect'
        this.#hasResubscribed = this.#isReady
        this.#limitErrors = []
        this.#refusedChunks.clear()
        if (this.#isReady) events.onConnected()
        else events.onDisconnected()
      }
    } catch (error) {
      this.#isReady = false
      events.onDisconnected(error)
    }
  }
}

/**
 * Returns the subject of a refused publish. A refused subscription gets the error in its callback.
 */
function refusedPublishSubject(error: unknown): string | undefined {
  if (!isObject(error) || Reflect.get(error, 'operation') !== 'publish') return undefined
  const subject: unknown = Reflect.get(error, 'subject')
  return typeof subject === 'string' ? subject : undefined
}

/** Returns whether an error is a refusal because of `max_subscriptions`, which names no subject. */
function isSubscriptionLimit(error: unknown): boolean {
  return /maximum subscriptions exceeded/i.test(messageOf(error))
}

/** Resolves in a later turn of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * Ends the loop over the status of a connection: its iterators have an undocumented `stop` method.
 */
function stopStatus(status: AsyncIterable<NatsStatus> | undefined): void {
  const stop: unknown = status && Reflect.get(status, 'stop')
  if (typeof stop === 'function') stop.call(status)
}

import { markHandled } from '../promises.ts'
import type { BrokerEvents } from './broker.ts'
import { RedisBroker } from './redis-broker.ts'

/** The part of a stream that the backplane uses. */
export interface CorkableStream {
  /** Buffers all writes until `uncork` is called. */
  cork(): void
  /** Sends the buffered writes at once. */
  uncork(): void
}

/** The part of a client of `ioredis` that the backplane uses. */
export interface IoRedisClient {
  /** The state of the connection: 'ready' when the client is connected. */
  readonly status: string
  /** The stream that the client writes to. */
  readonly stream?: CorkableStream | undefined
  /** Creates another client with the same options. */
  duplicate(override: object): IoRedisClient
  /** Publishes a message. */
  publish(channel: string, message: Buffer): Promise<unknown>
  /** Sends a command of any kind. */
  call(command: string, ...rest: string[]): Promise<unknown>
  /** Subscribes to channels. */
  subscribe(...channels: string[]): Promise<unknown>
  /** Ends subscriptions. */
  unsubscribe(...channels: string[]): Promise<unknown>
  /** Sends a ping. */
  ping(): Promise<unknown>
  /** Closes the connection at once. */
  disconnect(): void
  /** Adds a listener for messages. */
  on(event: 'messageBuffer', listener: (channel: Buffer, message: Buffer) => void): unknown
  /** Adds a listener. */
  on(event: string, listener: (value?: unknown) => void): unknown
  /** Removes a listener. */
  off(event: string, listener: (value?: unknown) => void): unknown
}

const IOREDIS_OPTIONS = {
  lazyConnect: false,
  // The client's own resubscription can't be awaited, and its failure isn't reported.
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0, // pending commands fail when the connection is lost
}

/** A broker client over the package `ioredis`. */
export class IoRedisBroker extends RedisBroker<IoRedisClient> {
  readonly #subscriber: IoRedisClient
  readonly #ownsPublisher: boolean
  #isCorked = false
  #unwatch = (): void => {}

  constructor(client: IoRedisClient, sendsOnce: boolean) {
    super(sendsOnce ? client.duplicate(IOREDIS_OPTIONS) : client)
    this.#ownsPublisher = sendsOnce
    this.#subscriber = client.duplicate(IOREDIS_OPTIONS)
  }

  get isReady(): boolean {
    return this.canSend && this.#subscriber.status === 'ready'
  }

  protected get canSend(): boolean {
    return this.publisher.status === 'ready'
  }

  start(events: BrokerEvents): void {
    this.events = events
    this.#unwatch = this.watch(this.publisher, events)
    this.watch(this.#subscriber, events)
    this.#subscriber.on('messageBuffer', (channel: Buffer, message: Buffer) =>
      events.onMessage(channel.toString(), message),
    )
    if (this.publisher.status === 'wait') markHandled(this.publisher.ping()) // connects a lazy client
  }

  override publish(channel: string, chunks: readonly Uint8Array[]): Promise<boolean> {
    this.#cork()
    return super.publish(channel, chunks)
  }

  unsubscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.unsubscribe(...channels)
  }

  ping(): Promise<unknown> {
    return Promise.all([this.publisher.ping(), this.#subscriber.ping()])
  }

  close(): void {
    this.events = undefined
    if (this.#ownsPublisher) this.publisher.disconnect()
    else this.#unwatch()
    this.#subscriber.disconnect()
  }

  protected request(channels: string[]): Promise<unknown> {
    return this.#subscriber.subscribe(...channels)
  }

  protected run([command = '', ...rest]: string[]): Promise<unknown> {
    this.#cork()
    return this.publisher.call(command, ...rest)
  }

  /**
   * Sends everything published in one turn with a single write. The client of `redis` does so
   * itself.
   */
  #cork(): void {
    const { stream } = this.publisher
    if (this.#isCorked || !stream) return
    this.#isCorked = true
    stream.cork()
    process.nextTick(() => {
      this.#isCorked = false
      stream.uncork()
    })
  }
}

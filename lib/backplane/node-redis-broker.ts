import { markHandled } from '../promises.ts'
import type { BrokerEvents } from './broker.ts'
import { RedisBroker } from './redis-broker.ts'

/** The part of a client of `redis` (node-redis) that the backplane uses. */
export interface NodeRedisClient {
  /** Whether `connect` was called on the client. */
  readonly isOpen: boolean
  /** Whether the client is connected. */
  readonly isReady: boolean
  /** Connects the client. */
  connect(): Promise<unknown>
  /** Creates another client with the same options. */
  duplicate(): NodeRedisClient
  /** Publishes a message. */
  publish(channel: string, message: Buffer): Promise<unknown>
  /** Sends a command of any kind. */
  sendCommand(command: string[]): Promise<unknown>
  /** Subscribes to channels. */
  subscribe(
    channels: string[],
    listener: (message: Buffer, channel: Buffer) => void,
    bufferMode: true,
  ): Promise<unknown>
  /** Ends subscriptions. */
  unsubscribe(
    channels: string[],
    listener: (message: Buffer, channel: Buffer) => void,
    bufferMode: true,
  ): Promise<unknown>
  /** Sends a ping. */
  ping(): Promise<unknown>
  /** Closes the connection at once. */
  destroy(): void
  /** Adds a listener. */
  on(event: string, listener: (value?: unknown) => void): unknown
  /** Removes a listener. */
  off(event: string, listener: (value?: unknown) => void): unknown
}

/** A broker client over node-redis, the package `redis`. */
export class NodeRedisBroker extends RedisBroker<NodeRedisClient> {
  readonly #ownsPublisher: boolean
  #subscriber: NodeRedisClient
  #unwatch = (): void => {}

  constructor(client: NodeRedisClient) {
    super(client, withoutTimeout(client))
    this.#ownsPublisher = !client.isOpen
    this.#subscriber = this.commands.duplicate()
  }

  get isReady(): boolean {
    return this.canSend && this.#subscriber.isReady
  }

  protected get canSend(): boolean {
    return this.publisher.isReady
  }

  start(events: BrokerEvents): void {
    this.events = events
    this.#unwatch = this.watch(this.publisher, events)
    this.#connect(events)
    if (this.#ownsPublisher) markHandled(this.publisher.connect())
  }

  unsubscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.unsubscribe(channels, this.#onMessage, true)
  }

  ping(): Promise<unknown> {
    return Promise.all([this.commands.ping(), this.#subscriber.ping()])
  }

  close(): void {
    this.events = undefined
    this.#unwatch()
    if (this.#ownsPublisher) this.publisher.destroy()
    this.#subscriber.destroy()
  }

  protected request(channels: string[]): Promise<unknown> {
    return this.#subscriber.subscribe(channels, this.#onMessage, true)
  }

  protected run(command: string[]): Promise<unknown> {
    return this.publisher.sendCommand(command)
  }

  readonly #onMessage = (message: Buffer, channel: Buffer): void => {
    this.events?.onMessage(channel.toString(), message)
  }

  /**
   * Connects the subscriber, and replaces it when its connection is lost. The client itself would
   * subscribe to all channels again at once, and never become ready when one of them is refused by
   * then.
   */
  #connect(events: BrokerEvents): void {
    const subscriber = this.#subscriber
    let wasReady = false
    subscriber.on('ready', () => {
      wasReady = true
      events.onConnected()
    })
    subscriber.on('error', (cause) => {
      if (this.events && wasReady && !subscriber.isReady && subscriber === this.#subscriber) {
        this.#subscriber = this.commands.duplicate()
        subscriber.destroy()
        this.#connect(events)
      }
      events.onDisconnected(cause)
    })
    markHandled(subscriber.connect())
  }
}

/**
 * Returns a client of `redis` whose commands have no timeout, if its version has that option. The
 * timeout would end commands that a busy process has not written yet. The heartbeat detects a
 * silent broker anyway.
 */
function withoutTimeout(client: NodeRedisClient): NodeRedisClient {
  const withCommandOptions: unknown = Reflect.get(client, 'withCommandOptions')
  if (typeof withCommandOptions !== 'function') return client
  return withCommandOptions.call(client, { timeout: undefined }) as NodeRedisClient
}

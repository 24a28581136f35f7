import {
  engineBackplane,
  type Engine,
  type EngineBackplane,
  type EngineEvents,
  type EngineOptions,
} from './engine.ts'
import { unexpected } from './errors.ts'
import { isObject } from './options/rules.ts'
import { handled } from './promises.ts'

export type { Backplane, Unsubscribe } from './backplane.ts'
export type {
  History,
  HistoryBounds,
  HistoryEntry,
  HistoryRecord,
  HistorySender,
} from './channels/history.ts'
export type { EngineBackplane, EngineOptions, EngineStats } from './engine.ts'
export {
  redisHistory,
  type IoRedisCommander,
  type NodeRedisCommander,
  type RedisCommander,
  type RedisHistoryOptions,
} from './stream.ts'

/** Is what is used of a client of `redis`, which is node-redis. */
export interface NodeRedisClient {
  /** Whether it was told to connect. */
  readonly isOpen: boolean
  /** Whether it is connected. */
  readonly isReady: boolean
  /** Connects. */
  connect(): Promise<unknown>
  /** Makes another one like it. */
  duplicate(): NodeRedisClient
  /** Publishes. */
  publish(channel: string, message: Buffer): Promise<unknown>
  /** Subscribes. */
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
  /** Asks for a sign of life. */
  ping(): Promise<unknown>
  /** Ends it at once. */
  destroy(): void
  /** Adds a listener. */
  on(event: string, listener: (value?: unknown) => void): unknown
  /** Removes a listener. */
  off(event: string, listener: (value?: unknown) => void): unknown
}

/** Is what is used of a stream. */
export interface CorkableStream {
  /** Keeps what is written, */
  cork(): void
  /** and writes it at once. */
  uncork(): void
}

/** Is what is used of a client of `ioredis`. */
export interface IoRedisClient {
  /** How it is: 'ready' when it is connected. */
  readonly status: string
  /** What it writes to. */
  readonly stream?: CorkableStream | undefined
  /** Makes another one like it. */
  duplicate(override: object): IoRedisClient
  /** Publishes. */
  publish(channel: string, message: Buffer): Promise<unknown>
  /** Subscribes. */
  subscribe(...channels: string[]): Promise<unknown>
  /** Ends subscriptions. */
  unsubscribe(...channels: string[]): Promise<unknown>
  /** Asks for a sign of life. */
  ping(): Promise<unknown>
  /** Ends it at once. */
  disconnect(): void
  /** Adds a listener for messages. */
  on(event: 'messageBuffer', listener: (channel: Buffer, message: Buffer) => void): unknown
  /** Adds a listener. */
  on(event: string, listener: (value?: unknown) => void): unknown
  /** Removes a listener. */
  off(event: string, listener: (value?: unknown) => void): unknown
}

/** Is a client of Redis, or of what speaks its protocol: of `redis` or of `ioredis`. */
export type RedisClient = NodeRedisClient | IoRedisClient

/**
 * Makes a backplane over Redis: a channel of Redis for each topic, heard while somebody here is in it.
 *
 * It publishes through your client, and subscribes through a second one that it makes after its
 * model. A client of `redis` that was not told to connect yet is told so, and is closed with the
 * backplane; any other stays yours to close.
 *
 * @throws TypeError for what is no client, and for an option that is unknown or can't be.
 */
export function redisBackplane(client: RedisClient, options?: EngineOptions): EngineBackplane {
  if (!isObject(client) || typeof Reflect.get(client, 'duplicate') !== 'function') {
    throw unexpected('the client', 'one of `redis` or of `ioredis`', client)
  }
  const engine = 'isReady' in client ? new NodeRedisEngine(client) : new IoRedisEngine(client)
  return engineBackplane(engine, options)
}

/** What both call the loss of a connection, or that there was none to be had. */
const LOSSES = ['end', 'close', 'reconnecting', 'error']

/** Listens to how clients are; is what stops that. */
function watch(clients: readonly RedisClient[], events: EngineEvents): () => void {
  // Without a listener for its errors a client would end the process, or print each of them.
  const failed = (cause: unknown): void => events.lost(cause instanceof Error ? cause : undefined)
  const ready = (): void => events.connected()
  for (const client of clients) {
    client.on('ready', ready)
    for (const event of LOSSES) client.on(event, failed)
  }
  return () => {
    for (const client of clients) {
      client.off('ready', ready)
      for (const event of LOSSES) if (event !== 'error') client.off(event, failed)
    }
  }
}

class NodeRedisEngine implements Engine {
  readonly restores = true
  readonly #publisher: NodeRedisClient
  readonly #subscriber: NodeRedisClient
  readonly #isOurs: boolean
  #unwatch = (): void => {}
  #received: (message: Buffer, channel: Buffer) => void = () => {}

  constructor(client: NodeRedisClient) {
    this.#publisher = client
    this.#subscriber = client.duplicate()
    this.#isOurs = !client.isOpen
  }

  get isReady(): boolean {
    return this.#publisher.isReady && this.#subscriber.isReady
  }

  start(events: EngineEvents): void {
    this.#received = (message, channel) => events.received(channel.toString(), message)
    this.#unwatch = watch([this.#publisher, this.#subscriber], events)
    handled(this.#subscriber.connect())
    if (this.#isOurs) handled(this.#publisher.connect())
  }

  publish(channel: string, message: Uint8Array): Promise<unknown> {
    return this.#publisher.publish(channel, asBuffer(message))
  }

  subscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.subscribe(channels, this.#received, true)
  }

  unsubscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.unsubscribe(channels, this.#received, true)
  }

  ping(): Promise<unknown> {
    return Promise.all([this.#publisher.ping(), this.#subscriber.ping()])
  }

  close(): void {
    this.#unwatch()
    if (this.#isOurs) this.#publisher.destroy()
    this.#subscriber.destroy()
  }
}

class IoRedisEngine implements Engine {
  readonly restores = false
  #corked = false
  readonly #publisher: IoRedisClient
  readonly #subscriber: IoRedisClient
  #unwatch = (): void => {}

  constructor(client: IoRedisClient) {
    this.#publisher = client
    this.#subscriber = client.duplicate({
      lazyConnect: false,
      // What it does by itself when it is back nobody could wait for, nor hear of its failure.
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
    })
  }

  get isReady(): boolean {
    return this.#publisher.status === 'ready' && this.#subscriber.status === 'ready'
  }

  start(events: EngineEvents): void {
    this.#unwatch = watch([this.#publisher, this.#subscriber], events)
    this.#subscriber.on('messageBuffer', (channel: Buffer, message: Buffer) =>
      events.received(channel.toString(), message),
    )
    if (this.#publisher.status === 'wait') handled(this.#publisher.ping()) // it waits for a command
  }

  publish(channel: string, message: Uint8Array): Promise<unknown> {
    this.#cork()
    return this.#publisher.publish(channel, asBuffer(message))
  }

  subscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.subscribe(...channels)
  }

  unsubscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.unsubscribe(...channels)
  }

  ping(): Promise<unknown> {
    return Promise.all([this.#publisher.ping(), this.#subscriber.ping()])
  }

  close(): void {
    this.#unwatch()
    this.#subscriber.disconnect()
  }

  /** What is published in one turn leaves in one write: `redis` does so by itself. */
  #cork(): void {
    const { stream } = this.#publisher
    if (this.#corked || !stream) return
    this.#corked = true
    stream.cork()
    process.nextTick(() => {
      this.#corked = false
      stream.uncork()
    })
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

import type { BrokerClient, BrokerEvents } from './engine.ts'
import { messageOf } from './error-text.ts'
import { unexpected } from './errors.ts'
import { isObject } from './options/rules.ts'
import { handled, rejected } from './promises.ts'

/** The part that is used of a client of `redis`, which is node-redis. */
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
  /** Sends any other command. */
  sendCommand(command: string[]): Promise<unknown>
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

/** The part that is used of a stream. */
export interface CorkableStream {
  /** Keeps what is written, */
  cork(): void
  /** and writes it at once. */
  uncork(): void
}

/** The part that is used of a client of `ioredis`. */
export interface IoRedisClient {
  /** How it is: 'ready' when it is connected. */
  readonly status: string
  /** What it writes to. */
  readonly stream?: CorkableStream | undefined
  /** Makes another one like it. */
  duplicate(override: object): IoRedisClient
  /** Publishes. */
  publish(channel: string, message: Buffer): Promise<unknown>
  /** Sends any other command. */
  call(command: string, ...rest: string[]): Promise<unknown>
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

/** A client of Redis, or of what speaks its protocol: of `redis` or of `ioredis`. */
export type RedisClient = NodeRedisClient | IoRedisClient

/**
 * Returns what a backplane or a history uses of a client. `sendsOnce`: no command is ever sent twice,
 * so ioredis gets one more connection, as it would repeat after a reconnection what was under way.
 *
 * @throws TypeError for what is no client, and for a cluster.
 */
export function brokerOf(
  client: RedisClient,
  { sendsOnce = false } = {},
): RedisBroker<RedisClient> {
  if (isObject(client) && typeof Reflect.get(client, 'duplicate') === 'function') {
    const isCluster = 'masters' in client || 'nodes' in client // of `redis`, of `ioredis`
    if (isCluster) throw unexpected('the client', NO_CLUSTER, client)
    if ('isReady' in client) return new NodeRedisBroker(client)
    if ('status' in client) return new IoRedisBroker(client, sendsOnce)
  }
  throw unexpected('the client', 'one of `redis` or of `ioredis`', client)
}

const NO_CLUSTER =
  'one of a single node, as every node of a cluster carries what any of them publishes: pass `new Redis({ host, port })` or `createClient({ url })`'
const MAX_PAYLOAD = 1024 * 1024 // the least that `proto-max-bulk-len` can be
const LOSSES = ['end', 'close', 'reconnecting', 'error']
const STRICT = {
  lazyConnect: false,
  // What it does by itself after a reconnection can't be awaited, and its failure isn't told.
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0, // what is under way when the connection is lost fails then
}

/** What both kinds of clients have in common: one publishes, and another one subscribes. */
export abstract class RedisBroker<Client extends RedisClient> implements BrokerClient {
  readonly maxPayload = MAX_PAYLOAD
  protected readonly publisher: Client
  /** The publisher as its commands are called. */
  protected readonly commands: Client
  protected events: BrokerEvents | undefined

  constructor(publisher: Client, commands = publisher) {
    this.publisher = publisher
    this.commands = commands
  }

  abstract get isReady(): boolean
  abstract start(events: BrokerEvents): void
  abstract unsubscribe(channels: string[]): Promise<unknown>
  abstract ping(): Promise<unknown>
  abstract close(): void
  protected abstract request(channels: string[]): Promise<unknown>
  protected abstract run(command: string[]): Promise<unknown>
  protected abstract get canSend(): boolean

  /** Sends a command. Rejects where there is no connection: a client would keep it for later. */
  send(command: string[]): Promise<unknown> {
    return this.canSend ? this.run(command) : rejected(new Error('Redis is not connected'))
  }

  async publish(channel: string, pieces: readonly Uint8Array[]): Promise<boolean> {
    try {
      await Promise.all(pieces.map((piece) => this.commands.publish(channel, asBuffer(piece))))
      return true
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.events?.refused('publish', channel, error)
      return false
    }
  }

  async subscribe(channels: string[]): Promise<void> {
    for (const [channel, error] of await this.#subscribe(channels)) {
      this.events?.refused('subscribe', channel, error)
    }
  }

  /** Returns what is refused. Redis refuses a whole command for one channel: then halves are tried. */
  async #subscribe(channels: string[]): Promise<readonly [channel: string, cause: unknown][]> {
    try {
      await this.request(channels)
      return []
    } catch (error) {
      if (!isRefusal(error)) throw error
      if (channels.length === 1) return channels.map((channel) => [channel, error])
      const half = channels.length >> 1
      const left = await this.#subscribe(channels.slice(0, half))
      return [...left, ...(await this.#subscribe(channels.slice(half)))]
    }
  }

  /** Reports how a client's connection is. Returns what stops that. */
  protected watch(client: Client, events: BrokerEvents): () => void {
    const connected = (): void => events.connected()
    const failed = (cause: unknown): void => events.lost(cause instanceof Error ? cause : undefined)
    client.on('ready', connected)
    // Without a listener for its errors a client would end the process, or print each of them.
    for (const event of LOSSES) client.on(event, failed)
    return () => {
      client.off('ready', connected)
      for (const event of LOSSES) client.off(event, failed)
    }
  }
}

class NodeRedisBroker extends RedisBroker<NodeRedisClient> {
  readonly #isOurs: boolean
  #subscriber: NodeRedisClient
  #unwatch = (): void => {}

  constructor(client: NodeRedisClient) {
    super(client, withoutTimeout(client))
    this.#isOurs = !client.isOpen
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
    if (this.#isOurs) handled(this.publisher.connect())
  }

  unsubscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.unsubscribe(channels, this.#received, true)
  }

  ping(): Promise<unknown> {
    return Promise.all([this.commands.ping(), this.#subscriber.ping()])
  }

  close(): void {
    this.events = undefined
    this.#unwatch()
    if (this.#isOurs) this.publisher.destroy()
    this.#subscriber.destroy()
  }

  protected request(channels: string[]): Promise<unknown> {
    return this.#subscriber.subscribe(channels, this.#received, true)
  }

  protected run(command: string[]): Promise<unknown> {
    return this.publisher.sendCommand(command)
  }

  readonly #received = (message: Buffer, channel: Buffer): void => {
    this.events?.received(channel.toString(), message)
  }

  /**
   * Connects the subscriber; a lost one is replaced. By itself it would subscribe again to all at once,
   * and never be ready again where one of the channels is refused by now.
   */
  #connect(events: BrokerEvents): void {
    const subscriber = this.#subscriber
    let wasReady = false
    subscriber.on('ready', () => {
      wasReady = true
      events.connected()
    })
    subscriber.on('error', (cause) => {
      if (this.events && wasReady && !subscriber.isReady && subscriber === this.#subscriber) {
        this.#subscriber = this.commands.duplicate()
        subscriber.destroy()
        this.#connect(events)
      }
      events.lost(cause)
    })
    handled(subscriber.connect())
  }
}

class IoRedisBroker extends RedisBroker<IoRedisClient> {
  readonly #subscriber: IoRedisClient
  readonly #isOurs: boolean
  #isCorked = false
  #unwatch = (): void => {}

  constructor(client: IoRedisClient, sendsOnce: boolean) {
    super(sendsOnce ? client.duplicate(STRICT) : client)
    this.#isOurs = sendsOnce
    this.#subscriber = client.duplicate(STRICT)
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
      events.received(channel.toString(), message),
    )
    if (this.publisher.status === 'wait') handled(this.publisher.ping()) // it waits for a command
  }

  override publish(channel: string, pieces: readonly Uint8Array[]): Promise<boolean> {
    this.#cork()
    return super.publish(channel, pieces)
  }

  unsubscribe(channels: string[]): Promise<unknown> {
    return this.#subscriber.unsubscribe(...channels)
  }

  ping(): Promise<unknown> {
    return Promise.all([this.publisher.ping(), this.#subscriber.ping()])
  }

  close(): void {
    this.events = undefined
    if (this.#isOurs) this.publisher.disconnect()
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

  /** Makes what is published in one turn leave in one write: `redis` does so by itself. */
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

/**
 * Returns a client of `redis` whose commands have no timeout of their own, where its version has one: it
 * ends commands that a busy process has not written yet. The heartbeat watches the broker anyway.
 */
function withoutTimeout(client: NodeRedisClient): NodeRedisClient {
  const withOptions: unknown = Reflect.get(client, 'withCommandOptions')
  if (typeof withOptions !== 'function') return client
  return withOptions.call(client, { timeout: undefined }) as NodeRedisClient
}

/** Tells a refusal by the access rules of Redis from the loss of a connection. */
function isRefusal(error: unknown): boolean {
  return messageOf(error).startsWith('NOPERM')
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

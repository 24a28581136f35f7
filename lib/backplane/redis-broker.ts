import type { BrokerClient, BrokerEvents } from './broker.ts'
import { messageOf } from '../error-text.ts'
import { invalidValue } from '../errors.ts'
import { isObject } from '../validation.ts'
import { markHandled, rejected } from '../promises.ts'
import type { IoRedisClient, NodeRedisClient, RedisClient } from './redis-clients.ts'

/**
 * Wraps a Redis client for a backplane or a history. With `sendsOnce` no command is ever sent
 * twice. For ioredis this needs one more connection, because its clients repeat the pending
 * commands after a reconnection.
 *
 * @throws TypeError for an invalid client, and for a cluster.
 */
export function createRedisBroker(
  client: RedisClient,
  { sendsOnce = false } = {},
): RedisBroker<RedisClient> {
  if (isObject(client) && typeof Reflect.get(client, 'duplicate') === 'function') {
    const isCluster = 'masters' in client || 'nodes' in client // of `redis`, of `ioredis`
    if (isCluster) throw invalidValue('the client', NO_CLUSTER, client)
    if ('isReady' in client) return new NodeRedisBroker(client)
    if ('status' in client) return new IoRedisBroker(client, sendsOnce)
  }
  throw invalidValue('the client', 'one of `redis` or of `ioredis`', client)
}

const NO_CLUSTER =
  'one of a single node, as every node of a cluster carries what any of them publishes: pass `new Redis({ host, port })` or `createClient({ url })`'
const MAX_PAYLOAD = 1024 * 1024 // the lowest value that `proto-max-bulk-len` can have
const DISCONNECT_EVENTS = ['end', 'close', 'reconnecting', 'error']
const IOREDIS_OPTIONS = {
  lazyConnect: false,
  // The client's own resubscription can't be awaited, and its failure isn't reported.
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0, // pending commands fail when the connection is lost
}

/** The common part of both kinds of clients: one client publishes, another one subscribes. */
export abstract class RedisBroker<Client extends RedisClient> implements BrokerClient {
  readonly maxPayload = MAX_PAYLOAD
  protected readonly publisher: Client
  /** The publisher with the options for its commands. */
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

  /** Sends a command. Rejects without a connection, because the client would queue the command. */
  send(command: string[]): Promise<unknown> {
    return this.canSend ? this.run(command) : rejected(new Error('Redis is not connected'))
  }

  async publish(channel: string, chunks: readonly Uint8Array[]): Promise<boolean> {
    try {
      await Promise.all(chunks.map((chunk) => this.commands.publish(channel, asBuffer(chunk))))
      return true
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.events?.onRefused('publish', channel, error)
      return false
    }
  }

  async subscribe(channels: string[]): Promise<void> {
    for (const [channel, error] of await this.#subscribeAll(channels)) {
      this.events?.onRefused('subscribe', channel, error)
    }
  }

  /**
   * Subscribes, and returns the refused channels. Redis refuses a whole command because of one
   * channel, so a refused command is split into halves.
   */
  async #subscribeAll(channels: string[]): Promise<readonly [channel: string, cause: unknown][]> {
    try {
      await this.request(channels)
      return []
    } catch (error) {
      if (!isRefusal(error)) throw error
      if (channels.length === 1) return channels.map((channel) => [channel, error])
      const half = channels.length >> 1
      const refused = await this.#subscribeAll(channels.slice(0, half))
      return [...refused, ...(await this.#subscribeAll(channels.slice(half)))]
    }
  }

  /** Reports the state of a client's connection. Returns a function that removes the listeners. */
  protected watch(client: Client, events: BrokerEvents): () => void {
    const onReady = (): void => events.onConnected()
    const onLoss = (cause: unknown): void =>
      events.onDisconnected(cause instanceof Error ? cause : undefined)
    client.on('ready', onReady)
    // Without an `error` listener a client would end the process, or print each error.
    for (const event of DISCONNECT_EVENTS) client.on(event, onLoss)
    return () => {
      client.off('ready', onReady)
      for (const event of DISCONNECT_EVENTS) client.off(event, onLoss)
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
    if (this.#isOurs) markHandled(this.publisher.connect())
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
    if (this.#isOurs) this.publisher.destroy()
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

class IoRedisBroker extends RedisBroker<IoRedisClient> {
  readonly #subscriber: IoRedisClient
  readonly #isOurs: boolean
  #isCorked = false
  #unwatch = (): void => {}

  constructor(client: IoRedisClient, sendsOnce: boolean) {
    super(sendsOnce ? client.duplicate(IOREDIS_OPTIONS) : client)
    this.#isOurs = sendsOnce
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

/** Returns whether an error is a refusal by the access rules of Redis, not a lost connection. */
function isRefusal(error: unknown): boolean {
  return messageOf(error).startsWith('NOPERM')
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

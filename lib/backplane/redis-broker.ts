import { messageOf } from '../format.ts'
import { rejected } from '../promises.ts'
import type { BrokerClient, BrokerEvents } from './broker.ts'
import type { RedisClient } from './redis-backplane.ts'

const MAX_PAYLOAD = 1024 * 1024 // the lowest value that `proto-max-bulk-len` can have
const DISCONNECT_EVENTS = ['end', 'close', 'reconnecting', 'error']

/** The common part of the brokers over `redis` and `ioredis`: a publisher and a subscriber. */
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
      const firstRefused = await this.#subscribeAll(channels.slice(0, half))
      return [...firstRefused, ...(await this.#subscribeAll(channels.slice(half)))]
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

/** Returns whether an error is a refusal by the access rules of Redis, not a lost connection. */
function isRefusal(error: unknown): boolean {
  return messageOf(error).startsWith('NOPERM')
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

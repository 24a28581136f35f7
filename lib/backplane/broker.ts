import { createHash } from 'node:crypto'
import type { RefusedChannel } from './backplane.ts'

const MAX_NAME = 512 // characters of a topic's name; a longer name is replaced by its hash

/** The callbacks of a broker client. */
export interface BrokerEvents {
  /** Called when one of the client's connections is made. Subscriptions may be lost. */
  onConnected(): void
  /** Called when the connection was lost, or could not be made. */
  onDisconnected(cause?: unknown): void
  /** Receives a message, or one chunk of a message. */
  onMessage(channel: string, bytes: Uint8Array): void
  /** Called when the broker refuses a channel. */
  onRefused(operation: RefusedChannel['operation'], channel: string, cause: unknown): void
  /** Called when the broker may accept channels that it refused because of a limit. */
  onCapacityFreed(): void
}

/**
 * The client of a broker. Its commands take effect in the order of the calls. When the connection
 * is lost, the promises that it returned may reject or never settle.
 */
export interface BrokerClient {
  /** Whether the client is connected, as far as it knows. */
  readonly isReady: boolean
  /** The maximum number of bytes in one message of the broker. */
  readonly maxPayload: number
  /** Starts the client. From then on it calls `events`. */
  start(events: BrokerEvents): void
  /**
   * Publishes the chunks of a message in order. Resolves when the broker has all of them: with
   * false when it refused them.
   */
  publish(channel: string, chunks: readonly Uint8Array[]): Promise<boolean>
  /**
   * Subscribes, for the first time or again. Resolves when all channels that the broker does not
   * refuse are active.
   */
  subscribe(channels: string[]): Promise<unknown>
  /** Ends the subscriptions that exist among these channels. */
  unsubscribe(channels: string[]): Promise<unknown>
  /** Resolves when the broker has answered this ping, and thus everything sent before it. */
  ping(): Promise<unknown>
  /** Removes the listeners of the client and closes the connections that it made itself. */
  close(): unknown
}

/** Returns the channel name of a topic. For any topic it is a single word of limited length. */
export function channelName(prefix: string, topic: string): string {
  if (/^[\w:-]{1,512}$/.test(topic)) return prefix + topic
  // A peer may have chosen a name of a megabyte, so a name that is too long isn't escaped first.
  const name = topic.length > MAX_NAME ? undefined : topic.replace(/[^\w:-]/g, escapeCharacter)
  if (name !== undefined && name.length <= MAX_NAME) return `${prefix}=${name}`
  return `${prefix}#${createHash('sha256').update(topic, 'utf16le').digest('hex')}`
}

function escapeCharacter(character: string): string {
  return `=${character.charCodeAt(0).toString(16)}=`
}

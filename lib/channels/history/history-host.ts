import type { WebsocketError } from '../../errors.ts'
import type { HistorySettings } from './options.ts'
import type { ReadQueue } from './read-queue.ts'
import type { RecordedMessage } from './recorded.ts'
import type { HistoryStore } from './store.ts'

/** The services of a channel server that its histories share. */
export interface HistoryHost {
  readonly reads: ReadQueue
  /** Returns whether a topic has members on this node. */
  hasMembers(topic: string): boolean
  /** Sends a message to the members of a topic on this node. */
  deliver(topic: string, message: RecordedMessage): void
  /** Ends the memberships of a topic on this node, so that their clients rejoin. */
  endMemberships(topic: string): void
  /** Counts a message that was not recorded, or can't be decoded. */
  countDrop(): void
  /** Reports a failure. */
  reportFailure(error: WebsocketError): void
}

/** The topic history that a live log belongs to. */
export interface LiveLogOwner {
  readonly store: HistoryStore
  readonly settings: HistorySettings
  readonly host: HistoryHost
  /** Notes that the store works; with a failure, reports why it doesn't. */
  report(failure?: { readonly cause: unknown }): void
}

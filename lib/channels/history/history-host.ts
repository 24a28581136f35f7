import type { WebsocketError } from '../../errors.ts'
import type { HistorySettings } from './options.ts'
import type { ReadQueue } from './read-queue.ts'
import type { RecordedMessage } from './recorded.ts'
import type { HistoryStore } from './store.ts'

/** What the histories of one server share. */
export interface HistoryHost {
  readonly reads: ReadQueue
  /** Tells whether a topic has members on this node. */
  hasMembers(topic: string): boolean
  /** Sends to the members on this node. */
  deliver(topic: string, message: RecordedMessage): void
  /** Ends the memberships on this node, so that their clients rejoin. */
  endMemberships(topic: string): void
  /** Counts a message that was not recorded, or can't be read. */
  dropped(): void
  /** Tells of what failed. */
  failed(error: WebsocketError): void
}

/** What a live log works with. */
export interface LiveLogOwner {
  readonly store: HistoryStore
  readonly settings: HistorySettings
  readonly host: HistoryHost
  /** Reports whether the store works, and the cause where it doesn't. */
  report(failure?: { readonly cause: unknown }): void
}

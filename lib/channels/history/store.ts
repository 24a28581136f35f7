/** The position of a message in the history of a topic. */
export interface HistoryPosition {
  readonly epoch: string
  readonly offset: number
}

/** A recorded message. */
export interface HistoryEntry {
  readonly offset: number
  readonly data: string
}

/** What is kept of a topic: at most so many messages, milliseconds and bytes (UTF-16 length of data is fine as a measure of bytes). */
export interface HistoryBounds {
  readonly size: number
  readonly ttl: number
  readonly maxBytes: number
}

/** What a store has of a topic. */
export interface HistoryPage {
  readonly epoch: string
  /** The offset of the latest message; 0 where there was none. */
  readonly offset: number
  /** The kept messages behind the asked offset, oldest first. */
  readonly entries: readonly HistoryEntry[]
}

/** The receiver of a topic's messages. */
export interface HistorySubscriber {
  /** In the store's order, at least once each. */
  readonly receive: (message: HistoryEntry & { readonly epoch: string }) => void
  /** Messages may have been missed, and the subscription stands again. */
  readonly interrupted: () => void
}

/** Assigns an offset to each message of a topic, and keeps the latest ones. */
export interface HistoryStore {
  /** Records a message behind the others of its topic. */
  append(
    topic: string,
    data: string,
    bounds: HistoryBounds,
  ): HistoryPosition | Promise<HistoryPosition>
  /** since: the offset behind which messages are wanted; undefined: only the position, no entries. */
  read(
    topic: string,
    since: number | undefined,
    bounds: HistoryBounds,
  ): HistoryPage | Promise<HistoryPage>
  /** A store without it serves one node only. Resolves once messages are received. */
  subscribe?(topic: string, subscriber: HistorySubscriber): Promise<() => void>
  close?(): void | Promise<void>
}

/** The position of a message in the history of a topic. */
export interface HistoryPosition {
  /** The life that the offset belongs to: after a loss of messages, or of their numbers, it is another. */
  readonly epoch: string
  /** The number of the message: 1 for the first one of its epoch, and one more for each. */
  readonly offset: number
}

/** A recorded message. */
export interface HistoryEntry {
  /** The number of the message within its epoch. */
  readonly offset: number
  /** The text that was appended. */
  readonly data: string
}

/** How much of a topic is kept, at most. */
export interface HistoryBounds {
  /** The number of messages. */
  readonly size: number
  /** Milliseconds that a message is kept. */
  readonly ttl: number
  /** The bytes of all messages; the lengths of their texts will do. */
  readonly maxBytes: number
}

/** What a store has of a topic. */
export interface HistoryPage {
  /** The epoch of the topic; where there was no message yet, that of the first one. */
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
  /** Reads the messages behind the offset `since`; where it is undefined, the position alone. */
  read(
    topic: string,
    since: number | undefined,
    bounds: HistoryBounds,
  ): HistoryPage | Promise<HistoryPage>
  /** A store without it serves one node only. Resolves once messages are received. */
  subscribe?(topic: string, subscriber: HistorySubscriber): Promise<() => void>
  /** Ends all subscriptions. */
  close?(): void | Promise<void>
}

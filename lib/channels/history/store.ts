/** The position of a message in the history of a topic. */
export interface HistoryPosition {
  /**
   * The id of the sequence that the offset belongs to. After a loss of messages or of their
   * offsets, a topic has another epoch.
   */
  readonly epoch: string
  /** The number of the message: 1 for the first of its epoch, and one more for each after it. */
  readonly offset: number
}

/** A recorded message. */
export interface HistoryEntry {
  /** The number of the message within its epoch. */
  readonly offset: number
  /** The text that was appended. */
  readonly data: string
}

/** The limits of what a store keeps of a topic. */
export interface HistoryBounds {
  /** Maximum number of messages. */
  readonly size: number
  /** Milliseconds for which a message is kept. */
  readonly ttl: number
  /** Maximum bytes of all messages; a store may count the lengths of their texts instead. */
  readonly maxBytes: number
}

/** The result of a read: the position of a topic, and messages that its store keeps. */
export interface HistoryPage {
  /** The epoch of the topic; before the first message, the epoch which that message will have. */
  readonly epoch: string
  /** The offset of the latest message; 0 before the first message. */
  readonly offset: number
  /** The kept messages after the requested offset, oldest first. */
  readonly entries: readonly HistoryEntry[]
}

/** The callbacks of a subscription to a topic's messages. */
export interface HistorySubscriber {
  /** Receives each message at least once, in the store's order. */
  readonly receive: (message: HistoryEntry & { readonly epoch: string }) => void
  /** Signals that the subscription is active again, after messages may have been missed. */
  readonly interrupted: () => void
}

/** A store that assigns an offset to each message of a topic, and keeps the latest messages. */
export interface HistoryStore {
  /** Appends a message to the history of its topic. Returns its position. */
  append(
    topic: string,
    data: string,
    bounds: HistoryBounds,
  ): HistoryPosition | Promise<HistoryPosition>
  /** Returns the messages after the offset `since`; where it is undefined, only the position. */
  read(
    topic: string,
    since: number | undefined,
    bounds: HistoryBounds,
  ): HistoryPage | Promise<HistoryPage>
  /**
   * Subscribes to the messages of a topic. Resolves with a function that unsubscribes, once the
   * subscription is active. A store without this method serves only one node.
   */
  subscribe?(topic: string, subscriber: HistorySubscriber): Promise<() => void>
  /** Ends all subscriptions. */
  close?(): void | Promise<void>
}

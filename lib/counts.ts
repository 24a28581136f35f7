/** Why a message is dropped. */
export type DropReason =
  /** It was sent to a peer that doesn't read, past `maxBufferedAmount`. */
  | 'slowConsumer'
  /** It came past the `rateLimit`. */
  | 'rateLimit'
  /** Its connection closed already for what had come before, or because a listener failed. */
  | 'closing'
  /** It waited for a listener of `message` until after its connection had closed. */
  | 'unread'
  /** It came from the backplane, and makes no sense. */
  | 'backplane'
  /** Its channel was left, or it can't be answered, or said in the dialect of a member. */
  | 'channels'
  /** The store of its topic's history did not take it, or what that gave can't be read. */
  | 'history'
  /** It was the oldest of 1,000 events, no messages, that waited in a loop which is too slow. */
  | 'slowLoop'

/** What a maker counts over all its connections. */
export interface Counts {
  received: number
  sent: number
  bytesReceived: number
  bytesSent: number
  readonly drops: Record<DropReason, number>
}

/** Begins to count. */
export function newCounts(): Counts {
  return {
    ...{ received: 0, sent: 0, bytesReceived: 0, bytesSent: 0 },
    drops: {
      slowConsumer: 0,
      rateLimit: 0,
      closing: 0,
      unread: 0,
      backplane: 0,
      channels: 0,
      history: 0,
      slowLoop: 0,
    },
  }
}

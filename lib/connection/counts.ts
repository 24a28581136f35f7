/** The reason for which a message was dropped. */
export type DropReason =
  /** The message was sent to a peer that doesn't read, past `maxBufferedAmount`. */
  | 'slowConsumer'
  /** The message came past the `rateLimit`. */
  | 'rateLimit'
  /** The message was refused by the schema of `messages`. */
  | 'invalid'
  /** The connection was closing because of an earlier message, or because a listener failed. */
  | 'closing'
  /** The message still waited for a `message` listener after its connection had closed. */
  | 'unread'
  /** The message came from the backplane and is malformed. */
  | 'backplane'
  /** The channel was left, the message can't be answered, or a serializer can't encode it. */
  | 'channels'
  /** The store of the topic's history did not accept the message, or returned unreadable data. */
  | 'history'
  /** The event (not a message) was the oldest of 1,000 that waited in a loop that is too slow. */
  | 'slowLoop'

/** The counters of a server or client over all its connections. */
export interface Counts {
  received: number
  sent: number
  bytesReceived: number
  bytesSent: number
  readonly drops: Record<DropReason, number>
}

/** Returns counters that are all 0. */
export function newCounts(): Counts {
  return {
    received: 0,
    sent: 0,
    bytesReceived: 0,
    bytesSent: 0,
    drops: {
      slowConsumer: 0,
      rateLimit: 0,
      invalid: 0,
      closing: 0,
      unread: 0,
      backplane: 0,
      channels: 0,
      history: 0,
      slowLoop: 0,
    },
  }
}

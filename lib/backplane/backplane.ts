/** A function that ends a subscription. */
export type Unsubscribe = () => void | Promise<void>

/** A channel that the broker of a backplane refuses to this node because of its access rules. */
export interface RefusedChannel {
  /** The operation that the broker refuses. */
  readonly operation: 'publish' | 'subscribe'
  /** The name of the channel at the broker. */
  readonly channel: string
  /** The error text of the broker. */
  readonly reason: string
}

/**
 * A transport for messages between nodes. A subscriber of a topic receives the messages that any
 * node publishes there, including its own node.
 *
 * Delivers at most once, in order per publisher. Local delivery never waits for the backplane.
 */
export interface Backplane {
  /**
   * Sends a message to every subscriber of a topic, on every node. Returns false, or a promise of
   * false, when the message was dropped: the network is down, too slow, or refuses it. Never queues
   * without a limit. The server emits a rejection as an `error` event, but only the first one until
   * the backplane accepts a message again.
   */
  publish(topic: string, message: Uint8Array): boolean | void | Promise<boolean | void>
  /**
   * Passes the messages of a topic to `receive` until the returned function is called. A backplane
   * that loses an incoming message may call `onDropped`, so that the server counts it. `receive`
   * may return false for a malformed message.
   */
  subscribe(
    topic: string,
    receive: (message: Uint8Array) => void,
    onDropped?: () => void,
  ): Unsubscribe | Promise<Unsubscribe>
  /** Releases the resources of the backplane. */
  close(): void | Promise<void>
  /**
   * Calls `listener` with the state of the network: first with the current state, in a later turn
   * of the event loop, then at each change, and also when the set of refused channels changes.
   */
  listen?(listener: (state: 'up' | 'down', refused?: readonly RefusedChannel[]) => void): void
}

/** Creates a backplane for servers in one process: pass the same one to each of them. */
export function memoryBackplane(): Backplane {
  const topics = new Map<string, Set<(message: Uint8Array) => void>>()
  return {
    publish(topic, message) {
      for (const receive of topics.get(topic) ?? []) queueMicrotask(() => receive(message))
    },
    subscribe(topic, receive) {
      const receivers = topics.get(topic) ?? new Set()
      const receiver = (message: Uint8Array): void => {
        if (receivers.has(receiver)) receive(message)
      }
      topics.set(topic, receivers.add(receiver))
      return () => {
        receivers.delete(receiver)
        if (receivers.size === 0 && topics.get(topic) === receivers) topics.delete(topic)
      }
    },
    close() {
      topics.clear()
    },
  }
}

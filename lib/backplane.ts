/** Stops a subscription. */
export type Unsubscribe = () => void | Promise<void>

/** A channel that the broker behind a backplane refuses to this node, by its access rules. */
export interface RefusedChannel {
  /** What is refused. */
  readonly operation: 'publish' | 'subscribe'
  /** The name of the channel, as the broker knows it. */
  readonly channel: string
  /** What the broker says. */
  readonly reason: string
}

/**
 * Carries bytes between nodes: whoever subscribed to a topic gets what any node publishes there,
 * its own included.
 *
 * At most once, in order per publisher. Local delivery never waits for it.
 */
export interface Backplane {
  /**
   * Sends a message to every subscriber of a topic, on every node. false, or a promise of it: it was
   * dropped, for the network is down or too slow or refuses it; nothing is queued without bound. A
   * rejection is an `error` event of the server, the first one until a message is taken again.
   */
  publish(topic: string, message: Uint8Array): boolean | void | Promise<boolean | void>
  /**
   * Receives what is published on a topic until the returned function is called. A backplane that loses a
   * message on its way in may call `dropped`, so that the server counts it. `receive` may return false for a
   * message that makes no sense.
   */
  subscribe(
    topic: string,
    receive: (message: Uint8Array) => void,
    dropped?: () => void,
  ): Unsubscribe | Promise<Unsubscribe>
  /** Lets go of what it holds. */
  close(): void | Promise<void>
  /**
   * Tells when the network behind it goes and comes, and first, in a later turn, how it is; again when
   * other channels are refused than before.
   */
  listen?(heard: (state: 'up' | 'down', refused?: readonly RefusedChannel[]) => void): void
}

/** Makes a backplane for servers that live in one process: give the same one to each of them. */
export function memoryBackplane(): Backplane {
  const topics = new Map<string, Set<(message: Uint8Array) => void>>()
  return {
    publish(topic, message) {
      for (const receive of topics.get(topic) ?? []) queueMicrotask(() => receive(message))
    },
    subscribe(topic, receive) {
      const receivers = topics.get(topic) ?? new Set()
      const own = (message: Uint8Array): void => {
        if (receivers.has(own)) receive(message)
      }
      topics.set(topic, receivers.add(own))
      return () => {
        receivers.delete(own)
        if (receivers.size === 0 && topics.get(topic) === receivers) topics.delete(topic)
      }
    },
    close() {
      topics.clear()
    },
  }
}

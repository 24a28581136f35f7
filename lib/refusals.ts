import type { RefusedChannel } from './backplane.ts'
import { logTextOf } from './error-text.ts'

type Operation = RefusedChannel['operation']

const MAX_PUBLISHES = 1_000 // refused publishes that are told by name

interface Refusal extends RefusedChannel {
  /** Retries since the broker refused it. */
  retries: number
}

/** The channels that a broker refuses, and what is refused about them. */
export class Refusals {
  readonly #refused = new Map<string, Refusal>()
  readonly #changed: () => void

  constructor(changed: () => void) {
    this.#changed = changed
  }

  /** Adds a channel. Returns whether it is news. */
  add(operation: Operation, channel: string, cause: unknown): boolean {
    const key = `${operation} ${channel}`
    const known = this.#refused.get(key)
    if (known) known.retries = 0
    if (known || (operation === 'publish' && this.#refused.size >= MAX_PUBLISHES)) return false
    this.#refused.set(key, { operation, channel, reason: logTextOf(cause), retries: 0 })
    this.#changed()
    return true
  }

  /** Removes a channel, if it was refused. */
  delete(operation: Operation, channel: string): void {
    if (this.#refused.delete(`${operation} ${channel}`)) this.#changed()
  }

  /** Lists them for the operator. */
  list(): readonly RefusedChannel[] {
    return [...this.#refused.values()].map(({ operation, channel, reason }) => ({
      ...{ operation, channel, reason },
    }))
  }

  /**
   * Returns the channels to subscribe to once more. The next publish is a retry of itself: a channel
   * without another refused publish since the last call is forgotten.
   */
  retry(): readonly string[] {
    for (const refusal of this.#refused.values()) {
      if (refusal.operation === 'publish' && refusal.retries > 0) {
        this.delete('publish', refusal.channel)
      }
      refusal.retries++
    }
    const subscriptions = [...this.#refused.values()].filter((one) => one.operation === 'subscribe')
    return subscriptions.map(({ channel }) => channel)
  }
}

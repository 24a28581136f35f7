import type { RefusedChannel } from './backplane.ts'
import { logTextOf } from './error-text.ts'

type Operation = RefusedChannel['operation']

const GAP = 250 // milliseconds between two times that a change is told
const MAX_PUBLISHES = 1_000 // refused publishes that are told by name

interface Refusal extends RefusedChannel {
  /** Retries since the broker refused it. */
  retries: number
}

/** The channels that a broker refuses, and what is refused about them. */
export class Refusals {
  readonly #refused = new Map<string, Refusal>()
  readonly #printed = new Set<string>()
  readonly #prefix: string
  readonly #changed: () => void
  #timer: NodeJS.Timeout | undefined
  #hasNews = false

  /** Takes the prefix of the channels, and what is told of a change: at once, and then now and then. */
  constructor(prefix: string, changed: () => void) {
    this.#prefix = prefix
    this.#changed = changed
  }

  /** Adds a channel, and prints the cure, once for each. */
  add(operation: Operation, channel: string, cause: unknown): void {
    const key = `${operation} ${channel}`
    const known = this.#refused.get(key)
    if (known) known.retries = 0
    if (known || (operation === 'publish' && this.#refused.size >= MAX_PUBLISHES)) return
    const refusal = { operation, channel, reason: logTextOf(cause), retries: 0 }
    this.#refused.set(key, refusal)
    this.#print(refusal)
    this.#tell()
  }

  /** Removes a channel, if it was refused. */
  delete(operation: Operation, channel: string): void {
    if (this.#refused.delete(`${operation} ${channel}`)) this.#tell()
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

  /** Reports a change, several together: peers may make many, and each report copies the whole list. */
  #tell(): void {
    if (this.#timer) {
      this.#hasNews = true
      return
    }
    this.#changed()
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#hasNews) this.#tell()
      this.#hasNews = false
    }, GAP)
    this.#timer.unref?.()
  }

  #print({ operation, channel, reason }: Refusal): void {
    const cure = this.#cureOf(operation, reason)
    if (this.#printed.has(cure)) return
    this.#printed.add(cure)
    console.error(
      `simplewebsockets: the broker refuses to ${operation} on \`${channel}\` (${reason}), so nodes ` +
        `don't hear each other there. ${cure}, see docs/backplanes.md. Printed once; every refused ` +
        'channel is in the `backplane` event.',
    )
  }

  #cureOf(operation: Operation, reason: string): string {
    if (/maximum subscriptions/i.test(reason)) {
      return 'Raise `max_subscriptions` of the NATS server, and bound the rooms of a connection'
    }
    return `Allow its user to ${operation} on \`${this.#prefix}*\``
  }
}

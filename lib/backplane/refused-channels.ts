import { formatLogLine } from '../format.ts'
import type { RefusedChannel } from './backplane.ts'

type Operation = RefusedChannel['operation']

const REPORT_INTERVAL = 250 // minimum milliseconds between two reports of changes
const MAX_LISTED = 1_000 // refusals; above it, the list takes no more refused publishes

interface Refusal extends RefusedChannel {
  /** Retries since the broker refused it. */
  retries: number
}

/** The list of channels that a broker refuses, with the refused operations. */
export class RefusedChannels {
  readonly #refusals = new Map<string, Refusal>()
  readonly #printedAdvice = new Set<string>()
  readonly #prefix: string
  readonly #onChange: () => void
  #timer: NodeJS.Timeout | undefined
  #hasUnreported = false

  /**
   * Creates an empty list. `prefix` is the prefix of all channel names. `onChange` is called at the
   * first change, and then at most once in 250 ms.
   */
  constructor(prefix: string, onChange: () => void) {
    this.#prefix = prefix
    this.#onChange = onChange
  }

  /** Adds a channel, and prints how to allow it. Prints each advice once. */
  add(operation: Operation, channel: string, cause: unknown): void {
    if (!channel.startsWith(this.#prefix)) return // it belongs to another user of the connection
    const key = `${operation} ${channel}`
    const knownRefusal = this.#refusals.get(key)
    if (knownRefusal) knownRefusal.retries = 0
    if (knownRefusal || (operation === 'publish' && this.#refusals.size >= MAX_LISTED)) return
    const refusal = { operation, channel, reason: formatLogLine(cause), retries: 0 }
    this.#refusals.set(key, refusal)
    this.#print(refusal)
    this.#report()
  }

  /** Removes a channel, if it was refused. */
  delete(operation: Operation, channel: string): void {
    if (this.#refusals.delete(`${operation} ${channel}`)) this.#report()
  }

  /** Returns the refused channels. */
  list(): readonly RefusedChannel[] {
    return [...this.#refusals.values()].map(({ operation, channel, reason }) => ({
      ...{ operation, channel, reason },
    }))
  }

  /**
   * Returns the channels to subscribe to again. Publishing needs no retry here, since the next
   * publish is one. Removes channels without another refused publish since the last call.
   */
  retry(): readonly string[] {
    for (const refusal of this.#refusals.values()) {
      if (refusal.operation === 'publish' && refusal.retries > 0) {
        this.delete('publish', refusal.channel)
      }
      refusal.retries++
    }
    const refusals = [...this.#refusals.values()].filter((one) => one.operation === 'subscribe')
    return refusals.map(({ channel }) => channel)
  }

  /**
   * Reports changes, several of them together: peers may cause many changes, and each report copies
   * the whole list.
   */
  #report(): void {
    if (this.#timer) {
      this.#hasUnreported = true
      return
    }
    this.#onChange()
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#hasUnreported) this.#report()
      this.#hasUnreported = false
    }, REPORT_INTERVAL)
    this.#timer.unref?.()
  }

  #print({ operation, channel, reason }: Refusal): void {
    const advice = this.#adviceFor(operation, reason)
    if (this.#printedAdvice.has(advice)) return
    this.#printedAdvice.add(advice)
    console.error(
      `simplewebsockets: the broker refuses to ${operation} on \`${channel}\` (${reason}), so nodes ` +
        `don't hear each other there. ${advice}, see docs/how-to/backplanes.md. Printed once; every refused ` +
        'channel is in the `backplane` event.',
    )
  }

  #adviceFor(operation: Operation, reason: string): string {
    if (/maximum subscriptions/i.test(reason)) {
      return 'Raise `max_subscriptions` of the NATS server, and bound the rooms of a connection'
    }
    return `Allow its user to ${operation} on \`${this.#prefix}*\``
  }
}

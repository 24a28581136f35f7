import { backoff } from './backoff.ts'
import type { Backplane, Unsubscribe } from './backplane.ts'
import { withoutCommand } from './error-text.ts'
import { WebsocketError } from './errors.ts'
import { isPromise } from './promises.ts'

/** Receives what another node has published: what it is, the payload, and whose it is. */
export type Receive = (kind: number, payload: Uint8Array, from: string) => void

/** Stops a subscription. */
export interface Subscription {
  (): void
  /** Resolves, or rejects, once all that is published is heard; what isn't a promise is so at once. */
  readonly standing: unknown
}

/** What a relay tells of. */
export interface Reports {
  /** Is told when the backplane failed. */
  failed(error: WebsocketError): void
  /** Is told of a message that was dropped: it makes no sense, came twice, or could not go out. */
  dropped(): void
}

const ID_LENGTH = 16
const NUMBER_LENGTH = 6
const MOST_SENDERS = 1_000 // remembered for each topic: nodes come and go for as long as it is there

/** How many bytes stand before a payload: its kind, its sender, its number. */
export const HEAD_LENGTH = 1 + ID_LENGTH + NUMBER_LENGTH

/**
 * The way of one node to the others: what it publishes carries a sender and a number, so that others
 * drop what comes twice or too late, and it drops its own echo.
 */
export class Relay {
  readonly #backplane: Backplane | undefined
  readonly #reports: Reports
  readonly #id = crypto.getRandomValues(new Uint8Array(ID_LENGTH))
  readonly #name = nameIn(this.#id, 0)
  #number = 0
  /** Messages that the backplane failed with since it took one. */
  #failures = 0

  /** Makes the way over a backplane, or to nowhere. */
  constructor(backplane: Backplane | undefined, reports: Reports) {
    this.#backplane = backplane
    this.#reports = reports
  }

  /** Whether there may be other nodes. */
  get leads(): boolean {
    return this.#backplane !== undefined
  }

  /** Is what others know it by. */
  get name(): string {
    return this.#name
  }

  /** Sends to the other nodes that have subscribed to a topic. */
  publish(topic: string, kind: number, payload: Uint8Array): void {
    void this.send(topic, kind, payload)
  }

  /** Sends, and returns whether the backplane has taken it: at once, or by a promise that never rejects. */
  send(topic: string, kind: number, payload: Uint8Array): boolean | PromiseLike<boolean> {
    const backplane = this.#backplane
    if (!backplane) return false
    const message = Buffer.allocUnsafe(HEAD_LENGTH + payload.length)
    message[0] = kind
    message.set(this.#id, 1)
    message.writeUIntBE(++this.#number, 1 + ID_LENGTH, NUMBER_LENGTH)
    message.set(payload, HEAD_LENGTH)
    const taken = (answer: boolean | void): boolean => {
      if (answer === false) this.#reports.dropped()
      else this.#worked()
      return answer !== false
    }
    const failed = (cause: unknown): boolean => {
      this.#lost(cause)
      return false
    }
    try {
      const result = backplane.publish(topic, message)
      return isPromise(result) ? result.then(taken, failed) : taken(result)
    } catch (cause) {
      return failed(cause)
    }
  }

  /** Counts a message that the backplane failed with. Tells the first one, and the others once it works. */
  #lost(cause: unknown): void {
    this.#reports.dropped()
    this.#failures++
    if (this.#failures === 1) this.#failed(cause)
  }

  #worked(): void {
    const count = this.#failures
    this.#failures = 0
    if (count < 2) return
    const text = `the backplane works again: ${count} messages to other nodes were lost`
    this.#reports.failed(new WebsocketError(text))
  }

  /**
   * Receives what other nodes publish on a topic, until the returned function is called. Where the
   * backplane fails to subscribe it is tried again, later and later.
   */
  subscribe(topic: string, receive: Receive): Subscription {
    const backplane = this.#backplane
    if (!backplane) return Object.assign(() => {}, { standing: undefined })
    const take = this.#takes(topic, receive)
    let unsubscribe: Unsubscribe | undefined
    let isOpen = true
    let timer: ReturnType<typeof setTimeout> | undefined
    const end = (stop: Unsubscribe): void => {
      void attempt(stop, (cause) => this.#failed(cause))
    }
    const subscribed = (stop: Unsubscribe): void => {
      if (isOpen) unsubscribe = stop
      else end(stop)
    }
    const subscribe = (count: number): unknown => {
      const failed = (cause: unknown): void => {
        if (count === 1) this.#failed(cause) // once: the next attempts may end as this one
        if (!isOpen) return
        timer = setTimeout(() => void subscribe(count + 1), backoff(count))
        timer.unref?.()
      }
      const receiver = (message: Uint8Array): boolean => !isOpen || take(message)
      const dropped = (): void => this.#reports.dropped()
      const result = attempt(() => backplane.subscribe(topic, receiver, dropped), failed)
      if (isPromise(result)) void result.then(subscribed, () => {})
      else if (result) subscribed(result)
      return result
    }
    const standing = subscribe(1)
    const close = (): void => {
      isOpen = false
      clearTimeout(timer)
      if (unsubscribe) end(unsubscribe)
      unsubscribe = undefined
    }
    return Object.assign(close, { standing })
  }

  /** Hears when the network goes and comes. */
  listen(heard: (state: 'up' | 'down') => void): void {
    this.#backplane?.listen?.(heard)
  }

  /** Returns what takes the messages of a topic: those of other nodes, each once and in order. */
  #takes(topic: string, receive: Receive): (message: Uint8Array) => boolean {
    let heard: Map<string, number> | undefined // the last number of each sender
    return (message) => {
      const from = message.length < HEAD_LENGTH ? undefined : nameIn(message, 1)
      if (from === this.#name) return true
      const number = numberIn(message)
      if (from === undefined || number <= (heard?.get(from) ?? 0)) {
        this.#reports.dropped()
        return false
      }
      heard ??= new Map<string, number>()
      if (!heard.has(from) && heard.size >= MOST_SENDERS) forgetFirst(heard)
      heard.set(from, number)
      try {
        receive(message[0] ?? 0, message.subarray(HEAD_LENGTH), from)
        return true
      } catch (cause) {
        this.#reports.dropped()
        const text = `a message from another node on \`${topic}\` could not be handled`
        this.#reports.failed(new WebsocketError(text, { cause }))
        return false
      }
    }
  }

  #failed(cause: unknown): void {
    this.#reports.failed(
      new WebsocketError('the backplane failed', { cause: withoutCommand(cause) }),
    )
  }
}

/** Calls what may throw, or reject, for reasons of the backplane's. */
function attempt<Value>(action: () => Value, failed: (cause: unknown) => void): Value | undefined {
  try {
    const result = action()
    if (isPromise(result)) void result.then(undefined, failed)
    return result
  } catch (cause) {
    failed(cause)
    return undefined
  }
}

function nameIn(message: Uint8Array, at: number): string {
  return Buffer.from(message.buffer, message.byteOffset + at, ID_LENGTH).toString('latin1')
}

function numberIn(message: Uint8Array): number {
  if (message.length < HEAD_LENGTH) return 0
  const { buffer, byteOffset } = message
  return Buffer.from(buffer, byteOffset + 1 + ID_LENGTH, NUMBER_LENGTH).readUIntBE(0, NUMBER_LENGTH)
}

function forgetFirst(heard: Map<string, number>): void {
  for (const [first] of heard) {
    heard.delete(first)
    return
  }
}

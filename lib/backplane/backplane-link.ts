import { backoff } from '../backoff.ts'
import { WebsocketError } from '../errors.ts'
import { withoutCommand } from '../format.ts'
import { isPromise } from '../promises.ts'
import type { Backplane, Unsubscribe } from './backplane.ts'

/** A callback for messages of other nodes, with their kind, payload and sender. */
export type Receive = (kind: number, payload: Uint8Array, sender: string) => void

/** A function that ends a subscription. */
export interface Subscription {
  (): void
  /**
   * A promise that resolves when the subscription is active, and rejects when the backplane fails
   * to subscribe. Any other value means that the subscription is active already.
   */
  readonly ready: unknown
}

const ID_LENGTH = 16
const NUMBER_LENGTH = 6
const MAX_SENDERS = 1_000 // remembered for each topic: nodes change while a topic exists

/** The number of bytes before a payload: its kind, its sender, its sequence number. */
export const HEADER_LENGTH = 1 + ID_LENGTH + NUMBER_LENGTH

/**
 * The connection of one node to the other nodes. Each message carries its sender and a sequence
 * number, so that receivers drop duplicates and late messages, and a node drops its own echo.
 */
export class BackplaneLink {
  readonly #backplane: Backplane | undefined
  readonly #reportFailure: (error: WebsocketError) => void
  readonly #countDrop: () => void
  readonly #id = crypto.getRandomValues(new Uint8Array(ID_LENGTH))
  /** The id of this node, in the form in which `parseSender` returns that of a message. */
  readonly #name = parseSender(this.#id, 0)
  #sequence = 0
  /** The number of failed messages since the backplane last accepted one. */
  #failures = 0

  /**
   * Creates the link over a backplane. Without a backplane there are no other nodes. `countDrop` is
   * called for each message that is malformed, a duplicate, or could not be sent.
   */
  constructor(
    backplane: Backplane | undefined,
    reportFailure: (error: WebsocketError) => void,
    countDrop: () => void,
  ) {
    this.#backplane = backplane
    this.#reportFailure = reportFailure
    this.#countDrop = countDrop
  }

  /** Whether there may be other nodes. */
  get isClustered(): boolean {
    return this.#backplane !== undefined
  }

  /** Sends a message to the other nodes that have subscribed to a topic. */
  publish(topic: string, kind: number, payload: Uint8Array): void {
    void this.send(topic, kind, payload)
  }

  /**
   * Sends a message. Returns whether the backplane accepted it: as a boolean, or as a promise that
   * never rejects.
   */
  send(topic: string, kind: number, payload: Uint8Array): boolean | PromiseLike<boolean> {
    const backplane = this.#backplane
    if (!backplane) return false
    const message = Buffer.allocUnsafe(HEADER_LENGTH + payload.length)
    message[0] = kind
    message.set(this.#id, 1)
    message.writeUIntBE(++this.#sequence, 1 + ID_LENGTH, NUMBER_LENGTH)
    message.set(payload, HEADER_LENGTH)
    const onResult = (isAccepted: boolean | void): boolean => {
      if (isAccepted === false) this.#countDrop()
      else this.#onAccepted()
      return isAccepted !== false
    }
    const onFailure = (cause: unknown): boolean => {
      this.#onSendFailure(cause)
      return false
    }
    try {
      const result = backplane.publish(topic, message)
      return isPromise(result) ? result.then(onResult, onFailure) : onResult(result)
    } catch (cause) {
      return onFailure(cause)
    }
  }

  /**
   * Counts a message that the backplane failed to send. Reports the first failure at once, and the
   * number of lost messages when the backplane works again.
   */
  #onSendFailure(cause: unknown): void {
    this.#countDrop()
    this.#failures++
    if (this.#failures === 1) this.#reportFailure(failureOf(cause))
  }

  #onAccepted(): void {
    const count = this.#failures
    this.#failures = 0
    if (count < 2) return
    const text = `the backplane works again: ${count} messages to other nodes were lost`
    this.#reportFailure(new WebsocketError(text, { code: 'ERR_BACKPLANE_RECOVERED' }))
  }

  /**
   * Passes the messages of other nodes on a topic to `receive`, until the returned function is
   * called. When the backplane fails to subscribe, the link tries again with increasing delays.
   */
  subscribe(topic: string, receive: Receive): Subscription {
    const backplane = this.#backplane
    if (!backplane) return Object.assign(() => {}, { ready: undefined })
    const handleMessage = this.#createHandler(topic, receive)
    let activeUnsubscribe: Unsubscribe | undefined
    let isOpen = true
    let timer: ReturnType<typeof setTimeout> | undefined
    const end = (unsubscribe: Unsubscribe): void => {
      void attempt(unsubscribe, (cause) => this.#reportFailure(failureOf(cause)))
    }
    const onSubscribed = (unsubscribe: Unsubscribe): void => {
      if (isOpen) activeUnsubscribe = unsubscribe
      else end(unsubscribe)
    }
    const subscribe = (attemptNumber: number): unknown => {
      const onFailure = (cause: unknown): void => {
        // Only the first failure is reported: the next attempts may fail for the same reason.
        // A listener of the failure may end this subscription, which the caller must have for that.
        if (attemptNumber === 1) queueMicrotask(() => this.#reportFailure(failureOf(cause)))
        if (!isOpen) return
        timer = setTimeout(() => void subscribe(attemptNumber + 1), backoff(attemptNumber))
        timer.unref?.()
      }
      const receiver = (message: Uint8Array): boolean => !isOpen || handleMessage(message)
      const onDropped = (): void => this.#countDrop()
      const result = attempt(() => backplane.subscribe(topic, receiver, onDropped), onFailure)
      if (isPromise(result)) void result.then(onSubscribed, () => {})
      else if (result) onSubscribed(result)
      return result
    }
    const ready = subscribe(1)
    const close = (): void => {
      isOpen = false
      clearTimeout(timer)
      if (activeUnsubscribe) end(activeUnsubscribe)
      activeUnsubscribe = undefined
    }
    return Object.assign(close, { ready })
  }

  /** Calls `listener` with the state of the network, if the backplane reports it. */
  listen(listener: (state: 'up' | 'down') => void): void {
    this.#backplane?.listen?.(listener)
  }

  /**
   * Creates the handler for the messages of a topic. It passes on those of other nodes, each once
   * and in order. It returns false for a message that it drops.
   */
  #createHandler(topic: string, receive: Receive): (message: Uint8Array) => boolean {
    let lastNumbers: Map<string, number> | undefined // by sender
    return (message) => {
      const sender = message.length < HEADER_LENGTH ? undefined : parseSender(message, 1)
      if (sender === this.#name) return true
      const number = parseNumber(message)
      if (sender === undefined || number <= (lastNumbers?.get(sender) ?? 0)) {
        this.#countDrop()
        return false
      }
      lastNumbers ??= new Map<string, number>()
      if (!lastNumbers.has(sender) && lastNumbers.size >= MAX_SENDERS) deleteFirst(lastNumbers)
      lastNumbers.set(sender, number)
      try {
        receive(message[0] ?? 0, message.subarray(HEADER_LENGTH), sender)
        return true
      } catch (cause) {
        this.#countDrop()
        const text = `a message from another node on \`${topic}\` could not be handled`
        this.#reportFailure(new WebsocketError(text, { code: 'ERR_MESSAGE_INVALID', cause }))
        return false
      }
    }
  }
}

/**
 * Calls a function of the backplane, and passes the error to `onFailure` when it throws or rejects.
 */
function attempt<Value>(
  action: () => Value,
  onFailure: (cause: unknown) => void,
): Value | undefined {
  try {
    const result = action()
    if (isPromise(result)) void result.then(undefined, onFailure)
    return result
  } catch (cause) {
    onFailure(cause)
    return undefined
  }
}

function failureOf(cause: unknown): WebsocketError {
  return new WebsocketError('the backplane failed', {
    code: 'ERR_BACKPLANE_FAILED',
    cause: withoutCommand(cause),
  })
}

function parseSender(message: Uint8Array, offset: number): string {
  return Buffer.from(message.buffer, message.byteOffset + offset, ID_LENGTH).toString('latin1')
}

function parseNumber(message: Uint8Array): number {
  if (message.length < HEADER_LENGTH) return 0
  const { buffer, byteOffset } = message
  return Buffer.from(buffer, byteOffset + 1 + ID_LENGTH, NUMBER_LENGTH).readUIntBE(0, NUMBER_LENGTH)
}

function deleteFirst(map: Map<string, number>): void {
  for (const [first] of map) {
    map.delete(first)
    return
  }
}

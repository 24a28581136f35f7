import type { Fault } from '../connection/close-codes.ts'
import type { DropReason } from '../connection/counts.ts'
import type { Data } from '../connection/message.ts'
import { deferred, isPromise } from '../promises.ts'
import { OrderedResults } from './ordered-results.ts'
import type { SchemaIssue } from './standard-schema.ts'

/** The connection that a decoder belongs to. */
export interface MessageDecoderOwner {
  /** Delivers a decoded message to the listeners. */
  receive(message: unknown, size: number): void
  /** Closes because of a message that can't be decoded. Delivers no later message. */
  refuse(fault: Fault, cause: unknown): void
  /** Counts a dropped message. */
  drop(reason: DropReason): void
  /** Reports a failure of the program's own function or schema. */
  handleListenerFailure(event: 'message', cause: unknown, value: undefined): void
  /** Handles a change of the messages that wait for their decoding. */
  onChange(): void
}

/** The error with which a format refuses a message. The connection closes with its text. */
export class InvalidMessage extends Error {
  readonly closeCode: 1007 | 1008
  /** The issues that a schema found. */
  readonly issues: readonly SchemaIssue[] | undefined

  constructor(
    closeCode: 1007 | 1008,
    text: string,
    { cause, issues }: { cause?: unknown; issues?: readonly SchemaIssue[] } = {},
  ) {
    super(text, { cause })
    this.closeCode = closeCode
    this.issues = issues
  }
}

/** The settings of a decoder. */
export interface DecoderSettings {
  /**
   * Decodes received data.
   *
   * @throws InvalidMessage for data that the connection refuses.
   */
  decode(data: Data): unknown
  /** Whether a message that a schema refuses is dropped, instead of closing the connection. */
  readonly dropsInvalid: boolean
  /** Milliseconds that the decoding of one message may take. */
  readonly timeout: number
}

/** Decodes the messages of one connection, and delivers them in the order of their arrival. */
export class MessageDecoder {
  readonly #owner: MessageDecoderOwner
  readonly #settings: DecoderSettings
  readonly #results = new OrderedResults()
  readonly #timers = new Set<NodeJS.Timeout>()
  #isStopped = false

  constructor(owner: MessageDecoderOwner, settings: DecoderSettings) {
    this.#owner = owner
    this.#settings = settings
  }

  /** The number of messages that wait for their decoding, or for that of earlier ones. */
  get waitingCount(): number {
    return this.#results.waitingCount
  }

  /** The bytes of the messages that wait. */
  get waitingBytes(): number {
    return this.#results.waitingBytes
  }

  /** Decodes a message, and delivers it in its turn. */
  decode(data: Data, size: number): void {
    this.#results.run(() => this.#decode(data), {
      size,
      onResult: (message) => this.#isStopped || this.#owner.receive(message, size),
      onError: (cause) => this.#isStopped || this.#onError(cause),
      onWaiting: () => this.#owner.onChange(),
    })
  }

  /** Stops, because the connection has ended. Returns the number of messages that still wait. */
  stop(): number {
    this.#isStopped = true
    for (const timer of this.#timers) clearTimeout(timer)
    return this.waitingCount
  }

  #decode(data: Data): unknown {
    const message = this.#settings.decode(data)
    return isPromise(message) ? this.#withTimeout(message) : message
  }

  #withTimeout(message: PromiseLike<unknown>): Promise<unknown> {
    const { timeout } = this.#settings
    const { promise, resolve, reject } = deferred<unknown>()
    const timer = setTimeout(
      () => reject(new Error(`decoding a message took more than ${timeout} ms`)),
      timeout,
    )
    this.#timers.add(timer)
    const stopTimer = (): void => {
      clearTimeout(timer)
      this.#timers.delete(timer)
    }
    message.then(resolve, reject)
    promise.then(stopTimer, stopTimer)
    return promise
  }

  #onError(cause: unknown): void {
    const owner = this.#owner
    if (!(cause instanceof InvalidMessage)) {
      owner.drop('invalid')
      owner.handleListenerFailure('message', cause, undefined)
    } else if (cause.closeCode === 1008 && this.#settings.dropsInvalid) {
      owner.drop('invalid')
    } else {
      const { closeCode: code, message: description, issues } = cause
      owner.refuse({ code, description, errorCode: 'ERR_MESSAGE_INVALID', issues }, cause.cause)
    }
  }
}

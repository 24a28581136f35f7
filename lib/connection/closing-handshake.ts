import type { Emitter } from '../events/emitter.ts'
import { deferred, type Deferred } from '../promises.ts'
import type { CloseReason } from './close-codes.ts'
import type { ConnectionEvents } from './connection.ts'

/**
 * The close of one connection, from its first sign until the transport has ended. The closing
 * handshake, RFC 6455 §7.1.2:
 *
 *    this side                          peer
 *    close() ── close frame ─────────▶  CLOSING        this side sends no message after it
 *    CLOSING ◀───────── close frame ──  the answer     messages before it still arrive
 *    CLOSED  ◀─────── TCP ends ──────▶  CLOSED         the server ends TCP first
 *    `close` event                      `close` event  after the messages before it
 *
 * When the peer doesn't answer within `closeTimeout`, this side ends the transport. Both sides
 * report the reason of the side that closed first.
 */
export class ClosingHandshake {
  /** The reason given by the side that closed first. */
  readonly reason: CloseReason
  /** Whether this side closed the connection. */
  isLocal = false
  #isComplete = false
  #timer: NodeJS.Timeout | undefined
  #completion: Deferred<CloseReason> | undefined

  constructor(reason: CloseReason) {
    this.reason = reason
  }

  /** A promise of the reason. It resolves when the transport has ended. */
  get completion(): Promise<CloseReason> {
    if (this.#isComplete) return Promise.resolve(this.reason)
    return (this.#completion ??= deferred<CloseReason>()).promise
  }

  /** Calls back unless the transport ends within `timeout` milliseconds. */
  startTimer(timeout: number, onTimeout: () => void): void {
    this.#timer = setTimeout(onTimeout, timeout)
  }

  stopTimer(): void {
    clearTimeout(this.#timer)
  }

  /** Resolves `completion`. Called when the transport has ended. */
  complete(): void {
    this.#isComplete = true
    this.#completion?.resolve(this.reason)
  }
}

interface UnreadMessagesOptions {
  /** Whether this side closed the connection. */
  readonly isLocal: boolean
  /** Milliseconds in which a listener has to take a message. */
  readonly timeout: number
  /** Emits `close`. Called once. */
  readonly onDone: () => void
}

/**
 * The messages that still wait for their listeners when the transport has ended. The `close` event
 * comes after the last of them, when no listener takes one for `timeout`, or when none will.
 */
export class UnreadMessages {
  readonly #emitter: Emitter<ConnectionEvents>
  readonly #options: UnreadMessagesOptions
  #countAtStart = 0 // the messages that waited when the timer was set
  #timer: NodeJS.Timeout | undefined
  #isDone = false

  constructor(emitter: Emitter<ConnectionEvents>, options: UnreadMessagesOptions) {
    this.#emitter = emitter
    this.#options = options
  }

  /** Handles a change of the waiting messages or of the listeners. */
  update(): void {
    const { queuedCount } = this.#emitter
    if (this.#isDone) return
    if (queuedCount === 0 || this.#hasNoReader()) {
      this.#finish()
    } else if (queuedCount !== this.#countAtStart) {
      clearTimeout(this.#timer)
      this.#countAtStart = queuedCount
      this.#timer = setTimeout(() => this.#finish(), this.#options.timeout)
    }
  }

  /** Returns whether the program has shown that it won't read the messages that wait. */
  #hasNoReader(): boolean {
    const emitter = this.#emitter
    if (emitter.hasListeners('message') || emitter.awaitsArrival) return false
    return this.#options.isLocal || (emitter.awaitsEnd && !emitter.hadListeners)
  }

  #finish(): void {
    this.#isDone = true
    clearTimeout(this.#timer)
    this.#options.onDone()
  }
}

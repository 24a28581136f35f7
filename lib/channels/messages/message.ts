import { invalidCall } from '../../validation.ts'
import type { Ref } from '../protocol/serializer.ts'
import type { QueuedMessage } from './message-queue.ts'

/** A message that the peer pushed, with the functions that answer it. */
export interface Message<Payload = unknown> {
  /** The name of the event, as the peer chose it. */
  readonly event: string
  /** The payload of the message: any JSON value, or bytes. */
  readonly payload: Payload
  /**
   * Answers the message, by default with the status `ok`. It is bound, so that it can be
   * destructured.
   *
   * @throws TypeError when the message was answered already, or for a payload that can't be JSON.
   */
  readonly reply: (payload?: unknown, status?: string) => void
  /**
   * Answers the message with the status `error`. It is bound, so that it can be destructured.
   *
   * @throws TypeError when the message was answered already, or for a reason that can't be JSON.
   */
  readonly refuse: (reason?: unknown) => void
}

/** The channel that sends the replies to messages. */
export interface Replier {
  /** Sends the reply to the push with this ref. */
  answer(ref: Ref, status: string, payload: unknown): void
}

/** The implementation of `Message`, on servers and on clients. */
export class IncomingMessage implements Message, QueuedMessage {
  readonly event: string
  readonly payload: unknown
  readonly #replier: Replier
  readonly #ref: Ref
  readonly #size: number
  readonly #number: number
  #isAnswered = false

  constructor(
    { event, ref }: { readonly event: string; readonly ref: Ref },
    payload: unknown,
    replier: Replier,
    { size, number }: Pick<QueuedMessage, 'size' | 'number'>,
  ) {
    this.event = event
    this.payload = payload
    this.#replier = replier
    this.#ref = ref
    this.#size = size
    this.#number = number
  }

  get ref(): Ref {
    return this.#ref
  }

  get size(): number {
    return this.#size
  }

  get number(): number {
    return this.#number
  }

  get reply(): Message['reply'] {
    return (payload = {}, status = 'ok') => this.#answer(status, payload)
  }

  get refuse(): Message['refuse'] {
    return (reason = {}) => this.#answer('error', reason)
  }

  #answer(status: string, payload: unknown): void {
    if (this.#isAnswered) throw invalidCall(`this \`${this.event}\` was answered already`)
    this.#replier.answer(this.#ref, status, payload)
    this.#isAnswered = true
  }
}

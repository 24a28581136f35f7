import type { Ref } from './frame.ts'
import type { Letter } from './mail.ts'

/** What a peer pushed, and how to answer it. */
export interface Message<Payload = unknown> {
  /** The name that the peer gave it. */
  readonly event: string
  /** What came with it: any JSON value, or bytes. */
  readonly payload: Payload
  /**
   * Answers it, with `ok` unless you say otherwise. Bound: made to be destructured.
   *
   * @throws TypeError when it was answered already, or with what can't be JSON.
   */
  readonly reply: (payload?: unknown, status?: string) => void
  /**
   * Answers it with `error`. Bound: made to be destructured.
   *
   * @throws TypeError when it was answered already, or with what can't be JSON.
   */
  readonly refuse: (reason?: unknown) => void
}

/** Sends answers. */
export interface Answerer {
  /** Answers what has this ref. */
  answer(ref: Ref, status: string, payload: unknown): void
}

/** A message on a server. */
export class Received implements Message, Letter {
  readonly event: string
  readonly payload: unknown
  readonly #answerer: Answerer
  readonly #ref: Ref
  readonly #size: number
  readonly #number: number
  #answered = false

  constructor(
    { event, ref }: { readonly event: string; readonly ref: Ref },
    payload: unknown,
    answerer: Answerer,
    { size, number }: Pick<Letter, 'size' | 'number'>,
  ) {
    this.event = event
    this.payload = payload
    this.#answerer = answerer
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
    if (this.#answered) throw new TypeError(`this \`${this.event}\` was answered already`)
    this.#answerer.answer(this.#ref, status, payload)
    this.#answered = true
  }
}

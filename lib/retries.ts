import { askedDelay, backoff, isWorthRetry } from './backoff.ts'
import { closeReason, type CloseReason } from './close.ts'
import { unexpected, type ConnectError } from './errors.ts'
import type { Reconnection } from './options/client.ts'
import { LONGEST_TIMER } from './options/rules.ts'
import { deferred } from './promises.ts'

/** What a client is about to do after it could not connect, or its connection was lost. */
export interface Retry {
  /** How many times it has tried since a connection was last stable, this one included. */
  readonly attempt: number
  /** Milliseconds until then. */
  readonly delay: number
  /** What the attempt before ended with. */
  readonly cause: ConnectError | CloseReason
}

const STABLE = 10_000 // ms that a connection holds before the count starts anew
const CALM = 1_000 // ms from the beginning of one attempt to the next that a wake may bring

/** What a function of the policy is asked. */
interface Question {
  readonly of: string
  readonly wanted: string
  readonly accepts: (answer: unknown) => boolean
}

const WHEN: Question = {
  of: 'the answer of `reconnect.when`',
  wanted: 'true or false',
  accepts: (answer) => typeof answer === 'boolean',
}

const DELAY: Question = {
  of: 'the answer of `reconnect.delay`',
  wanted: 'milliseconds from 0 up',
  accepts: (answer) => Number.isFinite(answer) && Number(answer) >= 0,
}

/** Decides whether one client makes another attempt, and when. */
export class Retries {
  readonly #policy: Reconnection | false
  readonly #failed: (cause: unknown) => void
  #count = 0
  #asked = 0
  #cause: Retry['cause'] = closeReason(1006)
  #server: string | undefined // the origin that a function has named for this attempt
  readonly #until = new Map<string, number>() // when a server may be dialled that wants to be left alone
  #begunAt = 0
  #connectedAt = 0
  #woken: (() => void) | undefined

  /** Makes one; `failed` hears of what the policy's own functions throw. */
  constructor(policy: boolean | Reconnection, failed: (cause: unknown) => void) {
    this.#policy = policy === true ? {} : policy
    this.#failed = failed
  }

  /** Notes that an attempt begins. */
  begin(): void {
    this.#begunAt = performance.now()
    this.#server = undefined
  }

  /**
   * Notes the server that a function has named for this attempt, and returns for how many
   * milliseconds it still wants to be left alone.
   */
  remaining({ origin }: URL): number {
    this.#server = origin
    return Math.max(0, Math.floor((this.#until.get(origin) ?? 0) - performance.now()))
  }

  /** Notes that it came to a connection. */
  connected(): void {
    this.#connectedAt = performance.now()
  }

  /** Notes that the connection is lost: after a stable one the count starts anew. */
  lost(): void {
    if (performance.now() - this.#connectedAt >= STABLE) this.#count = 0
  }

  /** Counts the next attempt in; nothing where there is none. */
  next(cause: ConnectError | CloseReason): Retry | undefined {
    const policy = this.#policy
    if (policy === false) return undefined
    const { attempts = false, when } = policy
    if (attempts !== false && this.#count >= attempts) return undefined
    const usual = isWorthRetry(cause)
    if (!this.#ask(WHEN, when && (() => when(cause, usual)), () => usual)) return undefined
    const asked = askedDelay(cause)
    this.#count++
    this.#cause = cause
    if (this.#server === undefined) return this.#after(asked)
    this.#leaveAlone(this.#server, asked) // the next attempt may be with another one
    return this.#after(0)
  }

  /** Puts an attempt off that is counted already: the server that it is with wants to be left alone. */
  postpone(milliseconds: number): Retry {
    return this.#after(milliseconds)
  }

  /** Waits until the attempt is due, a wake brings it on, or it is called off by the signal. */
  wait({ delay }: Retry, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = deferred<void>()
    const now = performance.now()
    const due = now + delay
    const soonest = Math.max(this.#begunAt + CALM, now + this.#asked)
    // Not unreferenced: a program that waits to reconnect has something to do.
    let timer = setTimeout(resolve, delay)
    this.#woken = () => {
      clearTimeout(timer)
      timer = setTimeout(resolve, Math.max(0, Math.min(due, soonest) - performance.now()))
    }
    const stop = (): void => resolve()
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    return promise.then(() => {
      clearTimeout(timer)
      this.#woken = undefined
      signal.removeEventListener('abort', stop)
    })
  }

  /**
   * Brings the attempt on that is waited for: the network may have come back. However many times,
   * it comes a second after the one before at the earliest, and not before the server wants it.
   */
  wake(): void {
    this.#woken?.()
  }

  #after(asked: number): Retry {
    const { delay } = this.#policy || {}
    const attempt = this.#count
    const drawn = this.#ask(DELAY, delay && (() => delay(attempt)), () => backoff(attempt))
    this.#asked = asked
    return { attempt, delay: Math.min(LONGEST_TIMER, asked + drawn), cause: this.#cause }
  }

  #leaveAlone(server: string, milliseconds: number): void {
    const now = performance.now()
    for (const [each, until] of this.#until) if (until <= now) this.#until.delete(each)
    if (milliseconds > 0) this.#until.set(server, now + milliseconds)
  }

  /** Asks a function of the policy; where it fails somebody hears of it, and the usual holds. */
  #ask<Value>(question: Question, asked: (() => Value) | undefined, usual: () => Value): Value {
    if (!asked) return usual()
    try {
      const value = asked()
      if (question.accepts(value)) return value
      throw unexpected(question.of, question.wanted, value)
    } catch (cause) {
      this.#failed(cause)
      return usual()
    }
  }
}

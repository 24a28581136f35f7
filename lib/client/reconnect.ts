import { backoff, isRetryable, serverRequestedDelay } from '../backoff.ts'
import { closeReason, type CloseReason } from '../connection/close-codes.ts'
import type { ConnectError } from '../errors.ts'
import type { ReconnectOptions } from '../options/client.ts'
import { deferred } from '../promises.ts'
import { MAX_TIMER, invalidValue } from '../validation.ts'

/** The next attempt of a client that could not connect or has lost its connection. */
export interface Retry {
  /** The number of attempts since the last stable connection, this one included. */
  readonly attempt: number
  /** Milliseconds until the attempt. */
  readonly delay: number
  /** The error of the previous attempt, or the reason for which its connection closed. */
  readonly cause: ConnectError | CloseReason
}

const STABLE_AFTER = 10_000 // ms; a connection that lasts as long resets the count of attempts
const MIN_SPACING = 1_000 // ms between the starts of two attempts, if `wake` hurries the second

/** The check of the value that a function of the policy returns. */
interface PolicyHook {
  readonly subject: string
  readonly expected: string
  readonly isValid: (answer: unknown) => boolean
}

const WHEN_HOOK: PolicyHook = {
  subject: 'the answer of `reconnect.when`',
  expected: 'true or false',
  isValid: (answer) => typeof answer === 'boolean',
}

const DELAY_HOOK: PolicyHook = {
  subject: 'the answer of `reconnect.delay`',
  expected: 'milliseconds from 0 up',
  isValid: (answer) => Number.isFinite(answer) && Number(answer) >= 0,
}

/** The schedule of one client's attempts: decides whether it makes another one, and when. */
export class ReconnectSchedule {
  readonly #policy: ReconnectOptions | false
  readonly #onHookError: (cause: unknown) => void
  #count = 0
  #requestedDelay = 0 // ms that the server of the next attempt has asked for
  #cause: Retry['cause'] = closeReason(1006)
  #server: string | undefined // the origin that the url function named for this attempt
  /** For each origin that has asked for a delay, the time from which it may be dialled. */
  readonly #notBefore = new Map<string, number>()
  #startedAt = 0
  #connectedAt = 0
  #onWake: (() => void) | undefined

  /** Creates a schedule. `onHookError` receives what the policy's own functions throw. */
  constructor(policy: boolean | ReconnectOptions, onHookError: (cause: unknown) => void) {
    this.#policy = policy === true ? {} : policy
    this.#onHookError = onHookError
  }

  /** Records the start of an attempt. */
  begin(): void {
    this.#startedAt = performance.now()
    this.#server = undefined
  }

  /**
   * Records the server that the url function named for this attempt. Returns the milliseconds until
   * that server may be dialled, 0 if it has asked for no delay.
   */
  remaining({ origin }: URL): number {
    this.#server = origin
    return Math.max(0, Math.floor((this.#notBefore.get(origin) ?? 0) - performance.now()))
  }

  /** Records that the attempt has led to a connection. */
  connected(): void {
    this.#connectedAt = performance.now()
  }

  /** Records the loss of the connection. Resets the count of attempts if it was a stable one. */
  lost(): void {
    if (performance.now() - this.#connectedAt >= STABLE_AFTER) this.#count = 0
  }

  /** Returns the next attempt and counts it, or returns undefined if there is none. */
  next(cause: ConnectError | CloseReason): Retry | undefined {
    const policy = this.#policy
    if (policy === false) return undefined
    const { attempts = false, when } = policy
    if (attempts !== false && this.#count >= attempts) return undefined
    const defaultAnswer = isRetryable(cause)
    const callWhen = when && (() => when(cause, defaultAnswer))
    if (!this.#callHook(WHEN_HOOK, callWhen, () => defaultAnswer)) return undefined
    const requestedDelay = serverRequestedDelay(cause)
    this.#count++
    this.#cause = cause
    if (this.#server === undefined) return this.#makeRetry(requestedDelay)
    // The delay is kept by server, as the url function may name another server next time.
    this.#delayServer(this.#server, requestedDelay)
    return this.#makeRetry(0)
  }

  /** Postpones an attempt that is already counted, because its server has asked for a delay. */
  postpone(milliseconds: number): Retry {
    return this.#makeRetry(milliseconds)
  }

  /** Waits until the attempt is due, `wake` brings it forward, or the signal is aborted. */
  wait({ delay }: Retry, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = deferred<void>()
    const now = performance.now()
    const due = now + delay
    const earliest = Math.max(this.#startedAt + MIN_SPACING, now + this.#requestedDelay)
    // The timer keeps the process running (no `unref`): the program still wants to reconnect.
    let timer = setTimeout(resolve, delay)
    this.#onWake = () => {
      clearTimeout(timer)
      timer = setTimeout(resolve, Math.max(0, Math.min(due, earliest) - performance.now()))
    }
    const onAbort = (): void => resolve()
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    return promise.then(() => {
      clearTimeout(timer)
      this.#onWake = undefined
      signal.removeEventListener('abort', onAbort)
    })
  }

  /**
   * Brings the pending attempt forward, because the network may have come back. However often it is
   * called, the attempt starts at least one second after the previous one, and not before the delay
   * that the server has asked for.
   */
  wake(): void {
    this.#onWake?.()
  }

  #makeRetry(requestedDelay: number): Retry {
    const { delay } = this.#policy || {}
    const attempt = this.#count
    const callDelay = delay && (() => delay(attempt))
    const ownDelay = this.#callHook(DELAY_HOOK, callDelay, () => backoff(attempt))
    this.#requestedDelay = requestedDelay
    return {
      attempt,
      delay: Math.min(MAX_TIMER, requestedDelay + ownDelay),
      cause: this.#cause,
    }
  }

  /** Records how long a server may not be dialled, and forgets the delays that have passed. */
  #delayServer(server: string, milliseconds: number): void {
    const now = performance.now()
    for (const [origin, time] of this.#notBefore) if (time <= now) this.#notBefore.delete(origin)
    if (milliseconds > 0) this.#notBefore.set(server, now + milliseconds)
  }

  /**
   * Calls a function of the policy. If it is missing, or fails and is reported, uses the default.
   */
  #callHook<Value>(
    hook: PolicyHook,
    callback: (() => Value) | undefined,
    useDefault: () => Value,
  ): Value {
    if (!callback) return useDefault()
    try {
      const value = callback()
      if (hook.isValid(value)) return value
      throw invalidValue(hook.subject, hook.expected, value)
    } catch (cause) {
      this.#onHookError(cause)
      return useDefault()
    }
  }
}

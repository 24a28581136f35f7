import { isRetryable } from '../../backoff.ts'
import type { CloseReason } from '../../connection/close-codes.ts'
import { ConnectError } from '../../errors.ts'
import type { ClientOptions, ReconnectOptions } from '../../options/client.ts'
import { isFunction, isObject, MAX_TIMER, invalidValue } from '../../validation.ts'
import { ChannelError } from '../errors.ts'
import type { RejoinOptions } from './options.ts'

const RECONNECT = [10, 50, 100, 150, 200, 250, 500, 1_000, 2_000, 5_000]
const REJOIN = [1_000, 2_000, 5_000, 10_000]

/** The credentials that a client sends when it connects. */
export interface Credentials {
  /**
   * Whether a function returns one of them at every attempt, so that the next attempt may succeed.
   */
  mayChange: boolean
}

/** The default reconnection of a channel client. */
interface DefaultReconnection {
  readonly delay: (attempt: number) => number
  readonly when: (cause: ConnectError | CloseReason) => boolean
}

/**
 * Completes a reconnection policy with the defaults of Phoenix. The policy's own `when` receives
 * the answer of the default one as its second argument.
 */
export function resolveReconnect(
  reconnect: NonNullable<ClientOptions['reconnect']>,
  credentials: Credentials,
): boolean | ReconnectOptions {
  const defaults = defaultReconnection(credentials)
  if (typeof reconnect === 'boolean') return reconnect && defaults
  if (!isObject(reconnect)) return reconnect // the `WebsocketClient` throws for it
  const ownEntries = Object.entries(reconnect).filter(([, value]) => value !== undefined)
  const policy = { ...defaults, ...Object.fromEntries(ownEntries) }
  const { when } = reconnect
  return isFunction(when)
    ? { ...policy, when: (cause) => when(cause, defaults.when(cause)) }
    : policy
}

/**
 * Returns the milliseconds until a channel joins again after this error or close reason, or
 * undefined if the policy says that it doesn't. If a function of the policy fails, uses the default.
 */
export function rejoinDelay(
  policy: boolean | RejoinOptions,
  cause: ChannelError | CloseReason,
  attempt: number,
  onHookError: (cause: unknown) => void,
): number | undefined {
  if (policy === false) return undefined
  if (!(cause instanceof ChannelError)) return 0
  const { delay = defaultRejoinDelay, when } = policy === true ? {} : policy
  try {
    return !when || when(cause) ? checkDelay(delay(attempt)) : undefined
  } catch (failure) {
    onHookError(failure)
    return defaultRejoinDelay(attempt)
  }
}

/**
 * Returns a reconnection with Phoenix's delays. No close code is final: Phoenix ignores them.
 */
function defaultReconnection(credentials: Credentials): DefaultReconnection {
  let isSlow = false
  return {
    delay: (attempt) => drawDelay(RECONNECT, isSlow ? RECONNECT.length : attempt),
    when: (cause) => {
      isSlow = isUnauthorized(cause)
      if (isSlow) return credentials.mayChange
      return !(cause instanceof ConnectError) || isRetryable(cause)
    },
  }
}

function defaultRejoinDelay(attempt: number): number {
  return drawDelay(REJOIN, attempt)
}

/** Returns a random part, at least half, of the delay of an attempt. The last delay repeats. */
function drawDelay(delays: readonly number[], attempt: number): number {
  const delay = delays[Math.min(attempt, delays.length) - 1] ?? 0
  return Math.round((delay * (1 + Math.random())) / 2)
}

function isUnauthorized(cause: ConnectError | CloseReason): boolean {
  return cause instanceof ConnectError && (cause.status === 401 || cause.status === 403)
}

/**
 * Returns a delay, limited to the longest timer.
 *
 * @throws TypeError for a value that is no delay.
 */
function checkDelay(delay: number): number {
  if (delay >= 0 && Number.isFinite(delay)) return Math.min(delay, MAX_TIMER)
  throw invalidValue('the answer of `rejoin.delay`', 'milliseconds from 0 up', delay)
}

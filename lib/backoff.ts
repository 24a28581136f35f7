import type { CloseReason } from './connection/close-codes.ts'
import { ConnectError } from './errors.ts'

const FIRST_DELAY = 1_000
const MAX_DELAY = 30_000
const MAX_REQUESTED = 3_600_000 // a longer request is a mistake of the server, or hostile

// Close codes that the same attempt would only repeat, RFC 6455 §7.4.1.
const FINAL_CODES: readonly number[] = [1000, 1002, 1008]
// Client errors that are temporary: Request Timeout, Too Early, Too Many Requests.
const TEMPORARY_STATUSES: readonly number[] = [408, 425, 429]
// Statuses and close codes that may request a delay, RFC 9110 §10.2.3 and RFC 6585 §4.
const DELAY_STATUSES: readonly number[] = [429, 503]
const DELAY_CODES: readonly number[] = [1012, 1013]

/**
 * Returns random milliseconds to wait before an attempt. Attempt 1 is the first one after a
 * failure. The range is from 0 up to 1 s, 2 s, 4 s … 30 s ("full jitter"), so that clients that
 * lost the same server don't all reconnect at once.
 */
export function backoff(attempt: number, random: () => number = Math.random): number {
  return Math.round(random() * Math.min(MAX_DELAY, FIRST_DELAY * 2 ** (attempt - 1)))
}

/** Returns whether another attempt may succeed after one that ended with `cause`. */
export function isRetryable(cause: ConnectError | CloseReason): boolean {
  if (!(cause instanceof ConnectError)) return !FINAL_CODES.includes(cause.code)
  const { status = 0 } = cause
  return status < 400 || status > 499 || TEMPORARY_STATUSES.includes(status)
}

/**
 * Returns the milliseconds that the server asked the client to wait, up to an hour: `retry=5000` in
 * the text of a close 1012 or 1013, or the Retry-After of a 429 or 503. Returns 0 when the server
 * asked for no delay.
 */
export function serverRequestedDelay(cause: ConnectError | CloseReason, now = Date.now()): number {
  const delay = cause instanceof ConnectError ? delayInHeaders(cause, now) : delayInText(cause)
  return Math.min(MAX_REQUESTED, Math.max(0, delay))
}

function delayInText({ code, description }: CloseReason): number {
  if (!DELAY_CODES.includes(code)) return 0
  return Number(/\bretry=(\d+)\b/.exec(description)?.[1] ?? 0)
}

/** Parses Retry-After: seconds, or a date. A date is relative to the server's Date header. */
function delayInHeaders({ status = 0, headers }: ConnectError, now: number): number {
  const retryAfter = headers?.['retry-after']?.trim() ?? ''
  if (!DELAY_STATUSES.includes(status)) return 0
  if (/^\d+$/.test(retryAfter)) return Number(retryAfter) * 1_000
  const [retryAt, serverNow] = [parseDate(retryAfter), parseDate(headers?.date ?? '')]
  return retryAt === undefined ? 0 : retryAt - (serverNow ?? now)
}

/** Parses a date of RFC 9110 §5.6.7 to milliseconds. Each of its forms begins with a day name. */
function parseDate(text: string): number | undefined {
  const time = /^[A-Z][a-z]{2}/.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(time) ? undefined : time
}

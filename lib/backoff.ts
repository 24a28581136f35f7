import type { CloseReason } from './close.ts'
import { ConnectError } from './errors.ts'

const FIRST = 1_000
const MOST = 30_000
const MOST_ASKED = 3_600_000 // a server that asks for more is mistaken, or means harm

// What the same attempt would end with once more, RFC 6455 §7.4.1.
const FINAL_CODES: readonly number[] = [1000, 1002, 1008]
// The client errors that pass: Request Timeout, Too Early, Too Many Requests.
const PASSING_STATUSES: readonly number[] = [408, 425, 429]
// RFC 9110 §10.2.3 and RFC 6585 §4.
const WAITING_STATUSES: readonly number[] = [429, 503]
const WAITING_CODES: readonly number[] = [1012, 1013]

/**
 * Draws the milliseconds before an attempt, 1 for the first one after a failure: anything from 0 up
 * to 1 s, 2 s, 4 s … 30 s ("full jitter": clients that lost one server don't come back together).
 */
export function backoff(attempt: number, random: () => number = Math.random): number {
  return Math.round(random() * Math.min(MOST, FIRST * 2 ** (attempt - 1)))
}

/** Tells whether another attempt may end better than what this one ended with. */
export function isWorthRetry(cause: ConnectError | CloseReason): boolean {
  if (!(cause instanceof ConnectError)) return !FINAL_CODES.includes(cause.code)
  const { status = 0 } = cause
  return status < 400 || status > 499 || PASSING_STATUSES.includes(status)
}

/**
 * Is the milliseconds for which a server asked to be left alone, up to an hour: `retry=5000` in the
 * text of a close 1012 or 1013, or the Retry-After of a 429 or 503; 0 where it asked for none.
 */
export function askedDelay(cause: ConnectError | CloseReason, now = Date.now()): number {
  const asked = cause instanceof ConnectError ? inHeaders(cause, now) : inText(cause)
  return Math.min(MOST_ASKED, Math.max(0, asked))
}

function inText({ code, description }: CloseReason): number {
  if (!WAITING_CODES.includes(code)) return 0
  return Number(/\bretry=(\d+)\b/.exec(description)?.[1] ?? 0)
}

/** Reads seconds, or a date: by the server's own clock where it tells its time. */
function inHeaders({ status = 0, headers }: ConnectError, now: number): number {
  const after = headers?.['retry-after']?.trim() ?? ''
  if (!WAITING_STATUSES.includes(status)) return 0
  if (/^\d+$/.test(after)) return Number(after) * 1_000
  const [until, there] = [date(after), date(headers?.date ?? '')]
  return until === undefined ? 0 : until - (there ?? now)
}

/** Is a date of RFC 9110 §5.6.7 in milliseconds; every form of it begins with the day's name. */
function date(text: string): number | undefined {
  const time = /^[A-Z][a-z]{2}/.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(time) ? undefined : time
}

import { sendableReason, type CloseReason } from '../close.ts'
import { count, milliseconds, orFalse, settle } from './rules.ts'

/** How a server closes. */
export interface CloseOptions {
  /** The code that its clients are told. Default: 1001, or 1012 where it closes `within` a time. */
  code?: number | undefined
  /** The text that its clients are told. Default: the standard text of the code. */
  description?: string | undefined
  /**
   * Milliseconds over which its clients are closed, so that they don't all come back at once; who
   * comes meanwhile gets 503 with Retry-After. Default: 0, all at once.
   */
  within?: number | undefined
  /** How many clients are closed at once `within` that time. Default: as few as ten times a second. */
  batch?: number | false | undefined
}

/** How a server closes, settled. */
export interface CloseSettings {
  readonly reason: CloseReason
  readonly within: number
  readonly batch: number | false
}

const WORDS = { accepts: (): boolean => true } // what is wrong with them is told by their own check

const rules = {
  code: { ...WORDS, fallback: undefined, wanted: 'a close code' },
  description: { ...WORDS, fallback: undefined, wanted: 'a text' },
  within: milliseconds(0, 0),
  batch: orFalse(count(), false),
}

/**
 * Settles how a server closes.
 *
 * @throws TypeError for an option that is unknown or can't be, RangeError for a code that may not be
 * sent, RFC 6455 §7.4.
 */
export function resolveClose(options: CloseOptions): CloseSettings {
  const { within, batch } = settle(rules, options)
  const { code = within > 0 ? 1012 : 1001, description = '' } = options
  return { reason: sendableReason(code, description), within, batch }
}

import { sendableReason, type CloseReason } from '../connection/close-codes.ts'
import { count, milliseconds, orFalse, resolveOptions } from '../validation.ts'

/** The options of a server's `close`. */
export interface CloseOptions {
  /**
   * The close code that the clients receive.
   *
   * @default 1001, or 1012 if `within` is more than 0
   */
  code?: number | undefined
  /**
   * The text that the clients receive.
   *
   * @default the standard text of the code
   */
  description?: string | undefined
  /**
   * Milliseconds over which the clients are closed, so that they don't all reconnect at once. A
   * handshake in this time gets 503 with Retry-After. 0 closes all at once.
   *
   * @default 0
   */
  within?: number | undefined
  /**
   * The number of clients that are closed at once `within` that time; false for as few as ten
   * batches a second allow.
   *
   * @default false
   */
  batch?: number | false | undefined
}

/** The validated options of a server's `close`, with the defaults filled in. */
export interface CloseSettings {
  readonly reason: CloseReason
  readonly within: number
  readonly batch: number | false
}

// Accepts everything: `sendableReason` checks the code and the description, with its own errors.
const UNCHECKED = { isValid: (): boolean => true }

const rules = {
  code: { ...UNCHECKED, fallback: undefined, expected: 'a close code' },
  description: { ...UNCHECKED, fallback: undefined, expected: 'a text' },
  within: milliseconds(0, 0),
  batch: orFalse(count(), false),
}

/**
 * Validates the options of a server's `close` and fills in the defaults.
 *
 * @throws TypeError for an option that is unknown or invalid, RangeError for a code that may not be
 * sent, RFC 6455 §7.4.
 */
export function resolveClose(options: CloseOptions): CloseSettings {
  const { within, batch } = resolveOptions(rules, options)
  const { code = within > 0 ? 1012 : 1001, description = '' } = options
  return { reason: sendableReason(code, description), within, batch }
}

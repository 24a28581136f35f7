import type { ErrorCodes } from '../errors.ts'
import { describeValue } from '../format.ts'
import type { SchemaIssue } from '../messages/standard-schema.ts'
import { invalidArgument, outOfRange } from '../validation.ts'

/** The reason for which a connection ended, as given by the side that closed first. */
export interface CloseReason {
  /** The close code, RFC 6455 §7.4. */
  readonly code: number
  /** The text that came with the code, or the standard text of the code. */
  readonly description: string
}

/**
 * The reason for which a connection closes because of what its peer sent, and the code of the
 * `FrameError`. Without `errorCode`, that code follows from the close code.
 */
export interface Fault extends CloseReason {
  readonly errorCode?: ErrorCodes['FrameError']
  /** The issues that a schema found in a message. */
  readonly issues?: readonly SchemaIssue[] | undefined
}

/** The close codes of RFC 6455 §7.4.1 and the IANA registry, each with its standard text. */
export const closeCodeTexts: ReadonlyMap<number, string> = new Map([
  [1000, 'Normal connection closure'],
  [1001, 'Remote peer is going away'],
  [1002, 'Protocol error'],
  [1003, 'Unprocessable input'],
  [1004, 'Reserved'],
  [1005, 'Reason not provided'],
  [1006, 'Abnormal closure, no further detail available'],
  [1007, 'Invalid data received'],
  [1008, 'Policy violation'],
  [1009, 'Message too big'],
  [1010, 'Extension requested by client is required'],
  [1011, 'Internal server error'],
  [1012, 'Service restart'],
  [1013, 'Try again later'],
  [1014, 'Bad gateway'],
  [1015, 'TLS handshake failed'],
])

/** Bytes that a close text may have: the 125 of a control frame, less the two of the code. */
export const MAX_TEXT = 123
const RESERVED_CODES: readonly number[] = [1004, 1005, 1006, 1015]

/** Returns whether a code may be sent in a close frame, RFC 6455 §7.4.2. */
export function isSendableCloseCode(code: number): boolean {
  if (!Number.isInteger(code)) return false
  if (code >= 3000 && code <= 4999) return true
  return closeCodeTexts.has(code) && !RESERVED_CODES.includes(code)
}

/**
 * Returns a reason with its text cut to 123 bytes. An empty description is replaced by the standard
 * text of the code. A description is only text: it never changes the code, even if it begins with
 * one.
 */
export function closeReason(code: number, description = ''): CloseReason {
  const text = cutText(description, MAX_TEXT)
  return { code, description: text === '' ? (closeCodeTexts.get(code) ?? '') : text }
}

/**
 * Returns a reason that may be sent in a close frame.
 *
 * @throws TypeError when the description is not a string, RangeError when the code may not be sent.
 */
export function sendableReason(code: number, description: string): CloseReason {
  if (typeof description !== 'string') {
    throw invalidArgument(`expected a close description to be a string, got ${typeof description}`)
  }
  if (isSendableCloseCode(code)) return closeReason(code, description)
  const text =
    `expected a close code that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999), ` +
    `got ${describeValue(code)}`
  throw outOfRange(text)
}

/** Returns the reason for closing on a message of more than `maxSize` bytes. */
export function messageTooBig(maxSize: number): Fault {
  return { code: 1009, description: `Maximum message size of ${maxSize} Bytes exceeded` }
}

/** Cuts a text to at most `bytes` bytes of UTF-8, on a character boundary. */
export function cutText(text: string, bytes: number): string {
  const buffer = new Uint8Array(bytes)
  const { read } = new TextEncoder().encodeInto(text, buffer)
  return text.slice(0, read)
}

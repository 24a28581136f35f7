import { show } from './errors.ts'

/** The reason that a connection ended for, as the side that closed first gave it. */
export interface CloseReason {
  /** A code of RFC 6455 §7.4. */
  readonly code: number
  /** The text that came with it, or the standard text of the code. */
  readonly description: string
}

/** The codes of RFC 6455 §7.4.1 and the IANA registry, each with its standard text. */
export const closeTexts: ReadonlyMap<number, string> = new Map([
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

/** Bytes of a text at most: a control frame's 125, less the code's two. */
export const MOST_TEXT = 123
const NEVER_SENT: readonly number[] = [1004, 1005, 1006, 1015]

/** Tells whether a code may be put on the wire, RFC 6455 §7.4.2. */
export function maySend(code: number): boolean {
  if (!Number.isInteger(code)) return false
  if (code >= 3000 && code <= 4999) return true
  return closeTexts.has(code) && !NEVER_SENT.includes(code)
}

/**
 * Returns a reason with its text cut to 123 bytes. An empty description gets the standard text of the
 * code. A description is text, whatever it begins with: it never changes the code.
 */
export function closeReason(code: number, description = ''): CloseReason {
  const text = cutText(description, MOST_TEXT)
  return { code, description: text === '' ? (closeTexts.get(code) ?? '') : text }
}

/**
 * Returns a reason that may be put on the wire.
 *
 * @throws TypeError when the description is no string, RangeError when the code may not be sent.
 */
export function sendableReason(code: number, description: string): CloseReason {
  if (typeof description !== 'string') {
    throw new TypeError(`expected a close description to be a string, got ${typeof description}`)
  }
  if (maySend(code)) return closeReason(code, description)
  throw new RangeError(
    `expected a close code that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999), ` +
      `got ${show(code)}`,
  )
}

/** Is the reason given to a peer whose message is longer than it may be. */
export function messageTooBig(most: number): CloseReason {
  return { code: 1009, description: `Maximum message size of ${most} Bytes exceeded` }
}

/** Cuts a text to a number of UTF-8 bytes, on a character boundary. */
export function cutText(text: string, bytes: number): string {
  const room = new Uint8Array(bytes)
  const { read } = new TextEncoder().encodeInto(text, room)
  return text.slice(0, read)
}

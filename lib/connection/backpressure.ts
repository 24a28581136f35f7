import type { ConnectionSettings } from '../options/connection.ts'
import type { CloseReason, Fault } from './close-codes.ts'
import { maxByteLength, toBytes, type Data, type PreparedMessage } from './message.ts'

/** The received messages of a connection that wait for their listeners. */
interface WaitingMessages {
  readonly queuedCount: number
  readonly waitingBytes: number
}

// Reading pauses when more than PAUSE_ABOVE messages wait for a slow listener, or more bytes than
// `maxWaitingBytes` / PAUSE_SHARE. It resumes at RESUME_AT messages and half of those bytes.
const PAUSE_ABOVE = 16
const PAUSE_SHARE = 64
const RESUME_AT = 8

/**
 * Returns whether so much waits for slow listeners that reading has to pause, or, with `isPaused`,
 * too much for it to resume.
 */
export function mustPause(
  { queuedCount, waitingBytes }: WaitingMessages,
  { maxWaitingBytes }: ConnectionSettings,
  isPaused: boolean,
): boolean {
  const maxBytes = maxWaitingBytes / PAUSE_SHARE
  if (isPaused) return queuedCount > RESUME_AT || waitingBytes > maxBytes / 2
  return queuedCount > PAUSE_ABOVE || waitingBytes > maxBytes
}

/** Returns whether more bytes wait than allowed. A single message always fits. */
export function isOverfull(
  { queuedCount, waitingBytes }: WaitingMessages,
  { maxWaitingBytes }: ConnectionSettings,
): boolean {
  return queuedCount > 1 && waitingBytes > maxWaitingBytes
}

/** Returns the reason for closing when more bytes wait for a slow listener than allowed. */
export function slowListener({ maxWaitingBytes }: ConnectionSettings): Fault {
  const description = `more than ${maxWaitingBytes} bytes wait for a slow listener`
  return { code: 1008, description, errorCode: 'ERR_SLOW_LISTENER' }
}

/** The reason for closing when more bytes wait than allowed, and there is no listener. */
export const NO_LISTENER: Fault = {
  code: 1008,
  description: 'listen to `message`, even with an empty callback',
  errorCode: 'ERR_NO_LISTENER',
}

/** Returns the number of bytes that may wait for the peer before `send` returns false. */
export function highWaterMark(settings: ConnectionSettings): number {
  return Math.min(settings.highWaterMark, settings.maxBufferedAmount)
}

/**
 * Returns whether a message exceeds `maxBufferedAmount` together with the bytes that wait for the
 * peer. It never does when none wait. Encodes text only when an upper bound of its size exceeds.
 */
export function exceedsBuffer(
  bufferedAmount: number,
  message: Data | PreparedMessage,
  { maxBufferedAmount }: ConnectionSettings,
): boolean {
  if (bufferedAmount === 0) return false
  if (bufferedAmount + maxByteLength(message) <= maxBufferedAmount) return false
  return bufferedAmount + toBytes(message).length > maxBufferedAmount
}

/** Returns the reason for closing when more bytes wait for a slow peer than allowed. */
export function slowPeer({ maxBufferedAmount }: ConnectionSettings): CloseReason {
  return { code: 1013, description: `more than ${maxBufferedAmount} bytes wait to be read` }
}

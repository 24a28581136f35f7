import { constants, isUtf8 } from 'node:buffer'
import {
  isSendableCloseCode,
  messageTooBig,
  type CloseReason,
  type Fault,
} from '../../../connection/close-codes.ts'
import type { ConnectionSettings } from '../../../options/connection.ts'
import { BINARY, CLOSE, COMPRESSED, FIN, MASKED, NO_CODE, OPCODE, PONG, TEXT } from './frame.ts'

const MAX_CONTROL_PAYLOAD = 125
const MIN_FRAGMENT_LIMIT = 16 * 1024 // fragments that every message may have
const ALLOWED_FRAGMENT_SIZE = 64 // bytes; a message of any size may have fragments of this size

/** The rules that the peer's frames must follow. */
export interface FrameRules {
  /** Whether the peer masks its frames: clients do, RFC 6455 §5.1. */
  readonly isMasked: boolean
  /** Whether messages may be compressed, RFC 7692. */
  readonly mayCompress: boolean
  /** Whether the parser asks the listener for each frame whether it may come. */
  readonly countsFrames?: boolean | undefined
  readonly settings: ConnectionSettings
}

/** A message that has begun and is not yet whole. */
export interface BegunMessage {
  readonly isText: boolean
  readonly isCompressed: boolean
  /** Bytes of the message so far, including all bytes that the current frame announces. */
  readonly size: number
  readonly fragments: number
}

export const INVALID_TEXT: Fault = { code: 1007, description: 'invalid UTF-8 sequence' }
const TOO_MANY_FRAGMENTS: Fault = {
  code: 1008,
  description: 'Too many message fragments',
  errorCode: 'ERR_MESSAGE_TOO_BIG',
}
export const HIGHEST_BIT: Fault = {
  code: 1002,
  description: 'the highest bit of a length must be clear',
}
const LONG_LENGTH: Fault = {
  code: 1002,
  description: 'a length must take no more bytes than it needs',
}

/** Returns what is wrong with a frame's first two bytes, RFC 6455 §5.2, §5.4 and §5.5. */
export function findHeaderError(
  first: number,
  second: number,
  { isMasked, mayCompress }: FrameRules,
  message: BegunMessage | undefined,
): string | undefined {
  const opcode = first & OPCODE
  const isData = opcode === TEXT || opcode === BINARY
  if ((first & 0x30) !== 0) return 'RSV2 and RSV3 must be clear'
  if ((first & COMPRESSED) !== 0 && !(mayCompress && isData)) return 'RSV1 must be clear'
  if (opcode >= CLOSE && opcode <= PONG) {
    const length = second & ~MASKED
    if (first < FIN) return 'FIN must be set'
    if (length > MAX_CONTROL_PAYLOAD || (opcode === CLOSE && length === 1)) {
      return `invalid payload length ${length}`
    }
  } else if (opcode > BINARY || isData === (message !== undefined)) {
    return `invalid opcode ${opcode}`
  }
  if (second >= MASKED === isMasked) return undefined
  return isMasked ? 'MASK must be set' : 'MASK must be clear'
}

/**
 * Returns the close reason if the length of a frame is wrong or too big. `lengthField` is the 7-bit
 * field of the header, which is the length itself if it is less than 126.
 */
export function findLimitError(
  first: number,
  [lengthField, length]: readonly [lengthField: number, length: number],
  { settings }: FrameRules,
  message: BegunMessage | undefined,
): Fault | undefined {
  const { maxReceivedFrameSize: maxFrame, maxReceivedMessageSize: maxMessage } = settings
  if (lengthField >= 126 && length < (lengthField === 126 ? 126 : 65_536)) return LONG_LENGTH
  if (maxFrame !== false && length > maxFrame) {
    const description = `frame size exceeds maximum of ${maxFrame} Bytes.`
    return { code: 1008, description, errorCode: 'ERR_MESSAGE_TOO_BIG' }
  }
  if ((first & OPCODE) >= CLOSE) return undefined
  const isText = message?.isText ?? (first & OPCODE) === TEXT
  const isCompressed = message?.isCompressed ?? (first & COMPRESSED) !== 0
  const max = isCompressed ? maxDeflated(maxMessage) : maxMessage
  const maxPossible = isText ? constants.MAX_STRING_LENGTH : constants.MAX_LENGTH
  if ((message?.size ?? 0) + length > Math.min(max, maxPossible)) return messageTooBig(maxMessage)
  if (message && message.fragments >= maxFragments(maxMessage)) return TOO_MANY_FRAGMENTS
  return undefined
}

/** Reads the payload of a close frame, RFC 6455 §5.5.1. */
export function readClose(payload: Uint8Array): CloseReason | { readonly fault: Fault } {
  if (payload.length === 0) return { code: NO_CODE, description: '' }
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  const code = bytes.readUInt16BE()
  if (!isSendableCloseCode(code)) {
    return { fault: { code: 1002, description: `invalid status code ${code}` } }
  }
  const text = bytes.subarray(2)
  if (!isUtf8(text)) return { fault: INVALID_TEXT }
  return { code, description: text.toString() }
}

function maxFragments(maxMessage: number): number {
  return Math.max(MIN_FRAGMENT_LIMIT, Math.ceil(maxMessage / ALLOWED_FRAGMENT_SIZE))
}

/** Returns the maximum size of a compressed message: compression makes some messages longer. */
function maxDeflated(maxMessage: number): number {
  return maxMessage + Math.ceil(maxMessage / 8) + 1024
}

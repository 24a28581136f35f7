import { FrameError } from '../../errors.ts'
import { messageOf, describeValue } from '../../format.ts'
import { MAX_DEPTH, nestsDeeper } from '../../messages/nests-deeper.ts'
import { invalidArgument, invalidValue } from '../../validation.ts'

/** Maximum UTF-8 bytes of a name or ref: a binary frame has one byte for its length. */
export const MAX_NAME = 255
const SHORT_TEXT = 256 // characters; the value of a shorter text takes little memory
const BYTES_OF_VALUE = 40 // for each value in a list, and for each list
/** Levels of JSON around the payload of a push in its frame. */
export const AROUND_PUSH = 1
/** Levels of JSON around the payload of a reply in its frame. */
export const AROUND_REPLY = 2
const LONE_SURROGATE = /[\ud800-\udfff]/u

/** A payload that is JSON text already. A codec that supports it encodes it as the value. */
export class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

const jsonCodecs = new WeakSet<object>()

/**
 * Marks a codec that encodes a `JsonText` as a payload. A codec of the application that wraps this
 * one may not support it, and isn't marked.
 */
export function withJsonText<Kind extends object>(codec: Kind): Kind {
  jsonCodecs.add(codec)
  return codec
}

/** Returns whether a codec encodes a `JsonText` as a payload. */
export function takesJsonText(codec: object): boolean {
  return jsonCodecs.has(codec)
}

/** Returns whether a value is an object in the sense of JSON: no array, and no bytes. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  return !Array.isArray(value) && !ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)
}

/** Creates the error for a message that violates its protocol, with close code 1008. */
export function protocolError(text: string): FrameError {
  return new FrameError(text, { closeCode: 1008 })
}

/**
 * Parses JSON that contains a payload inside of `outerLevels` other levels.
 *
 * @throws FrameError with 1007 for invalid JSON, with 1008 for JSON that is nested too deep.
 */
export function readJson(text: string, outerLevels: number): unknown {
  if (nestsDeeper(text, MAX_DEPTH + outerLevels)) {
    throw protocolError(`JSON nested deeper than ${MAX_DEPTH} levels`)
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FrameError('expected JSON', { closeCode: 1007, code: 'ERR_MESSAGE_INVALID', cause })
  }
}

/**
 * Estimates how many bytes the value of a long JSON text takes in addition to the text: lists of
 * small values take many times the size of their text. Returns 0 for bytes and for a short text.
 */
export function parsedBytes(data: string | Uint8Array): number {
  if (typeof data !== 'string' || data.length < SHORT_TEXT) return 0
  return BYTES_OF_VALUE * [',', '[', '{'].reduce((sum, mark) => sum + countMark(mark, data), 0)
}

function countMark(mark: string, text: string): number {
  let count = 0
  for (let index = text.indexOf(mark); index >= 0; index = text.indexOf(mark, index + 1)) count += 1
  return count
}

/**
 * Writes a value as JSON; `label` names the value in errors.
 *
 * @throws TypeError with the cause for what can't be JSON: a BigInt, a cycle, `undefined`, or more
 * levels than a peer or another node accepts.
 */
export function writeJson(value: unknown, label: string, maxDepth: number = MAX_DEPTH): string {
  if (value instanceof JsonText) return value.text
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    throw invalidValue(label, 'a JSON value or a Uint8Array', value)
  }
  const text = stringify(value, label)
  if (text !== undefined && nestsDeeper(text, maxDepth)) {
    throw invalidArgument(`${label} nests deeper than ${maxDepth} levels of JSON: make it flatter`)
  }
  if (text !== undefined) return text
  const kind =
    typeof value === 'object' ? 'an object whose `toJSON` is undefined' : describeValue(value)
  throw invalidArgument(`${label} can't be JSON: it is ${kind}`)
}

/**
 * Checks a client's name of a topic or an event. Returns it.
 *
 * @throws FrameError with 1008 for what isn't a string, is too long, or has a lone surrogate.
 */
export function assertName(value: unknown, label: string): string {
  if (typeof value !== 'string') throw protocolError(`expected \`${label}\` to be a string`)
  if (isTooLong(value)) throw protocolError(`\`${label}\` is longer than ${MAX_NAME} bytes`)
  if (LONE_SURROGATE.test(value)) throw protocolError(`\`${label}\` has half a surrogate pair`)
  return value
}

/**
 * Checks a peer's ref or join_ref. Returns it.
 *
 * @throws FrameError with 1008 for what is neither a string nor null, is too long, or has a lone
 * surrogate.
 */
export function assertRef(value: unknown, label: string): string | null {
  if (value === null) return null
  if (typeof value !== 'string') throw protocolError(`expected \`${label}\` to be a string or null`)
  if (isTooLong(value)) throw protocolError(`\`${label}\` is longer than ${MAX_NAME} bytes`)
  if (LONE_SURROGATE.test(value)) throw protocolError(`\`${label}\` has half a surrogate pair`)
  return value
}

/** Returns the bytes of a text in UTF-8. A lone surrogate counts as the three bytes of U+FFFD. */
export function utf8Length(text: string): number {
  let bytes = text.length
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit >= 0x80) bytes += 1
    if (unit >= 0x800) bytes += 1
    if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(index + 1))) {
      index += 1 // a surrogate pair is four bytes
    }
  }
  return bytes
}

// A code unit takes one to three bytes, so most texts need no count.
function isTooLong(text: string): boolean {
  if (3 * text.length <= MAX_NAME) return false
  return text.length > MAX_NAME || utf8Length(text) > MAX_NAME
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000
}

function stringify(value: unknown, label: string): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    const [reason = ''] = messageOf(cause).split('\n')
    throw invalidArgument(`${label} can't be JSON: ${reason}`, cause)
  }
}

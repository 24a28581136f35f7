import { FrameError, messageOf, show, unexpected } from '../errors.ts'

/** Bytes of UTF-8 that a name or ref may have: its length is one byte in a binary frame. */
export const MOST_NAME = 255
/**
 * Levels of JSON that a payload may nest, said or heard, in every dialect: far below where
 * JSON.stringify runs out of stack.
 */
export const MOST_DEPTH = 512
const SHORT_TEXT = 256 // characters; the value of a shorter text takes little
const BYTES_OF_VALUE = 40 // in a list, or of a list
/** Levels of a frame around the payload of a push, */
export const AROUND_PUSH = 1
/** and around that of a reply. */
export const AROUND_REPLY = 2

/** A payload that is JSON already. Stands for its value where a codec takes it. */
export class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

const jsonCodecs = new WeakSet<object>()

/** Notes that a codec encodes a `JsonText` as a payload; a codec of your own that is made of it may not. */
export function withJsonText<Kind extends object>(codec: Kind): Kind {
  jsonCodecs.add(codec)
  return codec
}

/** Tells whether a codec encodes a `JsonText` as a payload. */
export function takesJsonText(codec: object): boolean {
  return jsonCodecs.has(codec)
}

/** Returns whether a value is what JSON calls an object. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  return !Array.isArray(value) && !ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)
}

/** Makes the error of a message that breaks the rules of its dialect. */
export function malformed(text: string): FrameError {
  return new FrameError(text, { code: 1008 })
}

/**
 * Reads a text of JSON with a payload in it, which has so many levels around it.
 *
 * @throws FrameError with 1007 for what isn't JSON, with 1008 for what nests too deep.
 */
export function readJson(text: string, around: number): unknown {
  if (nestsDeeper(text, MOST_DEPTH + around)) {
    throw malformed(`JSON nested deeper than ${MOST_DEPTH} levels`)
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FrameError('expected JSON', { code: 1007, cause })
  }
}

/**
 * Returns about how many bytes more than its text the value of a long JSON text takes: lists of small
 * values take many times their text.
 */
export function parsedBytes(data: string | Uint8Array): number {
  if (typeof data !== 'string' || data.length < SHORT_TEXT) return 0
  return BYTES_OF_VALUE * [',', '[', '{'].reduce((sum, mark) => sum + countOf(mark, data), 0)
}

function countOf(mark: string, text: string): number {
  let count = 0
  for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) count += 1
  return count
}

/**
 * Writes a value as JSON.
 *
 * @throws TypeError with the cause for what can't be written: a BigInt, a cycle, `undefined`, or more
 * levels than a peer, or another node, would read.
 */
export function writeJson(value: unknown, what: string, most: number = MOST_DEPTH): string {
  if (value instanceof JsonText) return value.text
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    throw unexpected(what, 'a JSON value or a Uint8Array', value)
  }
  const text = stringified(value, what)
  if (text !== undefined && nestsDeeper(text, most)) {
    throw new TypeError(`${what} nests deeper than ${most} levels of JSON: make it flatter`)
  }
  if (text !== undefined) return text
  const kind = typeof value === 'object' ? 'an object whose `toJSON` is undefined' : show(value)
  throw new TypeError(`${what} can't be JSON: it is ${kind}`)
}

/**
 * Checks what a client names a topic or an event with.
 *
 * @throws FrameError with 1008 for what isn't a string, is too long, or has half a character.
 */
export function checkName(value: unknown, what: string): string {
  if (typeof value !== 'string') throw malformed(`expected \`${what}\` to be a string`)
  if (isTooLong(value)) throw malformed(`\`${what}\` is longer than ${MOST_NAME} bytes`)
  if (LONE_SURROGATE.test(value)) throw malformed(`\`${what}\` has half a surrogate pair`)
  return value
}

/**
 * Checks what a peer numbers a frame with.
 *
 * @throws FrameError with 1008 for what is neither a string nor null, is too long, or has half a character.
 */
export function checkRef(value: unknown, what: string): string | null {
  if (value === null) return null
  if (typeof value !== 'string') throw malformed(`expected \`${what}\` to be a string or null`)
  if (isTooLong(value)) throw malformed(`\`${what}\` is longer than ${MOST_NAME} bytes`)
  if (LONE_SURROGATE.test(value)) throw malformed(`\`${what}\` has half a surrogate pair`)
  return value
}

/** Counts the bytes of a text in UTF-8, where half a surrogate pair takes the place of three. */
export function byteLength(text: string): number {
  let bytes = text.length
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit >= 0x80) bytes += 1
    if (unit >= 0x800) bytes += 1
    if (unit >= 0xd800 && unit < 0xdc00 && isLow(text.charCodeAt(index + 1))) {
      index += 1 // two units are four bytes
    }
  }
  return bytes
}

// Few have to be counted: a unit of a string takes one to three bytes.
function isTooLong(text: string): boolean {
  if (3 * text.length <= MOST_NAME) return false
  return text.length > MOST_NAME || byteLength(text) > MOST_NAME
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000
}

function stringified(value: unknown, what: string): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    const [reason = ''] = messageOf(cause).split('\n')
    throw new TypeError(`${what} can't be JSON: ${reason}`, { cause })
  }
}

// Read from the text, so that nobody meets what is too deep: JSON.parse of some engines, or whoever
// walks through its result, recurses. Few texts have to be read for it.
function nestsDeeper(text: string, most: number): boolean {
  // A level takes two characters, and one of them is a bracket that opens.
  if (text.length <= 2 * most || !opensMoreThan(text, most)) return false
  let depth = 0
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit === QUOTE) index = endOfString(text, index)
    else if (unit === OPEN_ARRAY || unit === OPEN_OBJECT) depth += 1
    else if (unit === CLOSE_ARRAY || unit === CLOSE_OBJECT) depth -= 1
    if (depth > most) return true
  }
  return false
}

// Those in strings count, too: then the text is read, and that's all.
function opensMoreThan(text: string, most: number): boolean {
  let count = 0
  for (const bracket of ['[', '{']) {
    let at = text.indexOf(bracket)
    while (at >= 0 && count <= most) {
      count += 1
      at = text.indexOf(bracket, at + 1)
    }
  }
  return count > most
}

/** Returns where the string of JSON that begins at a quote ends: at its other quote, or with the text. */
export function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end >= 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end < 0 ? text.length : end
}

function isEscaped(text: string, index: number): boolean {
  let start = index
  while (text.charCodeAt(start - 1) === BACKSLASH) start -= 1
  return (index - start) % 2 === 1
}

const LONE_SURROGATE = /[\ud800-\udfff]/u
const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

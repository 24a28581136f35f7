import { isUtf8 } from 'node:buffer'

const NOTHING = new Uint8Array(0)
const CONTINUATIONS = [0x80, 0xbf] // the first and the last byte that may go on with a character

/** Judges a text that comes in parts, cut anywhere: RFC 6455 §8.1. */
export class Utf8 {
  #begun = NOTHING // a character that isn't whole yet

  /** Takes the next part, and tells whether the text may still become one. */
  take(part: Uint8Array): boolean {
    const bytes = this.#begun.length === 0 ? part : Buffer.concat([this.#begun, part])
    const end = bytes.length - begunIn(bytes)
    this.#begun = Uint8Array.from(bytes.subarray(end))
    return isUtf8(bytes.subarray(0, end)) && mayEnd(this.#begun)
  }
}

/** Counts the bytes at the end that begin a character which takes more. */
function begunIn(bytes: Uint8Array): number {
  for (let count = 1; count < 4 && count <= bytes.length; count++) {
    const byte = bytes[bytes.length - count] ?? 0
    if (byte >= 0xc0) return count < lengthOf(byte) ? count : 0
    if (byte < 0x80) return 0
  }
  return 0
}

/** Whether what begins a character can be the beginning of one. */
function mayEnd(begun: Uint8Array): boolean {
  if (begun.length === 0) return true
  const whole = new Uint8Array(lengthOf(begun[0] ?? 0))
  return CONTINUATIONS.some((byte) => {
    whole.fill(byte).set(begun)
    return isUtf8(whole)
  })
}

/** Is how many bytes a character takes, by its first one. */
function lengthOf(first: number): number {
  return first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
}

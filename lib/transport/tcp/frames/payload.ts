import { constants, isUtf8 } from 'node:buffer'

const MIN_SIZE = 1024 // bytes of the first buffer
const MAX_SPARE_POWER = 20 // as a power of two; larger buffers are not kept for the next payload
const CONTINUATIONS = [0x80, 0xbf] // lowest and highest byte that can continue a character

// Allocating costs more than copying, so one buffer of each power of two is kept for reuse.
const spareBuffers: (Buffer | undefined)[] = []

/** A payload that arrives in parts. One growing buffer holds the bytes so far. */
export class Payload {
  /** Number of bytes so far. */
  size = 0
  #buffer: Buffer | undefined

  /** Appends bytes of a chunk. `missing` is the number of bytes that may still follow. */
  append(chunk: Uint8Array, start: number, end: number, missing: number): void {
    const needed = this.size + end - start
    const buffer = this.#reserve(needed, missing)
    buffer.set(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), this.size)
    this.size = needed
  }

  /** The bytes so far, not copied. */
  get bytes(): Buffer {
    return this.#buffer?.subarray(0, this.size) ?? Buffer.alloc(0)
  }

  /** Hands the bytes over to the caller. At most half of their buffer is unused. */
  take(): Uint8Array {
    const { size } = this
    const buffer = this.#buffer
    if (!buffer) return new Uint8Array(0)
    if (2 * size >= buffer.length) return new Uint8Array(buffer.buffer, buffer.byteOffset, size)
    const copy = Uint8Array.from(this.bytes)
    this.release()
    return copy
  }

  /** Releases the buffer, so that another payload can use it. */
  release(): void {
    if (this.#buffer) keepSpare(this.#buffer)
    this.#buffer = undefined
  }

  /** Reserves `needed` bytes and as many again, but not more than may still follow. */
  #reserve(needed: number, missing: number): Buffer {
    const current = this.#buffer
    if (current && needed <= current.length) return current
    const length = Math.min(Math.max(2 * needed, MIN_SIZE), needed + missing, constants.MAX_LENGTH)
    const buffer = allocate(length)
    if (current) {
      buffer.set(current.subarray(0, this.size))
      keepSpare(current)
    }
    this.#buffer = buffer
    return buffer
  }
}

/** A payload that is skipped: no bytes are kept. */
export class SkippedPayload extends Payload {
  override append(): void {}
}

/** A text that arrives in parts, and is validated as early as possible, RFC 6455 §8.1. */
export class TextPayload extends Payload {
  #checked = 0 // bytes known to be whole characters
  #isAscii = true

  /** Whether the text so far ends with a whole character. */
  get isWhole(): boolean {
    return this.#checked === this.size
  }

  /** Appends bytes of a chunk. Returns whether the bytes so far can begin a valid text. */
  appendText(
    chunk: Uint8Array,
    [start, end, missing]: readonly [start: number, end: number, missing: number],
    isAscii: boolean,
  ): boolean {
    const { isWhole } = this
    this.append(chunk, start, end, missing)
    if (!isAscii || !isWhole) return this.#check()
    this.#checked = this.size
    return true
  }

  /** Decodes the whole text. */
  decode(): string {
    const text = this.bytes.toString(this.#isAscii ? 'latin1' : 'utf8')
    this.release()
    return text
  }

  #check(): boolean {
    const bytes = this.bytes
    const end = bytes.length - countIncomplete(bytes.subarray(this.#checked))
    const unchecked = bytes.subarray(this.#checked, end)
    this.#isAscii = false
    this.#checked = end
    return isUtf8(unchecked) && canContinue(bytes.subarray(end))
  }
}

function allocate(size: number): Buffer {
  const power = 32 - Math.clz32(size - 1)
  const spare = spareBuffers[power]
  spareBuffers[power] = undefined
  return spare ?? Buffer.allocUnsafeSlow(size)
}

function keepSpare(buffer: Buffer): void {
  const power = 31 - Math.clz32(buffer.length)
  if (power <= MAX_SPARE_POWER) spareBuffers[power] = buffer
}

/** Counts the bytes at the end that belong to an incomplete character. */
function countIncomplete(bytes: Uint8Array): number {
  for (let count = 1; count < 4 && count <= bytes.length; count++) {
    const byte = bytes[bytes.length - count] ?? 0
    if (byte >= 0xc0) return count < characterLength(byte) ? count : 0
    if (byte < 0x80) return 0
  }
  return 0
}

/** Returns whether bytes can be the beginning of a valid character. */
function canContinue(beginning: Uint8Array): boolean {
  if (beginning.length === 0) return true
  const character = new Uint8Array(characterLength(beginning[0] ?? 0))
  return CONTINUATIONS.some((byte) => {
    character.fill(byte).set(beginning)
    return isUtf8(character)
  })
}

/** Returns the number of bytes of a character, given its first byte. */
function characterLength(first: number): number {
  return first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
}

import { constants, isUtf8 } from 'node:buffer'

const LEAST = 1024 // bytes of a buffer at first
const LARGEST_SPARE = 20 // a power of two: larger buffers are not kept for the next payload
const CONTINUATIONS = [0x80, 0xbf] // the first and the last byte that can continue a character

// Allocating costs more than copying. One buffer of each power of two waits for the next payload.
const spares: (Buffer | undefined)[] = []

/** A payload that arrives in parts: its bytes so far, in one growing buffer. */
export class Payload {
  /** Bytes so far. */
  size = 0
  #buffer: Buffer | undefined

  /** Appends bytes of a chunk; `missing` more are known to follow. */
  append(chunk: Uint8Array, start: number, end: number, missing: number): void {
    const needed = this.size + end - start
    const buffer = this.#reserve(needed, missing)
    buffer.set(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), this.size)
    this.size = needed
  }

  /** The bytes so far, in place. */
  get bytes(): Buffer {
    return this.#buffer?.subarray(0, this.size) ?? Buffer.alloc(0)
  }

  /** Hands the bytes over; at most half of the memory behind them is unused. */
  take(): Uint8Array {
    const { size } = this
    const buffer = this.#buffer
    if (!buffer) return new Uint8Array(0)
    if (2 * size >= buffer.length) return new Uint8Array(buffer.buffer, buffer.byteOffset, size)
    const copy = Uint8Array.from(this.bytes)
    this.release()
    return copy
  }

  /** Lets the next payload use the buffer. */
  release(): void {
    if (this.#buffer) keepSpare(this.#buffer)
    this.#buffer = undefined
  }

  /** Finds room for so many bytes, and for as many again, but not for more than is to come. */
  #reserve(needed: number, missing: number): Buffer {
    const before = this.#buffer
    if (before && needed <= before.length) return before
    const wanted = Math.min(Math.max(2 * needed, LEAST), needed + missing, constants.MAX_LENGTH)
    const buffer = allocate(wanted)
    if (before) {
      buffer.set(before.subarray(0, this.size))
      keepSpare(before)
    }
    this.#buffer = buffer
    return buffer
  }
}

/** A payload of which nothing is kept. */
export class SkippedPayload extends Payload {
  override append(): void {}
}

/** A text that arrives in parts, judged as early as can be: RFC 6455 §8.1. */
export class TextPayload extends Payload {
  #checked = 0 // bytes known to be whole characters
  #isAscii = true

  /** Whether it ends with a whole character. */
  get isWhole(): boolean {
    return this.#checked === this.size
  }

  /** Appends bytes of a chunk. Returns whether the bytes so far can become a text. */
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
    const end = bytes.length - countBegun(bytes.subarray(this.#checked))
    const fresh = bytes.subarray(this.#checked, end)
    this.#isAscii = false
    this.#checked = end
    return isUtf8(fresh) && canContinue(bytes.subarray(end))
  }
}

function allocate(size: number): Buffer {
  const power = 32 - Math.clz32(size - 1)
  const spare = spares[power]
  spares[power] = undefined
  return spare ?? Buffer.allocUnsafeSlow(size)
}

function keepSpare(buffer: Buffer): void {
  const power = 31 - Math.clz32(buffer.length)
  if (power <= LARGEST_SPARE) spares[power] = buffer
}

/** Counts the bytes at the end that begin a character which takes more. */
function countBegun(bytes: Uint8Array): number {
  for (let count = 1; count < 4 && count <= bytes.length; count++) {
    const byte = bytes[bytes.length - count] ?? 0
    if (byte >= 0xc0) return count < characterLength(byte) ? count : 0
    if (byte < 0x80) return 0
  }
  return 0
}

/** Returns whether bytes can be the beginning of a character. */
function canContinue(begun: Uint8Array): boolean {
  if (begun.length === 0) return true
  const whole = new Uint8Array(characterLength(begun[0] ?? 0))
  return CONTINUATIONS.some((byte) => {
    whole.fill(byte).set(begun)
    return isUtf8(whole)
  })
}

/** Returns how many bytes a character takes, by its first one. */
function characterLength(first: number): number {
  return first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
}

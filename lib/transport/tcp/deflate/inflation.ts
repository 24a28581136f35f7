import type { ZlibOptions } from 'node:zlib'
import type { Fault } from '../../../connection/close-codes.ts'
import { slideWindow } from './slide-window.ts'

const MAX_STREAMS = 2 // in one message; a final block ends a stream, and each takes one zlib call
const MIN_CHUNK = 1024 // bytes of an output buffer of zlib
const MAX_CHUNK = 64 * 1024
const USUAL_RATIO = 4

/** The result of zlib with the option `info`. */
export interface Inflated {
  readonly buffer: Buffer
  /** The zlib stream. Its `bytesWritten` is the number of input bytes it has consumed. */
  readonly engine: { readonly bytesWritten: number }
}

/** The options for inflating one message. */
export interface InflationOptions {
  readonly windowBits: number
  /** Maximum size of the message, in bytes. */
  readonly maxSize: number
  /** The bytes that the message may look back at. */
  readonly history: Buffer
}

/**
 * The bytes that are added to a payload. A sender leaves out the length of the empty block at the
 * end, RFC 7692 §7.2.1. Here a block with a marker replaces that block, and a final block follows.
 * If the marker does not come out at the end, the payload was cut off inside a block.
 */
interface Trailer {
  readonly bytes: Buffer
  readonly marker: Buffer
  /**
   * The length field of the block with the marker. It comes out before the marker if a block of the
   * payload has taken in the whole trailer except its final block.
   */
  readonly lengthField: Buffer
}

function makeTrailer(length: number): Trailer {
  const marker = Buffer.alloc(length, 0x07) // no block begins with this byte
  const lengthField = Buffer.of(length, 0x00, ~length & 0xff, 0xff)
  return { bytes: Buffer.concat([lengthField, marker, Buffer.of(0x03, 0x00)]), marker, lengthField }
}

// A message may itself end with the length field of the first trailer. Then the second is tried.
const TRAILERS = [makeTrailer(8), makeTrailer(9)] as const

const CUT_OFF: Fault = {
  code: 1007,
  description: 'a compressed message is cut off',
  errorCode: 'ERR_INVALID_FRAME',
}
const TOO_MANY_STREAMS: Fault = {
  code: 1008,
  description: `a compressed message goes on behind ${MAX_STREAMS} final blocks`,
  errorCode: 'ERR_INVALID_FRAME',
}

/** The state of inflating one message, which usually takes one call of zlib, sometimes more. */
export class Inflation {
  readonly #windowBits: number
  readonly #maxSize: number
  #history: Buffer
  #rest: Uint8Array
  #trailer: Trailer = TRAILERS[0]
  #parts: Buffer[] = []
  #size = 0
  #error: Fault | undefined
  #isTooBig = false

  constructor(payload: Uint8Array, { windowBits, maxSize, history }: InflationOptions) {
    this.#rest = payload
    this.#windowBits = windowBits
    this.#maxSize = maxSize
    this.#history = history
  }

  /** Whether zlib has to be called (again). */
  get isUnderWay(): boolean {
    return this.#rest.length > 0 && !this.#error && !this.#isTooBig
  }

  /** The input of the next zlib call. */
  get input(): Buffer {
    return Buffer.concat([this.#rest, this.#trailer.bytes])
  }

  /** The options of the next zlib call. */
  get zlibOptions(): ZlibOptions & { readonly info: true } {
    const extra = this.#trailer.marker.length
    const guess = Math.min(this.#maxSize, USUAL_RATIO * this.#rest.length) + extra
    return {
      windowBits: this.#windowBits,
      info: true,
      maxOutputLength: this.#maxSize - this.#size + extra,
      chunkSize: Math.min(MAX_CHUNK, Math.max(MIN_CHUNK, guess)),
      ...(this.#history.length > 0 && { dictionary: this.#history }),
    }
  }

  /** Whether the message is bigger than `maxSize`. */
  get isTooBig(): boolean {
    return this.#isTooBig
  }

  /** The message, or the close reason if it is invalid. */
  get outcome(): Buffer | Fault {
    const [first = Buffer.alloc(0), ...more] = this.#parts
    return this.#error ?? (more.length === 0 ? first : Buffer.concat(this.#parts))
  }

  /** The bytes that the next message may look back at. */
  get history(): Buffer {
    return this.#history
  }

  /** Adds the result of a zlib call. */
  add({ buffer, engine: { bytesWritten: consumed } }: Inflated): void {
    const length = this.#rest.length
    if (consumed <= length) {
      this.#addUpToFinalBlock(buffer, consumed)
      return
    }
    const { bytes, marker, lengthField } = this.#trailer
    const data = buffer.subarray(0, -marker.length)
    if (consumed < length + bytes.length || !endsWith(buffer, marker)) this.#error = CUT_OFF
    else if (!endsWith(data, lengthField)) this.#addPart(data, length)
    else if (this.#trailer === TRAILERS[0]) this.#trailer = TRAILERS[1]
    else this.#addPart(data, length)
  }

  /** Records an error that zlib threw. */
  fail(error: unknown): void {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') this.#isTooBig = true
    else this.#error = { code: 1007, description: message, errorCode: 'ERR_INVALID_FRAME' }
  }

  #addUpToFinalBlock(data: Buffer, consumed: number): void {
    this.#addPart(data, consumed)
    // Skips the empty block that must follow a final block, RFC 7692 §7.2.3.4.
    if (this.#rest.length === 1 && this.#rest[0] === 0) this.#rest = this.#rest.subarray(1)
    if (this.#rest.length > 0 && this.#parts.length === MAX_STREAMS) this.#error = TOO_MANY_STREAMS
  }

  #addPart(data: Buffer, consumed: number): void {
    this.#parts.push(data)
    this.#size += data.length
    this.#isTooBig = this.#size > this.#maxSize
    this.#rest = this.#rest.subarray(consumed)
    this.#history = slideWindow(this.#history, data, this.#windowBits)
  }
}

function endsWith(bytes: Buffer, suffix: Buffer): boolean {
  return bytes.length >= suffix.length && bytes.subarray(-suffix.length).equals(suffix)
}

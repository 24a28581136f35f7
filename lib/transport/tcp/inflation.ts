import type { ZlibOptions } from 'node:zlib'
import type { CloseReason } from '../../close.ts'
import { slideWindow } from './sliding-window.ts'

const MAX_STREAMS = 2 // of a message, each a call of zlib: a final block ends one
const MIN_CHUNK = 1024 // bytes that zlib is given at once to inflate into
const MAX_CHUNK = 64 * 1024
const USUAL_RATIO = 4

/** What zlib gives with the option `info`. */
export interface Inflated {
  readonly buffer: Buffer
  /** What inflated it; it counts the bytes that it took as written to it. */
  readonly engine: { readonly bytesWritten: number }
}

/** How a message is inflated. */
export interface InflationOptions {
  readonly windowBits: number
  /** Bytes of the message at most. */
  readonly maxSize: number
  /** What it may look back at. */
  readonly history: Buffer
}

/**
 * What is put behind a payload. A sender leaves out the length of the empty block at its end, RFC
 * 7692 §7.2.1: here a block with a marker takes its place, and a final one follows. Where the marker
 * does not come out at the end, the payload was broken off inside a block.
 */
interface Trailer {
  readonly bytes: Buffer
  readonly marker: Buffer
  /** What comes out before the marker where a block swallowed the whole trailer but its final block. */
  readonly swallowed: Buffer
}

function makeTrailer(length: number): Trailer {
  const marker = Buffer.alloc(length, 0x07) // which begins no block
  const swallowed = Buffer.of(length, 0x00, ~length & 0xff, 0xff)
  return { bytes: Buffer.concat([swallowed, marker, Buffer.of(0x03, 0x00)]), marker, swallowed }
}

// A payload that ends with what the first one may come out as is tried with the second one.
const TRAILERS = [makeTrailer(8), makeTrailer(9)] as const

const CUT_OFF: CloseReason = { code: 1007, description: 'a compressed message is cut off' }
const TOO_MANY_STREAMS: CloseReason = {
  code: 1008,
  description: `a compressed message goes on behind ${MAX_STREAMS} final blocks`,
}

/** One message that is being inflated, in as many calls of zlib as it takes: one, as a rule. */
export class Inflation {
  readonly #windowBits: number
  readonly #maxSize: number
  #history: Buffer
  #rest: Uint8Array
  #trailer: Trailer = TRAILERS[0]
  #parts: Buffer[] = []
  #size = 0
  #refusal: CloseReason | undefined
  #isTooBig = false

  constructor(payload: Uint8Array, { windowBits, maxSize, history }: InflationOptions) {
    this.#rest = payload
    this.#windowBits = windowBits
    this.#maxSize = maxSize
    this.#history = history
  }

  /** Whether zlib has to be called, or called once more. */
  get isUnderWay(): boolean {
    return this.#rest.length > 0 && !this.#refusal && !this.#isTooBig
  }

  /** The bytes for zlib, */
  get input(): Buffer {
    return Buffer.concat([this.#rest, this.#trailer.bytes])
  }

  /** and its options. */
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

  /** Whether more came than may come. */
  get isTooBig(): boolean {
    return this.#isTooBig
  }

  /** The message, or what is wrong with it. */
  get outcome(): Buffer | CloseReason {
    const [only = Buffer.alloc(0), ...more] = this.#parts
    return this.#refusal ?? (more.length === 0 ? only : Buffer.concat(this.#parts))
  }

  /** What a message behind this one may look back at. */
  get history(): Buffer {
    return this.#history
  }

  /** Takes what zlib gave. */
  take({ buffer, engine: { bytesWritten: used } }: Inflated): void {
    const length = this.#rest.length
    if (used <= length) {
      this.#keepUpToFinalBlock(buffer, used)
      return
    }
    const { bytes, marker, swallowed } = this.#trailer
    const data = buffer.subarray(0, -marker.length)
    if (used < length + bytes.length || !endsWith(buffer, marker)) this.#refusal = CUT_OFF
    else if (!endsWith(data, swallowed)) this.#keep(data, length)
    else if (this.#trailer === TRAILERS[0]) this.#trailer = TRAILERS[1]
    else this.#keep(data, length)
  }

  /** Takes what zlib threw. */
  fail(error: unknown): void {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') this.#isTooBig = true
    else this.#refusal = { code: 1007, description: message }
  }

  #keepUpToFinalBlock(data: Buffer, used: number): void {
    this.#keep(data, used)
    // The empty block that is due behind a final one, RFC 7692 §7.2.3.4.
    if (this.#rest.length === 1 && this.#rest[0] === 0) this.#rest = this.#rest.subarray(1)
    if (this.#rest.length > 0 && this.#parts.length === MAX_STREAMS)
      this.#refusal = TOO_MANY_STREAMS
  }

  #keep(data: Buffer, used: number): void {
    this.#parts.push(data)
    this.#size += data.length
    this.#isTooBig = this.#size > this.#maxSize
    this.#rest = this.#rest.subarray(used)
    this.#history = slideWindow(this.#history, data, this.#windowBits)
  }
}

function endsWith(bytes: Buffer, end: Buffer): boolean {
  return bytes.length >= end.length && bytes.subarray(-end.length).equals(end)
}

import { isUtf8 } from 'node:buffer'
import type { Data } from '../message.ts'
import { BINARY, CLOSE, FIN, isFrame, mask, OPCODE, TEXT, type Stream } from './frame.ts'

const TEXT_FRAME = FIN | TEXT
const BINARY_FRAME = FIN | BINARY
const SHORT = 64 // bytes; fewer are looked at one by one
const COPIED = 4 * 1024 // bytes; fewer of a fragment are copied
const MUCH = 4 // times; a message in a chunk that is longer is copied out, or it would keep it alive
const PAGE = 1024 // bytes decoded at once: a text cut out of them keeps no more alive

/** What a reader tells, and whom it asks. */
export interface Reading {
  /** What comes. */
  readonly stream: Stream
  /** Bytes of a message in one frame at most. */
  readonly most: number
  /** Whether no more messages are to be read for now: the rest of the chunk is kept. */
  readonly paused?: boolean
  /** A whole message came. */
  message(data: Data, size: number): void
  /**
   * Takes bytes of frames that are not read here, in order, and tells whether frames may follow that
   * are; `left` is how many of the same payload are still to come.
   */
  leave(bytes: Buffer, left: number): boolean
}

/**
 * Reads the frames of one connection: messages that came whole, in one frame and one chunk. All else
 * is left to somebody who knows everything: fragments, control frames, those cut by the end of a
 * chunk, and from the first that makes no sense on, all that comes.
 */
export class Reader {
  readonly #reading: Reading
  #tail: Buffer | undefined // the beginning of a frame too short to know its length
  #left = 0 // bytes of a frame that is left to others which are still to come
  #fragmented = false
  #over = false
  #page = '' // the bytes of a chunk from here on, a letter each: for the short texts among them
  #pageAt = 0

  /** Makes one that tells of what it read. */
  constructor(reading: Reading) {
    this.#reading = reading
  }

  /** Bytes that came and are kept for later. */
  get heldBytes(): number {
    return this.#tail?.length ?? 0
  }

  /** Reads the next bytes that came. */
  read(chunk: Buffer): void {
    if (this.#over) {
      this.#reading.leave(chunk, 0)
      return
    }
    const bytes = this.#tail ? Buffer.concat([this.#tail, chunk]) : chunk
    this.#tail = undefined
    let at = Math.min(this.#left, bytes.length)
    if (at > 0) this.#part(bytes.subarray(0, at))
    while (at < bytes.length && !this.#over && !this.#reading.paused) at = this.#frame(bytes, at)
    this.#page = ''
    if (at < bytes.length && !this.#over) this.#keep(bytes, at)
  }

  /** Reads one frame, and tells where the next one begins. */
  #frame(bytes: Buffer, at: number): number {
    const first = bytes[at] ?? 0
    const second = bytes[at + 1]
    if (second === undefined) return this.#keep(bytes, at)
    const { stream, most } = this.#reading
    const opcode = first & OPCODE
    if (opcode === CLOSE || !isFrame(first, second, this.#fragmented, stream)) {
      return this.#rest(bytes, at)
    }
    const short = second & 0x7f
    const lengthBytes = short < 126 ? 0 : short === 126 ? 2 : 8
    if (at + 2 + lengthBytes > bytes.length) return this.#keep(bytes, at)
    const length = lengthBytes === 0 ? short : longLength(bytes, at + 2, lengthBytes)
    if (length < least(lengthBytes)) return this.#rest(bytes, at)
    const start = at + 2 + lengthBytes + (stream.masked ? 4 : 0)
    const end = start + length
    const data = first === TEXT_FRAME || first === BINARY_FRAME
    if (data && end <= bytes.length && length <= most) {
      return this.#message(bytes, first, start, end) ? end : this.#rest(bytes, at)
    }
    const fragment = opcode < CLOSE
    if (fragment) this.#fragmented = first < FIN
    if (end <= bytes.length) {
      const frame = bytes.subarray(at, end)
      // A fragment waits for the others: a copy doesn't keep the whole chunk alive until then.
      this.#leave(fragment && frame.length < COPIED ? Buffer.from(frame) : frame)
      return end
    }
    // By its header others may find that it makes no sense: at once, and not when it has come.
    const body = at + 2 + lengthBytes
    this.#left = end - body
    this.#leave(bytes.subarray(at, body))
    if (!this.#over && body < bytes.length) this.#part(bytes.subarray(body))
    return bytes.length
  }

  /** Leaves the next bytes of a payload that comes in several chunks. */
  #part(bytes: Buffer): void {
    this.#left -= bytes.length
    this.#leave(bytes, this.#left)
  }

  /** Leaves all that comes from here on to others. */
  #rest(bytes: Buffer, at: number): number {
    this.#over = true
    this.#reading.leave(bytes.subarray(at), 0)
    return bytes.length
  }

  /** Tells of a message; of a text that is none it tells nothing, and leaves it as it was. */
  #message(bytes: Buffer, first: number, start: number, end: number): boolean {
    const { masked } = this.#reading.stream
    const text = first === TEXT_FRAME
    const ascii = masked ? mask(bytes, start - 4, start, end) : text && isAscii(bytes, start, end)
    if (!text) {
      const size = end - start
      const data = new Uint8Array(bytes.buffer, bytes.byteOffset + start, size)
      this.#reading.message(MUCH * size < bytes.length ? data.slice() : data, size)
      return true
    }
    if (ascii) {
      const letters = masked ? bytes.toString('latin1', start, end) : this.#cut(bytes, start, end)
      this.#reading.message(letters, end - start)
      return true
    }
    if (isUtf8(bytes.subarray(start, end))) {
      this.#reading.message(bytes.toString('utf8', start, end), end - start)
      return true
    }
    if (masked) mask(bytes, start - 4, start, end)
    return false
  }

  /** Cuts a short text out of a page that was decoded at once: each call of its own costs more. */
  #cut(bytes: Buffer, start: number, end: number): string {
    if (start < this.#pageAt || end > this.#pageAt + this.#page.length) {
      this.#pageAt = start
      this.#page = bytes.toString('latin1', start, Math.max(end, start + PAGE))
    }
    return this.#page.slice(start - this.#pageAt, end - this.#pageAt)
  }

  #leave(bytes: Buffer, left = 0): void {
    if (!this.#reading.leave(bytes, left)) this.#over = true
  }

  #keep(bytes: Buffer, at: number): number {
    this.#tail = Buffer.from(bytes.subarray(at)) // a copy: it would keep the whole chunk
    return bytes.length
  }
}

/** Is the shortest payload whose length takes so many bytes, RFC 6455 §5.2. */
function least(lengthBytes: number): number {
  return lengthBytes === 0 ? 0 : lengthBytes === 2 ? 126 : 65_536
}

function longLength(bytes: Buffer, at: number, size: number): number {
  if (size === 2) return bytes.readUInt16BE(at)
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
}

function isAscii(bytes: Buffer, start: number, end: number): boolean {
  if (end - start > SHORT) return false // then it is decoded faster than it is looked at
  let all = 0 // every bit that any byte has
  let at = start
  for (; at + 4 <= end; at += 4) {
    all |= bytes[at] ?? 0
    all |= bytes[at + 1] ?? 0
    all |= bytes[at + 2] ?? 0
    all |= bytes[at + 3] ?? 0
  }
  for (; at < end; at++) all |= bytes[at] ?? 0
  return all < 0x80
}

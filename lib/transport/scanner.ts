import { messageTooBig, type CloseReason } from '../close.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import { CLOSE, FIN, isFrame, mask, OPCODE, RESERVED, TEXT, type Stream } from './frame.ts'
import { Utf8 } from './utf8.ts'

const LEAST = new Map([
  [126, 126],
  [127, 65_536],
]) // bytes that need a length of their own, by what the short one says instead
const MASK_LENGTH = 4
const FEWEST_FRAGMENTS = 16 * 1024
const HONEST = 64 // bytes; a message may be cut into fragments of this size

/**
 * Looks at the frames in a stream of bytes before `ws` does, RFC 6455 §5.2: for what `ws` lets pass,
 * or finds too late.
 */
export class FrameScanner {
  /** What is wrong with the stream: nothing that comes behind it is to be read. */
  fault: CloseReason | undefined

  readonly #settings: ConnectionSettings
  readonly #stream: Stream
  #header: number[] = [] // the bytes of a header that isn't whole yet
  #payload = 0 // bytes of the payload still to come
  #fragmented = false // whether a message is under way
  #compressed = false // that message
  #size = 0 // bytes of it so far
  #text: Utf8 | undefined // which comes in fragments, uncompressed
  #reading = false // whether the payload is a part of it
  #mask: Uint8Array | undefined // the four bytes, the first one first for the next of the payload

  /** Makes one for the frames of one connection. */
  constructor(settings: ConnectionSettings, stream: Stream) {
    this.#settings = settings
    this.#stream = stream
  }

  /** Looks through the next bytes of the stream, and tells how many of them may be read. */
  scan(chunk: Uint8Array): number {
    let offset = 0
    let start = 0 // of the frame under way
    while (offset < chunk.length && !this.fault) {
      if (this.#payload > 0) {
        const part = Math.min(this.#payload, chunk.length - offset)
        this.#payload -= part
        if (this.#reading) this.#read(chunk.subarray(offset, offset + part))
        if (this.fault) return offset
        offset += part
        continue
      }
      if (this.#header.length === 0) start = offset
      this.#header.push(chunk[offset++] ?? 0)
      // Before `ws` has seen the whole length: it doesn't wait for the mask behind it, either.
      if (this.#header.length === maskAt(this.#header)) this.fault = this.#judge()
      if (this.#header.length < headerLength(this.#header)) continue
      this.#enter()
      this.#header = []
    }
    return this.fault ? start : offset
  }

  /** Judges a frame by its header up to its mask. */
  #judge(): CloseReason | undefined {
    const [first = 0, second = 0, third = 0] = this.#header
    const { maxReceivedFrameSize: most, maxReceivedMessageSize: mostOfMessage } = this.#settings
    if (!this.#isFrame()) return undefined // `ws` has seen that already
    const opcode = first & OPCODE
    const short = second & 0x7f
    const length = payloadLength(this.#header)
    if (short === 127 && third > 0x7f) {
      return { code: 1002, description: 'the highest bit of a length must be clear' }
    }
    if (length < (LEAST.get(short) ?? 0)) {
      return { code: 1002, description: 'a length must take no more bytes than it needs' }
    }
    if (most !== false && length > most) {
      return { code: 1008, description: `frame size exceeds maximum of ${most} Bytes.` }
    }
    if (opcode >= CLOSE) return undefined
    if (opcode !== 0) {
      this.#compressed = (first & RESERVED) !== 0
      this.#size = 0
      this.#text = undefined
    }
    this.#size += length
    const tooBig = this.#size > mostOfMessage && !this.#compressed
    return tooBig ? messageTooBig(mostOfMessage) : undefined
  }

  /** Follows a text over its fragments; the last one `ws` judges as soon, as a whole. */
  #enter(): void {
    const [first = 0, second = 0] = this.#header
    const opcode = first & OPCODE
    const last = opcode === CLOSE || !this.#isFrame()
    this.#payload = last ? Infinity : payloadLength(this.#header) // nothing is read behind the last
    this.#reading = false
    if (opcode >= CLOSE) return
    this.#fragmented = first < FIN
    if (!this.#fragmented) return
    if (opcode === TEXT && !this.#compressed) this.#text = new Utf8()
    this.#reading = this.#text !== undefined && (first & RESERVED) === 0
    this.#mask = second > 0x7f ? Uint8Array.from(this.#header.slice(-MASK_LENGTH)) : undefined
  }

  #isFrame(): boolean {
    const [first = 0, second = 0] = this.#header
    return isFrame(first, second, this.#fragmented, this.#stream)
  }

  #read(part: Uint8Array): void {
    const bytes = this.#mask ? unmasked(part, this.#mask) : part
    if (this.#text?.take(bytes) === false) {
      this.fault = { code: 1007, description: 'invalid UTF-8 sequence' }
    }
    this.#mask = this.#mask?.map((_, index, all) => all[(index + part.length) & 3] ?? 0)
  }
}

/** Is into how many fragments a message may be cut. */
export function mostFragments({ maxReceivedMessageSize: most }: ConnectionSettings): number {
  return Math.max(FEWEST_FRAGMENTS, Math.ceil(most / HONEST))
}

/** Is a copy of what was masked, as it was before. */
function unmasked(part: Uint8Array, key: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(MASK_LENGTH + part.length)
  bytes.set(key)
  bytes.set(part, MASK_LENGTH)
  mask(bytes, 0, MASK_LENGTH, bytes.length)
  return bytes.subarray(MASK_LENGTH)
}

function maskAt([, second = 0]: readonly number[]): number {
  const length = second & 0x7f
  return 2 + (length === 127 ? 8 : length === 126 ? 2 : 0)
}

function headerLength(header: readonly number[]): number {
  const [, second = 0] = header
  return maskAt(header) + (second > 0x7f ? MASK_LENGTH : 0)
}

function payloadLength([, second = 0, ...rest]: readonly number[]): number {
  const length = second & 0x7f
  if (length < 126) return length
  return rest.slice(0, length === 126 ? 2 : 8).reduce((sum, byte) => sum * 256 + byte, 0)
}

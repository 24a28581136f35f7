import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../../connection/close-codes.ts'
import { PreparedMessage, toBytes, type Data } from '../../../connection/message.ts'
import { BINARY, CLOSE, COMPRESSED, CONTINUATION, FIN, MASKED, NO_CODE, TEXT } from './frame.ts'
import { applyMask, drawKey, writeKey } from './mask.ts'
import { WriteBacklog } from './write-backlog.ts'

const KEY_LENGTH = 4
const MAX_HEADER_LENGTH = 14
const MAX_CHARACTER_LENGTH = 4
const PLAIN = 0 // the variant of an uncompressed message
const EMPTY = new Uint8Array(0)
const SLAB_SIZE = 80 * 1024 // bytes
const MAX_IN_SLAB = 64 * 1024 // bytes; a longer payload gets a buffer of its own
const MAX_JOINED = 16 * 1024 // bytes; up to here joining is faster than separate writes
const SHORT_TEXT = 64 // characters; up to here writing one by one is faster

// Only Node is known to let the memory of a write change once the write has ended.
const isNode = !('bun' in process.versions || 'deno' in process.versions)

// All connections write their frames one after the other into one slab. Its memory is used again in
// the next turn. But while a slow peer has not read its frames, they stay in the slab, and the slab
// is replaced once it is full.
let slab = Buffer.allocUnsafeSlow(SLAB_SIZE)
let slabUsed = 0
let isSlabPinned = false
let slabOwner: FrameWriter | undefined // the writer of the last frames in the slab

let dirtyWriters: FrameWriter[] = [] // the writers that will be flushed when this turn ends

/** The options of a frame writer. */
export interface FrameWriterOptions {
  /** Whether the writer masks its frames: clients do, RFC 6455 §5.1. */
  readonly isMasked: boolean
  readonly fragmentationThreshold: number | false
}

/** The framing of one connection's messages. Collects the frames of a turn into one write. */
export class FrameWriter {
  /** Bytes framed and not yet written to the TCP socket. */
  size = 0
  /** Bytes written to the TCP socket so far. */
  bytesWritten = 0

  readonly #tcp: Duplex
  readonly #options: FrameWriterOptions
  #pieces: Uint8Array[] | undefined
  #backlog: WriteBacklog | undefined // frames that wait until TCP has taken the earlier ones
  #start = 0 // of this writer's frames at the end of the slab
  #end = 0 // of the same frames
  #isScheduled = false
  #onFlushed: (() => void) | undefined

  constructor(tcp: Duplex, options: FrameWriterOptions) {
    this.#tcp = tcp
    this.#options = options
  }

  /** Calls `onFlushed` once everything sent so far has been handed on. */
  notify(onFlushed: () => void): void {
    this.#onFlushed = onFlushed
    this.#scheduleFlush()
  }

  /** Frames a message without compression. */
  writeMessage(message: Data | PreparedMessage): void {
    if (typeof message === 'string') this.#frameText(message)
    else if (!(message instanceof PreparedMessage)) this.writePayload(BINARY, message)
    else this.writePrepared(message, PLAIN, message.bytes)
  }

  /**
   * Frames a message that is sent to many connections. `payload` is compressed in the way that the
   * variant stands for. The frame is made once for each variant, unless it is masked.
   */
  writePrepared(message: PreparedMessage, variant: number, payload: Uint8Array): void {
    const first = (message.isText ? TEXT : BINARY) | (variant === PLAIN ? 0 : COMPRESSED)
    if (this.#options.isMasked) this.writePayload(first, payload)
    else
      this.writeFrame(
        message.cachedFrame(variant) ??
          message.cacheFrame(variant, this.#makeFrame(first, payload)),
      )
  }

  /** Frames a payload. `first` is the frame's first byte: its opcode, and RSV1 if compressed. */
  writePayload(first: number, payload: Uint8Array): void {
    const { length } = payload
    if (length > MAX_IN_SLAB || this.#needsFragments(length)) {
      this.writeFrame(this.#makeFrame(first, payload))
      return
    }
    const header = this.#headerLength(length)
    const start = this.#reserve(header + length)
    slab.set(payload, start + header)
    this.#commit(start, first, length)
  }

  /** Adds a frame that is complete already. */
  writeFrame(frame: Uint8Array): void {
    this.#sealPiece()
    this.#pieces ??= []
    this.#pieces.push(frame)
    this.size += frame.length
    this.#scheduleFlush()
  }

  /** Adds a close frame with the reason, RFC 6455 §5.5.1. */
  close({ code, description }: CloseReason): void {
    const text = toBytes(description)
    this.writePayload(
      CLOSE,
      code === NO_CODE ? text : Uint8Array.of(code >> 8, code & 0xff, ...text),
    )
  }

  /**
   * Writes all frames to TCP. While TCP has not yet taken earlier bytes, moves the frames to the
   * backlog, which is written later.
   */
  flush(): void {
    this.#isScheduled = false
    if (this.size === 0 && !this.#onFlushed) return
    if (this.#tcp.writableLength === 0 || !this.#tcp.writable) {
      this.flushNow()
      return
    }
    const isFirst = !this.#backlog
    this.#backlog ??= new WriteBacklog()
    for (const piece of this.#takePieces()) this.#backlog.add(piece)
    if (isFirst) this.#tcp.write(EMPTY, () => this.flushNow())
  }

  /** Writes all frames to TCP at once. */
  flushNow(): void {
    const { size } = this
    const onFlushed = this.#onFlushed
    const waiting = this.#backlog?.take() ?? []
    this.#backlog = undefined
    if (size === 0 && !onFlushed) return
    this.size = 0
    this.bytesWritten += size
    this.#onFlushed = undefined
    const pieces = [...waiting, ...this.#takePieces()]
    if (size === 0) pieces.push(EMPTY)
    if (this.#tcp.writable) write(this.#tcp, pieces, size, onFlushed)
  }

  #frameText(text: string): void {
    const { length } = text
    if (this.#needsFragments(3 * length)) {
      this.writePayload(TEXT, Buffer.from(text))
      return
    }
    if (length > MAX_IN_SLAB) {
      this.writeFrame(frameOfText(text, this.#options.isMasked))
      return
    }
    // The size in bytes is only known after writing. Most texts take one byte for each character.
    const start = this.#reserve(MAX_HEADER_LENGTH + length + MAX_CHARACTER_LENGTH)
    const maxBytes = Math.min(3 * length, SLAB_SIZE - MAX_HEADER_LENGTH - start)
    const header = this.#headerLength(length)
    const size = writeText(slab, text, start + header, maxBytes)
    if (size > maxBytes - MAX_CHARACTER_LENGTH && maxBytes < 3 * length) {
      // The slab may have been too short, so that the text was cut. The next frame needs a new one.
      slabUsed = SLAB_SIZE
      this.writeFrame(frameOfText(text, this.#options.isMasked))
      return
    }
    const actual = this.#headerLength(size)
    if (actual !== header) slab.copyWithin(start + actual, start + header, start + header + size)
    this.#commit(start, TEXT, size)
  }

  #needsFragments(length: number): boolean {
    const { fragmentationThreshold: maxBytes } = this.#options
    return maxBytes !== false && length > maxBytes
  }

  /** Frames a payload in a buffer of its own, in fragments if it is too long for one frame. */
  #makeFrame(first: number, payload: Uint8Array): Uint8Array {
    const { isMasked, fragmentationThreshold: maxBytes } = this.#options
    if (maxBytes === false || payload.length <= maxBytes || (first & CLOSE) !== 0) {
      return encodeFrame(FIN | first, payload, isMasked)
    }
    const frames: Uint8Array[] = []
    for (let at = 0; at < payload.length; at += maxBytes) {
      const fin = at + maxBytes >= payload.length ? FIN : 0
      const opcode = at === 0 ? first : CONTINUATION
      frames.push(encodeFrame(fin | opcode, payload.subarray(at, at + maxBytes), isMasked))
    }
    return Buffer.concat(frames)
  }

  #headerLength(payload: number): number {
    return headerLength(payload) + (this.#options.isMasked ? KEY_LENGTH : 0)
  }

  /** Writes the header before a payload that is already in the slab. */
  #commit(start: number, first: number, payload: number): void {
    const { isMasked } = this.#options
    const length = writeHeader(slab, start, FIN | first, payload, isMasked) + payload
    this.size += length
    this.#end = slabUsed += length
    this.#scheduleFlush()
  }

  #scheduleFlush(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    if (dirtyWriters.push(this) === 1) process.nextTick(flushAll)
  }

  /** Reserves bytes in the slab. Replaces the slab if it is too full. Returns the position. */
  #reserve(maxBytes: number): number {
    if (slabUsed + maxBytes > SLAB_SIZE) {
      if (slabOwner) slabOwner.#sealPiece()
      slab = Buffer.allocUnsafeSlow(SLAB_SIZE)
      slabUsed = 0
      isSlabPinned = false
    }
    if (slabOwner !== this && slabOwner) slabOwner.#sealPiece()
    setSlabOwner(this)
    if (this.#start === this.#end) this.#start = this.#end = slabUsed
    return slabUsed
  }

  /** Turns this writer's frames at the end of the slab into a piece. */
  #sealPiece(): void {
    if (slabOwner !== this) return
    slabOwner = undefined
    if (this.#start === this.#end) return
    this.#pieces ??= []
    this.#pieces.push(slab.subarray(this.#start, this.#end))
    this.#start = this.#end
  }

  #takePieces(): Uint8Array[] {
    this.#sealPiece()
    const pieces = this.#pieces ?? []
    this.#pieces = undefined
    return pieces
  }
}

function write(
  tcp: Duplex,
  pieces: Uint8Array[],
  size: number,
  onFlushed: (() => void) | undefined,
): void {
  // A piece that waits would keep its whole slab in memory, also the frames of other connections.
  if (tcp.writableLength > 0) copySmallParts(pieces)
  const [first = EMPTY] = pieces
  if (pieces.length === 1) {
    tcp.write(first, onFlushed)
  } else if (size <= MAX_JOINED) {
    tcp.write(joinPieces(pieces, size), onFlushed)
  } else {
    tcp.cork()
    for (const piece of pieces) tcp.write(piece)
    if (onFlushed) tcp.write(EMPTY, onFlushed)
    tcp.uncork()
  }
  // A stream that isn't a socket may pass on the same memory that it was given.
  if (tcp.writableLength > 0 || !isNode || !(tcp instanceof Socket)) isSlabPinned = true
}

/** Frames a text in a buffer of its own. */
function frameOfText(text: string, isMasked: boolean): Uint8Array {
  const size = Buffer.byteLength(text)
  const header = headerLength(size) + (isMasked ? KEY_LENGTH : 0)
  const frame = Buffer.allocUnsafeSlow(header + size)
  frame.write(text, header)
  writeHeader(frame, 0, FIN | TEXT, size, isMasked)
  return frame
}

/** Frames a payload in a buffer of its own. The payload may change afterwards. */
export function encodeFrame(first: number, payload: Uint8Array, isMasked = false): Uint8Array {
  const length = headerLength(payload.length) + (isMasked ? KEY_LENGTH : 0)
  const frame = Buffer.allocUnsafeSlow(length + payload.length)
  frame.set(payload, length)
  writeHeader(frame, 0, first, payload.length, isMasked)
  return frame
}

// Many connections are often sent the same pieces in one turn: these pieces are joined once.
let lastJoined: { readonly pieces: readonly Uint8Array[]; readonly whole: Uint8Array } | undefined

/** Joins pieces. They must not change afterwards, because the result is kept for this turn. */
function joinPieces(pieces: readonly Uint8Array[], size: number): Uint8Array {
  if (lastJoined?.pieces.length === pieces.length && pieces.every(isInLastJoined)) {
    return lastJoined.whole
  }
  lastJoined = { pieces, whole: Buffer.concat(pieces, size) }
  return lastJoined.whole
}

function isInLastJoined(piece: Uint8Array, index: number): boolean {
  return lastJoined?.pieces[index] === piece
}

/** Copies each piece that is a small part of its buffer. */
function copySmallParts(pieces: Uint8Array[]): void {
  for (const [index, piece] of pieces.entries()) {
    if (4 * piece.length < piece.buffer.byteLength) pieces[index] = new Uint8Array(piece)
  }
}

function setSlabOwner(writer: FrameWriter): void {
  slabOwner = writer
}

function flushAll(): void {
  const batch = dirtyWriters
  dirtyWriters = []
  for (const writer of batch) writer.flush()
  lastJoined = undefined
  if (isSlabPinned || dirtyWriters.length > 0) return
  slabUsed = 0
}

function headerLength(payload: number): number {
  return payload < 126 ? 2 : payload < 65_536 ? 4 : 10
}

/** Writes a frame's header, masks the payload after it, and returns the header's length. */
function writeHeader(
  target: Buffer,
  at: number,
  first: number,
  payload: number,
  isMasked: boolean,
): number {
  const bit = isMasked ? MASKED : 0
  const length = headerLength(payload)
  target[at] = first
  if (payload < 126) {
    target[at + 1] = bit | payload
  } else if (payload < 65_536) {
    target[at + 1] = bit | 126
    target[at + 2] = payload >> 8
    target[at + 3] = payload
  } else {
    target[at + 1] = bit | 127
    target.writeUInt16BE(0, at + 2)
    target.writeUIntBE(payload, at + 4, 6)
  }
  if (!isMasked) return length
  const start = at + length + KEY_LENGTH
  const key = drawKey()
  writeKey(target, key, at + length)
  applyMask(target, key, start, start + payload)
  return length + KEY_LENGTH
}

/** Writes a text as UTF-8 into at most `maxBytes` bytes. Returns the number of bytes written. */
function writeText(target: Buffer, text: string, at: number, maxBytes: number): number {
  const { length } = text
  if (length > SHORT_TEXT) return target.write(text, at, maxBytes)
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index)
    if (code > 0x7f) return target.write(text, at, maxBytes)
    target[at + index] = code
  }
  return length
}

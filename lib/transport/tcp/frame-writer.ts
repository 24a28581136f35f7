import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../close.ts'
import { Message, toBytes, type Data } from '../../message.ts'
import { BINARY, CLOSE, COMPRESSED, CONTINUATION, FIN, MASKED, NO_CODE, TEXT } from './frame.ts'
import { applyMask, drawKey, writeKey } from './mask.ts'
import { WriteBacklog } from './write-backlog.ts'

const KEY_LENGTH = 4
const LONGEST_HEADER = 14
const LONGEST_CHARACTER = 4
const PLAIN = 0 // the variant of a message that needs no extension
const NOTHING = new Uint8Array(0)
const SLAB = 80 * 1024
const MAX_IN_SLAB = 64 * 1024 // bytes; a longer payload gets a buffer of its own
const MAX_JOINED = 16 * 1024 // bytes; so many are joined faster than they are written apart
const SHORT = 64 // letters; a shorter text is written faster letter by letter

// Only there is known that the memory of a write may change once the write has ended.
const isNode = !('bun' in process.versions || 'deno' in process.versions)

// All connections write their frames one behind the other into one slab. What a slow peer has still
// to read stays where it is, and the slab is replaced; otherwise its memory is used again.
let slab = Buffer.allocUnsafeSlow(SLAB)
let used = 0
let isSlabPinned = false
let latest: FrameWriter | undefined // whose frames are the last ones in the slab

let gathering: FrameWriter[] = [] // those that have something to write when this turn ends

/** How a connection writes. */
export interface FrameWriterOptions {
  /** Whether it masks: clients do, RFC 6455 §5.1. */
  readonly isMasked: boolean
  readonly fragmentationThreshold: number | false
}

/** Frames what one connection sends, and gathers it, so that a turn leaves in one write. */
export class FrameWriter {
  /** Bytes gathered and not yet given to the TCP socket. */
  size = 0
  /** Bytes given to it. */
  bytesWritten = 0

  readonly #tcp: Duplex
  readonly #options: FrameWriterOptions
  #pieces: Uint8Array[] | undefined
  #backlog: WriteBacklog | undefined // what waits until TCP has taken what it was given
  #start = 0 // of those frames at the end of the slab that are ours
  #end = 0
  #isGathering = false
  #onWritten: (() => void) | undefined

  constructor(tcp: Duplex, options: FrameWriterOptions) {
    this.#tcp = tcp
    this.#options = options
  }

  /** Calls back when what was sent so far has been handed on. */
  notify(onWritten: () => void): void {
    this.#onWritten = onWritten
    this.#gather()
  }

  /** Frames a message as it is. */
  message(message: Data | Message): void {
    if (typeof message === 'string') this.#text(message)
    else if (!(message instanceof Message)) this.bytes(BINARY, message)
    else this.prepared(message, PLAIN, message.bytes)
  }

  /**
   * Frames a message that is sent to many: as it is, or compressed in the way that the variant names.
   * Its frame is made once for each variant, unless it is masked.
   */
  prepared(message: Message, variant: number, payload: Uint8Array): void {
    const first = (message.isText ? TEXT : BINARY) | (variant === PLAIN ? 0 : COMPRESSED)
    if (this.#options.isMasked) this.bytes(first, payload)
    else this.frame(message.variant(variant) ?? message.keep(variant, this.#framed(first, payload)))
  }

  /** Frames a payload; the first byte of the frame is its opcode, and its bits where it has any. */
  bytes(first: number, payload: Uint8Array): void {
    const { length } = payload
    if (length > MAX_IN_SLAB || this.#isTooLong(length)) {
      this.frame(this.#framed(first, payload))
      return
    }
    const header = this.#headerLength(length)
    const start = this.#begin(header + length)
    slab.set(payload, start + header)
    this.#finish(start, first, length)
  }

  /** Adds what is framed already. */
  frame(frame: Uint8Array): void {
    this.#close()
    this.#pieces ??= []
    this.#pieces.push(frame)
    this.size += frame.length
    this.#gather()
  }

  /** Frames why the connection closes, RFC 6455 §5.5.1. */
  close({ code, description }: CloseReason): void {
    const text = toBytes(description)
    this.bytes(CLOSE, code === NO_CODE ? text : Uint8Array.of(code >> 8, code & 0xff, ...text))
  }

  /** Hands everything on, unless TCP has still to take what it was given: then that waits here, joined. */
  flush(): void {
    this.#isGathering = false
    if (this.size === 0 && !this.#onWritten) return
    if (this.#tcp.writableLength === 0 || !this.#tcp.writable) {
      this.flushNow()
      return
    }
    const isFirst = !this.#backlog
    this.#backlog ??= new WriteBacklog()
    for (const piece of this.#take()) this.#backlog.add(piece)
    if (isFirst) this.#tcp.write(NOTHING, () => this.flushNow())
  }

  /** Hands everything on at once. */
  flushNow(): void {
    const { size } = this
    const onWritten = this.#onWritten
    const waiting = this.#backlog?.take() ?? []
    this.#backlog = undefined
    if (size === 0 && !onWritten) return
    this.size = 0
    this.bytesWritten += size
    this.#onWritten = undefined
    const pieces = [...waiting, ...this.#take()]
    if (size === 0) pieces.push(NOTHING)
    if (this.#tcp.writable) write(this.#tcp, pieces, size, onWritten)
  }

  #text(text: string): void {
    const { length } = text
    if (this.#isTooLong(3 * length)) {
      this.bytes(TEXT, Buffer.from(text))
      return
    }
    if (length > MAX_IN_SLAB) {
      this.frame(frameOfText(text, this.#options.isMasked))
      return
    }
    // How long it is turns out when it is written. Most texts take a byte for each letter.
    const start = this.#begin(LONGEST_HEADER + length)
    const most = Math.min(3 * length, SLAB - LONGEST_HEADER - start)
    const header = this.#headerLength(length)
    const size = writeText(slab, text, start + header, most)
    if (size > most - LONGEST_CHARACTER && most < 3 * length) {
      this.frame(frameOfText(text, this.#options.isMasked)) // it may have been cut
      return
    }
    const actual = this.#headerLength(size)
    if (actual !== header) slab.copyWithin(start + actual, start + header, start + header + size)
    this.#finish(start, TEXT, size)
  }

  #isTooLong(length: number): boolean {
    const { fragmentationThreshold: most } = this.#options
    return most !== false && length > most
  }

  /** Frames a payload in a buffer of its own, in fragments where it is too long for one frame. */
  #framed(first: number, payload: Uint8Array): Uint8Array {
    const { isMasked, fragmentationThreshold: most } = this.#options
    if (most === false || payload.length <= most || (first & CLOSE) !== 0) {
      return frameOf(FIN | first, payload, isMasked)
    }
    const frames: Uint8Array[] = []
    for (let at = 0; at < payload.length; at += most) {
      const fin = at + most >= payload.length ? FIN : 0
      const opcode = at === 0 ? first : CONTINUATION
      frames.push(frameOf(fin | opcode, payload.subarray(at, at + most), isMasked))
    }
    return Buffer.concat(frames)
  }

  #headerLength(payload: number): number {
    return headerLength(payload) + (this.#options.isMasked ? KEY_LENGTH : 0)
  }

  /** Puts the header before a payload that stands in the slab. */
  #finish(start: number, first: number, payload: number): void {
    const { isMasked } = this.#options
    const length = writeHeader(slab, start, FIN | first, payload, isMasked) + payload
    this.size += length
    this.#end = used += length
    this.#gather()
  }

  #gather(): void {
    if (this.#isGathering) return
    this.#isGathering = true
    if (gathering.push(this) === 1) process.nextTick(flushAll)
  }

  /** Finds room in the slab, behind our own frames if they are the last ones. */
  #begin(most: number): number {
    if (used + most > SLAB) {
      if (latest) latest.#close()
      slab = Buffer.allocUnsafeSlow(SLAB)
      used = 0
      isSlabPinned = false
    }
    if (latest !== this && latest) latest.#close()
    useSlab(this)
    if (this.#start === this.#end) this.#start = this.#end = used
    return used
  }

  /** Makes a piece of our frames at the end of the slab. */
  #close(): void {
    if (latest !== this) return
    latest = undefined
    if (this.#start === this.#end) return
    this.#pieces ??= []
    this.#pieces.push(slab.subarray(this.#start, this.#end))
    this.#start = this.#end
  }

  #take(): Uint8Array[] {
    this.#close()
    const pieces = this.#pieces ?? []
    this.#pieces = undefined
    return pieces
  }
}

function write(
  tcp: Duplex,
  pieces: Uint8Array[],
  size: number,
  onWritten: (() => void) | undefined,
): void {
  // What waits would keep its whole slab alive, of which others may have most.
  if (tcp.writableLength > 0) release(pieces)
  const [first = NOTHING] = pieces
  if (pieces.length === 1) {
    tcp.write(first, onWritten)
  } else if (size <= MAX_JOINED) {
    tcp.write(joined(pieces, size), onWritten)
  } else {
    tcp.cork()
    for (const piece of pieces) tcp.write(piece)
    if (onWritten) tcp.write(NOTHING, onWritten)
    tcp.uncork()
  }
  // A stream that isn't a socket may hand on the very memory that it was given.
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

/** Frames a payload in a buffer of its own; what it is made of may change afterwards. */
export function frameOf(first: number, payload: Uint8Array, isMasked = false): Uint8Array {
  const length = headerLength(payload.length) + (isMasked ? KEY_LENGTH : 0)
  const frame = Buffer.allocUnsafeSlow(length + payload.length)
  frame.set(payload, length)
  writeHeader(frame, 0, first, payload.length, isMasked)
  return frame
}

// What many were sent in one turn is the same for all of them: it is joined once.
let joint: { readonly pieces: readonly Uint8Array[]; readonly whole: Uint8Array } | undefined

/** Joins pieces that do not change any more. */
function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  if (joint?.pieces.length === pieces.length && pieces.every(isOfJoint)) return joint.whole
  joint = { pieces, whole: Buffer.concat(pieces, size) }
  return joint.whole
}

function isOfJoint(piece: Uint8Array, index: number): boolean {
  return joint?.pieces[index] === piece
}

/** Copies what is a small part of its buffer. */
function release(pieces: Uint8Array[]): void {
  for (const [index, piece] of pieces.entries()) {
    if (4 * piece.length < piece.buffer.byteLength) pieces[index] = new Uint8Array(piece)
  }
}

function useSlab(writer: FrameWriter): void {
  latest = writer
}

function flushAll(): void {
  const batch = gathering
  gathering = []
  for (const writer of batch) writer.flush()
  joint = undefined
  if (isSlabPinned || gathering.length > 0) return
  used = 0
}

function headerLength(payload: number): number {
  return payload < 126 ? 2 : payload < 65_536 ? 4 : 10
}

/** Writes the header of a frame, masks what stands behind it, and returns how long it is. */
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

/** Writes a text as UTF-8 into so many bytes at most, and returns how many it took. */
function writeText(target: Buffer, text: string, at: number, most: number): number {
  const { length } = text
  if (length > SHORT) return target.write(text, at, most)
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index)
    if (code > 0x7f) return target.write(text, at, most)
    target[at + index] = code
  }
  return length
}

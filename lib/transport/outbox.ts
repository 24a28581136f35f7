import type { Duplex } from 'node:stream'
import type { CloseReason } from '../close.ts'
import { Message, toBytes, type Data } from '../message.ts'
import { BINARY, CLOSE, drawMask, FIN, mask, TEXT } from './frame.ts'

const MASKED = 0x80
const PLAIN = 0 // the variant of a message that needs no extension
const MASK_LENGTH = 4
const NO_CODE = 1005
const NOTHING = new Uint8Array(0)
const SLAB = 64 * 1024
const MOST_COPIED = 16 * 1024 // bytes; what is longer gets a buffer of its own
const SHORT = 64 // letters; a shorter text is written faster letter by letter

// Frames are written one behind the other into a slab that all connections share. No part of it is
// ever written twice: the kernel may still have to read what was handed to it.
let slab = Buffer.allocUnsafeSlow(SLAB)
let used = 0
let latest: Outbox | undefined // whose frames are the last ones in the slab

let gathering: Outbox[] = [] // those who have something to send when this turn ends

/** What is needed of a TCP socket; any other stream may take its place, and has only some of it. */
export interface Tcp extends Duplex {
  /** Bytes received; 0 for ever where the runtime keeps them to itself. */
  readonly bytesRead?: number
  /** Bytes sent, or about to be. */
  readonly bytesWritten?: number
  setNoDelay?(noDelay?: boolean): unknown
  setTimeout?(milliseconds: number): unknown
}

/**
 * Gathers what one connection sends in a turn of the event loop, so that it leaves in one write.
 *
 * What needs no extension is framed here; what `ws` frames joins it in order.
 */
export class Outbox {
  /** Bytes gathered and not yet given to the TCP socket. */
  size = 0
  /** Bytes given to the TCP socket. */
  bytesWritten = 0

  readonly #tcp: Tcp
  readonly #masked: boolean
  #pieces: Uint8Array[] | undefined
  #start = 0 // of those frames at the end of the slab that are ours
  #end = 0
  #gathering = false
  #corked = false
  #written: (() => void) | undefined

  /** Makes one for a TCP socket; a client masks what it frames, RFC 6455 §5.1. */
  constructor(tcp: Tcp, masked = false) {
    this.#tcp = tcp
    this.#masked = masked
  }

  /** Calls back when what was sent so far has been handed on. */
  notify(written: () => void): void {
    this.#written = written
    this.#gather()
  }

  /** Frames a message. */
  message(message: Data | Message): void {
    if (typeof message === 'string') this.text(message)
    else if (!(message instanceof Message)) this.bytes(BINARY, message)
    else if (this.#masked)
      this.message(message.data) // each with a mask of its own
    else this.frame(message.variant(PLAIN) ?? message.keep(PLAIN, plainFrame(message)))
  }

  /** Frames a text. */
  text(text: string): void {
    if (3 * text.length > MOST_COPIED) {
      this.#frame(TEXT, Buffer.from(text))
      return
    }
    // A text of few letters takes less than 126 bytes, whatever they are: no need to count.
    const length = this.#headerLength(text.length < 42 ? 0 : Buffer.byteLength(text))
    const start = this.#begin(length + 3 * text.length)
    const payload = writeText(slab, text, start + length)
    this.#finish(start, TEXT, payload)
  }

  /** Frames bytes; the first byte of the frame is its opcode, and its bits where there are any. */
  bytes(first: number, bytes: Uint8Array): void {
    const { length } = bytes
    if (length > MOST_COPIED) {
      this.#frame(first, bytes)
      return
    }
    const header = this.#headerLength(length)
    const start = this.#begin(header + length)
    slab.set(bytes, start + header)
    this.#finish(start, first, length)
  }

  /** Frames why the connection closes, RFC 6455 §5.5.1. */
  close({ code, description }: CloseReason): void {
    const text = toBytes(description)
    this.bytes(CLOSE, code === NO_CODE ? text : Uint8Array.of(code >> 8, code & 0xff, ...text))
  }

  /** Adds what is framed already. */
  frame(frame: Uint8Array): void {
    this.#close()
    this.#pieces ??= []
    this.#pieces.push(frame)
    this.size += frame.length
    this.#gather()
  }

  /** Makes room for somebody else's writes, which join this turn's behind what was gathered. */
  yield(): void {
    if (!this.#corked) {
      this.#corked = true
      this.#tcp.cork()
    }
    this.#write()
    this.#gather()
  }

  /** Hands everything on. */
  flush(): void {
    this.#gathering = false
    this.#write()
    if (!this.#corked) return
    this.#corked = false
    this.#tcp.uncork()
  }

  /** Frames what is long in a buffer of its own. */
  #frame(first: number, payload: Uint8Array): void {
    this.frame(frameOf(first, payload, this.#masked))
  }

  #headerLength(payload: number): number {
    return headerLength(payload) + (this.#masked ? MASK_LENGTH : 0)
  }

  /** Puts the header before a payload that stands in the slab. */
  #finish(start: number, first: number, payload: number): void {
    const length = writeHeader(slab, start, first, payload, this.#masked) + payload
    this.size += length
    this.#end = used += length
    this.#gather()
  }

  #gather(): void {
    if (this.#gathering) return
    this.#gathering = true
    if (gathering.push(this) === 1) process.nextTick(flushAll)
  }

  /** Finds room in the slab, behind our own frames if they are the last ones. */
  #begin(most: number): number {
    if (used + most > SLAB) {
      if (latest) latest.#close()
      slab = Buffer.allocUnsafeSlow(SLAB)
      used = 0
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

  #write(): void {
    const { size } = this
    const written = this.#written
    if (size === 0 && !written) return
    this.size = 0
    this.bytesWritten += size
    this.#written = undefined
    const pieces = size === 0 ? [NOTHING] : this.#take()
    if (!this.#tcp.writable) return
    // What waits would keep its whole slab alive, of which others may have most.
    if (this.#tcp.writableLength > 0) release(pieces)
    const [first = NOTHING] = pieces
    if (pieces.length === 1) {
      this.#tcp.write(first, written)
    } else if (size <= MOST_COPIED) {
      this.#tcp.write(joined(pieces, size), written)
    } else {
      this.#tcp.cork()
      for (const piece of pieces) this.#tcp.write(piece)
      if (written) this.#tcp.write(NOTHING, written)
      this.#tcp.uncork()
    }
  }

  #take(): Uint8Array[] {
    if (this.#pieces) this.#close()
    const pieces = this.#pieces ?? [slab.subarray(this.#start, this.#end)]
    this.#pieces = undefined
    this.#start = this.#end
    return pieces
  }
}

function plainFrame({ isText, bytes }: Message): Uint8Array {
  return frameOf(isText ? TEXT : BINARY, bytes)
}

/** Frames a whole message in a buffer of its own; what it is made of may change afterwards. */
export function frameOf(first: number, payload: Uint8Array, masked = false): Uint8Array {
  const length = headerLength(payload.length) + (masked ? MASK_LENGTH : 0)
  const frame = Buffer.allocUnsafeSlow(length + payload.length)
  frame.set(payload, length)
  writeHeader(frame, 0, first, payload.length, masked)
  return frame
}

// What many were sent in one turn is the same for all of them: it is joined once.
let joint: { readonly pieces: readonly Uint8Array[]; readonly whole: Uint8Array } | undefined

/** Joins pieces, of which nobody changes one. */
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

function useSlab(outbox: Outbox): void {
  latest = outbox
}

function flushAll(): void {
  const batch = gathering
  gathering = []
  for (const outbox of batch) outbox.flush()
  joint = undefined
}

function headerLength(payload: number): number {
  return payload < 126 ? 2 : payload < 65_536 ? 4 : 10
}

/** Writes the header of a whole message, masks what stands behind it, and tells how long it is. */
function writeHeader(
  target: Buffer,
  at: number,
  first: number,
  payload: number,
  masked: boolean,
): number {
  const bit = masked ? MASKED : 0
  const length = headerLength(payload)
  target[at] = FIN | first
  if (payload < 126) {
    target[at + 1] = bit | payload
  } else if (payload < 65_536) {
    target[at + 1] = bit | 126
    target.writeUInt16BE(payload, at + 2)
  } else {
    target[at + 1] = bit | 127
    target.writeUInt16BE(0, at + 2)
    target.writeUIntBE(payload, at + 4, 6)
  }
  if (!masked) return length
  const start = at + length + MASK_LENGTH
  drawMask(target, at + length)
  mask(target, at + length, start, start + payload)
  return length + MASK_LENGTH
}

/** Writes a text as UTF-8, and tells how many bytes it took. */
function writeText(target: Buffer, text: string, at: number): number {
  const { length } = text
  if (length > SHORT) return target.write(text, at)
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index)
    if (code > 0x7f) return target.write(text, at)
    target[at + index] = code
  }
  return length
}

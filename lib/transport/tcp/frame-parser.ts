import { constants, isAscii, isUtf8 } from 'node:buffer'
import { maySend, messageTooBig, type CloseReason } from '../../close.ts'
import type { Data } from '../../message.ts'
import type { ConnectionSettings } from '../../options/connection.ts'
import {
  BINARY,
  CLOSE,
  COMPRESSED,
  FIN,
  MASKED,
  NO_CODE,
  OPCODE,
  PING,
  PONG,
  TEXT,
} from './frame.ts'
import { applyMask, readKey, rotateKey } from './mask.ts'
import { Payload, TextPayload } from './payload.ts'

const TEXT_FRAME = FIN | TEXT
const BINARY_FRAME = FIN | BINARY
const LONGEST_HEADER = 14
const MAX_CONTROL_PAYLOAD = 125
const LEAST_MAX_FRAGMENTS = 16 * 1024
const HONEST_FRAGMENT = 64 // bytes; a message may be cut into fragments of this size
const MAX_WASTE = 4 // times; a part of a chunk that is smaller than this part of it is copied
const INCOMPLETE = -1

/** What a parser knows of the frames to come. */
export interface FrameParserOptions {
  /** Whether the peer masks: clients do, RFC 6455 §5.1. */
  readonly isMasked: boolean
  /** Whether messages may be compressed, RFC 7692. */
  readonly mayCompress: boolean
  readonly settings: ConnectionSettings
}

/** The target of what a parser reads. */
export interface FrameListener {
  onMessage(data: Data, size: number): void
  /** A whole message came that has to be inflated. */
  onCompressedMessage(payload: Uint8Array, isText: boolean): void
  onPing(payload: Uint8Array): void
  onPong(payload: Uint8Array): void
  /** A close frame came; nothing behind it is read. */
  onClose(reason: CloseReason): void
  /** The peer sent what it must not; nothing behind it is read. */
  onInvalid(reason: CloseReason): void
}

/** A message of which frames, or bytes, are still to come. */
interface PartialMessage {
  readonly isText: boolean
  readonly isCompressed: boolean
  readonly payload: Payload
  /** Bytes of it, those announced by the frame under way among them. */
  size: number
  fragments: number
}

/** Parses the frames of one connection, RFC 6455 §5, and judges each as early as can be. */
export class FrameParser {
  readonly #options: FrameParserOptions
  readonly #listener: FrameListener
  #isPaused = false
  #isParsing = false
  #isStopped = false
  #rest: Buffer[] | undefined // chunks that came while it was paused
  #header: Buffer | undefined // the beginning of a header that was cut
  // The frame under way.
  #first = 0
  #length = 0
  #missing = 0 // bytes of its payload still to come
  #key = 0
  #message: PartialMessage | undefined
  #control: Payload | undefined

  constructor(options: FrameParserOptions, listener: FrameListener) {
    this.#options = options
    this.#listener = listener
  }

  /** Whether nothing more is read: a close frame came, or a bad one. */
  get isStopped(): boolean {
    return this.#isStopped
  }

  /** Whether bytes wait that came while it was paused. */
  get hasRest(): boolean {
    return this.#rest !== undefined
  }

  /** The bytes of them. */
  get restBytes(): number {
    return this.#rest?.reduce((sum, { length }) => sum + length, 0) ?? 0
  }

  /** Parses a chunk, or keeps what of it comes behind a pause. Unmasks in place. */
  push(chunk: Buffer): void {
    if (this.#isStopped) return
    if (this.#isPaused || this.#isParsing || this.#rest) this.#keep(chunk)
    else this.#parse(chunk)
  }

  /** Stops to parse, also inside a chunk. */
  pause(): void {
    this.#isPaused = true
  }

  /** Parses on. */
  resume(): void {
    this.#isPaused = false
    while (this.#rest && !this.#isPaused && !this.#isParsing) {
      const chunk = this.#rest.shift()
      if (this.#rest.length === 0) this.#rest = undefined
      if (chunk) this.#parse(chunk)
    }
  }

  /** Stops for good. */
  stop(): void {
    this.#isStopped = true
    this.#rest = this.#header = this.#message = this.#control = undefined
  }

  #keep(chunk: Buffer): void {
    this.#rest ??= []
    this.#rest.push(chunk)
  }

  #parse(chunk: Buffer): void {
    let at = 0
    this.#isParsing = true
    try {
      if (this.#header) at = this.#completeHeader(this.#header, chunk)
      while (at < chunk.length && !this.#isPaused && !this.#isStopped) {
        at = this.#missing > 0 ? this.#readPart(chunk, at) : this.#readFrame(chunk, at)
      }
    } finally {
      this.#isParsing = false
    }
    if (this.#isStopped) return
    if (at < chunk.length) {
      const rest = chunk.subarray(at)
      const isSmall = MAX_WASTE * rest.length < rest.buffer.byteLength
      this.#rest = [isSmall ? Buffer.from(rest) : rest, ...(this.#rest ?? [])]
    }
    if (this.#rest && !this.#isPaused) this.resume() // paused and resumed by the same listener
  }

  /** Reads a frame from its beginning on, and returns where it stopped. */
  #readFrame(chunk: Buffer, at: number): number {
    const start = this.#readHeader(chunk, at)
    if (start === INCOMPLETE) {
      if (!this.#isStopped) this.#header = Buffer.from(chunk.subarray(at)) // a copy of few bytes
      return chunk.length
    }
    const end = start + this.#length
    if (end <= chunk.length && this.#first >= FIN) return this.#readWhole(chunk, start, end)
    this.#begin()
    return this.#readPart(chunk, start)
  }

  /** Reads a frame that is whole in its chunk, and no fragment. */
  #readWhole(chunk: Buffer, start: number, end: number): number {
    const first = this.#first
    const isControl = (first & CLOSE) !== 0
    if (!isControl && first !== TEXT_FRAME && first !== BINARY_FRAME) {
      this.#begin()
      return this.#readPart(chunk, start)
    }
    const { isMasked } = this.#options
    const isAsciiText = isMasked && applyMask(chunk, this.#key, start, end)
    if (first === TEXT_FRAME) this.#deliverText(chunk, start, end, isAsciiText)
    else if (isControl) this.#deliverControl(first & OPCODE, copySmall(chunk, start, end))
    else this.#listener.onMessage(copySmall(chunk, start, end), end - start)
    return end
  }

  #deliverText(chunk: Buffer, start: number, end: number, isAsciiText: boolean): void {
    const size = end - start
    const bytes = isAsciiText ? undefined : chunk.subarray(start, end)
    if (bytes && !isUtf8(bytes)) this.#refuse(INVALID_TEXT)
    else if (this.#options.settings.binary)
      this.#listener.onMessage(copySmall(chunk, start, end), size)
    else {
      const isLatin = bytes === undefined || isAscii(bytes)
      this.#listener.onMessage(chunk.toString(isLatin ? 'latin1' : 'utf8', start, end), size)
    }
  }

  /**
   * Reads a header up to its end, which is returned, or judges what is there of it. It may be read
   * again from its beginning on.
   */
  #readHeader(bytes: Buffer, at: number): number {
    if (at + 2 > bytes.length) return INCOMPLETE
    const { isMasked } = this.#options
    const first = bytes[at] ?? 0
    const second = bytes[at + 1] ?? 0
    const fault = this.#faultOf(first, second)
    if (fault !== undefined) return this.#refuse({ code: 1002, description: fault })
    const short = second & ~MASKED
    const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10)
    if (start > bytes.length) return INCOMPLETE
    const length = short < 126 ? short : readLength(bytes, at + 2, short)
    if (short === 127 && (bytes[at + 2] ?? 0) >= 0x80) return this.#refuse(HIGHEST_BIT)
    const refusal = this.#refusalOf(first, short, length)
    if (refusal) return this.#refuse(refusal)
    this.#first = first
    this.#length = length
    if (!isMasked) return start
    if (start + 4 > bytes.length) return INCOMPLETE
    this.#key = readKey(bytes, start)
    return start + 4
  }

  /** Reads a header that was cut, and returns where it ends in the chunk. */
  #completeHeader(begun: Buffer, chunk: Buffer): number {
    const header = Buffer.concat([begun, chunk.subarray(0, LONGEST_HEADER)])
    const end = this.#readHeader(header, 0)
    this.#header = end === INCOMPLETE && !this.#isStopped ? header : undefined
    if (end === INCOMPLETE) return chunk.length
    this.#begin()
    const at = end - begun.length
    return this.#length === 0 ? this.#readPart(chunk, at) : at
  }

  /** Tells what is wrong with the first two bytes of a frame. */
  #faultOf(first: number, second: number): string | undefined {
    const { isMasked, mayCompress } = this.#options
    const isMaskRight = second >= MASKED === isMasked
    if ((first === TEXT_FRAME || first === BINARY_FRAME) && isMaskRight && !this.#message) {
      return undefined // nearly every frame
    }
    const opcode = first & OPCODE
    const isData = opcode === TEXT || opcode === BINARY
    if ((first & 0x30) !== 0) return 'RSV2 and RSV3 must be clear'
    if ((first & COMPRESSED) !== 0 && !(mayCompress && isData)) return 'RSV1 must be clear'
    if (opcode >= CLOSE && opcode <= PONG) {
      const length = second & ~MASKED
      if (first < FIN) return 'FIN must be set'
      if (length > MAX_CONTROL_PAYLOAD || (opcode === CLOSE && length === 1)) {
        return `invalid payload length ${length}`
      }
    } else if (opcode > BINARY || isData === (this.#message !== undefined)) {
      return `invalid opcode ${opcode}`
    }
    if (isMaskRight) return undefined
    return isMasked ? 'MASK must be set' : 'MASK must be clear'
  }

  /** Tells what is wrong with the length of a frame. */
  #refusalOf(first: number, short: number, length: number): CloseReason | undefined {
    const { maxReceivedFrameSize: maxFrame, maxReceivedMessageSize: maxMessage } =
      this.#options.settings
    if (short >= 126 && length < (short === 126 ? 126 : 65_536)) return LONG_LENGTH
    if (maxFrame !== false && length > maxFrame) {
      return { code: 1008, description: `frame size exceeds maximum of ${maxFrame} Bytes.` }
    }
    if ((first & OPCODE) >= CLOSE) return undefined
    const message = this.#message
    const isText = message?.isText ?? (first & OPCODE) === TEXT
    const isCompressed = message?.isCompressed ?? (first & COMPRESSED) !== 0
    const max = isCompressed ? maxDeflated(maxMessage) : maxMessage
    const possible = isText ? constants.MAX_STRING_LENGTH : constants.MAX_LENGTH
    if ((message?.size ?? 0) + length > Math.min(max, possible)) return messageTooBig(maxMessage)
    if (message && message.fragments >= maxFragments(maxMessage)) return TOO_MANY_FRAGMENTS
    return undefined
  }

  /** Begins a frame that is not delivered straight from its chunk. */
  #begin(): void {
    const first = this.#first
    const opcode = first & OPCODE
    this.#missing = this.#length
    if (opcode >= CLOSE) {
      this.#control = new Payload()
      return
    }
    const isText = opcode === TEXT
    const isCompressed = (first & COMPRESSED) !== 0
    this.#message ??= {
      isText,
      isCompressed,
      payload: isText && !isCompressed ? new TextPayload() : new Payload(),
      size: 0,
      fragments: 0,
    }
    this.#message.size += this.#length
    this.#message.fragments++
  }

  /** Reads what a chunk has of the payload under way, and returns where that ends. */
  #readPart(chunk: Buffer, start: number): number {
    const end = Math.min(start + this.#missing, chunk.length)
    const { isMasked } = this.#options
    const isAsciiText = isMasked && applyMask(chunk, this.#key, start, end)
    if (isMasked) this.#key = rotateKey(this.#key, end - start)
    this.#missing -= end - start
    if (!this.#append(chunk, start, end, isAsciiText)) this.#refuse(INVALID_TEXT)
    else if (this.#missing === 0) this.#end()
    return end
  }

  #append(chunk: Buffer, start: number, end: number, isAsciiText: boolean): boolean {
    if (start === end) return true
    const payload = this.#control ?? this.#message?.payload
    // More fragments may follow.
    const missing = this.#first < FIN ? Infinity : this.#missing
    if (payload instanceof TextPayload) {
      return payload.appendText(chunk, [start, end, missing], isAsciiText)
    }
    payload?.append(chunk, start, end, missing)
    return true
  }

  /** Delivers what the frame under way ends. */
  #end(): void {
    const control = this.#control
    if (control) {
      this.#control = undefined
      this.#deliverControl(this.#first & OPCODE, control.take())
      return
    }
    const message = this.#message
    if (!message || this.#first < FIN) return
    this.#message = undefined
    const { payload, isText, isCompressed } = message
    const { size } = payload
    if (isCompressed) this.#listener.onCompressedMessage(payload.take(), isText)
    else if (!(payload instanceof TextPayload)) this.#listener.onMessage(payload.take(), size)
    else if (!payload.isWhole) this.#refuse(INVALID_TEXT)
    else
      this.#listener.onMessage(
        this.#options.settings.binary ? payload.take() : payload.decode(),
        size,
      )
  }

  #deliverControl(opcode: number, payload: Uint8Array): void {
    if (opcode === PING) this.#listener.onPing(payload)
    else if (opcode === PONG) this.#listener.onPong(payload)
    else {
      const reason = readClose(payload)
      if ('fault' in reason) {
        this.#refuse(reason.fault)
        return
      }
      this.stop()
      this.#listener.onClose(reason)
    }
  }

  #refuse(reason: CloseReason): typeof INCOMPLETE {
    this.stop()
    this.#listener.onInvalid(reason)
    return INCOMPLETE
  }
}

const INVALID_TEXT: CloseReason = { code: 1007, description: 'invalid UTF-8 sequence' }
const TOO_MANY_FRAGMENTS: CloseReason = { code: 1008, description: 'Too many message fragments' }
const HIGHEST_BIT: CloseReason = {
  code: 1002,
  description: 'the highest bit of a length must be clear',
}
const LONG_LENGTH: CloseReason = {
  code: 1002,
  description: 'a length must take no more bytes than it needs',
}

function maxFragments(maxMessage: number): number {
  return Math.max(LEAST_MAX_FRAGMENTS, Math.ceil(maxMessage / HONEST_FRAGMENT))
}

/** Returns how many bytes a compressed message may have: compressing makes some longer. */
function maxDeflated(maxMessage: number): number {
  return maxMessage + Math.ceil(maxMessage / 8) + 1024
}

function readLength(bytes: Buffer, at: number, short: number): number {
  if (short === 126) return bytes.readUInt16BE(at)
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
}

/** Returns bytes of a chunk, copied where they would keep much more alive than they are. */
function copySmall(chunk: Buffer, start: number, end: number): Uint8Array {
  const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset + start, end - start)
  return MAX_WASTE * bytes.length < bytes.buffer.byteLength ? bytes.slice() : bytes
}

/** Reads the payload of a close frame, RFC 6455 §5.5.1. */
function readClose(payload: Uint8Array): CloseReason | { readonly fault: CloseReason } {
  if (payload.length === 0) return { code: NO_CODE, description: '' }
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  const code = bytes.readUInt16BE()
  if (!maySend(code)) return { fault: { code: 1002, description: `invalid status code ${code}` } }
  const text = bytes.subarray(2)
  if (!isUtf8(text)) return { fault: INVALID_TEXT }
  return { code, description: text.toString() }
}

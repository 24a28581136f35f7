import { isAscii, isUtf8 } from 'node:buffer'
import type { CloseReason, Fault } from '../../../connection/close-codes.ts'
import type { Data } from '../../../connection/message.ts'
import { BINARY, CLOSE, COMPRESSED, FIN, MASKED, OPCODE, PING, PONG, TEXT } from './frame.ts'
import {
  findHeaderError,
  findLimitError,
  HIGHEST_BIT,
  INVALID_TEXT,
  readClose,
  type BegunMessage,
  type FrameRules,
} from './frame-rules.ts'
import { applyMask, readKey, rotateKey, writeKey } from './mask.ts'
import { Payload, SkippedPayload, TextPayload } from './payload.ts'

const TEXT_FRAME = FIN | TEXT
const BINARY_FRAME = FIN | BINARY
const MAX_HEADER_LENGTH = 14
const MAX_SHORT_PAYLOAD = 125 // bytes; the length of a longer payload takes more than one byte
// Bytes that are decoded together. A text sliced out of them keeps no more than these in memory.
const PAGE = 1024
const MAX_WASTE = 4 // a part of a chunk is copied if the chunk is more than this many times as big
const INCOMPLETE = -1

/** The callbacks of a parser. */
export interface FrameListener {
  /**
   * Reports a data frame, ping or pong that begins. Returns whether it may come. A frame that may
   * not come is skipped.
   */
  onFrame?(bytes: number): boolean
  onMessage(data: Data, size: number): void
  /** Reports a whole message that has to be inflated. */
  onCompressedMessage(payload: Uint8Array, isText: boolean): void
  onPing(payload: Uint8Array): void
  onPong(payload: Uint8Array): void
  /** Reports a close frame. Nothing after it is read. */
  onClose(reason: CloseReason): void
  /** Reports that the peer broke the protocol or a limit. Nothing after that is read. */
  onInvalid(reason: Fault): void
}

/** A message of which some frames or bytes are still to come. */
interface PartialMessage extends BegunMessage {
  payload: Payload
  size: number
  fragments: number
}

/** The parser of one connection's frames, RFC 6455 §5. Rejects a bad frame as early as possible. */
export class FrameParser {
  readonly #rules: FrameRules
  readonly #listener: FrameListener
  #isPaused = false
  #isParsing = false
  #isStopped = false
  #rest: Buffer[] | undefined // chunks that came while parsing was paused
  #page = '' // decoded frames at the beginning of `#rest`, if they are decoded already
  #header: Buffer | undefined // the beginning of a header that is not yet whole
  // The current frame.
  #firstByte = 0
  #length = 0
  #missingBytes = 0 // payload bytes still to come
  #key = 0
  #message: PartialMessage | undefined
  #control: Payload | undefined

  constructor(rules: FrameRules, listener: FrameListener) {
    this.#rules = rules
    this.#listener = listener
  }

  get #canReadTexts(): boolean {
    const { binary, maxReceivedFrameSize: maxFrame, maxReceivedMessageSize } = this.#rules.settings
    const max =
      maxFrame === false ? maxReceivedMessageSize : Math.min(maxFrame, maxReceivedMessageSize)
    return !this.#message && !binary && !this.#rules.countsFrames && max >= MAX_SHORT_PAYLOAD
  }

  /** Whether the parser reads no more, because a close frame or a bad frame came. */
  get isStopped(): boolean {
    return this.#isStopped
  }

  /** Whether a message or a frame has come in part. */
  get isMidFrame(): boolean {
    return (this.#message ?? this.#header ?? this.#control) !== undefined || this.#missingBytes > 0
  }

  /** Bytes received of the message that is not yet whole; undefined if there is none. */
  get partialBytes(): number | undefined {
    return this.#message?.payload.size
  }

  /** Whether the parser holds bytes that came while it was paused. */
  get hasHeldBytes(): boolean {
    return this.#rest !== undefined
  }

  /** Bytes that the parser holds because they came while it was paused. */
  get heldBytes(): number {
    return this.#rest?.reduce((sum, { length }) => sum + length, 0) ?? 0
  }

  /** Parses a chunk, and holds the part of it that comes after a pause. Unmasks in place. */
  push(chunk: Buffer): void {
    if (this.#isStopped) return
    if (this.#isPaused || this.#isParsing || this.#rest) this.#holdChunk(chunk)
    else this.#parse(chunk)
  }

  /** Pauses parsing, also inside a chunk. */
  pause(): void {
    this.#isPaused = true
  }

  /** Continues parsing after `pause`. */
  resume(): void {
    this.#isPaused = false
    while (this.#rest && !this.#isPaused && !this.#isParsing) {
      const chunk = this.#rest.shift()
      if (this.#rest.length === 0) this.#rest = undefined
      if (chunk) this.#parse(chunk)
    }
  }

  /** Stops parsing for ever. */
  stop(): void {
    this.#isStopped = true
    this.#page = ''
    this.#rest = this.#header = this.#message = this.#control = undefined
  }

  #holdChunk(chunk: Buffer): void {
    this.#rest ??= []
    this.#rest.push(chunk)
  }

  #parse(chunk: Buffer): void {
    let at = 0
    this.#isParsing = true
    try {
      if (this.#header) at = this.#completeHeader(this.#header, chunk)
      while (at < chunk.length && !this.#isPaused && !this.#isStopped) {
        if (this.#missingBytes > 0) at = this.#readPayload(chunk, at)
        else if (chunk[at] === TEXT_FRAME && this.#canReadTexts) at = this.#readTexts(chunk, at)
        else at = this.#readFrame(chunk, at)
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
    if (this.#rest && !this.#isPaused) this.resume() // the listener paused and resumed in one call
  }

  /**
   * Reads consecutive texts, as long as each is short, ASCII and whole in the chunk. They are
   * decoded together, because one call for each text would cost more than its characters.
   */
  #readTexts(chunk: Buffer, at: number): number {
    const { isMasked } = this.#rules
    const header = isMasked ? 6 : 2
    let page = this.#page
    if (page === '') {
      const end = findTexts(chunk, at, isMasked)
      if (end <= at + header + ((chunk[at + 1] ?? 0) & ~MASKED)) return this.#readFrame(chunk, at)
      page = chunk.toString('latin1', at, end)
    }
    let read = 0
    while (read < page.length && !this.#isPaused && !this.#isStopped) {
      const length = (chunk[at + read + 1] ?? 0) & ~MASKED
      const start = read + header
      read = start + length
      this.#listener.onMessage(page.slice(start, read), length)
    }
    this.#page = read < page.length ? page.slice(read) : ''
    return at + read
  }

  /** Reads a frame from its beginning. Returns the position after the bytes it has read. */
  #readFrame(chunk: Buffer, at: number): number {
    const start = this.#readHeader(chunk, at)
    if (start === INCOMPLETE) {
      if (!this.#isStopped) this.#header = Buffer.from(chunk.subarray(at)) // a copy of a few bytes
      return chunk.length
    }
    const end = start + this.#length
    const isAllowed = this.#isFrameAllowed(end - at)
    if (isAllowed && end <= chunk.length && this.#firstByte >= FIN) {
      return this.#readWhole(chunk, start, end)
    }
    this.#beginFrame(isAllowed)
    return this.#readPayload(chunk, start)
  }

  /** Reads a frame that is whole in its chunk and not a fragment. */
  #readWhole(chunk: Buffer, start: number, end: number): number {
    const first = this.#firstByte
    const isControl = (first & CLOSE) !== 0
    if (!isControl && first !== TEXT_FRAME && first !== BINARY_FRAME) {
      this.#beginFrame()
      return this.#readPayload(chunk, start)
    }
    const { isMasked } = this.#rules
    const isAsciiText = isMasked && applyMask(chunk, this.#key, start, end)
    if (first === TEXT_FRAME) this.#deliverText(chunk, start, end, isAsciiText)
    else if (isControl) this.#deliverControl(first & OPCODE, copySmall(chunk, start, end))
    else this.#listener.onMessage(copySmall(chunk, start, end), end - start)
    return end
  }

  #deliverText(chunk: Buffer, start: number, end: number, isAsciiText: boolean): void {
    const size = end - start
    const bytes = isAsciiText ? undefined : chunk.subarray(start, end)
    if (bytes && !isUtf8(bytes)) this.#fail(INVALID_TEXT)
    else if (this.#rules.settings.binary)
      this.#listener.onMessage(copySmall(chunk, start, end), size)
    else {
      const isLatin = bytes === undefined || isAscii(bytes)
      this.#listener.onMessage(chunk.toString(isLatin ? 'latin1' : 'utf8', start, end), size)
    }
  }

  /**
   * Reads a header and returns the position of its end. If the header is not yet whole, checks the
   * bytes that are there and returns `INCOMPLETE`; the header can be read again from its beginning.
   */
  #readHeader(bytes: Buffer, at: number): number {
    if (at + 2 > bytes.length) return INCOMPLETE
    const { isMasked } = this.#rules
    const first = bytes[at] ?? 0
    const second = bytes[at + 1] ?? 0
    const fault = findHeaderError(first, second, this.#rules, this.#message)
    if (fault !== undefined) return this.#fail({ code: 1002, description: fault })
    const lengthField = second & ~MASKED
    const start = at + (lengthField < 126 ? 2 : lengthField === 126 ? 4 : 10)
    if (start > bytes.length) return INCOMPLETE
    const length = lengthField < 126 ? lengthField : readLength(bytes, at + 2, lengthField)
    if (lengthField === 127 && (bytes[at + 2] ?? 0) >= 0x80) return this.#fail(HIGHEST_BIT)
    const lengthError = findLimitError(first, [lengthField, length], this.#rules, this.#message)
    if (lengthError) return this.#fail(lengthError)
    this.#firstByte = first
    this.#length = length
    if (!isMasked) return start
    if (start + 4 > bytes.length) return INCOMPLETE
    this.#key = readKey(bytes, start)
    return start + 4
  }

  /** Reads a header that began in an earlier chunk. Returns the position of its end. */
  #completeHeader(beginning: Buffer, chunk: Buffer): number {
    const header = Buffer.concat([beginning, chunk.subarray(0, MAX_HEADER_LENGTH)])
    const end = this.#readHeader(header, 0)
    this.#header = end === INCOMPLETE && !this.#isStopped ? header : undefined
    if (end === INCOMPLETE) return chunk.length
    this.#beginFrame(this.#isFrameAllowed(end + this.#length))
    const at = end - beginning.length
    return this.#length === 0 ? this.#readPayload(chunk, at) : at
  }

  /** Returns whether the current frame may come. Asks the listener only if frames are counted. */
  #isFrameAllowed(bytes: number): boolean {
    const isClose = (this.#firstByte & OPCODE) === CLOSE
    return !this.#rules.countsFrames || isClose || this.#listener.onFrame?.(bytes) !== false
  }

  /** Begins a frame that is not delivered directly from its chunk. */
  #beginFrame(isAllowed = true): void {
    const first = this.#firstByte
    const opcode = first & OPCODE
    this.#missingBytes = this.#length
    if (opcode >= CLOSE) {
      this.#control = isAllowed ? new Payload() : new SkippedPayload()
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
    if (!isAllowed) this.#message.payload = new SkippedPayload()
  }

  /** Reads the chunk's part of the current payload. Returns the position of its end. */
  #readPayload(chunk: Buffer, start: number): number {
    const end = Math.min(start + this.#missingBytes, chunk.length)
    const { isMasked } = this.#rules
    const isAsciiText = isMasked && applyMask(chunk, this.#key, start, end)
    if (isMasked) this.#key = rotateKey(this.#key, end - start)
    this.#missingBytes -= end - start
    if (!this.#append(chunk, start, end, isAsciiText)) this.#fail(INVALID_TEXT)
    else if (this.#missingBytes === 0) this.#endFrame()
    return end
  }

  #append(chunk: Buffer, start: number, end: number, isAsciiText: boolean): boolean {
    if (start === end) return true
    const payload = this.#control ?? this.#message?.payload
    // More fragments may follow, so the number of missing bytes is not known.
    const missing = this.#firstByte < FIN ? Infinity : this.#missingBytes
    if (payload instanceof TextPayload) {
      return payload.appendText(chunk, [start, end, missing], isAsciiText)
    }
    payload?.append(chunk, start, end, missing)
    return true
  }

  /** Ends the current frame, and delivers the control frame or message that is now whole. */
  #endFrame(): void {
    const control = this.#control
    if (control) {
      this.#control = undefined
      if (control instanceof SkippedPayload) return
      this.#deliverControl(this.#firstByte & OPCODE, control.take())
      return
    }
    const message = this.#message
    if (!message || this.#firstByte < FIN) return
    this.#message = undefined
    const { payload, isText, isCompressed } = message
    const { size } = payload
    if (payload instanceof SkippedPayload) return
    if (isCompressed) this.#listener.onCompressedMessage(payload.take(), isText)
    else if (!(payload instanceof TextPayload)) this.#listener.onMessage(payload.take(), size)
    else if (!payload.isWhole) this.#fail(INVALID_TEXT)
    else
      this.#listener.onMessage(
        this.#rules.settings.binary ? payload.take() : payload.decode(),
        size,
      )
  }

  #deliverControl(opcode: number, payload: Uint8Array): void {
    if (opcode === PING) this.#listener.onPing(payload)
    else if (opcode === PONG) this.#listener.onPong(payload)
    else {
      const reason = readClose(payload)
      if ('fault' in reason) {
        this.#fail(reason.fault)
        return
      }
      this.stop()
      this.#listener.onClose(reason)
    }
  }

  #fail(reason: Fault): typeof INCOMPLETE {
    this.stop()
    this.#listener.onInvalid(reason)
    return INCOMPLETE
  }
}

/**
 * Finds the end of consecutive short ASCII texts, and unmasks them. Sets their keys to zero, so
 * that they can be read again like any other frame.
 */
function findTexts(chunk: Buffer, at: number, isMasked: boolean): number {
  const header = isMasked ? 6 : 2
  const limit = Math.min(at + PAGE, chunk.length)
  let end = at
  while (end + header <= limit && chunk[end] === TEXT_FRAME) {
    const length = (chunk[end + 1] ?? 0) - (isMasked ? MASKED : 0)
    const start = end + header
    if (length < 0 || length > MAX_SHORT_PAYLOAD || start + length > limit) return end
    const isAsciiText = applyMask(
      chunk,
      isMasked ? readKey(chunk, end + 2) : 0,
      start,
      start + length,
    )
    if (isMasked) writeKey(chunk, 0, end + 2)
    if (!isAsciiText) return end
    end = start + length
  }
  return end
}

/** Returns a part of a chunk. Copies it if it would keep a much bigger buffer in memory. */
function copySmall(chunk: Buffer, start: number, end: number): Uint8Array {
  const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset + start, end - start)
  return MAX_WASTE * bytes.length < bytes.buffer.byteLength ? bytes.slice() : bytes
}

function readLength(bytes: Buffer, at: number, lengthField: number): number {
  if (lengthField === 126) return bytes.readUInt16BE(at)
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
}

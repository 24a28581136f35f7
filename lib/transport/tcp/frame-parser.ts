import { isAscii, isUtf8 } from 'node:buffer'
import type { CloseReason } from '../../close.ts'
import type { Data } from '../../message.ts'
import { BINARY, CLOSE, COMPRESSED, FIN, MASKED, OPCODE, PING, PONG, TEXT } from './frame.ts'
import {
  findFault,
  findRefusal,
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
const LONGEST_HEADER = 14
const LONGEST_SHORT = 125 // bytes; the length of a longer payload takes more than one
const PAGE = 1024 // bytes decoded at once: a short text cut out of them keeps no more alive
const MAX_WASTE = 4 // times; a part of a chunk that is smaller than this part of it is copied
const INCOMPLETE = -1

/** The target of what a parser reads. */
export interface FrameListener {
  /** A data frame, ping or pong begins: returns whether it may come. One that may not is skipped. */
  onFrame?(bytes: number): boolean
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
interface PartialMessage extends BegunMessage {
  payload: Payload
  size: number
  fragments: number
}

/** Parses the frames of one connection, RFC 6455 §5, and judges each as early as can be. */
export class FrameParser {
  readonly #rules: FrameRules
  readonly #listener: FrameListener
  #isPaused = false
  #isParsing = false
  #isStopped = false
  #rest: Buffer[] | undefined // chunks that came while it was paused
  #page = '' // the texts at the beginning of what is kept, where they are decoded already
  #header: Buffer | undefined // the beginning of a header that was cut
  // The frame under way.
  #first = 0
  #length = 0
  #missing = 0 // bytes of its payload still to come
  #key = 0
  #message: PartialMessage | undefined
  #control: Payload | undefined

  constructor(rules: FrameRules, listener: FrameListener) {
    this.#rules = rules
    this.#listener = listener
  }

  get #readsShortTexts(): boolean {
    const { binary, maxReceivedFrameSize: maxFrame, maxReceivedMessageSize } = this.#rules.settings
    const max =
      maxFrame === false ? maxReceivedMessageSize : Math.min(maxFrame, maxReceivedMessageSize)
    return !this.#message && !binary && !this.#rules.countsFrames && max >= LONGEST_SHORT
  }

  /** Whether nothing more is read: a close frame came, or a bad one. */
  get isStopped(): boolean {
    return this.#isStopped
  }

  /** Whether bytes of a message, or of a frame, have come, and not yet all. */
  get isMidFrame(): boolean {
    return (this.#message ?? this.#header ?? this.#control) !== undefined || this.#missing > 0
  }

  /** The bytes of the message that has begun and not ended; undefined where none has. */
  get partialBytes(): number | undefined {
    return this.#message?.payload.size
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
    this.#page = ''
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
        if (this.#missing > 0) at = this.#readPart(chunk, at)
        else if (chunk[at] === TEXT_FRAME && this.#readsShortTexts) at = this.#readTexts(chunk, at)
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
    if (this.#rest && !this.#isPaused) this.resume() // paused and resumed by the same listener
  }

  /**
   * Reads the texts that begin here, as long as each is short, ASCII and whole in the chunk. They are
   * decoded together: each call of its own would cost more than the letters.
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

  /** Reads a frame from its beginning on, and returns where it stopped. */
  #readFrame(chunk: Buffer, at: number): number {
    const start = this.#readHeader(chunk, at)
    if (start === INCOMPLETE) {
      if (!this.#isStopped) this.#header = Buffer.from(chunk.subarray(at)) // a copy of few bytes
      return chunk.length
    }
    const end = start + this.#length
    const mayCome = this.#mayCome(end - at)
    if (mayCome && end <= chunk.length && this.#first >= FIN) {
      return this.#readWhole(chunk, start, end)
    }
    this.#begin(mayCome)
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
    if (bytes && !isUtf8(bytes)) this.#refuse(INVALID_TEXT)
    else if (this.#rules.settings.binary)
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
    const { isMasked } = this.#rules
    const first = bytes[at] ?? 0
    const second = bytes[at + 1] ?? 0
    const fault = findFault(first, second, this.#rules, this.#message)
    if (fault !== undefined) return this.#refuse({ code: 1002, description: fault })
    const short = second & ~MASKED
    const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10)
    if (start > bytes.length) return INCOMPLETE
    const length = short < 126 ? short : readLength(bytes, at + 2, short)
    if (short === 127 && (bytes[at + 2] ?? 0) >= 0x80) return this.#refuse(HIGHEST_BIT)
    const refusal = findRefusal(first, [short, length], this.#rules, this.#message)
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
    this.#begin(this.#mayCome(end + this.#length))
    const at = end - begun.length
    return this.#length === 0 ? this.#readPart(chunk, at) : at
  }

  /** Returns whether the frame under way may come, where that is asked. */
  #mayCome(bytes: number): boolean {
    const isClose = (this.#first & OPCODE) === CLOSE
    return !this.#rules.countsFrames || isClose || this.#listener.onFrame?.(bytes) !== false
  }

  /** Begins a frame that is not delivered straight from its chunk. */
  #begin(mayCome = true): void {
    const first = this.#first
    const opcode = first & OPCODE
    this.#missing = this.#length
    if (opcode >= CLOSE) {
      this.#control = mayCome ? new Payload() : new SkippedPayload()
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
    if (!mayCome) this.#message.payload = new SkippedPayload()
  }

  /** Reads what a chunk has of the payload under way, and returns where that ends. */
  #readPart(chunk: Buffer, start: number): number {
    const end = Math.min(start + this.#missing, chunk.length)
    const { isMasked } = this.#rules
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
      if (control instanceof SkippedPayload) return
      this.#deliverControl(this.#first & OPCODE, control.take())
      return
    }
    const message = this.#message
    if (!message || this.#first < FIN) return
    this.#message = undefined
    const { payload, isText, isCompressed } = message
    const { size } = payload
    if (payload instanceof SkippedPayload) return
    if (isCompressed) this.#listener.onCompressedMessage(payload.take(), isText)
    else if (!(payload instanceof TextPayload)) this.#listener.onMessage(payload.take(), size)
    else if (!payload.isWhole) this.#refuse(INVALID_TEXT)
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

/**
 * Finds where the short ASCII texts end that begin here, and unmasks them. Their keys become zeros, so
 * that they may be read again as any frame.
 */
function findTexts(chunk: Buffer, at: number, isMasked: boolean): number {
  const header = isMasked ? 6 : 2
  const most = Math.min(at + PAGE, chunk.length)
  let end = at
  while (end + header <= most && chunk[end] === TEXT_FRAME) {
    const length = (chunk[end + 1] ?? 0) - (isMasked ? MASKED : 0)
    const start = end + header
    if (length < 0 || length > LONGEST_SHORT || start + length > most) return end
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

/** Returns bytes of a chunk, copied where they would keep much more alive than they are. */
function copySmall(chunk: Buffer, start: number, end: number): Uint8Array {
  const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset + start, end - start)
  return MAX_WASTE * bytes.length < bytes.buffer.byteLength ? bytes.slice() : bytes
}

function readLength(bytes: Buffer, at: number, short: number): number {
  if (short === 126) return bytes.readUInt16BE(at)
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
}

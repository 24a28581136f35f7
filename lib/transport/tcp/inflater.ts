import { createInflateRaw } from 'node:zlib'
import { messageTooBig, type CloseReason } from '../../close.ts'

// What a sender leaves out of a message, and an empty last block behind it: a message is whole if
// that is reached, and was cut off inside a block otherwise.
const TRAILER = Uint8Array.of(0x00, 0x00, 0xff, 0xff, 0x03, 0x00)
const NOTHING = Buffer.alloc(0)
const MOST_STREAMS = 64 // that end with a final block, in a message

/** What both ends agreed on for what the peer sends, RFC 7692 §7.1. */
export interface Inflating {
  /** How far back a message can look, as a power of two. */
  readonly windowBits: number
  /** Whether it can look at the messages before it. */
  readonly context: boolean
  /** Bytes of a message at most. */
  readonly most: number
}

/** One stream of a message, up to its final block. */
interface Stream {
  readonly data: Buffer
  /** Bytes that it took. */
  readonly used: number
  /** Whether it went on in the trailer: then it was broken off inside a block. */
  readonly open: boolean
}

/** Inflates the messages of one connection, RFC 7692 §7.2.2. */
export class Inflater {
  readonly #terms: Inflating
  #history = NOTHING // what may be looked back at

  constructor(terms: Inflating) {
    this.#terms = terms
  }

  /** Inflates a whole message, or tells what is wrong with it. */
  async inflate(bytes: Uint8Array): Promise<Buffer | CloseReason> {
    const { most, context } = this.#terms
    const { length } = bytes
    const inflated: Buffer[] = []
    let size = 0
    let at = 0
    for (let count = 0; at < length; count++) {
      if (count === MOST_STREAMS) return tooMany
      const stream = await this.#inflate(bytes.subarray(at), most - size)
      if (!('used' in stream)) return stream
      if (stream.open) return cutOff
      inflated.push(stream.data)
      size += stream.data.length
      at += stream.used
      this.#remember(stream.data)
    }
    if (!context) this.#history = NOTHING
    // Behind a final block a sender may have left out the empty one that is due there.
    return at === length || at === length + TRAILER.length ? joined(inflated, size) : cutOff
  }

  #inflate(bytes: Uint8Array, most: number): Promise<Stream | CloseReason> {
    const { windowBits } = this.#terms
    const dictionary = this.#history
    return new Promise((resolve) => {
      const zlib = createInflateRaw({ windowBits, ...(dictionary.length > 0 && { dictionary }) })
      const parts: Buffer[] = []
      let size = 0
      let whole = Infinity // bytes that came of all but the trailer
      zlib
        .on('data', (part: Buffer) => {
          size += part.length
          parts.push(part)
          if (size <= most) return
          zlib.close()
          resolve(messageTooBig(this.#terms.most))
        })
        .on('error', ({ message }) => resolve({ code: 1007, description: message }))
        .on('end', () => {
          zlib.close()
          const data = joined(parts, size)
          resolve({ data, used: zlib.bytesWritten, open: size > whole })
        })
        .write(bytes, (error) => {
          whole = size
          if (!error && zlib.bytesWritten === bytes.length) zlib.end(TRAILER)
        })
    })
  }

  #remember(data: Buffer): void {
    const most = 2 ** this.#terms.windowBits
    const before = this.#history.subarray(Math.max(0, this.#history.length - most + data.length))
    this.#history = Buffer.concat([data.length < most ? before : NOTHING, data.subarray(-most)])
  }
}

function joined(parts: readonly Buffer[], size: number): Buffer {
  const [only] = parts
  return only && parts.length === 1 ? only : Buffer.concat(parts, size)
}

const cutOff: CloseReason = { code: 1007, description: 'a compressed message is cut off' }
const tooMany: CloseReason = {
  code: 1008,
  description: `a compressed message has more than ${MOST_STREAMS} final blocks`,
}

/** A whole frame, taken apart. */
export interface Frame {
  /** The final bit, RSV1 (it is compressed), and the opcode. */
  readonly first: number
  readonly payload: Buffer
}

const EMPTY = Buffer.alloc(0)

/** The opcode and final bit of a whole text message, RFC 6455 §5.2. */
export const TEXT = 0x81
const PING = 0x89
const CLOSE = 0x88

/** Returns a frame as a server sends it. */
export function frame(first: number, payload: Uint8Array = EMPTY): Buffer {
  return Buffer.concat([header(first, payload.length, 0), payload])
}

/** Returns a frame as a client sends it. */
export function maskedFrame(first: number, payload: Uint8Array = EMPTY): Buffer {
  const mask = Buffer.from([0x12, 0x34, 0x56, 0x78])
  const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))
  return Buffer.concat([header(first, payload.length, 0x80), mask, masked])
}

/** Returns a text message as a client sends it, in fragments of so many bytes. */
export function maskedFragments(payload: Buffer, most: number): Buffer {
  const frames: Buffer[] = []
  for (let at = 0; at < payload.length; at += most) {
    const fin = at + most >= payload.length ? 0x80 : 0
    frames.push(maskedFrame(fin | (at === 0 ? TEXT & 15 : 0), payload.subarray(at, at + most)))
  }
  return Buffer.concat(frames)
}

/** Returns the first frame in bytes of a server, and the rest; undefined for part of a frame. */
export function takeFrame(bytes: Buffer): { frame: Frame; rest: Buffer } | undefined {
  const [first, second] = bytes
  if (first === undefined || second === undefined) return undefined
  const start = headerLength(second)
  if (bytes.length < start) return undefined
  const end = start + payloadLength(bytes)
  if (bytes.length < end) return undefined
  return { frame: { first, payload: bytes.subarray(start, end) }, rest: bytes.subarray(end) }
}

/** Counts the messages that a server sends by the headers of their frames: no payload is looked at. */
export class FrameCounter {
  /** A callback for each ping. */
  pinged: () => void = () => {}

  readonly #header = Buffer.alloc(10)
  #filled = 0 // bytes of the header in hand
  #left = -1 // bytes of the payload still to come; less than 0: the header isn't whole

  /** Returns how many messages became whole with the next bytes. */
  count(bytes: Buffer, length: number): number {
    let messages = 0
    let at = 0
    while (at < length) {
      if (this.#left < 0) {
        this.#header[this.#filled++] = bytes[at++] ?? 0
        if (this.#filled < 2 || this.#filled < headerLength(this.#header[1] ?? 0)) continue
        this.#left = payloadLength(this.#header)
        this.#filled = 0
      }
      const step = Math.min(this.#left, length - at)
      at += step
      this.#left -= step
      if (this.#left > 0) break
      this.#left = -1
      messages += this.#whole(this.#header[0] ?? 0)
    }
    return messages
  }

  #whole(first: number): 0 | 1 {
    if (first === PING) this.pinged()
    if (first === CLOSE) throw new Error('the server sent a close frame')
    return first >= 0x80 && (first & 0x0f) < 8 ? 1 : 0
  }
}

function header(first: number, length: number, mask: 0 | 0x80): Buffer {
  if (length < 126) return Buffer.from([first, mask | length])
  if (length < 65_536) return Buffer.from([first, mask | 126, length >> 8, length & 0xff])
  const long = Buffer.alloc(10)
  long.writeUInt16BE((first << 8) | mask | 127)
  long.writeBigUInt64BE(BigInt(length), 2)
  return long
}

/** How long a header without a mask is, by its second byte. */
function headerLength(second: number): number {
  if (second === 127) return 10
  return second === 126 ? 4 : 2
}

function payloadLength(bytes: Buffer): number {
  const length = (bytes[1] ?? 0) & 0x7f
  if (length === 127) return Number(bytes.readBigUInt64BE(2))
  return length === 126 ? bytes.readUInt16BE(2) : length
}

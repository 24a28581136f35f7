import { withCode } from '../errors.ts'

// The first byte of a broker's message: it has a whole message of ours, or one chunk of it.
const WHOLE = 0
const CHUNK = 1
const ID_LENGTH = 12
/** The header of a chunk: its kind, its sender, the message's number, its index, the count. */
const HEADER_LENGTH = 1 + ID_LENGTH + 2 + 2
const MAX_CHUNKS = 0xffff
const MAX_INCOMPLETE = 256 // messages that may be incomplete at once
const OVERHEAD = 200 // bytes that a chunk takes in addition to its payload
/** The maximum size in bytes of a message that is sent in chunks. */
export const MAX_BYTES = 64 * 1024 * 1024
const MAX_WAITING = 2 * MAX_BYTES // bytes of all incomplete messages, with their overhead

/** A splitter of messages that exceed the maximum size of a broker. */
export class Chunker {
  readonly #sender = crypto.getRandomValues(new Uint8Array(8))
  #number = 0

  /**
   * Splits a message into chunks of at most `max` bytes, to be sent in this order.
   *
   * @throws RangeError when that needs more than 65,535 chunks.
   */
  split(message: Uint8Array, max: number): Uint8Array[] {
    if (message.length < max) return [concat(Uint8Array.of(WHOLE), message)]
    const size = max - HEADER_LENGTH
    const count = size > 0 ? Math.ceil(message.length / size) : Infinity
    if (count > MAX_CHUNKS) {
      const text = `${message.length} bytes are too many for pieces of ${max}`
      throw withCode(new RangeError(text), 'ERR_MESSAGE_TOO_BIG')
    }
    this.#number = (this.#number + 1) >>> 0
    const header = Buffer.alloc(HEADER_LENGTH)
    header[0] = CHUNK
    header.set(this.#sender, 1)
    header.writeUInt32BE(this.#number, 9)
    header.writeUInt16BE(count, 15)
    return Array.from({ length: count }, (_, index) => {
      header.writeUInt16BE(index, 13)
      return concat(header, message.subarray(index * size, (index + 1) * size))
    })
  }
}

/** A reassembler of messages from their chunks, for all channels. */
export class Reassembler {
  readonly #incomplete = new Map<string, Uint8Array[]>()
  #bytes = 0

  /**
   * Takes the next chunk of a channel. Returns the message that it completes, or undefined while
   * more chunks have to follow. Returns false for a chunk that is malformed, or whose predecessor
   * is missing.
   */
  take(channel: string, bytes: Uint8Array): Uint8Array | undefined | false {
    if (bytes[0] === WHOLE) return bytes.subarray(1)
    if (bytes[0] !== CHUNK || bytes.length <= HEADER_LENGTH) return false
    const header = Buffer.from(bytes.buffer, bytes.byteOffset, HEADER_LENGTH)
    const key = `${header.toString('latin1', 1, 1 + ID_LENGTH)}${channel}`
    const [index, count] = [header.readUInt16BE(13), header.readUInt16BE(15)]
    const chunks = this.#incomplete.get(key) ?? []
    if (index !== chunks.length || index >= count) {
      this.#drop(key)
      return false
    }
    // A copy, because a view would keep the whole network buffer in memory.
    const chunk = new Uint8Array(bytes.subarray(HEADER_LENGTH))
    chunks.push(chunk)
    this.#incomplete.set(key, chunks)
    this.#bytes += chunk.length + OVERHEAD
    if (chunks.length === count) {
      this.#drop(key)
      return Buffer.concat(chunks)
    }
    return this.#evict()
  }

  /**
   * Drops the oldest incomplete messages while there are too many. A sender that crashed never
   * completes its message. Returns false when a message was dropped.
   */
  #evict(): false | undefined {
    let hasDropped = false
    for (const key of this.#incomplete.keys()) {
      if (this.#incomplete.size <= MAX_INCOMPLETE && this.#bytes <= MAX_WAITING) break
      this.#drop(key)
      hasDropped = true
    }
    return hasDropped ? false : undefined
  }

  #drop(key: string): void {
    for (const { length } of this.#incomplete.get(key) ?? []) this.#bytes -= length + OVERHEAD
    this.#incomplete.delete(key)
  }
}

function concat(header: Uint8Array, payload: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(header.length + payload.length)
  bytes.set(header)
  bytes.set(payload, header.length)
  return bytes
}

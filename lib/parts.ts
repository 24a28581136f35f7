const WHOLE = 0
const PART = 1
const ID_LENGTH = 12
/** What stands before a part: its kind, whose and which message it is of, its place, how many. */
const HEAD_LENGTH = 1 + ID_LENGTH + 2 + 2
const MOST_PARTS = 0xffff
const MOST_SENDERS = 256 // messages that may be incomplete at once
const OVERHEAD = 200 // bytes that a part takes beside its own
/** The most bytes of a message that travels in parts. */
export const MAX_BYTES = 64 * 1024 * 1024
const MAX_WAITING = 2 * MAX_BYTES // of all incomplete messages, and what they take beside

/** Cuts messages to what a broker takes at once. */
export class Cutter {
  readonly #sender = crypto.getRandomValues(new Uint8Array(8))
  #number = 0

  /**
   * Returns a message in pieces of at most so many bytes, to be sent in this order.
   *
   * @throws RangeError when that is more than 65,535 pieces.
   */
  cut(message: Uint8Array, most: number): Uint8Array[] {
    if (message.length < most) return [joined(Uint8Array.of(WHOLE), message)]
    const size = most - HEAD_LENGTH
    const count = size > 0 ? Math.ceil(message.length / size) : Infinity
    if (count > MOST_PARTS) {
      throw new RangeError(`${message.length} bytes are too many for pieces of ${most}`)
    }
    this.#number = (this.#number + 1) >>> 0
    const head = Buffer.alloc(HEAD_LENGTH)
    head[0] = PART
    head.set(this.#sender, 1)
    head.writeUInt32BE(this.#number, 9)
    head.writeUInt16BE(count, 15)
    return Array.from({ length: count }, (_, index) => {
      head.writeUInt16BE(index, 13)
      return joined(head, message.subarray(index * size, (index + 1) * size))
    })
  }
}

/** Puts the pieces of messages together again, those of all channels. */
export class Joiner {
  readonly #begun = new Map<string, Uint8Array[]>()
  #bytes = 0

  /**
   * Takes a piece. Returns the message that it completes, undefined while more has to come, and false
   * for what makes no sense or has lost what stood before it.
   */
  take(channel: string, piece: Uint8Array): Uint8Array | undefined | false {
    if (piece[0] === WHOLE) return piece.subarray(1)
    if (piece[0] !== PART || piece.length <= HEAD_LENGTH) return false
    const head = Buffer.from(piece.buffer, piece.byteOffset, HEAD_LENGTH)
    const key = `${head.toString('latin1', 1, 1 + ID_LENGTH)}${channel}`
    const [index, count] = [head.readUInt16BE(13), head.readUInt16BE(15)]
    const parts = this.#begun.get(key) ?? []
    if (index !== parts.length || index >= count) {
      this.#forget(key)
      return false
    }
    // A copy: a view would keep all that came with it from the network.
    const part = new Uint8Array(piece.subarray(HEAD_LENGTH))
    parts.push(part)
    this.#begun.set(key, parts)
    this.#bytes += part.length + OVERHEAD
    if (parts.length === count) {
      this.#forget(key)
      return Buffer.concat(parts)
    }
    return this.#bound()
  }

  /** Forgets the oldest where too much waits: a sender that died never completes its message. */
  #bound(): false | undefined {
    let forgot = false
    for (const key of this.#begun.keys()) {
      if (this.#begun.size <= MOST_SENDERS && this.#bytes <= MAX_WAITING) break
      this.#forget(key)
      forgot = true
    }
    return forgot ? false : undefined
  }

  #forget(key: string): void {
    for (const { length } of this.#begun.get(key) ?? []) this.#bytes -= length + OVERHEAD
    this.#begun.delete(key)
  }
}

function joined(head: Uint8Array, body: Uint8Array): Uint8Array {
  const whole = Buffer.allocUnsafe(head.length + body.length)
  whole.set(head)
  whole.set(body, head.length)
  return whole
}

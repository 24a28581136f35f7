import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../close.ts'
import { Message, mostBytes, toBytes, type Data } from '../../message.ts'
import type { Deflate } from './deflate.ts'
import { BINARY, COMPRESSED, TEXT } from './frame.ts'
import { FrameWriter, type FrameWriterOptions } from './frame-writer.ts'
import { Queue } from './queue.ts'

const QUEUED_OVERHEAD = 128 // bytes that a message takes beside its own while it waits

/** Sends what one connection has to say, in order, also while a message is still compressed. */
export class Sender {
  readonly #tcp: Duplex
  readonly #writer: FrameWriter
  readonly #deflate: Deflate | undefined
  readonly #queue = new Queue<() => void>() // what waits for a message that is compressed
  #queuedBytes = 0
  #isCompressing = false

  constructor(tcp: Duplex, options: FrameWriterOptions, deflate: Deflate | undefined) {
    this.#tcp = tcp
    this.#writer = new FrameWriter(tcp, options)
    this.#deflate = deflate
  }

  /** Bytes not yet given to the TCP socket. */
  get size(): number {
    return this.#writer.size + this.#queuedBytes
  }

  /** Bytes given to it. */
  get bytesWritten(): number {
    return this.#writer.bytesWritten
  }

  /** Sends a message; bytes may change afterwards. */
  message(message: Data | Message): void {
    if (!this.#isCompressing) {
      this.#write(message)
      return
    }
    const own = message instanceof Uint8Array ? Uint8Array.from(message) : message
    const { length } = own instanceof Message ? own.ownBytes : toBytes(own)
    const taken = length + QUEUED_OVERHEAD
    this.#queuedBytes += taken
    this.#queue.push(() => {
      this.#queuedBytes -= taken
      this.#write(own)
    })
  }

  /** Sends a control frame of at most 125 bytes. */
  control(opcode: number, payload: Uint8Array): void {
    const own = this.#isCompressing ? Uint8Array.from(payload) : payload
    this.inOrder(() => this.#writer.bytes(opcode, own))
  }

  /** Sends a close frame. */
  close(reason: CloseReason): void {
    this.inOrder(() => this.#writer.close(reason))
  }

  /** Calls back when what was sent so far has been handed on. */
  notify(onWritten: () => void): void {
    this.inOrder(() => this.#writer.notify(onWritten))
  }

  /** Hands on what can be, at once. */
  flush(): void {
    this.#writer.flushNow()
  }

  /** Does something behind all that was sent so far. */
  inOrder(action: () => void): void {
    if (this.#isCompressing) this.#queue.push(action)
    else action()
  }

  /** Frames a message, compressed where that was agreed on and it is long enough. */
  #write(message: Data | Message): void {
    const threshold = this.#deflate?.threshold ?? Infinity
    const isShort = mostBytes(message) < threshold || toBytes(message).length < threshold
    if (isShort || !this.#deflate) this.#writer.message(message)
    else this.#compress(message, this.#deflate)
  }

  #compress(message: Data | Message, deflate: Deflate): void {
    const payload = toBytes(message)
    const variant = deflate.variantFor(payload.length)
    const isShared = message instanceof Message
    if (isShared) deflate.remember(payload)
    const known = isShared && message.variant(variant)
    if (known) {
      this.#writer.frame(known)
      return
    }
    const compressed = isShared
      ? message.compressed(variant, () => deflate.deflateAlone(payload))
      : deflate.deflate(payload)
    if (compressed instanceof Uint8Array) {
      this.#put(message, compressed, variant)
      return
    }
    this.#isCompressing = true
    this.#queuedBytes += payload.length
    const kept = typeof message === 'string' ? '' : message // only its kind still matters
    compressed
      .then((bytes) => {
        this.#queuedBytes -= payload.length
        this.#put(kept, bytes, variant)
        this.#goOn()
      })
      .catch(() => this.#tcp.destroy()) // zlib is out of memory
  }

  #put(message: Data | Message, compressed: Uint8Array, variant: number): void {
    if (message instanceof Message) this.#writer.prepared(message, variant, compressed)
    else this.#writer.bytes(COMPRESSED | (typeof message === 'string' ? TEXT : BINARY), compressed)
  }

  #goOn(): void {
    this.#isCompressing = false
    for (let action; !this.#isCompressing && (action = this.#queue.shift());) action()
  }
}

import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../connection/close-codes.ts'
import { PreparedMessage, maxByteLength, toBytes, type Data } from '../../connection/message.ts'
import type { Deflate } from './deflate/deflate.ts'
import { BINARY, COMPRESSED, TEXT } from './frames/frame.ts'
import { FrameWriter, type FrameWriterOptions } from './frames/frame-writer.ts'
import { Queue } from './queue.ts'

const QUEUED_OVERHEAD = 128 // bytes that a queued message takes beside its payload

/** The sending side of one connection. It keeps the order, also while a message is compressed. */
export class Sender {
  readonly #tcp: Duplex
  readonly #writer: FrameWriter
  readonly #deflate: Deflate | undefined
  readonly #queue = new Queue<() => void>() // waits until a message is compressed
  #queuedBytes = 0
  #isCompressing = false

  constructor(tcp: Duplex, options: FrameWriterOptions, deflate: Deflate | undefined) {
    this.#tcp = tcp
    this.#writer = new FrameWriter(tcp, options)
    this.#deflate = deflate
  }

  /** Bytes not yet written to the TCP socket. */
  get size(): number {
    return this.#writer.size + this.#queuedBytes
  }

  /** Bytes written to the TCP socket so far. */
  get bytesWritten(): number {
    return this.#writer.bytesWritten
  }

  /** Sends a message. The caller may change its bytes afterwards. */
  sendMessage(message: Data | PreparedMessage): void {
    if (!this.#isCompressing) {
      this.#frame(message)
      return
    }
    const snapshot = message instanceof Uint8Array ? Uint8Array.from(message) : message
    const { length } = snapshot instanceof PreparedMessage ? snapshot.ownBytes : toBytes(snapshot)
    const cost = length + QUEUED_OVERHEAD
    this.#queuedBytes += cost
    this.#queue.push(() => {
      this.#queuedBytes -= cost
      this.#frame(snapshot)
    })
  }

  /** Sends a control frame of at most 125 bytes. */
  sendControl(opcode: number, payload: Uint8Array): void {
    const snapshot = this.#isCompressing ? Uint8Array.from(payload) : payload
    this.runInOrder(() => this.#writer.writePayload(opcode, snapshot))
  }

  /** Sends a close frame. */
  sendClose(reason: CloseReason): void {
    this.runInOrder(() => this.#writer.close(reason))
  }

  /** Calls `onFlushed` once everything sent so far has been handed on. */
  notify(onFlushed: () => void): void {
    this.runInOrder(() => this.#writer.notify(onFlushed))
  }

  /** Writes everything that is framed to TCP, at once. */
  flush(): void {
    this.#writer.flushNow()
  }

  /** Runs an action after everything sent so far has been framed. */
  runInOrder(action: () => void): void {
    if (this.#isCompressing) this.#queue.push(action)
    else action()
  }

  /** Frames a message. Compresses it if both ends agreed on compression and it is long enough. */
  #frame(message: Data | PreparedMessage): void {
    const threshold = this.#deflate?.threshold ?? Infinity
    const isShort = maxByteLength(message) < threshold || toBytes(message).length < threshold
    if (isShort || !this.#deflate) this.#writer.writeMessage(message)
    else this.#compress(message, this.#deflate)
  }

  #compress(message: Data | PreparedMessage, deflate: Deflate): void {
    const payload = toBytes(message)
    const variant = deflate.variantFor(payload.length)
    const isShared = message instanceof PreparedMessage
    if (isShared) deflate.addToHistory(payload)
    const cached = isShared && message.cachedFrame(variant)
    if (cached) {
      this.#writer.writeFrame(cached)
      return
    }
    const compressed = isShared
      ? message.compressed(variant, () => deflate.deflateWithoutContext(payload))
      : deflate.deflate(payload)
    if (compressed instanceof Uint8Array) {
      this.#frameCompressed(message, compressed, variant)
      return
    }
    this.#isCompressing = true
    this.#queuedBytes += payload.length
    const original = typeof message === 'string' ? '' : message // only its type matters
    compressed
      .then((bytes) => {
        this.#queuedBytes -= payload.length
        this.#frameCompressed(original, bytes, variant)
        this.#drainQueue()
      })
      .catch(() => this.#tcp.destroy()) // zlib is out of memory
  }

  #frameCompressed(message: Data | PreparedMessage, compressed: Uint8Array, variant: number): void {
    if (message instanceof PreparedMessage) this.#writer.writePrepared(message, variant, compressed)
    else
      this.#writer.writePayload(
        COMPRESSED | (typeof message === 'string' ? TEXT : BINARY),
        compressed,
      )
  }

  #drainQueue(): void {
    this.#isCompressing = false
    for (let action; !this.#isCompressing && (action = this.#queue.shift());) action()
  }
}

import { constants, deflateRaw, deflateRawSync, type ZlibOptions } from 'node:zlib'
import type { Fault } from '../../../connection/close-codes.ts'
import type { ConnectionSettings } from '../../../options/connection.ts'
import type { DeflateParameters, Direction } from './extensions.ts'
import { Inflater } from './inflater.ts'
import { slideWindow } from './slide-window.ts'
import { runInThreadPool, type PoolUser } from './thread-pool.ts'

const MAX_SYNC = 64 * 1024 // bytes; a longer message is compressed off the event loop
const MIN_WINDOW_BITS = 9 // of zlib; with it zlib looks back no farther than a window of 8 allows
const UNREACHABLE = 262 // bytes of its window that zlib never looks back at
const MAX_MEM_LEVEL = 8
const MEM_LEVEL_BITS = 6 // memLevel n is enough for a window of 2 ** (6 + n) bytes
const TAIL = 4 // bytes at the end of a flush, which are left out, RFC 7692 §7.2.1
const EMPTY = Buffer.alloc(0)

/** The compression and decompression of one connection's messages, RFC 7692 §7.2. */
export class Deflate implements PoolUser {
  latestTurn = 0
  /** Minimum size of a message to be compressed, in bytes. */
  readonly threshold: number
  readonly #send: Direction
  readonly #level: number | undefined
  readonly #memLevel: number | undefined
  readonly #inflater: Inflater
  #history: Buffer = EMPTY // bytes that the next message may look back at

  constructor({ send, receive }: DeflateParameters, settings: ConnectionSettings) {
    const { compression, maxReceivedMessageSize: maxSize } = settings
    const options = typeof compression === 'object' ? compression : {}
    this.threshold = options.threshold ?? 1024
    this.#level = options.level
    this.#memLevel = options.memLevel
    this.#send = { ...send, windowBits: Math.max(MIN_WINDOW_BITS, send.windowBits) }
    this.#inflater = new Inflater({ ...receive, maxSize })
  }

  /**
   * Returns the variant of a shared message of that length. Connections with the same variant
   * compress the message to the same bytes.
   */
  variantFor(length: number): number {
    return this.#windowBitsFor(length)
  }

  /**
   * Compresses a message: at once if it is short, otherwise in the thread pool. The payload may
   * change once this method has returned.
   */
  deflate(payload: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const { keepsContext, windowBits } = this.#send
    if (!keepsContext) return this.deflateWithoutContext(payload)
    const dictionary = this.#history
    this.addToHistory(payload)
    if (dictionary.length === 0) return this.deflateWithoutContext(payload)
    return this.#compress(payload, { ...this.#zlibOptions(windowBits), dictionary })
  }

  /** Compresses a message without context, so that the result is the same for all connections. */
  deflateWithoutContext(payload: Uint8Array): Uint8Array | Promise<Uint8Array> {
    return this.#compress(payload, this.#zlibOptions(this.#windowBitsFor(payload.length)))
  }

  /** Adds a message that was compressed without context to the history of the next message. */
  addToHistory(payload: Uint8Array): void {
    const { keepsContext, windowBits } = this.#send
    if (keepsContext) this.#history = slideWindow(this.#history, payload, windowBits)
  }

  /** Inflates a whole message. Returns the message, or the close reason if it is invalid. */
  inflate(payload: Uint8Array): Buffer | Fault | Promise<Buffer | Fault> {
    return this.#inflater.inflate(payload)
  }

  /** Returns the smallest window for a whole message, within the window agreed on. */
  #windowBitsFor(length: number): number {
    const needed = Math.ceil(Math.log2(length + UNREACHABLE))
    return Math.min(this.#send.windowBits, Math.max(MIN_WINDOW_BITS, needed))
  }

  #zlibOptions(windowBits: number): ZlibOptions {
    const needed = Math.min(MAX_MEM_LEVEL, windowBits - MEM_LEVEL_BITS)
    return {
      finishFlush: constants.Z_SYNC_FLUSH,
      windowBits,
      memLevel: this.#memLevel ?? needed,
      ...(this.#level !== undefined && { level: this.#level }),
    }
  }

  #compress(payload: Uint8Array, options: ZlibOptions): Uint8Array | Promise<Uint8Array> {
    if (payload.length <= MAX_SYNC) return removeTail(deflateRawSync(payload, options))
    const copy = Uint8Array.from(payload)
    return runInThreadPool<Buffer>(this, (done) => deflateRaw(copy, options, done)).then(removeTail)
  }
}

function removeTail(bytes: Buffer): Buffer {
  return bytes.subarray(0, -TAIL)
}

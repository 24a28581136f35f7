import { constants, deflateRaw, deflateRawSync, type ZlibOptions } from 'node:zlib'
import type { CloseReason } from '../../close.ts'
import type { ConnectionSettings } from '../../options/connection.ts'
import type { DeflateParameters, Direction } from './extensions.ts'
import { Inflater } from './inflater.ts'
import { slideWindow } from './sliding-window.ts'
import { inThreadPool, type PoolUser } from './thread-pool.ts'

const MAX_SYNC = 64 * 1024 // bytes; a longer message is compressed off the event loop
const SMALLEST_WINDOW = 9 // zlib's; it looks no farther back with it than a window of 8 allows
const UNREACHED = 262 // bytes of its window that zlib does not look back at
const MAX_MEM_LEVEL = 8
const MEM_LEVEL_BITS = 6 // a window of 2 to the 6 + n needs no more than memLevel n
const TAIL = 4 // the bytes that a flush ends with, which are left out: RFC 7692 §7.2.1
const NOTHING = Buffer.alloc(0)

/** Compresses and inflates the messages of one connection, RFC 7692 §7.2. */
export class Deflate implements PoolUser {
  latestTurn = 0
  /** Bytes from which a message is compressed. */
  readonly threshold: number
  readonly #send: Direction
  readonly #level: number | undefined
  readonly #memLevel: number | undefined
  readonly #inflater: Inflater
  #history: Buffer = NOTHING // what the next message may look back at

  constructor({ send, receive }: DeflateParameters, settings: ConnectionSettings) {
    const { compression, maxReceivedMessageSize: maxSize } = settings
    const chosen = typeof compression === 'object' ? compression : {}
    this.threshold = chosen.threshold ?? 1024
    this.#level = chosen.level
    this.#memLevel = chosen.memLevel
    this.#send = { ...send, windowBits: Math.max(SMALLEST_WINDOW, send.windowBits) }
    this.#inflater = new Inflater({ ...receive, maxSize })
  }

  /**
   * Returns a number that is the same for all connections on which a shared message of so many bytes
   * is compressed to the same bytes.
   */
  variantFor(length: number): number {
    return this.#windowBitsFor(length)
  }

  /**
   * Compresses a message: at once where it is short, in the thread pool otherwise. The payload may
   * change once this has returned.
   */
  deflate(payload: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const { keepsContext, windowBits } = this.#send
    if (!keepsContext) return this.deflateAlone(payload)
    const dictionary = this.#history
    this.remember(payload)
    if (dictionary.length === 0) return this.deflateAlone(payload)
    return this.#deflated(payload, { ...this.#zlibOptions(windowBits), dictionary })
  }

  /** Compresses a message without a look at those before it: the same for all who get it. */
  deflateAlone(payload: Uint8Array): Uint8Array | Promise<Uint8Array> {
    return this.#deflated(payload, this.#zlibOptions(this.#windowBitsFor(payload.length)))
  }

  /** Lets the next message look back at one that was compressed for all. */
  remember(payload: Uint8Array): void {
    const { keepsContext, windowBits } = this.#send
    if (keepsContext) this.#history = slideWindow(this.#history, payload, windowBits)
  }

  /** Inflates a whole message, or tells what is wrong with it. */
  inflate(payload: Uint8Array): Buffer | CloseReason | Promise<Buffer | CloseReason> {
    return this.#inflater.inflate(payload)
  }

  /** The smallest window in which a whole message is looked back at, within what was agreed on. */
  #windowBitsFor(length: number): number {
    const needed = Math.ceil(Math.log2(length + UNREACHED))
    return Math.min(this.#send.windowBits, Math.max(SMALLEST_WINDOW, needed))
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

  #deflated(payload: Uint8Array, options: ZlibOptions): Uint8Array | Promise<Uint8Array> {
    if (payload.length <= MAX_SYNC) return withoutTail(deflateRawSync(payload, options))
    const own = Uint8Array.from(payload)
    return inThreadPool<Buffer>(this, (done) => deflateRaw(own, options, done)).then(withoutTail)
  }
}

function withoutTail(bytes: Buffer): Buffer {
  return bytes.subarray(0, -TAIL)
}

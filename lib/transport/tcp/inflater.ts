import { inflateRaw, inflateRawSync, type ZlibOptions } from 'node:zlib'
import { messageTooBig, type CloseReason } from '../../close.ts'
import { Inflation, type Inflated } from './inflation.ts'
import { inThreadPool, type PoolUser } from './thread-pool.ts'

const KIB = 1024
const MAX_SYNC_INPUT = 64 * KIB // bytes; a longer payload is inflated off the event loop,
const MAX_SYNC_OUTPUT = 256 * KIB // and so is one from which more comes

/** What both ends agreed on for what the peer sends, RFC 7692 §7.1. */
export interface InflaterOptions {
  /** How far back a message may look, as a power of two. */
  readonly windowBits: number
  /** Whether it may look at the messages before it: then the last bytes of them are kept. */
  readonly keepsContext: boolean
  /** Bytes of a message at most. */
  readonly maxSize: number
}

const NOTHING = Buffer.alloc(0)

// zlib's functions take the option `info`, which their types don't know.
const inflateNow = inflateRawSync as unknown as (input: Buffer, options: ZlibOptions) => Inflated
const inflateAside = inflateRaw as unknown as (
  input: Buffer,
  options: ZlibOptions,
  done: (error: Error | null, inflated: Inflated) => void,
) => void

/** Inflates the messages of one connection, RFC 7692 §7.2.2. */
export class Inflater implements PoolUser {
  latestTurn = 0
  readonly #options: InflaterOptions
  #history: Buffer = NOTHING // what the next message may look back at

  constructor(options: InflaterOptions) {
    this.#options = options
  }

  /**
   * Inflates a whole message, or tells why the connection has to close: at once where the message is
   * short, in the thread pool otherwise. Only one at a time: the next may look back at this one.
   */
  inflate(payload: Uint8Array): Buffer | CloseReason | Promise<Buffer | CloseReason> {
    const { maxSize } = this.#options
    if (payload.length > MAX_SYNC_INPUT) return this.#inflateAside(payload)
    const inflation = this.#begin(payload, Math.min(maxSize, MAX_SYNC_OUTPUT))
    try {
      while (inflation.isUnderWay) {
        inflation.take(inflateNow(inflation.input, inflation.zlibOptions))
      }
    } catch (error) {
      inflation.fail(error)
    }
    const isLong = inflation.isTooBig && maxSize > MAX_SYNC_OUTPUT
    return isLong ? this.#inflateAside(payload) : this.#finish(inflation)
  }

  async #inflateAside(payload: Uint8Array): Promise<Buffer | CloseReason> {
    const inflation = this.#begin(payload, this.#options.maxSize)
    try {
      while (inflation.isUnderWay) {
        const { input, zlibOptions } = inflation
        inflation.take(await inThreadPool(this, (done) => inflateAside(input, zlibOptions, done)))
      }
    } catch (error) {
      inflation.fail(error)
    }
    return this.#finish(inflation)
  }

  #begin(payload: Uint8Array, maxSize: number): Inflation {
    const { windowBits } = this.#options
    return new Inflation(payload, { windowBits, maxSize, history: this.#history })
  }

  #finish(inflation: Inflation): Buffer | CloseReason {
    if (this.#options.keepsContext) this.#history = inflation.history
    return inflation.isTooBig ? messageTooBig(this.#options.maxSize) : inflation.outcome
  }
}

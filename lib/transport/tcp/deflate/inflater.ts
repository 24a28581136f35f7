import { inflateRaw, inflateRawSync, type ZlibOptions } from 'node:zlib'
import { messageTooBig, type Fault } from '../../../connection/close-codes.ts'
import { Inflation, type Inflated } from './inflation.ts'
import { runInThreadPool, type PoolUser } from './thread-pool.ts'

const KIB = 1024

// A message with more bytes before or after inflation is inflated off the event loop.
const MAX_SYNC_INPUT = 64 * KIB
const MAX_SYNC_OUTPUT = 256 * KIB

/** The parameters agreed on for the peer's messages, RFC 7692 §7.1, and their limit. */
export interface InflaterOptions {
  /** The base-2 logarithm of the distance that a message may look back, in bytes. */
  readonly windowBits: number
  /** Whether a message may look back at the messages before it: then their last bytes are kept. */
  readonly keepsContext: boolean
  /** Maximum size of a message, in bytes. */
  readonly maxSize: number
}

const EMPTY = Buffer.alloc(0)

// The functions of zlib take the option `info`, but their types lack it.
const inflateSync = inflateRawSync as unknown as (input: Buffer, options: ZlibOptions) => Inflated
const inflateAsync = inflateRaw as unknown as (
  input: Buffer,
  options: ZlibOptions,
  done: (error: Error | null, inflated: Inflated) => void,
) => void

/** The decompression of one connection's messages, RFC 7692 §7.2.2. */
export class Inflater implements PoolUser {
  latestTurn = 0
  readonly #options: InflaterOptions
  #history: Buffer = EMPTY // bytes that the next message may look back at

  constructor(options: InflaterOptions) {
    this.#options = options
  }

  /**
   * Inflates a whole message: at once if it is short, otherwise in the thread pool. Returns the
   * message, or the reason why the connection has to close. Only one message may be inflated at a
   * time, because the next one may look back at it.
   */
  inflate(payload: Uint8Array): Buffer | Fault | Promise<Buffer | Fault> {
    const { maxSize } = this.#options
    if (payload.length > MAX_SYNC_INPUT) return this.#inflateAsync(payload)
    const inflation = this.#createInflation(payload, Math.min(maxSize, MAX_SYNC_OUTPUT))
    try {
      while (inflation.isUnderWay) {
        inflation.add(inflateSync(inflation.input, inflation.zlibOptions))
      }
    } catch (error) {
      inflation.fail(error)
    }
    const isLong = inflation.isTooBig && maxSize > MAX_SYNC_OUTPUT
    return isLong ? this.#inflateAsync(payload) : this.#finish(inflation)
  }

  async #inflateAsync(payload: Uint8Array): Promise<Buffer | Fault> {
    const inflation = this.#createInflation(payload, this.#options.maxSize)
    try {
      while (inflation.isUnderWay) {
        const { input, zlibOptions } = inflation
        inflation.add(await runInThreadPool(this, (done) => inflateAsync(input, zlibOptions, done)))
      }
    } catch (error) {
      inflation.fail(error)
    }
    return this.#finish(inflation)
  }

  #createInflation(payload: Uint8Array, maxSize: number): Inflation {
    const { windowBits } = this.#options
    return new Inflation(payload, { windowBits, maxSize, history: this.#history })
  }

  #finish(inflation: Inflation): Buffer | Fault {
    if (this.#options.keepsContext) this.#history = inflation.history
    return inflation.isTooBig ? messageTooBig(this.#options.maxSize) : inflation.outcome
  }
}

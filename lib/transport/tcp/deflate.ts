import { promisify } from 'node:util'
import { constants, deflateRaw, deflateRawSync, type ZlibOptions } from 'node:zlib'
import type { CloseReason } from '../../close.ts'
import type { ConnectionSettings } from '../../options/connection.ts'
import type { DeflateParameters } from './extensions.ts'
import { Inflater } from './inflater.ts'

const MAX_SYNC = 64 * 1024 // bytes; a longer message is compressed beside the event loop
const SMALLEST_WINDOW = 9 // zlib's; it looks no farther back with it than a window of 8 allows
const TAIL = 4 // the bytes that a flush ends with, which are left out: RFC 7692 §7.2.1
const deflateRawAsync = promisify(deflateRaw)

/** Compresses and inflates the messages of one connection, RFC 7692 §7.2. */
export class Deflate {
  /** Bytes from which a message is compressed. */
  readonly threshold: number
  /** The messages that are compressed in the same way have the same number. */
  readonly variant: number
  readonly #options: ZlibOptions
  readonly #inflater: Inflater

  constructor(parameters: DeflateParameters, settings: ConnectionSettings) {
    const { compression, maxReceivedMessageSize } = settings
    const chosen = typeof compression === 'object' ? compression : {}
    const { threshold = 1024, windowBits = parameters.deflateWindowBits, level, memLevel } = chosen
    const most = Math.min(windowBits, parameters.deflateWindowBits)
    this.threshold = threshold
    this.variant = Math.max(SMALLEST_WINDOW, most)
    this.#options = {
      finishFlush: constants.Z_SYNC_FLUSH,
      windowBits: this.variant,
      ...(level !== undefined && { level }),
      ...(memLevel !== undefined && { memLevel }),
    }
    this.#inflater = new Inflater({
      windowBits: parameters.inflateWindowBits,
      context: parameters.keepsContext,
      most: maxReceivedMessageSize,
    })
  }

  /** Compresses a message for itself; the payload may change once this has returned. */
  deflate(payload: Uint8Array): Uint8Array | Promise<Uint8Array> {
    if (payload.length <= MAX_SYNC) return deflateRawSync(payload, this.#options).subarray(0, -TAIL)
    const own = Uint8Array.from(payload)
    return deflateRawAsync(own, this.#options).then((bytes) => bytes.subarray(0, -TAIL))
  }

  /** Inflates a whole message, or tells what is wrong with it. */
  inflate(payload: Uint8Array): Promise<Buffer | CloseReason> {
    return this.#inflater.inflate(payload)
  }
}

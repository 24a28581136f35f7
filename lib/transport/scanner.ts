import type { CloseReason } from '../close.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import type { Tcp } from './outbox.ts'

/**
 * Reads the headers of the frames in a stream of bytes, RFC 6455 §5.2, and tells of one that is
 * longer than it may be: `ws` only knows messages.
 */
export class FrameScanner {
  readonly #most: number
  readonly #exceeded: () => void
  #header: number[] = [] // the bytes of a header that isn't whole yet
  #payload = 0 // bytes of the payload still to come

  /** Makes one for frames of at most so many bytes of payload; it tells of a longer one at once. */
  constructor(most: number, exceeded: () => void) {
    this.#most = most
    this.#exceeded = exceeded
  }

  /** Looks through the next bytes of the stream. */
  scan(chunk: Uint8Array): void {
    let offset = 0
    while (offset < chunk.length) {
      const skipped = Math.min(this.#payload, chunk.length - offset)
      offset += skipped
      this.#payload -= skipped
      if (this.#payload > 0 || offset === chunk.length) return
      this.#header.push(...chunk.subarray(offset, ++offset))
      if (this.#header.length === headerLength(this.#header)) this.#entered()
    }
  }

  #entered(): void {
    this.#payload = payloadLength(this.#header)
    this.#header = []
    if (this.#payload > this.#most) this.#exceeded()
  }
}

// What there is to say where the bytes of TCP don't come by here, as in Bun.
const UNSEEN: CloseReason = {
  code: 1011,
  description: 'this runtime hides its frames: leave `maxReceivedFrameSize` out',
}

/** Looks at every frame before anybody else does, where frames have a limit. */
export function scanFrames(
  tcp: Tcp,
  { maxReceivedFrameSize: most }: ConnectionSettings,
  invalid: (reason: CloseReason) => void,
): void {
  if (most === false) return
  if (tcp.bytesRead === 0) {
    queueMicrotask(() => invalid(UNSEEN))
    return
  }
  const description = `frame size exceeds maximum of ${most} Bytes.`
  const scanner = new FrameScanner(most, () => invalid({ code: 1008, description }))
  tcp.prependListener('data', (chunk: Buffer) => scanner.scan(chunk))
}

function headerLength([, second = 0]: readonly number[]): number {
  const length = second & 0x7f
  return 2 + (length === 127 ? 8 : length === 126 ? 2 : 0) + (second & 0x80 ? 4 : 0)
}

function payloadLength([, second = 0, ...rest]: readonly number[]): number {
  const length = second & 0x7f
  if (length < 126) return length
  return rest.slice(0, length === 126 ? 2 : 8).reduce((sum, byte) => sum * 256 + byte, 0)
}

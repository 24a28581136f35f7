import { invalidValue } from '../validation.ts'

/** The payload of a message: a string for text, bytes for binary. */
export type Data = string | Uint8Array

/**
 * A value that can be sent: text, a number (sent as its decimal text), or bytes (a buffer or any
 * view of one). The caller may change the bytes as soon as the call has returned.
 */
export type SendData = string | number | ArrayBufferView | ArrayBufferLike

const MAX_FRAME_HEADER = 14 // bytes, RFC 6455 §5.2
/**
 * The encoder of UTF-8.
 *
 * @internal
 */
export const encoder = new TextEncoder()
/**
 * The decoder of UTF-8, which throws for anything else.
 *
 * @internal
 */
export const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A message prepared once for many receivers: encoded on first use, and then shared. */
export class PreparedMessage {
  readonly data: Data
  #bytes: Uint8Array | undefined
  #ownBytes: Uint8Array | undefined
  readonly #frames: (Uint8Array | undefined)[] = []
  readonly #compressed: (Uint8Array | Promise<Uint8Array> | undefined)[] = []

  constructor(data: Data) {
    this.data = data
  }

  /** Whether the message is sent as text. */
  get isText(): boolean {
    return typeof this.data === 'string'
  }

  /** Returns the frame of one encoding variant, if `cacheFrame` has stored it. */
  cachedFrame(variant: number): Uint8Array | undefined {
    return this.#frames[variant]
  }

  /** Stores the frame of one encoding variant for the other receivers, and returns it. */
  cacheFrame(variant: number, bytes: Uint8Array): Uint8Array {
    this.#frames[variant] = bytes
    return bytes
  }

  /**
   * Returns the compressed payload of one variant. Calls `compress` for the first receiver only.
   */
  compressed(
    variant: number,
    compress: () => Uint8Array | Promise<Uint8Array>,
  ): Uint8Array | Promise<Uint8Array> {
    return (this.#compressed[variant] ??= compress())
  }

  /** The payload as bytes: text encoded as UTF-8, bytes as they are. */
  get bytes(): Uint8Array {
    return this.#ownBytes ?? (this.#bytes ??= toBytes(this.data))
  }

  /** The payload as bytes that the caller can't change afterwards: copied once for all. */
  get ownBytes(): Uint8Array {
    if (this.isText) return this.bytes
    return (this.#ownBytes ??= new Uint8Array(this.bytes))
  }
}

/**
 * Converts a value that can be sent to a payload: a number to its decimal text, bytes to a view of
 * the caller's bytes.
 *
 * @throws TypeError when the value is not a string, bytes or a finite number.
 */
export function toData(value: unknown): Data {
  if (typeof value === 'string' || value instanceof Uint8Array) return value
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  }
  if (value instanceof ArrayBuffer || isShared(value)) return new Uint8Array(value)
  throw invalidValue(
    'what is sent',
    'a string, bytes or a finite number (for objects set `messages`)',
    value,
  )
}

/** Returns whether a value is a SharedArrayBuffer. Some pages don't have that class. */
export function isShared(buffer: unknown): buffer is SharedArrayBuffer {
  return typeof SharedArrayBuffer === 'function' && buffer instanceof SharedArrayBuffer
}

/** Returns the payload as it is sent: text encoded as UTF-8, bytes as they are. */
export function toBytes(message: Data | PreparedMessage): Uint8Array {
  if (typeof message === 'string') return encoder.encode(message)
  return message instanceof PreparedMessage ? message.bytes : message
}

/** Copies bytes that are only a part of a chunk, so that they don't keep the chunk in memory. */
export function withoutChunk(data: Data): Data {
  const isPart = data instanceof Uint8Array && data.length < data.buffer.byteLength
  return isPart ? Uint8Array.from(data) : data
}

/** Returns an upper bound of the bytes that a message takes on the wire, without encoding it. */
export function maxByteLength(message: Data | PreparedMessage): number {
  const data = message instanceof PreparedMessage ? message.data : message
  return MAX_FRAME_HEADER + (typeof data === 'string' ? 3 * data.length : data.length)
}

/** Decodes UTF-8. Returns bytes that are not valid UTF-8 unchanged. */
export function toText(bytes: Uint8Array): Data {
  try {
    return decoder.decode(bytes)
  } catch {
    return bytes
  }
}

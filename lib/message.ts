import { unexpected } from './errors.ts'

/** Names the method that sends a prepared message: for those who send one to many. */
export const DELIVER: unique symbol = Symbol('deliver')

/** What a message carries: text is a string, binary is bytes. */
export type Data = string | Uint8Array

/**
 * What may be sent: text, a number as its decimal text, or bytes: a buffer, or any view of one. Bytes
 * stay the caller's, who may change them as soon as the call has returned.
 */
export type SendData = string | number | ArrayBufferView | ArrayBufferLike

const FRAME_HEADER = 14 // bytes at most, RFC 6455 §5.2
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A message prepared once for many: its bytes are encoded when first asked for, and then shared. */
export class Message {
  readonly data: Data
  #bytes: Uint8Array | undefined
  #ownBytes: Uint8Array | undefined
  readonly #variants: (Uint8Array | undefined)[] = []
  readonly #compressed: (Uint8Array | Promise<Uint8Array> | undefined)[] = []

  constructor(data: Data) {
    this.data = data
  }

  /** Tells whether it goes out as text. */
  get isText(): boolean {
    return typeof this.data === 'string'
  }

  /** Is one of the ways in which it goes on the wire, once that was kept. */
  variant(number: number): Uint8Array | undefined {
    return this.#variants[number]
  }

  /** Keeps one of the ways in which it goes on the wire, for the others who get it. */
  keep(number: number, bytes: Uint8Array): Uint8Array {
    this.#variants[number] = bytes
    return bytes
  }

  /** Returns the payload compressed, as it is for all who get this variant: once, for the first one. */
  compressed(
    number: number,
    compress: () => Uint8Array | Promise<Uint8Array>,
  ): Uint8Array | Promise<Uint8Array> {
    return (this.#compressed[number] ??= compress())
  }

  /** The payload as it goes on the wire. */
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
 * Returns what may be sent as what is sent: a number as its decimal text, bytes as a view of those of
 * the caller.
 *
 * @throws TypeError when it is none of a string, bytes or a finite number.
 */
export function toData(value: unknown): Data {
  if (typeof value === 'string' || value instanceof Uint8Array) return value
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  }
  if (value instanceof ArrayBuffer || isShared(value)) return new Uint8Array(value)
  throw unexpected(
    'what is sent',
    'a string, bytes (a buffer or a view of one) or a finite number (JSON.stringify what is none)',
    value,
  )
}

/** Tells whether a buffer is shared between threads; a page may be without any. */
export function isShared(buffer: unknown): buffer is SharedArrayBuffer {
  return typeof SharedArrayBuffer === 'function' && buffer instanceof SharedArrayBuffer
}

/** Is the payload as it goes on the wire: text encoded as UTF-8, bytes as they are. */
export function toBytes(message: Data | Message): Uint8Array {
  if (typeof message === 'string') return encoder.encode(message)
  return message instanceof Message ? message.bytes : message
}

/** Is the most bytes that a message may take on the wire: cheap to tell, and never too few. */
export function mostBytes(message: Data | Message): number {
  const data = message instanceof Message ? message.data : message
  return FRAME_HEADER + (typeof data === 'string' ? 3 * data.length : data.length)
}

/** Decodes UTF-8; bytes that aren't stay bytes. */
export function toText(bytes: Uint8Array): Data {
  try {
    return decoder.decode(bytes)
  } catch {
    return bytes
  }
}

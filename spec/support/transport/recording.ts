import type { CloseReason } from '../../../lib/connection/close-codes.ts'
import type { Data } from '../../../lib/connection/message.ts'
import type { ConnectionOptions } from '../../../lib/options/connection.ts'
import { resolveServer } from '../../../lib/options/server.ts'
import { FrameParser, type FrameListener } from '../../../lib/transport/tcp/frames/frame-parser.ts'

/** How the parser of a recording is made. */
export interface RecordingOptions extends ConnectionOptions {
  readonly isMasked?: boolean
  readonly mayCompress?: boolean
}

/** A parser, and what it told. */
export class Recording implements FrameListener {
  readonly parser: FrameParser
  readonly messages: Data[] = []
  readonly sizes: number[] = []
  /** Compressed messages, each with whether it is text. */
  readonly compressed: [payload: Uint8Array, isText: boolean][] = []
  readonly pings: Uint8Array[] = []
  readonly pongs: Uint8Array[] = []
  closed: CloseReason | undefined
  invalid: CloseReason | undefined
  /** Called after each message. */
  onEach: () => void = () => {}

  constructor({ isMasked = true, mayCompress = false, ...options }: RecordingOptions = {}) {
    this.parser = new FrameParser({ isMasked, mayCompress, settings: resolveServer(options) }, this)
  }

  /** Whatever the parser was told to stop for. */
  get code(): number | undefined {
    return this.invalid?.code
  }

  /** Parses copies of chunks: a parser unmasks in place. */
  push(...chunks: readonly Uint8Array[]): this {
    return this.pushAll(chunks)
  }

  pushAll(chunks: readonly Uint8Array[]): this {
    for (const chunk of chunks) this.parser.push(Buffer.from(chunk))
    return this
  }

  onMessage(data: Data, size: number): void {
    this.messages.push(data)
    this.sizes.push(size)
    this.onEach()
  }

  onCompressedMessage(payload: Uint8Array, isText: boolean): void {
    this.compressed.push([payload, isText])
    this.onEach()
  }

  onPing(payload: Uint8Array): void {
    this.pings.push(payload)
  }

  onPong(payload: Uint8Array): void {
    this.pongs.push(payload)
  }

  onClose(reason: CloseReason): void {
    this.closed = reason
  }

  onInvalid(reason: CloseReason): void {
    this.invalid = reason
  }
}

import { Writable } from 'node:stream'
import * as ws from 'ws'

/** The parameters of an extension, each with the values it came with: true where it has none. */
export type Parameters = Readonly<Record<string, readonly (string | true)[]>>

/** What a receiver of `ws` is made with. */
interface ReceiverOptions {
  readonly isServer: boolean
  readonly maxPayload: number
  readonly maxFragments: number
}

// `ws` exports these, and its types don't say so.
declare module 'ws' {
  /** Reads frames from the bytes that are written to it. */
  class Receiver extends Writable {
    constructor(options: ReceiverOptions)
    on(event: 'message', listener: (data: Buffer, isBinary: boolean) => void): this
    on(event: 'ping' | 'pong', listener: (payload: Buffer) => void): this
    on(event: 'conclude', listener: (code: number, description: Buffer) => void): this
    on(event: 'error', listener: (error: Error & { code?: string }) => void): this
    on(event: string, listener: (...values: never[]) => void): this
  }

  /** Reads and writes lists of extensions. */
  const extension: {
    /** @throws SyntaxError for what is none. */
    parse(header: string): Readonly<Record<string, readonly Parameters[]>>
    format(extensions: Readonly<Record<string, readonly Parameters[]>>): string
  }

  /** Reads lists of subprotocols. */
  const subprotocol: {
    /** @throws SyntaxError for what is none. */
    parse(header: string): Set<string>
  }
}

/** Whether this is the `ws` that has them: a runtime may have put something else in its place. */
export const hasParts =
  typeof ws.Receiver === 'function' && ws.Receiver.prototype instanceof Writable

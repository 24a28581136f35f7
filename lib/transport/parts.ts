import { Writable } from 'node:stream'
import * as ws from 'ws'

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

  /** Reads lists of subprotocols. */
  const subprotocol: {
    /** @throws SyntaxError for what is none. */
    parse(header: string): Set<string>
  }
}

/** Whether this is the `ws` that has them: a runtime may have put something else in its place. */
export const hasParts =
  typeof ws.Receiver === 'function' && ws.Receiver.prototype instanceof Writable

import type { CloseReason } from '../close.ts'
import type { ConnectError } from '../errors.ts'
import type { Data, Message } from '../message.ts'
import type { ClientSettings } from '../options/client.ts'

/** What a transport tells the connection above it. */
export interface Receiver {
  /**
   * A data frame, ping or pong begins that takes so many bytes: returns whether it may come. One that
   * may not is skipped, and so is the message that it is a part of.
   */
  frame?(bytes: number): boolean
  /** A whole message came: text as a string, binary as bytes, with its size in bytes. */
  message(data: Data, size: number): void
  /** A ping came; the transport answers it by itself. */
  ping(payload: Uint8Array): void
  /** A pong came. */
  pong(payload: Uint8Array): void
  /** What was sent before `notify` has been handed on. */
  written(): void
  /** The peer's close frame came; the transport answers it by itself. */
  closing(reason: CloseReason): void
  /** The peer sent what it must not: the connection will close with this. */
  invalid(reason: CloseReason, cause: unknown): void
  /** The last word, once: nothing comes after it. */
  closed(reason: CloseReason): void
}

/**
 * Moves messages between a connection and its peer: the one seam between a connection and bytes.
 *
 * Sizes, cuts and close rules are the connection's: a transport only carries.
 */
export interface Transport {
  /** The subprotocol agreed on, or nothing. */
  readonly protocol: string
  /** Bytes accepted and not yet handed on. */
  readonly bufferedAmount: number
  /** Bytes received so far: any growth is a sign of life. */
  readonly bytesReceived: number
  /** Bytes sent so far, where anybody counts them. */
  readonly bytesSent?: number
  /** Bytes received and kept back while it is paused. */
  readonly heldBytes?: number
  /** Whether it reads nothing for a reason of its own, as it works on what came. */
  readonly isBusy?: boolean
  /** Begins to deliver, in a later turn of the event loop. */
  start(receiver: Receiver): void
  /** Sends a message; bytes may change afterwards. */
  send(message: Data | Message): void
  /** Tells `written`, once, when all that was sent so far has been handed on. */
  notify(): void
  /** Sends a ping of at most 125 bytes. */
  ping(payload: Uint8Array): void
  /** Sends a close frame; nothing can be sent after it. */
  close(reason: CloseReason): void
  /** Ends at once, without a closing handshake. */
  cut(): void
  /** Whether `pause` does anything; a browser doesn't let a page stop reading. Default: true. */
  readonly canPause?: boolean
  /** Stops to deliver as soon as it can. */
  pause(): void
  /** Delivers again. */
  resume(): void
  /** Reads one chunk more while it is paused, to find out whether the peer still sends. */
  readChunk?(): void
  /** Finds out whether the peer is still there, where a ping can't. */
  probe?(): void
}

/** What a client dials with. */
export interface Call {
  readonly url: URL
  readonly protocols: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  readonly settings: ClientSettings
}

/** What comes of dialling: one of the two, once. */
export interface Caller {
  /** The peer answered; the transport must be started in the same turn. */
  readonly opened: (transport: Transport) => void
  /** It did not come to a connection. */
  readonly failed: (error: ConnectError) => void
}

/**
 * Reaches for a server; the function returned gives up, and then nothing is told any more.
 *
 * It throws what can't be dialled at all, a header that isn't one say: no other attempt with the
 * same call would fare better. Everything else `failed` tells, in a later turn.
 */
export type Dial = (call: Call, caller: Caller) => () => void

/** Calls back when the network may have come back; the function returned ends that. */
export type OnWake = (callback: () => void) => () => void

/** The way out: what `#transport` is to a client. */
export interface Network {
  readonly dial: Dial
  readonly onWake: OnWake
}

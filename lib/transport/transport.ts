import type { CloseReason, Fault } from '../connection/close-codes.ts'
import type { ConnectError } from '../errors.ts'
import type { Data, PreparedMessage } from '../connection/message.ts'
import type { ClientSettings } from '../options/client.ts'

/** The callbacks of a connection, which its transport calls. */
export interface TransportReceiver {
  /**
   * Reports a data frame, ping or pong that begins and takes `bytes` bytes. Returns whether it may
   * come. A frame that may not come is skipped, and so is the message that it is a part of.
   */
  onFrame?(bytes: number): boolean
  /** Delivers a whole message: text as a string, binary as bytes. `size` is its size in bytes. */
  onMessage(data: Data, size: number): void
  /** Reports a ping. The transport answers it by itself. */
  onPing(payload: Uint8Array): void
  /** Reports a pong. */
  onPong(payload: Uint8Array): void
  /** Reports that everything sent before `notify` has been handed on. */
  onFlushed(): void
  /** Reports the peer's close frame. The transport answers it by itself. */
  onPeerClose(reason: CloseReason): void
  /** Reports that the peer broke the protocol or a limit. The connection closes with `reason`. */
  onInvalid(reason: Fault, cause: unknown): void
  /** Reports the end of the transport, once. No other callback follows. */
  onClosed(reason: CloseReason): void
}

/**
 * The part that moves messages between a connection and its peer: the only interface between a
 * connection and bytes.
 *
 * The connection decides about sizes, termination and close rules. A transport only carries.
 */
export interface Transport {
  /** The subprotocol agreed on, or an empty string. */
  readonly protocol: string
  /** Bytes accepted by `send` and not yet handed on. */
  readonly bufferedAmount: number
  /** Bytes received so far. Any growth shows that the peer is still there. */
  readonly bytesReceived: number
  /** Bytes sent so far; undefined where they are not counted. */
  readonly bytesSent?: number
  /** Bytes received and kept back while the transport is paused. */
  readonly heldBytes?: number
  /** Whether the transport has stopped reading by itself, because it works on received bytes. */
  readonly isBusy?: boolean
  /** Starts to deliver, in a later turn of the event loop. */
  start(receiver: TransportReceiver): void
  /** Sends a message. The caller may change its bytes afterwards. */
  send(message: Data | PreparedMessage): void
  /** Calls `onFlushed` once, when everything sent so far has been handed on. */
  notify(): void
  /** Sends a ping of at most 125 bytes. */
  ping(payload: Uint8Array): void
  /** Sends a close frame. Nothing can be sent after it. */
  close(reason: CloseReason): void
  /** Terminates the connection at once, without a closing handshake. */
  terminate(): void
  /**
   * Whether `pause` has an effect. A browser doesn't let a page stop reading.
   *
   * @default true
   */
  readonly canPause?: boolean
  /** Stops delivering as soon as possible. */
  pause(): void
  /** Starts to deliver again after `pause`. */
  resume(): void
  /** Reads one more chunk while paused, to find out whether the peer still sends. */
  readChunk?(): void
  /** Checks whether the peer is still there, where no ping can be sent. */
  probe?(): void
}

/** The parameters with which a client dials a server. */
export interface DialRequest {
  readonly url: URL
  readonly protocols: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  readonly settings: ClientSettings
}

/** The callbacks of a dial. Exactly one of them is called, once. */
export interface DialCallbacks {
  /** The callback for success. It must start the transport in the same turn. */
  readonly onOpen: (transport: Transport) => void
  /** The callback for failure. */
  readonly onError: (error: ConnectError) => void
}

/**
 * A function that dials a server. It returns a function that gives up; after that no callback is
 * called any more.
 *
 * It throws for a request that can't be dialled at all, for example one with an invalid header:
 * another attempt with the same request would fail, too. All other errors are passed to `failed`,
 * in a later turn.
 */
export type Dial = (request: DialRequest, callbacks: DialCallbacks) => () => void

/** A function that calls back when the network may be back. It returns a function that stops it. */
export type OnWake = (callback: () => void) => () => void

/** The functions with which a client reaches the network: the exports of `#transport`. */
export interface Network {
  readonly dial: Dial
  readonly onWake: OnWake
}

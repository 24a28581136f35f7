import type { Backplane } from '../backplane/backplane.ts'
import type { AnyConnection } from '../connection/connection.ts'
import type { Counts } from '../connection/counts.ts'
import type { MessageSink } from '../connection/message-sink.ts'
import type { WebsocketError } from '../errors.ts'
import type { ErrorSink } from '../events/emitter.ts'
import type { PeerConnectErrorInit } from './handshake/peer-connect-error.ts'
import type { RequestDetails } from './handshake/request.ts'

/** A peer that an extension has negotiated with, before and after the server accepts it. */
export interface PendingPeer {
  /** The answer to the peer when `authorize` returns false or nothing. */
  readonly rejection: PeerConnectErrorInit
  /**
   * Takes the peer's connection before any listener sees it. Returns the sink that reads what the
   * connection receives.
   */
  accept(connection: AnyConnection): MessageSink
}

/** A protocol layered on a server (channels): may reject upgrades, and reads the messages. */
export interface ServerExtension {
  /** The suffixes that the extension's paths add to the path of the server. */
  readonly pathSuffixes: readonly string[]
  /** The subprotocols that the extension answers with. */
  readonly protocols: readonly string[]
  /** Checks a request before the server accepts it; throws a `PeerConnectError` to reject it. */
  negotiate(request: RequestDetails, suffix: string): PendingPeer
  /** Ends the extension after the server has closed. */
  onClosed(): void
}

/** The parts of a server that its extension uses. */
export interface ExtensionHost extends ErrorSink {
  readonly counts: Counts
  readonly closeTimeout: number
  readonly maxWaitingBytes: number
  readonly protocols: readonly string[]
  readonly backplane: Backplane | undefined
  /** Reports a failure that belongs to no connection. */
  reportFailure(error: WebsocketError): void
}

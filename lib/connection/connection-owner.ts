import type { ErrorSink } from '../events/emitter.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import type { DiagnosticsSink } from '../server/diagnostics.ts'
import type { CloseReason } from './close-codes.ts'
import type { AnyConnection } from './connection.ts'
import type { Counts } from './counts.ts'
import type { Keepalive } from './keepalive.ts'
import type { Data } from './message.ts'
import type { RateLimiter } from './rate-limiter.ts'

/** The server or client that made a connection: shared settings, counters and callbacks. */
export interface ConnectionOwner extends ErrorSink {
  readonly side: 'server' | 'client'
  readonly settings: ConnectionSettings
  readonly keepalive: Keepalive | undefined
  readonly counts: Counts
  /** Creates the rate limiter of one connection. Missing where the peer's rate is not limited. */
  readonly makeRateLimiter?: (() => RateLimiter) | undefined
  /** The diagnostics channels. Missing in a browser. */
  readonly diagnostics?: DiagnosticsSink | undefined
  /** Sends a message to every other connection. */
  broadcast(from: AnyConnection, data: Data): void
  /** Removes a closed connection from the owner. Called before its `close` event. */
  onClose(connection: AnyConnection, reason: CloseReason): void
}

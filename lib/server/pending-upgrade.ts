import type { IncomingMessage } from 'node:http'
import type { AnyConnection } from '../connection/connection.ts'
import type { ServerSettings } from '../options/server.ts'
import type { Upgrader } from '../transport/tcp/upgrade.ts'
import type { Transport } from '../transport/transport.ts'
import { checkHandshake } from './handshake/handshake.ts'
import type { RouteMatch } from './handshake/path.ts'
import { clientAddress } from './handshake/peer-address.ts'
import type { PeerConnectError } from './handshake/peer-connect-error.ts'
import type { RequestDetails, RequestSource } from './handshake/request.ts'
import {
  boundAddress,
  destroyOnError,
  rejectUpgrade,
  watchDisconnect,
  type AnyHttpServer,
} from './http/http.ts'
import type { Upgrade } from './http/upgrade-router.ts'

/** An upgrade request that the server has not accepted or rejected yet. */
export interface PendingUpgrade {
  readonly source: RequestSource
  /** Node's own request; undefined where the peer doesn't connect over HTTP. */
  readonly incoming: IncomingMessage | undefined
  /** Milliseconds left of `handshakeTimeout`; undefined means the whole time. */
  readonly timeLeft?: number | undefined
  /** The address that the server is bound to; an empty string where it has none. */
  readonly boundAddress: string
  /**
   * Calls `onLeave` when the peer disconnects before it is accepted, until the returned function is
   * called.
   */
  readonly onAbort: (onLeave: () => void) => () => void
  /** Checks the opening handshake; throws a `PeerConnectError`. */
  readonly check: () => void
  /** Accepts the peer and returns the transport to it; throws a `PeerConnectError`. */
  readonly accept: (request: RequestDetails, settings: ServerSettings) => Transport
  /** Rejects the peer. */
  readonly reject: (error: PeerConnectError) => void
}

/** The accepted connection (sync or async), or undefined if the upgrade was rejected. */
export type UpgradeResult = AnyConnection | Promise<AnyConnection | undefined> | undefined

/** The details that an HTTP server adds to an upgrade request. */
export interface UpgradeDetails {
  readonly http: AnyHttpServer
  /** The matched route; undefined where every path is claimed. */
  readonly match: RouteMatch | undefined
  readonly timeLeft: number | undefined
}

/** Creates the pending upgrade of an HTTP request. `upgrader` creates its transport. */
export function fromHttp(
  [request, tcp, head]: Upgrade,
  { http, match, timeLeft }: UpgradeDetails,
  trustProxy: boolean | number,
  upgrader: Upgrader,
): PendingUpgrade {
  return {
    source: {
      url: request.url ?? '/',
      rawHeaders: request.rawHeaders,
      remoteAddress: clientAddress(request, trustProxy),
      match,
    },
    incoming: request,
    timeLeft,
    boundAddress: boundAddress(http).address,
    check: () => checkHandshake(request, http),
    onAbort: (onLeave) => watchDisconnect(tcp, onLeave),
    accept: () => {
      const transport = upgrader(request, tcp, head)
      tcp.off('error', destroyOnError) // the transport handles errors from here on
      return transport
    },
    reject: (error) => rejectUpgrade(tcp, error),
  }
}

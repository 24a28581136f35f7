import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { checkHandshake } from './admission.ts'
import type { WebsocketConnection } from './connection.ts'
import type { PeerConnectError } from './errors.ts'
import { boundTo, destroyOnError, refuse, watchLeaving, type AnyHttpServer } from './http.ts'
import type { ServerSettings } from './options/server.ts'
import type { Spot } from './path.ts'
import { addressOf } from './peer-address.ts'
import type { RequestDetails, RequestSource } from './request.ts'
import type { Transport } from './transport/transport.ts'

/** Somebody at the door. */
export interface Visit {
  readonly source: RequestSource
  /** Node's own request; undefined where they come by another way than http. */
  readonly incoming: IncomingMessage | undefined
  /** Milliseconds left of `handshakeTimeout`; undefined: all of it. */
  readonly timeLeft?: number | undefined
  /** The address that their server is bound to; an empty text where there is none. */
  readonly boundTo: string
  /** Calls back when they leave before they are in, until the returned function is called. */
  readonly watch: (left: () => void) => () => void
  /** Checks how they knock; throws a `PeerConnectError`. */
  readonly check: () => void
  /** Opens their connection, once they are let in; throws a `PeerConnectError`. */
  readonly enter: (request: RequestDetails, settings: ServerSettings) => Transport
  /** Tells them that they are not. */
  readonly refuse: (error: PeerConnectError) => void
}

/** Whoever was let in, at once or later; nobody, if they were not. */
export type Welcome<Context extends {}> =
  WebsocketConnection<Context> | Promise<WebsocketConnection<Context> | undefined> | undefined

/** Names the method that lets in who comes by another way than http. */
export const WELCOME: unique symbol = Symbol('welcome')

/** What a server adds to a request for an upgrade. */
interface UpgradeDetails {
  readonly http: AnyHttpServer
  readonly trustProxy: boolean | number
  readonly spot: Spot | undefined
  readonly timeLeft: number | undefined
  readonly open: () => Transport
}

/** Is the visit of who asks for an upgrade; `open` makes the transport of it. */
export function visitOf(
  request: IncomingMessage,
  tcp: Duplex,
  { http, trustProxy, spot, timeLeft, open }: UpgradeDetails,
): Visit {
  return {
    source: {
      url: request.url ?? '/',
      rawHeaders: request.rawHeaders,
      remoteAddress: addressOf(request, trustProxy),
      spot,
    },
    incoming: request,
    timeLeft,
    boundTo: boundTo(http).address,
    check: () => checkHandshake(request, http),
    watch: (left) => watchLeaving(tcp, left),
    enter: () => {
      const transport = open()
      tcp.off('error', destroyOnError) // from here on it is the transport's
      return transport
    },
    refuse: (error) => refuse(tcp, error),
  }
}

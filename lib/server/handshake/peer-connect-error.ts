import { setDefaults, WebsocketError, type ErrorCodes, type ErrorDetails } from '../../errors.ts'

/** The reason why a server rejected a handshake. */
export type RefusalReason =
  /** The request was no opening handshake, or it was too long. */
  | 'request'
  /** The server serves nothing at the requested path. */
  | 'path'
  /** The server does not serve the requested host. */
  | 'host'
  /** Pages of the request's origin may not connect. */
  | 'origin'
  /** The server had `maxConnections` connections already. */
  | 'maxConnections'
  /** The peer's address had `maxConnectionsPerAddress` connections already. */
  | 'maxConnectionsPerAddress'
  /** The handshake was not complete within the `handshakeTimeout`. */
  | 'handshakeTimeout'
  /** `authorize` rejected the peer, or failed. */
  | 'authorize'
  /** The peer supports none of the serializers of the channel server. */
  | 'channels'
  /** The server was closing. */
  | 'closing'
  /** A loop over `client` had its maximum of waiting connections. */
  | 'slowLoop'
  /** The peer disconnected before the handshake was complete. */
  | 'left'

const CODES: Readonly<Record<RefusalReason, ErrorCodes['PeerConnectError']>> = {
  request: 'ERR_INVALID_HANDSHAKE',
  path: 'ERR_PATH_REFUSED',
  host: 'ERR_HOST_REFUSED',
  origin: 'ERR_ORIGIN_REFUSED',
  maxConnections: 'ERR_TOO_MANY_CONNECTIONS',
  maxConnectionsPerAddress: 'ERR_TOO_MANY_FROM_ADDRESS',
  handshakeTimeout: 'ERR_HANDSHAKE_TIMEOUT',
  authorize: 'ERR_NOT_AUTHORIZED',
  channels: 'ERR_SERIALIZER_REFUSED',
  closing: 'ERR_SERVER_CLOSING',
  slowLoop: 'ERR_SERVER_BUSY',
  left: 'ERR_PEER_LEFT',
}

/** The details of a `PeerConnectError`: the HTTP response to a peer that is rejected. */
export interface PeerConnectErrorInit extends ErrorDetails<ErrorCodes['PeerConnectError']> {
  /**
   * The reason of the rejection, as counted by `server.stats()`.
   *
   * @default 'authorize'
   */
  reason?: RefusalReason | undefined
  /**
   * The HTTP status of the response.
   *
   * @default 403
   */
  status?: number | undefined
  /**
   * The body of the response.
   *
   * @default the message of the error
   */
  body?: string | undefined
  /** Seconds until the peer may try again: the Retry-After of the response, RFC 9110 §10.2.3. */
  retryAfter?: number | undefined
}

/** The error of a rejected handshake. Throw one in `authorize` to choose the response's status. */
export class PeerConnectError extends WebsocketError {
  static {
    setDefaults(this, 'PeerConnectError', 'ERR_NOT_AUTHORIZED')
  }

  declare readonly code: ErrorCodes['PeerConnectError']
  /** The HTTP status of the response; 0 when the peer disconnected before the response. */
  readonly status: number
  /** The reason of the rejection, as counted by `server.stats()`. */
  readonly reason: RefusalReason
  /**
   * The body of the response. When it is undefined the body is the message, unless that comes from
   * a failure in the application.
   */
  readonly body: string | undefined
  /** Seconds until the peer may try again: the Retry-After of the response, if there is one. */
  readonly retryAfter: number | undefined

  constructor(messageOrCause?: unknown, details: PeerConnectErrorInit = {}) {
    const { reason = 'authorize' } = details
    super(messageOrCause, { cause: details.cause, code: details.code ?? CODES[reason] })
    this.status = details.status ?? 403
    this.reason = reason
    this.body = details.body
    this.retryAfter = details.retryAfter
  }
}

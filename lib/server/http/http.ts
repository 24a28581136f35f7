import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { ServerSettings } from '../../options/server.ts'
import { invalidValue } from '../../validation.ts'
import { findPath, pathOf, type RouteConfig } from '../handshake/path.ts'
import { PeerConnectError } from '../handshake/peer-connect-error.ts'
import type { Address } from '../server-emitter.ts'

/** An HTTP server, with or without TLS. */
export type AnyHttpServer = HttpServer | HttpsServer

const MAX_EARLY_BYTES = 64 * 1024 // read from a peer before it is accepted

const EXTRA_HEADERS = new Map<number, string>([
  [401, 'WWW-Authenticate: Bearer\r\n'],
  [405, 'Allow: GET\r\n'],
  [426, 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'],
])

/** Callbacks for the failures of an HTTP server. */
export interface HttpEvents {
  /** Handles a peer that sent no valid HTTP. The peer has not been answered. */
  readonly onRejected: (tcp: Duplex, error: PeerConnectError) => void
  /** Handles a failure of the server while it listens. The server goes on. */
  readonly onFailure: (error: Error) => void
}

/** Creates an HTTP server that only serves upgrades. */
export function createHttpServer(
  settings: ServerSettings & RouteConfig,
  { onRejected, onFailure }: HttpEvents,
): AnyHttpServer {
  const { tls } = settings
  const options = { headersTimeout: 0, requestTimeout: 0 } // `PendingSockets` is more precise
  const onRequest = (request: IncomingMessage, response: ServerResponse): void =>
    answerPlain(request, response, settings)
  const http = tls
    ? createTlsServer({ ...tls, ...options }, onRequest)
    : createServer(options, onRequest)
  http.on('error', (error) => {
    if (http.listening) onFailure(error)
  })
  // Without this listener, Node would answer with 417 and keep the socket open for more requests.
  http.on('checkExpectation', (_, response) => {
    response.writeHead(417, { Connection: 'close', 'Content-Length': 0 }).end()
  })
  return http.on('clientError', (cause: NodeJS.ErrnoException, tcp) => {
    if (cause.code === 'ECONNRESET' || tcp.writableEnded) {
      tcp.destroy() // the peer has disconnected, or was answered already
      return
    }
    const status = cause.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400
    onRejected(tcp, new PeerConnectError(cause, { status, reason: 'request' }))
  })
}

/**
 * Starts listening. Resolves with the bound port and address. Rejects with a TypeError for an
 * invalid port or host.
 */
export function listenOn(http: AnyHttpServer, port: number, host: string): Promise<Address> {
  return new Promise((resolve, reject) => {
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw invalidValue('`port`', 'a whole number from 0 to 65535', port)
    }
    // Node would listen on every address.
    if (typeof host !== 'string') {
      throw invalidValue('`host`', 'a host name or an address', host)
    }
    http.once('error', reject)
    http.listen(port, host, () => {
      http.off('error', reject)
      resolve({ ...boundAddress(http), host })
    })
  })
}

/**
 * Stops listening. Resolves when the last connection has closed, or after `within` milliseconds.
 */
export function closeHttp(http: AnyHttpServer, within: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, within)
    http.close(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/** Returns the address an HTTP server is bound to; port 0 and an empty address if it is unbound. */
export function boundAddress(http: AnyHttpServer | undefined): Address {
  const address = http?.address() ?? ''
  if (typeof address === 'string') return { port: 0, host: address, address }
  return { port: address.port, host: address.address, address: address.address }
}

/**
 * Answers a peer that has not sent a complete request. Before the TLS handshake is complete, the
 * socket can only be destroyed.
 */
export function rejectEarly(tcp: Duplex, error: PeerConnectError, speaksTls: boolean): void {
  const isSecure = tcp instanceof TLSSocket && Reflect.get(tcp, 'secureConnecting') !== true
  if (speaksTls && !isSecure) tcp.destroy()
  else rejectUpgrade(tcp, error)
}

/**
 * Answers a rejected peer. The message of an error with a `cause` isn't meant for the peer, so the
 * standard text of the status is sent instead.
 */
export function rejectUpgrade(tcp: Duplex, error: PeerConnectError): void {
  const { status, message, cause } = error
  if (status === 0) {
    tcp.destroy()
    return
  }
  const { retryAfter, body = cause === undefined ? message : (STATUS_CODES[status] ?? '') } = error
  const retryHeader = retryAfter === undefined ? '' : `Retry-After: ${Math.ceil(retryAfter)}\r\n`
  writeResponse(tcp, status, body, retryHeader)
}

/** Answers an upgrade request with a status other than 101, and closes the socket. */
export function writeResponse(tcp: Duplex, status: number, text: string, headers = ''): void {
  tcp.on('error', () => tcp.destroy())
  if (!tcp.writable) {
    tcp.destroy()
    return
  }
  const body = text === '' ? '' : `${text}\n`
  tcp.once('finish', () => tcp.destroy())
  tcp.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}\r\n` +
      `Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n` +
      `${EXTRA_HEADERS.get(status) ?? ''}${headers}\r\n${body}`,
  )
}

/**
 * Destroys a socket that fails. A function without a closure: it stays on the socket as a listener,
 * and a closure would keep the request in memory.
 */
export function destroyOnError(this: Duplex): void {
  this.destroy()
}

/** Calls `onLeave` when the peer disconnects, until the returned function is called. */
export function watchDisconnect(tcp: Duplex, onLeave: () => void): () => void {
  // A socket reports that its peer has disconnected only while it is read. The bytes read here are
  // put back at the end.
  const chunks: Buffer[] = []
  let size = 0
  const read = (): void => {
    while (size < MAX_EARLY_BYTES) {
      const chunk = tcp.read() as Buffer | null
      if (!chunk) return
      chunks.push(chunk)
      size += chunk.length
    }
  }
  tcp.on('close', onLeave).on('end', onLeave).on('readable', read)
  return () => {
    tcp.off('close', onLeave).off('end', onLeave).off('readable', read)
    if (size > 0 && tcp.readable) tcp.unshift(Buffer.concat(chunks))
    size = 0
  }
}

/** Answers a request that doesn't ask for an upgrade. */
function answerPlain(
  { url = '/' }: IncomingMessage,
  response: ServerResponse,
  route: RouteConfig,
): void {
  const path = pathOf(url)
  const isServed = path !== undefined && findPath(route, path) !== undefined
  response.setHeader('Connection', 'close').setHeader('Content-Type', 'text/plain; charset=utf-8')
  response.statusCode = isServed ? 426 : 404
  if (isServed) response.setHeader('Upgrade', 'websocket')
  response.end(isServed ? 'this is a WebSocket server\n' : 'nothing is served here\n')
}

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
import { PeerConnectError, unexpected } from './errors.ts'
import type { ServerSettings } from './options/server.ts'
import { findPath, pathOf, type Place } from './path.ts'

/** An http server, with or without TLS. */
export type AnyHttpServer = HttpServer | HttpsServer

/** What an http server is bound to. */
interface Bound {
  readonly port: number
  readonly host: string
  readonly address: string
}

const MAX_EARLY = 64 * 1024 // bytes that are read of a peer before it is let in

const EXTRA_HEADERS = new Map<number, string>([
  [401, 'WWW-Authenticate: Bearer\r\n'],
  [405, 'Allow: GET\r\n'],
  [426, 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'],
])

/** What becomes of an http server. */
export interface HttpEvents {
  /** A peer spoke no HTTP; it has not been answered. */
  readonly refused: (tcp: Duplex, error: PeerConnectError) => void
  /** It failed while it listened; it goes on. */
  readonly failed: (error: Error) => void
}

/** Makes an http server for nothing but upgrades. */
export function makeHttp(
  settings: ServerSettings & Place,
  { refused, failed }: HttpEvents,
): AnyHttpServer {
  const { tls } = settings
  const options = { headersTimeout: 0, requestTimeout: 0 } // `PendingSockets` is more exact
  const plain = (request: IncomingMessage, response: ServerResponse): void =>
    answerPlain(request, response, settings)
  const http = tls ? createTlsServer({ ...tls, ...options }, plain) : createServer(options, plain)
  http.on('error', (error) => {
    if (http.listening) failed(error)
  })
  // By itself Node would answer, and wait for another request.
  http.on('checkExpectation', (_, response) => {
    response.writeHead(417, { Connection: 'close', 'Content-Length': 0 }).end()
  })
  return http.on('clientError', (cause: NodeJS.ErrnoException, tcp) => {
    if (cause.code === 'ECONNRESET' || tcp.writableEnded) {
      tcp.destroy() // they have left, or were answered already
      return
    }
    const status = cause.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400
    refused(tcp, new PeerConnectError(cause, { status, reason: 'request' }))
  })
}

/** Listens, and resolves with what it is bound to. */
export function listening(http: AnyHttpServer, port: number, host: string): Promise<Bound> {
  return new Promise((resolve, reject) => {
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw unexpected('`port`', 'a whole number from 0 to 65535', port)
    }
    if (typeof host !== 'string') {
      throw unexpected('`host`', 'a host name or an address', host) // Node would listen everywhere
    }
    http.once('error', reject)
    http.listen(port, host, () => {
      http.off('error', reject)
      resolve({ ...boundTo(http), host })
    })
  })
}

/** Stops to listen, and resolves when the last connection has gone or the time is up. */
export function stop(http: AnyHttpServer, within: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, within)
    http.close(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/** Is what an http server is bound to, if it is. */
export function boundTo(http: AnyHttpServer | undefined): Bound {
  const bound = http?.address() ?? ''
  if (typeof bound === 'string') return { port: 0, host: bound, address: bound }
  return { port: bound.port, host: bound.address, address: bound.address }
}

/** Answers a peer that has sent no whole request; before TLS is agreed on it can only be cut. */
export function refuseEarly(tcp: Duplex, error: PeerConnectError, speaksTls: boolean): void {
  const isSecure = tcp instanceof TLSSocket && Reflect.get(tcp, 'secureConnecting') !== true
  if (speaksTls && !isSecure) tcp.destroy()
  else refuse(tcp, error)
}

/** Answers somebody who isn't let in, without the words of an error that isn't meant for them. */
export function refuse(tcp: Duplex, error: PeerConnectError): void {
  const { status, message, cause } = error
  if (status === 0) {
    tcp.destroy()
    return
  }
  const { retryAfter, body = cause === undefined ? message : (STATUS_CODES[status] ?? '') } = error
  const wait = retryAfter === undefined ? '' : `Retry-After: ${Math.ceil(retryAfter)}\r\n`
  answer(tcp, status, body, wait)
}

/** Answers a request for an upgrade with anything but 101, and hangs up. */
export function answer(tcp: Duplex, status: number, text: string, more = ''): void {
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
      `${EXTRA_HEADERS.get(status) ?? ''}${more}\r\n${body}`,
  )
}

/** Destroys a socket that fails. No closure: it stays with the socket, and would keep its request. */
export function destroyOnError(this: Duplex): void {
  this.destroy()
}

/** Calls back when a peer leaves, until the returned function is called. */
export function watchLeaving(tcp: Duplex, left: () => void): () => void {
  // Only a socket that is read tells that its peer has gone. What the peer sends meanwhile goes back.
  const chunks: Buffer[] = []
  let size = 0
  const read = (): void => {
    while (size < MAX_EARLY) {
      const chunk = tcp.read() as Buffer | null
      if (!chunk) return
      chunks.push(chunk)
      size += chunk.length
    }
  }
  tcp.on('close', left).on('end', left).on('readable', read)
  return () => {
    tcp.off('close', left).off('end', left).off('readable', read)
    if (size > 0 && tcp.readable) tcp.unshift(Buffer.concat(chunks))
    size = 0
  }
}

/** Answers who doesn't ask for an upgrade. */
function answerPlain({ url = '/' }: IncomingMessage, response: ServerResponse, place: Place): void {
  const path = pathOf(url)
  const served = path !== undefined && findPath(place, path) !== undefined
  response.setHeader('Connection', 'close').setHeader('Content-Type', 'text/plain; charset=utf-8')
  response.statusCode = served ? 426 : 404
  if (served) response.setHeader('Upgrade', 'websocket')
  response.end(served ? 'this is a WebSocket server\n' : 'nothing is served here\n')
}

import type { IncomingMessage } from 'node:http'
import { PeerConnectError, type PeerConnectErrorInit } from './peer-connect-error.ts'
import type { ServerSettings } from '../../options/server.ts'
import { hostAllowed, hostCure, isLocalHost, isLoopback, type Binding } from './host.ts'
import { originAllowed, originCure } from './origin.ts'
import { findPath, pathOf, type RouteConfig, type RouteMatch } from './path.ts'
import { RequestDetails, type RequestSource } from './request.ts'

/** A handshake, with the state that the admission checks need. */
export interface HandshakeContext {
  readonly request: RequestDetails
  /** Node's own request, where there is one. */
  readonly incoming: IncomingMessage | undefined
  /** Milliseconds left of `handshakeTimeout`; undefined means the whole time. */
  readonly timeLeft: number | undefined
  readonly settings: ServerSettings
  /** The address that the server listens on. */
  readonly binding: Binding
  /** The number of connections and pending handshakes. */
  readonly connections: number
  /** The number of them that come from the same address. */
  readonly connectionsOfAddress: number
  /** The answer when `authorize` doesn't know the peer. */
  readonly denial: PeerConnectErrorInit
}

const MAX_HEADERS = 1_000 // that Node reads, unless the HTTP server sets `maxHeadersCount`
const FORBIDDEN = /[\0\r\n]/ // in a value, RFC 9110 §5.5; `insecureHTTPParser` allows them

/**
 * A rejection that the server's configuration may cause. `cure` explains it to the operator, in
 * whole sentences.
 */
export class CurableRefusal extends PeerConnectError {
  readonly cure: string | undefined

  constructor(what: string, details: PeerConnectErrorInit, cure: string | undefined) {
    super(what, details)
    this.cure = cure
  }
}

/** A check that throws a `PeerConnectError` with the status of the answer to reject a handshake. */
type Rule = (handshake: HandshakeContext) => void

/** The admission checks that run before `authorize`: the first rule that throws decides. */
const rules: readonly Rule[] = [
  function host({ request, settings, binding }) {
    const { hosts, trustProxy } = settings
    const isLocal = hosts === undefined && Number(trustProxy) === 0 && isLoopback(binding.address)
    if (!isLocal && (hosts ?? '*') === '*') return
    const host = ownHost(request, trustProxy) ?? ''
    if (isLocal ? isLocalHost(host, binding) : hostAllowed(host, hosts ?? '*')) return
    const denial: PeerConnectErrorInit = { status: 421, reason: 'host' }
    const cure = hostCure(host, binding, hosts)
    throw new CurableRefusal(`the host ${host} is not served here`, denial, cure)
  },
  function origin({ request, settings }) {
    const origin = request.header('origin')
    if (origin === undefined) return
    const own = ownHost(request, settings.trustProxy)
    if (originAllowed(origin, own, settings.origins)) return
    const denial: PeerConnectErrorInit = { status: 403, reason: 'origin' }
    const cure = originCure(origin, settings.origins)
    throw new CurableRefusal(`origin ${origin} is not allowed`, denial, cure)
  },
  function connections({ connections, settings: { maxConnections } }) {
    if (maxConnections === false || connections < maxConnections) return
    throw new PeerConnectError(`there are ${maxConnections} connections already`, {
      status: 503,
      reason: 'maxConnections',
    })
  },
  function connectionsOfAddress({ connectionsOfAddress, settings }) {
    const max = settings.maxConnectionsPerAddress
    if (max === false || connectionsOfAddress < max) return
    throw tooManyOfAddress(max)
  },
]

/** Returns the rejection of a peer whose address has reached its maximum of connections. */
export function tooManyOfAddress(max: number): PeerConnectError {
  return new PeerConnectError(`this address has ${max} connections already`, {
    status: 429,
    reason: 'maxConnectionsPerAddress',
  })
}

/** Returns the requested host: behind trusted proxies, the host that the last proxy forwards. */
function ownHost(request: RequestDetails, trustProxy: boolean | number): string | undefined {
  const forwarded = Number(trustProxy) > 0 ? request.header('x-forwarded-host') : undefined
  return lastEntry(forwarded) ?? request.header('host')
}

/** A request, and the suffix of its path. */
interface ParsedRequest {
  readonly request: RequestDetails
  readonly suffix: string
}

/**
 * Parses a request, and matches its path with a route.
 *
 * @throws PeerConnectError 400 for a path that can't be decoded, 404 for a path that isn't served.
 */
export function parseRequest(source: RequestSource, route: RouteConfig): ParsedRequest {
  const match = source.match ?? matchRoute(source, route)
  const params = route.path === undefined ? undefined : match.params
  return { request: new RequestDetails(source, params), suffix: match.suffix }
}

function matchRoute(source: RequestSource, route: RouteConfig): RouteMatch {
  const path = pathOf(source.url)
  if (path === undefined)
    throw new PeerConnectError('the path makes no sense', { status: 400, reason: 'path' })
  const match = findPath(route, path)
  if (!match)
    throw new PeerConnectError(`nothing is served at ${path}`, { status: 404, reason: 'path' })
  return match
}

/**
 * Checks a handshake against all rules.
 *
 * @throws PeerConnectError with the status of the answer.
 */
export function checkAdmission(handshake: HandshakeContext): void {
  for (const rule of rules) rule(handshake)
}

function invalidHandshake(status: number, text: string): PeerConnectError {
  return new PeerConnectError(text, { status, reason: 'request' })
}

/**
 * Checks that a request is an opening handshake, RFC 6455 §4.2.1; throws a `PeerConnectError`
 * otherwise. `ws` checks the key, the subprotocols and the extensions.
 */
export function checkHandshake(
  request: IncomingMessage,
  { maxHeadersCount }: { readonly maxHeadersCount: number | null | undefined },
): void {
  const { method, httpVersion, headers, rawHeaders, socket } = request
  if (socket.listenerCount('data') > 0) {
    throw invalidHandshake(500, 'another server took this upgrade already')
  }
  if (!socket.writable) {
    throw new PeerConnectError('the peer has left', { status: 0, reason: 'left' })
  }
  // Node drops the headers beyond its maximum, and these may be the headers that a proxy added.
  const maxHeaders = maxHeadersCount ?? MAX_HEADERS
  if (maxHeaders > 0 && rawHeaders.length >= 2 * maxHeaders) {
    throw invalidHandshake(431, `expected less than ${maxHeaders} headers`)
  }
  if (rawHeaders.some((text) => FORBIDDEN.test(text))) {
    throw invalidHandshake(400, 'expected headers without NUL, CR and LF')
  }
  if (method !== 'GET') {
    throw invalidHandshake(405, `a WebSocket opens with GET, not ${method}`)
  }
  if (httpVersion !== '1.1') {
    throw invalidHandshake(505, `a WebSocket opens with HTTP/1.1, not ${httpVersion}`)
  }
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
  if (length !== '0' || encoding !== undefined) {
    throw invalidHandshake(400, 'expected no body: it would be read as frames')
  }
  const hosts = countHeader('host', request)
  if (hosts !== 1) {
    throw invalidHandshake(400, `expected one Host header, got ${hosts}`)
  }
  if (headers.upgrade?.toLowerCase() !== 'websocket') {
    throw invalidHandshake(400, `expected an upgrade to websocket, got ${headers.upgrade}`)
  }
  if (headers['sec-websocket-version'] !== '13') {
    throw invalidHandshake(426, 'only version 13 of the WebSocket protocol is spoken')
  }
}

/** Returns how often a header occurs in a request. For some headers Node keeps only the first. */
function countHeader(header: string, { rawHeaders }: IncomingMessage): number {
  const names = rawHeaders.filter((_, index) => index % 2 === 0)
  return names.filter((name) => name.toLowerCase() === header).length
}

function lastEntry(list: string | undefined): string | undefined {
  return list?.split(',').at(-1)?.trim()
}

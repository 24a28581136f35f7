import type { IncomingMessage } from 'node:http'
import { PeerConnectError, type Denial } from './errors.ts'
import type { ServerSettings } from './options/server.ts'
import { hostAllowed, hostCure, isLocalHost, isLoopback, type Binding } from './host.ts'
import { originAllowed, originCure } from './origin.ts'
import { findPath, pathOf, type Place, type Spot } from './path.ts'
import { RequestDetails, type RequestSource } from './request.ts'

/** Somebody at the door, and what they are judged by. */
export interface Knock {
  readonly request: RequestDetails
  /** Node's own request, where there is one. */
  readonly incoming: IncomingMessage | undefined
  /** Milliseconds left of `handshakeTimeout`; undefined: all of it. */
  readonly timeLeft: number | undefined
  readonly settings: ServerSettings
  /** Where the server listens. */
  readonly binding: Binding
  /** How many are in, or about to be. */
  readonly connections: number
  /** How many of them come from the same address. */
  readonly fromAddress: number
  /** What is answered to whom `authorize` doesn't know. */
  readonly denial: Denial
}

const MAX_HEADERS = 1_000 // that Node reads, unless an http server's `maxHeadersCount` says otherwise
const FORBIDDEN = /[\0\r\n]/ // in a value, RFC 9110 §5.5; `insecureHTTPParser` lets it pass

/** A refusal that may be the server's fault: `cure` says so to its operator, in whole sentences. */
export class CurableRefusal extends PeerConnectError {
  readonly cure: string | undefined

  constructor(what: string, details: Denial, cure: string | undefined) {
    super(what, details)
    this.cure = cure
  }
}

/** Lets in, or throws a `PeerConnectError` with the status of the answer. */
type Rule = (knock: Knock) => void

/** Who is let in, apart from what `authorize` says: the first rule that throws decides. */
const rules: readonly Rule[] = [
  function host({ request, settings, binding }) {
    const { hosts, trustProxy } = settings
    const isLocal = hosts === undefined && Number(trustProxy) === 0 && isLoopback(binding.address)
    if (!isLocal && (hosts ?? '*') === '*') return
    const host = ownHost(request, trustProxy) ?? ''
    if (isLocal ? isLocalHost(host, binding) : hostAllowed(host, hosts ?? '*')) return
    const denial: Denial = { status: 421, reason: 'host' }
    const cure = hostCure(host, binding, hosts)
    throw new CurableRefusal(`the host ${host} is not served here`, denial, cure)
  },
  function origin({ request, settings }) {
    const origin = request.header('origin')
    if (origin === undefined) return
    const own = ownHost(request, settings.trustProxy)
    if (originAllowed(origin, own, settings.origins)) return
    const denial: Denial = { status: 403, reason: 'origin' }
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
  function connectionsOfAddress({ fromAddress, settings: { maxConnectionsPerAddress } }) {
    if (maxConnectionsPerAddress === false || fromAddress < maxConnectionsPerAddress) return
    throw tooManyOfAddress(maxConnectionsPerAddress)
  },
]

/** Makes the refusal of a peer whose address has as many connections as it may have. */
export function tooManyOfAddress(max: number): PeerConnectError {
  return new PeerConnectError(`this address has ${max} connections already`, {
    status: 429,
    reason: 'maxConnectionsPerAddress',
  })
}

/** Returns the host that was asked for: behind trusted proxies the one that the last of them tells. */
function ownHost(request: RequestDetails, trustProxy: boolean | number): string | undefined {
  const forwarded = Number(trustProxy) > 0 ? request.header('x-forwarded-host') : undefined
  return lastOf(forwarded) ?? request.header('host')
}

/** A request, and which ending its path has. */
interface Received {
  readonly request: RequestDetails
  readonly ending: string
}

/**
 * Is the details of a request for a server.
 *
 * @throws PeerConnectError 400 for a path that can't be read, 404 for one that isn't served.
 */
export function received(source: RequestSource, place: Place): Received {
  const found = source.spot ?? spotOf(source, place)
  const params = place.path === undefined ? undefined : found.params
  return { request: new RequestDetails(source, params), ending: found.ending }
}

function spotOf(source: RequestSource, place: Place): Spot {
  const path = pathOf(source.url)
  if (path === undefined)
    throw new PeerConnectError('the path makes no sense', { status: 400, reason: 'path' })
  const spot = findPath(place, path)
  if (!spot)
    throw new PeerConnectError(`nothing is served at ${path}`, { status: 404, reason: 'path' })
  return spot
}

/**
 * Judges by the rules.
 *
 * @throws PeerConnectError with the status of the answer.
 */
export function judge(knock: Knock): void {
  for (const rule of rules) rule(knock)
}

function noHandshake(status: number, text: string): PeerConnectError {
  return new PeerConnectError(text, { status, reason: 'request' })
}

/**
 * Checks that a request is an opening handshake, RFC 6455 §4.2.1; `ws` checks its key, subprotocols
 * and extensions.
 */
export function checkHandshake(
  request: IncomingMessage,
  { maxHeadersCount }: { readonly maxHeadersCount: number | null | undefined },
): void {
  const { method, httpVersion, headers, rawHeaders, socket } = request
  if (socket.listenerCount('data') > 0) {
    throw noHandshake(500, 'another server took this upgrade already')
  }
  if (!socket.writable) {
    throw new PeerConnectError('the peer has left', { status: 0, reason: 'left' })
  }
  // Of more headers Node drops the last ones, which may be those that a proxy has added.
  const maxHeaders = maxHeadersCount ?? MAX_HEADERS
  if (maxHeaders > 0 && rawHeaders.length >= 2 * maxHeaders) {
    throw noHandshake(431, `expected less than ${maxHeaders} headers`)
  }
  if (rawHeaders.some((text) => FORBIDDEN.test(text))) {
    throw noHandshake(400, 'expected headers without NUL, CR and LF')
  }
  if (method !== 'GET') {
    throw noHandshake(405, `a WebSocket opens with GET, not ${method}`)
  }
  if (httpVersion !== '1.1') {
    throw noHandshake(505, `a WebSocket opens with HTTP/1.1, not ${httpVersion}`)
  }
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
  if (length !== '0' || encoding !== undefined) {
    throw noHandshake(400, 'expected no body: it would be read as frames')
  }
  const hosts = countOf('host', request)
  if (hosts !== 1) {
    throw noHandshake(400, `expected one Host header, got ${hosts}`)
  }
  if (headers.upgrade?.toLowerCase() !== 'websocket') {
    throw noHandshake(400, `expected an upgrade to websocket, got ${headers.upgrade}`)
  }
  if (headers['sec-websocket-version'] !== '13') {
    throw noHandshake(426, 'only version 13 of the WebSocket protocol is spoken')
  }
}

/** Counts how often a header comes: Node keeps only the first of some. */
function countOf(header: string, { rawHeaders }: IncomingMessage): number {
  const names = rawHeaders.filter((_, index) => index % 2 === 0)
  return names.filter((name) => name.toLowerCase() === header).length
}

function lastOf(list: string | undefined): string | undefined {
  return list?.split(',').at(-1)?.trim()
}

import type { IncomingMessage } from 'node:http'
import type { TlsOptions } from 'node:tls'
import type { RateLimit } from '../allowance.ts'
import type { Backplane } from '../backplane.ts'
import { isHostPattern } from '../host.ts'
import { isOriginPattern } from '../origin.ts'
import { isPathPattern } from '../path.ts'
import type { RequestDetails } from '../request.ts'
import { areProtocols } from './asked.ts'
import { connectionRules, withWaitingBytes, type ConnectionOptions } from './connection.ts'
import {
  checkNames,
  count,
  isFunction,
  isList,
  isObject,
  isWhole,
  milliseconds,
  optional,
  orFalse,
  settle,
  type Rule,
  type Settled,
} from './rules.ts'
import { wireRules } from './wire.ts'

/** Is what `authorize` may answer: a context, or true for none; the others refuse with 401. */
export type Verdict<Context> = Context | boolean | null | undefined

/** What `authorize` is handed beside the request. */
export interface AuthorizeDetails {
  /**
   * Aborted when the answer no longer matters: the peer has left, `handshakeTimeout` is over or the
   * server closes. Its reason is the `PeerConnectError` that the peer is refused with.
   */
  readonly signal: AbortSignal
  /**
   * Node's request, whose socket has a client's certificate, and which a framework's sessions read;
   * undefined over `link`. The server does not keep it, so take from it what the context needs.
   */
  readonly incoming: IncomingMessage | undefined
}

/** Is what a `WebsocketServer` lets you choose. */
export interface ServerOptions<Context extends {} = {}> extends ConnectionOptions {
  /** The path to serve, with `:params`; any other gets 404. Default: every path. */
  path?: string | undefined
  /** The subprotocols it speaks; the first one that the client offers is chosen. Default: none. */
  protocols?: readonly string[] | undefined
  /**
   * The origins whose pages may connect: 'https://example.com', '*.example.com', 'null', or
   * '*' for all. A page of the server's own host always may, and so may what sends no origin.
   * Default: none.
   */
  origins?: readonly string[] | '*' | undefined
  /**
   * The host names that are served, on any port: 'example.com', '*.example.com', '192.0.2.1', or '*'
   * for all; a request for another one gets 421. It keeps pages out whose name was made to resolve to
   * this server (DNS rebinding). Behind a trusted proxy it is X-Forwarded-Host that counts. Default:
   * without `trustProxy` a server on a loopback address serves `localhost`, loopback addresses and
   * the name that `serve` was given; any other server serves every host.
   */
  hosts?: readonly string[] | '*' | undefined
  /**
   * Decides who is let in, before the upgrade: its context becomes `connection.context`.
   *
   * An object is the context; a list, an error and a `Response` are none, and refuse with 401. So
   * does a lookup that finds nothing (false, null, undefined). Throw a `PeerConnectError` to choose
   * another status; any other throw refuses with 500. Default: every peer is let in.
   */
  authorize?:
    | ((
        request: RequestDetails,
        details: AuthorizeDetails,
      ) => Verdict<Context> | Promise<Verdict<Context>>)
    | undefined
  /** What Node's `https.createServer` takes: makes `serve` speak wss. Default: none. */
  tls?: TlsOptions | undefined
  /** true, or how many proxies stand before it: addresses come from X-Forwarded-For. Default: false. */
  trustProxy?: boolean | number | undefined
  /** What carries messages to other nodes. Default: none. */
  backplane?: Backplane | undefined
  /**
   * Milliseconds from when a TCP connection is accepted until its peer must have been let in: TLS, the
   * request and `authorize` together. On an http server of yours: those that `authorize` may take.
   *
   * @default 10_000
   */
  handshakeTimeout?: number | undefined
  /** How many connections there may be; more get 503. Default: false. */
  maxConnections?: number | false | undefined
  /** How many connections one address may have; more get 429. Default: false. */
  maxConnectionsPerAddress?: number | false | undefined
  /**
   * Frames, and bytes of them, that a peer may send in a period: `{ messages, bytes, per, policy }`.
   *
   * @default false
   */
  rateLimit?: RateLimit | false | undefined
}

const RATE_NAMES = ['messages', 'bytes', 'per', 'policy'] as const

function isRateLimit(value: unknown): boolean {
  if (value === false) return true
  if (!isObject(value) || isList(value)) return false
  checkNames(value, RATE_NAMES, 'rateLimit.')
  const { messages, bytes, per = 1, policy = 'close' }: RateLimit = value
  const limits = [messages ?? false, bytes ?? false]
  return (
    limits.every((limit) => limit === false || isWhole(limit, 1)) &&
    limits.some((limit) => limit !== false) &&
    Number.isFinite(per) &&
    per > 0 &&
    ['close', 'drop'].includes(policy)
  )
}

const serverRules = {
  ...connectionRules,
  ...wireRules,
  path: optional<string>('a path like /chat/:room', isPathPattern),
  protocols: {
    fallback: [],
    wanted: 'an array of different subprotocol names',
    accepts: areProtocols,
  } as Rule<readonly string[]>,
  origins: {
    fallback: [],
    wanted: `'*', or an array of origins like https://example.com, *.example.com or null`,
    accepts: (value) => value === '*' || (isList(value) && value.every(isOriginPattern)),
  } as Rule<readonly string[] | '*'>,
  hosts: optional<readonly string[] | '*'>(
    `'*', or an array of host names without a port, like example.com, *.example.com or [::1]`,
    (value) => value === '*' || (isList(value) && value.every(isHostPattern)),
  ),
  authorize: optional<NonNullable<ServerOptions['authorize']>>('a function', isFunction),
  tls: optional<TlsOptions>('an object with cert and key', isObject),
  trustProxy: {
    fallback: false,
    wanted: 'true, false, or how many proxies there are',
    accepts: (value) => typeof value === 'boolean' || isWhole(value, 0),
  } as Rule<boolean | number>,
  backplane: optional<Backplane>(
    'an object with publish, subscribe and close',
    (value) =>
      isObject(value) &&
      ['publish', 'subscribe', 'close'].every((name) => isFunction(Reflect.get(value, name))),
  ),
  handshakeTimeout: milliseconds(10_000, 1),
  maxConnections: orFalse(count(), false),
  maxConnectionsPerAddress: orFalse(count(), false),
  rateLimit: {
    fallback: false,
    wanted: `false, or { messages, bytes, per, policy: 'close' or 'drop' } with a limit of at least one of both`,
    accepts: isRateLimit,
  } as Rule<RateLimit | false>,
}

/** Every option of a server, settled. */
export type ServerSettings = Settled<typeof serverRules>

/** Settles a server's options. */
export function resolveServer<Context extends {}>(given?: ServerOptions<Context>): ServerSettings {
  return withWaitingBytes(settle(serverRules, given))
}

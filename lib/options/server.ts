import type { IncomingMessage } from 'node:http'
import type { TlsOptions } from 'node:tls'
import type { Data, SendData } from '../connection/message.ts'
import { describeValue } from '../format.ts'
import type { RateLimit } from '../connection/rate-limiter.ts'
import type { Backplane } from '../backplane/backplane.ts'
import { isHostPattern } from '../server/handshake/host.ts'
import { isOriginPattern } from '../server/handshake/origin.ts'
import { isPathPattern } from '../server/handshake/path.ts'
import type { RequestDetails } from '../server/handshake/request.ts'
import { areProtocols, isProtocol } from './value-or-provider.ts'
import { connectionRules, withWaitingBytes, type ConnectionOptions } from './connection.ts'
import {
  checkNames,
  count,
  invalidArgument,
  isFunction,
  isArray,
  isObject,
  isIntegerFrom,
  milliseconds,
  optional,
  orFalse,
  resolveOptions,
  type Rule,
  type Resolved,
} from '../validation.ts'
import { frameRules } from './node-only.ts'

/** The result of `authorize`: a context, or true for none. All other results refuse with 401. */
export type AuthorizeResult<Context> =
  Context | false | ({} extends Context ? true : never) | null | undefined

/**
 * The type of every context: any object, but no promise, which could be one of something else.
 */
export type AnyContext = object & {
  /** Absent: a promise has this method. */
  readonly then?: never
}

/** The second argument of `authorize`. */
export interface AuthorizeDetails {
  /**
   * A signal that is aborted when the result no longer matters: the peer has disconnected,
   * `handshakeTimeout` has passed or the server closes. Its reason is the `PeerConnectError` that
   * the peer is refused with.
   */
  readonly signal: AbortSignal
  /**
   * Node's request; undefined over `link`. Its socket has the client's certificate, and the
   * sessions of a framework read it. The server does not keep it: copy what the context needs.
   */
  readonly incoming: IncomingMessage | undefined
}

/** The options of a `WebsocketServer`. */
export interface ServerOptions<
  Context extends AnyContext = {},
  In = Data,
  Out = SendData,
  Path extends string = string,
> extends ConnectionOptions<In, Out> {
  /**
   * The path to serve, with `:params`. Any other path gets 404.
   *
   * @default every path
   */
  path?: Path | undefined
  /**
   * The subprotocols that the server supports. It chooses the first one that the client offers.
   *
   * @default none
   */
  protocols?: readonly string[] | undefined
  /**
   * The origins whose pages may connect: 'https://example.com', '*.example.com', 'null', or '*' for
   * all. Pages of the server's own host, and clients that send no origin, may always connect.
   *
   * @default none
   */
  origins?: readonly string[] | '*' | undefined
  /**
   * The host names to serve, on any port: 'example.com', '*.example.com', '192.0.2.1', or '*' for
   * all. A request for another host gets 421. This refuses pages whose host name was made to
   * resolve to this server (DNS rebinding). Behind a trusted proxy, X-Forwarded-Host counts.
   *
   * Without this option and without `trustProxy`, a server on a loopback address serves
   * `localhost`, loopback addresses and the name that `serve` was given. Any other server serves
   * every host.
   *
   * @default loopback names on a loopback address, otherwise every host
   */
  hosts?: readonly string[] | '*' | undefined
  /**
   * The function that decides, before the upgrade, whether a peer is accepted. The context that it
   * returns becomes `connection.context`.
   *
   * An object is a context. An array, an error and a `Response` are not: they refuse with 401, and
   * so does a lookup that finds nothing (false, null, undefined). Throw a `PeerConnectError` to
   * choose another status; any other throw refuses with 500.
   *
   * @default every peer is accepted
   */
  authorize?:
    | ((
        request: RequestDetails<Path>,
        details: AuthorizeDetails,
      ) => AuthorizeResult<Context> | Promise<AuthorizeResult<Context>>)
    | undefined
  /**
   * The options for Node's `https.createServer`. With them `serve` uses wss.
   *
   * @default none
   */
  tls?: TlsOptions | undefined
  /**
   * Whether to trust proxies in front of the server, or how many there are. Addresses then come
   * from X-Forwarded-For.
   *
   * @default false
   */
  trustProxy?: boolean | number | undefined
  /**
   * The backplane that carries messages to other nodes.
   *
   * @default none
   */
  backplane?: Backplane | undefined
  /**
   * Milliseconds from when a TCP connection is accepted until its handshake must be done: TLS, the
   * request and `authorize` together. On an http server of the program: the milliseconds that
   * `authorize` may take.
   *
   * @default 10_000
   */
  handshakeTimeout?: number | undefined
  /**
   * The maximum number of connections. Further ones get 503.
   *
   * @default false
   */
  maxConnections?: number | false | undefined
  /**
   * The maximum number of connections of one address. Further ones get 429.
   *
   * @default false
   */
  maxConnectionsPerAddress?: number | false | undefined
  /**
   * The maximum number of frames, and of their bytes, that a peer may send in a period:
   * `{ messages, bytes, per, policy }`.
   *
   * @default false
   */
  rateLimit?: RateLimit | false | undefined
}

const RATE_LIMIT_NAMES = ['messages', 'bytes', 'per', 'policy'] as const

function isRateLimit(value: unknown): boolean {
  if (value === false) return true
  if (!isObject(value) || isArray(value)) return false
  checkNames(value, RATE_LIMIT_NAMES, 'rateLimit.')
  const { messages, bytes, per = 1, policy = 'close' }: RateLimit = value
  const limits = [messages ?? false, bytes ?? false]
  return (
    limits.every((limit) => limit === false || isIntegerFrom(limit, 1)) &&
    limits.some((limit) => limit !== false) &&
    Number.isFinite(per) &&
    per > 0 &&
    ['close', 'drop'].includes(policy)
  )
}

const serverRules = {
  ...connectionRules,
  ...frameRules,
  path: optional<string>('a path like /chat/:room', isPathPattern),
  protocols: {
    fallback: [],
    expected: 'an array of different names without space, / and =',
    isValid: areProtocols,
  } as Rule<readonly string[]>,
  origins: {
    fallback: [],
    expected: `'*', or an array of origins like https://example.com, *.example.com or null`,
    isValid: (value) => value === '*' || (isArray(value) && value.every(isOriginPattern)),
  } as Rule<readonly string[] | '*'>,
  hosts: optional<readonly string[] | '*'>(
    `'*', or an array of host names without a port, like example.com, *.example.com or [::1]`,
    (value) => value === '*' || (isArray(value) && value.every(isHostPattern)),
  ),
  authorize: optional<NonNullable<ServerOptions<object>['authorize']>>('a function', isFunction),
  tls: optional<TlsOptions>('an object with cert and key', isObject),
  trustProxy: {
    fallback: false,
    expected: 'true, false, or how many proxies there are',
    isValid: (value) => typeof value === 'boolean' || isIntegerFrom(value, 0),
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
    expected: `false, or { messages, bytes, per, policy: 'close' or 'drop' } with a limit of at least one of both`,
    isValid: isRateLimit,
  } as Rule<RateLimit | false>,
}

/** Checks of the entries of options that are arrays. */
const entryChecks = { origins: isOriginPattern, hosts: isHostPattern, protocols: isProtocol }

/** Throws a `TypeError` that quotes the first invalid entry of an array, and a valid one like it. */
function checkEntries(options: object): void {
  for (const name of ['origins', 'hosts', 'protocols'] as const) {
    const list: unknown = Reflect.get(options, name)
    const wrong = isArray(list) ? list.find((entry) => !entryChecks[name](entry)) : undefined
    if (wrong === undefined) continue
    const similar = name === 'protocols' ? undefined : similarEntry(wrong, name)
    const cure = similar === undefined ? '' : `: did you mean ${describeValue(similar)}?`
    const { expected } = serverRules[name]
    throw invalidArgument(
      `expected \`${name}\` to be ${expected}, got an array with ${describeValue(wrong)}${cure}`,
    )
  }
}

/** Returns a valid origin or host from an entry with a path, or with more than a host. */
function similarEntry(entry: unknown, name: 'origins' | 'hosts'): string | undefined {
  if (typeof entry !== 'string') return undefined
  const hasScheme = entry.includes('://')
  const text = hasScheme ? entry : `http://${entry}`
  if (!URL.canParse(text)) return undefined
  const { origin, host, hostname } = new URL(text)
  return [hasScheme ? origin : host, hostname].find(entryChecks[name])
}

/** The validated options of a server, with the defaults filled in. */
export type ServerSettings = Resolved<typeof serverRules>

/** Validates a server's options and fills in the defaults. */
export function resolveServer(options?: object): ServerSettings {
  if (isObject(options)) checkEntries(options)
  return withWaitingBytes(resolveOptions(serverRules, options))
}

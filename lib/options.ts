import type { Agent } from 'node:http'
import type {
  ConnectionOptions as TlsClientOptions,
  TlsOptions as TlsServerOptions,
} from 'node:tls'
import type { Backplane } from './backplane.ts'
import { unexpected, unknownName } from './errors.ts'
import { isOriginPattern } from './origin.ts'
import { isPathPattern } from './path.ts'
import type { RequestDetails } from './request.ts'

/** How messages are compressed with permessage-deflate, RFC 7692. */
export interface Compression {
  /** Bytes; a smaller message goes out as it is. Default: 1024. */
  threshold?: number | undefined
  /** 0 (none) to 9 (best). Default: zlib's own, 6. */
  level?: number | undefined
  /** 1 to 9; how much memory a deflater takes. Default: zlib's own, 8. */
  memLevel?: number | undefined
  /**
   * 9 to 15; how far back a server's deflater looks, as a power of two, in messages of up to 64 KiB.
   * Default: 15.
   */
  windowBits?: number | undefined
}

/** Is what a server and a client both let you choose. */
export interface ConnectionOptions {
  /** Bytes; a longer message closes with 1009. Default: 1 MiB on a server, 8 MiB on a client. */
  maxReceivedMessageSize?: number | undefined
  /**
   * Bytes; a longer frame closes with 1008. Default: false.
   *
   * Browsers send a message as one frame: a limit below the message's refuses honest messages.
   */
  maxReceivedFrameSize?: number | false | undefined
  /** Bytes; a longer message goes out in frames of this size (SimpleWebsockets: 16 KiB). Default: false. */
  fragmentationThreshold?: number | false | undefined
  /** Milliseconds that a peer has to answer a close frame before it is cut. Default: 5_000. */
  closeTimeout?: number | undefined
  /** Milliseconds of silence before a ping, and then before giving up. Default: 20_000. */
  keepaliveTimeout?: number | false | undefined
  /** true: the kernel gathers small packets, at the price of delay. Default: false. */
  useNagleAlgorithm?: boolean | undefined
  /** true: everything arrives as bytes, and strings go out as binary frames. Default: false. */
  binary?: boolean | undefined
  /** Whether permessage-deflate is agreed to, and how. Default: false. */
  compression?: boolean | Compression | undefined
  /** Bytes that may wait for a peer that doesn't read. Default: 16 MiB. */
  maxBufferedAmount?: number | undefined
  /** What happens past `maxBufferedAmount`: close with 1013, or drop the message. Default: 'close'. */
  slowConsumer?: 'close' | 'drop' | undefined
  /** Bytes waiting above which `send` says false and a `drain` follows. Default: 64 KiB. */
  highWaterMark?: number | undefined
}

/** Is what `authorize` may answer: a context, or true for none; the others refuse with 401. */
export type Verdict<Context> = Context | boolean | null | undefined

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
   * Decides who is let in, before the upgrade: its context becomes `connection.context`.
   *
   * A lookup that finds nobody (false, null, undefined) refuses with 401. Throw a `PeerConnectError`
   * to choose another status; any other throw refuses with 500. Default: everybody.
   */
  authorize?:
    ((request: RequestDetails) => Verdict<Context> | Promise<Verdict<Context>>) | undefined
  /** What Node's `https.createServer` takes: makes `serve` speak wss. Default: none. */
  tls?: TlsServerOptions | undefined
  /** true, or how many proxies stand before it: addresses come from X-Forwarded-For. Default: false. */
  trustProxy?: boolean | number | undefined
  /** What carries messages to other nodes. Default: none. */
  backplane?: Backplane | undefined
  /** Milliseconds from a peer's first byte until it must have been let in. Default: 10_000. */
  handshakeTimeout?: number | undefined
  /** How many connections there may be; more get 503. Default: false. */
  maxConnections?: number | false | undefined
  /** How many connections one address may have; more get 429. Default: false. */
  maxConnectionsPerAddress?: number | false | undefined
}

/** A value, or a function asked for it at every attempt. */
export type Asked<Value> = Value | (() => Value | Promise<Value>)

/** Is what a `WebsocketClient` lets you choose. */
export interface ClientOptions extends ConnectionOptions {
  /** The subprotocols to offer. Default: none. */
  protocols?: Asked<readonly string[]> | undefined
  /** Headers of the request; those of the handshake itself can't be changed. Default: none. */
  headers?: Asked<Readonly<Record<string, string>>> | undefined
  /** What Node's `tls.connect` takes. Default: Node's own. */
  tls?: TlsClientOptions | undefined
  /** The agent that connects, for a proxy say. Default: none. */
  agent?: Agent | undefined
  /** Milliseconds until an attempt to connect is given up. Default: 10_000. */
  connectTimeout?: number | undefined
}

/** What an option may be. */
export interface Rule<Value> {
  readonly fallback: Value
  readonly wanted: string
  readonly accepts: (value: unknown) => boolean
  readonly most?: number
}

/** The options of some rules, settled. */
export type Resolved<Rules> = {
  readonly [Name in keyof Rules]: Rules[Name] extends Rule<infer Value> ? Value : never
}

const KIB = 1024
const MIB = 1024 * KIB
const LONGEST_TIMER = 2 ** 31 - 1 // a longer one would fire at once

const isWhole = (value: unknown, from: number): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= from

const isFunction = (value: unknown): boolean => typeof value === 'function'

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

const bytes = (fallback: number): Rule<number> => ({
  fallback,
  wanted: 'bytes, a whole number from 1 up',
  accepts: (value) => isWhole(value, 1),
})

/** Is the rule of a duration. */
export const milliseconds = (fallback: number, from: 0 | 1): Rule<number> => ({
  fallback,
  wanted: `milliseconds from ${from} up`,
  accepts: (value) => typeof value === 'number' && Number.isFinite(value) && value >= from,
  most: LONGEST_TIMER,
})

/** Is the rule of a count. */
export const count = (): Rule<number> => ({
  fallback: 1,
  wanted: 'a whole number from 1 up',
  accepts: (value) => isWhole(value, 1),
})

const flag = (): Rule<boolean> => ({
  fallback: false,
  wanted: 'true or false',
  accepts: (value) => typeof value === 'boolean',
})

/** Is a rule that may be disabled. */
export function orFalse<Value>(rule: Rule<Value>, fallback: Value | false): Rule<Value | false> {
  return {
    ...rule,
    fallback,
    wanted: `${rule.wanted}, or false`,
    accepts: (value) => value === false || rule.accepts(value),
  }
}

function optional<Value>(wanted: string, accepts: Rule<Value>['accepts']): Rule<Value | undefined> {
  return { fallback: undefined, wanted, accepts }
}

const isList = (value: unknown): value is unknown[] => Array.isArray(value)

// RFC 6455 §4.1 wants a subprotocol to be a token of RFC 9110 §5.6.2.
const isProtocol = (value: unknown): boolean =>
  typeof value === 'string' && /^[!#$%&'*+\-.^_`|~\w]+$/.test(value)

/** Tells whether a value is a list of subprotocols that may stand in a handshake. */
export function areProtocols(value: unknown): value is readonly string[] {
  return isList(value) && value.every(isProtocol) && new Set(value).size === value.length
}

/** Tells whether a value is a bag of header names and values. */
export function areHeaders(value: unknown): value is Readonly<Record<string, string>> {
  if (!isObject(value)) return false
  const plain = [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)
  return plain && Object.values(value).every((text) => typeof text === 'string')
}

const COMPRESSION_RANGES = {
  threshold: [0, Number.MAX_SAFE_INTEGER],
  level: [0, 9],
  memLevel: [1, 9],
  windowBits: [9, 15],
} as const

function isCompression(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isList(value)) return false
  checkNames(value, Object.keys(COMPRESSION_RANGES), 'compression.')
  return Object.entries(value).every(([name, given]: [string, unknown]) => {
    if (given === undefined) return true
    const [least, most] = COMPRESSION_RANGES[name as keyof typeof COMPRESSION_RANGES]
    return isWhole(given, least) && Number(given) <= most
  })
}

const connectionRules = {
  maxReceivedMessageSize: bytes(MIB),
  maxReceivedFrameSize: orFalse(bytes(64 * KIB), false),
  fragmentationThreshold: orFalse(bytes(16 * KIB), false),
  closeTimeout: milliseconds(5_000, 0),
  keepaliveTimeout: orFalse(milliseconds(20_000, 1), 20_000),
  useNagleAlgorithm: flag(),
  binary: flag(),
  compression: {
    fallback: false,
    wanted:
      'true, false, or { threshold, level (0 to 9), memLevel (1 to 9), windowBits (9 to 15) }',
    accepts: isCompression,
  } as Rule<boolean | Compression>,
  maxBufferedAmount: bytes(16 * MIB),
  slowConsumer: {
    fallback: 'close',
    wanted: `'close' or 'drop'`,
    accepts: (value) => value === 'close' || value === 'drop',
  } as Rule<'close' | 'drop'>,
  highWaterMark: bytes(64 * KIB),
}

const serverRules = {
  ...connectionRules,
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
  authorize: optional<NonNullable<ServerOptions['authorize']>>('a function', isFunction),
  tls: optional<TlsServerOptions>('an object with cert and key', isObject),
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
}

const clientRules = {
  ...connectionRules,
  maxReceivedMessageSize: bytes(8 * MIB),
  protocols: {
    fallback: [],
    wanted: 'an array of different subprotocol names, or a function that returns one',
    accepts: (value) => isFunction(value) || areProtocols(value),
  } as Rule<Asked<readonly string[]>>,
  headers: {
    fallback: {},
    wanted: 'a plain object of strings, or a function that returns one',
    accepts: (value) => isFunction(value) || areHeaders(value),
  } as Rule<Asked<Readonly<Record<string, string>>>>,
  tls: optional<TlsClientOptions>('an object', isObject),
  agent: optional<Agent>('an http.Agent', isObject),
  connectTimeout: milliseconds(10_000, 1),
}

/** Every option of a connection, settled. */
export type ConnectionSettings = Resolved<typeof connectionRules>
/** Every option of a server, settled. */
export type ServerSettings = Resolved<typeof serverRules>
/** Every option of a client, settled. */
export type ClientSettings = Resolved<typeof clientRules>

/** Settles a server's options. */
export function resolveServer<Context extends {}>(given?: ServerOptions<Context>): ServerSettings {
  return resolve(serverRules, given)
}

/** Settles a client's options. */
export function resolveClient(given?: ClientOptions): ClientSettings {
  return resolve(clientRules, given)
}

/**
 * Checks a small bag of options, `inside` another one maybe, for names that nobody knows.
 *
 * @throws TypeError with the nearest name.
 */
export function checkNames(given: object, known: readonly string[], inside = ''): void {
  if (!isObject(given)) throw unexpected('the options', 'an object', given)
  const unknown = Object.keys(given).find((name) => !known.includes(name))
  if (unknown === undefined) return
  const names = known.map((name) => inside + name)
  throw unknownName('option', inside + unknown, names)
}

/**
 * Settles options by their rules: `undefined` means the default.
 *
 * @throws TypeError for an unknown name, with the nearest one, and for a value that can't be.
 */
export function resolve<Rules extends object>(rules: Rules, given: object = {}): Resolved<Rules> {
  if (!isObject(given) || isList(given)) throw unexpected('the options', 'an object', given)
  const known = new Map<string, Rule<unknown>>(Object.entries(rules))
  const settled = new Map([...known].map(([name, rule]) => [name, rule.fallback]))
  for (const [name, value] of Object.entries(given) as [string, unknown][]) {
    const rule = known.get(name)
    if (!rule) throw unknownName('option', name, [...known.keys()])
    if (value === undefined) continue
    if (!rule.accepts(value)) throw unexpected(`\`${name}\``, rule.wanted, value)
    settled.set(name, typeof value === 'number' ? Math.min(value, rule.most ?? value) : value)
  }
  // Built from the rules' own names, which the type states one by one.
  return Object.fromEntries(settled) as Resolved<Rules>
}

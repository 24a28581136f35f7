import { checkNames, isArray, isObject, invalidValue } from '../../validation.ts'
import { decodeBase64 } from './base64.ts'
import { pathOf, type PathParams, type RouteMatch } from './path.ts'
import { decodeTokenSubprotocol, isTokenSubprotocol } from './token-subprotocol.ts'

/** The raw parts that the details of a request are read from. */
export interface RequestSource {
  /** The request's target as received: path and query; on a client, the whole URL. */
  readonly url: string
  /** The header names and values in turn, as received. */
  readonly rawHeaders: readonly string[]
  /** The address of the peer. */
  readonly remoteAddress: string
  /** The matched route, if the path was matched already. */
  readonly match?: RouteMatch | undefined
}

/** A username and a password. */
export interface Credentials {
  /** The part before the first colon. */
  readonly username: string
  /** The part after the first colon, further colons included. */
  readonly password: string
}

/** Options for reading a token. */
export interface TokenOptions {
  /**
   * Whether the token is also read from `?token=` in the URL. URLs end up in logs, so set this only
   * where a client can't send a token in any other way.
   *
   * @default false
   */
  query?: boolean | undefined
}

/** Options for reading a username and a password. */
export interface BasicAuthOptions {
  /**
   * Whether credentials are also read from `?username=` and `?password=` in the URL, or the names
   * of the two query parameters. URLs end up in logs, so set this only where a client can't send
   * credentials in any other way.
   *
   * @default false
   */
  query?: boolean | QueryNames | undefined
}

/** The names of the query parameters that carry credentials. */
export interface QueryNames {
  /**
   * The query parameter with the username.
   *
   * @default 'username'
   */
  username?: string | undefined
  /**
   * The query parameter with the password.
   *
   * @default 'password'
   */
  password?: string | undefined
}

const SEPARATOR = '\0' // never in a header name or value, RFC 9110 §5.5

const DEFAULT_NAMES: Credentials = { username: 'username', password: 'password' }

/**
 * The request that opened a connection: as received on a server, as sent on a client.
 *
 * Its parts are parsed on first access. Names that the peer chose are kept in objects without a
 * prototype, so `__proto__` is an ordinary name.
 */
export class RequestDetails<Path extends string = string> {
  /** The target as received: path and query; on a client, the whole URL. */
  readonly url: string
  /** The peer's address; behind a trusted proxy, the one that the proxy saw. */
  readonly remoteAddress: string
  readonly #params: ReadonlyMap<string, string> | undefined
  #rawHeaders: readonly string[] | string
  #headers: Readonly<Record<string, string>> | undefined
  #query: URLSearchParams | undefined
  #cookies: Readonly<Record<string, string>> | undefined
  #ignoredQuery: 'token' | 'basicAuth' | undefined

  /** @internal */
  constructor(
    { url, rawHeaders, remoteAddress }: RequestSource,
    params?: ReadonlyMap<string, string>,
  ) {
    this.url = url
    this.remoteAddress = remoteAddress
    this.#rawHeaders = rawHeaders
    this.#params = params
  }

  /** The path as received, not decoded, without the query. */
  get path(): string {
    return pathOf(this.url.replace(/^wss?:\/\/[^/?]*/i, '')) ?? ''
  }

  /** The decoded value of each `:param` of the server's path. */
  get params(): PathParams<Path> {
    return Object.assign(emptyRecord(), Object.fromEntries(this.#params ?? [])) as PathParams<Path>
  }

  /** The headers, with names in lower case. A repeated header is joined by `, ` (cookies: `; `). */
  get headers(): Readonly<Record<string, string>> {
    return (this.#headers ??= joinHeaders(this.#rawList))
  }

  /**
   * Returns one header, without parsing and keeping all of them.
   *
   * @internal
   */
  header(name: string): string | undefined {
    return (this.#headers ?? joinHeaders(this.#rawList, name))[name]
  }

  /**
   * Packs the headers into one string. This saves memory, because they are kept until the
   * connection closes.
   *
   * @internal
   */
  pack(): void {
    const headers = this.#rawList
    this.#rawHeaders = headers.some((text) => text.includes(SEPARATOR))
      ? headers // of a peer in the same process: Node has not checked these
      : headers.join(SEPARATOR)
    this.#headers = undefined
  }

  get #rawList(): readonly string[] {
    return typeof this.#rawHeaders === 'string'
      ? this.#rawHeaders.split(SEPARATOR)
      : this.#rawHeaders
  }

  /** The query parameters, in order, duplicates included. */
  get query(): URLSearchParams {
    const [, query = ''] = this.url.split(/\?(.*)/s)
    return (this.#query ??= new URLSearchParams(query))
  }

  /** The decoded cookies. The first of two cookies with the same name counts, RFC 6265 §5.4. */
  get cookies(): Readonly<Record<string, string>> {
    return (this.#cookies ??= parseCookies(this.headers.cookie ?? ''))
  }

  /** The offered subprotocols, in order. */
  get protocols(): readonly string[] {
    const offered = this.headers['sec-websocket-protocol'] ?? ''
    return offered
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
  }

  /**
   * Returns the credentials of the Authorization header, RFC 7617; with `query`, also those in the
   * URL. Returns undefined where the request has none.
   *
   * @throws TypeError for an option that is unknown or invalid.
   */
  basicAuth(options: BasicAuthOptions = {}): Credentials | undefined {
    const names = queryNames(options)
    const [, encoded = ''] = /^Basic +([\w+/=-]+)$/i.exec(this.headers.authorization ?? '') ?? []
    const [, user, secret] = /^([^:]*):(.*)$/s.exec(decodeBase64(encoded) ?? '') ?? []
    if (user !== undefined && secret !== undefined) return { username: user, password: secret }
    const { username: userName, password: passwordName } = names ?? DEFAULT_NAMES
    const username = this.query.get(userName)
    const password = this.query.get(passwordName)
    if (username === null || password === null) return undefined
    if (names) return { username, password }
    this.#ignoredQuery = 'basicAuth'
    return undefined
  }

  /**
   * Returns the token of `Authorization: Bearer`, or else of an offered subprotocol
   * (`base64url.bearer.phx.`, and the token in base64); with `query`, also the one of `?token=` in
   * the URL. Returns undefined where the request has none. Two tokens in a query are both ignored,
   * because another party added one.
   *
   * @throws TypeError for an option that is unknown or invalid.
   */
  token(options: TokenOptions = {}): string | undefined {
    checkNames(options, ['query'])
    const { query = false } = options
    if (typeof query !== 'boolean') throw invalidValue('`query`', 'true or false', query)
    const [, bearer] = /^Bearer +(\S+)$/i.exec(this.headers.authorization ?? '') ?? []
    if (bearer !== undefined) return bearer
    const offered = this.protocols.find(isTokenSubprotocol)
    if (offered !== undefined) return decodeTokenSubprotocol(offered)
    const [token, another] = this.query.getAll('token')
    if (token === undefined || another !== undefined) return undefined
    if (query) return token
    this.#ignoredQuery = 'token'
    return undefined
  }

  /**
   * The method that found credentials in the query and ignored them, because `query` was not set.
   *
   * @internal
   */
  get ignoredQuery(): 'token' | 'basicAuth' | undefined {
    return this.#ignoredQuery
  }
}

/** Returns the headers of a client's request, without those that the transport adds. */
export function requestHeaders(
  url: URL,
  headers: Readonly<Record<string, string>>,
  protocols: readonly string[],
): string[] {
  const offered = protocols.length > 0 ? ['sec-websocket-protocol', protocols.join(', ')] : []
  return ['host', url.host, ...Object.entries(headers).flat(), ...offered]
}

/** Returns the query names of the credentials; undefined where the query isn't read. */
function queryNames(options: BasicAuthOptions): Credentials | undefined {
  checkNames(options, ['query'])
  const { query = false } = options
  if (typeof query === 'boolean') return query ? DEFAULT_NAMES : undefined
  if (!isObject(query) || isArray(query)) {
    throw invalidValue('`query`', 'true, false, or { username, password } as names', query)
  }
  checkNames(query, ['username', 'password'], 'query.')
  const { username = DEFAULT_NAMES.username, password = DEFAULT_NAMES.password } = query
  for (const name of [username, password]) {
    if (typeof name !== 'string') throw invalidValue('a name in `query`', 'a string', name)
  }
  return { username, password }
}

function emptyRecord(): Record<string, string> {
  return Object.create(null) as Record<string, string>
}

/** Returns the headers by name, or only those of one name. */
function joinHeaders(rawHeaders: readonly string[], only?: string): Record<string, string> {
  const headers = emptyRecord()
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase()
    if (only !== undefined && name !== only) continue
    const value = rawHeaders[index + 1] ?? ''
    const previous = headers[name]
    headers[name] =
      previous === undefined ? value : `${previous}${name === 'cookie' ? '; ' : ', '}${value}`
  }
  return headers
}

function parseCookies(header: string): Record<string, string> {
  const cookies = emptyRecord()
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    const name = pair.slice(0, equals).trim()
    if (equals < 0 || name === '' || name in cookies) continue
    cookies[name] = decodePercent(stripQuotes(pair.slice(equals + 1).trim()))
  }
  return cookies
}

function stripQuotes(text: string): string {
  const quoted = text.length > 1 && text.startsWith('"') && text.endsWith('"')
  return quoted ? text.slice(1, -1) : text
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

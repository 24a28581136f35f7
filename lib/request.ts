import { unexpected } from './errors.ts'
import { checkNames, isList, isObject } from './options/rules.ts'
import { pathOf, type Spot } from './path.ts'

/** What a request is known by before it is looked into. */
export interface RequestSource {
  /** The request's target as it came: path and query; on a client, the whole url. */
  readonly url: string
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[]
  /** Where the peer is. */
  readonly remoteAddress: string
  /** Where its path is, if that was looked up on the way. */
  readonly spot?: Spot | undefined
}

/** A name and a password. */
export interface Credentials {
  /** What stood before the first colon. */
  readonly username: string
  /** What stood behind it, further colons included. */
  readonly password: string
}

/** Where a token is read. */
export interface TokenOptions {
  /**
   * true: also from `?token=` in the url. Urls end up in logs, so ask for it only where a client can
   * send a token in no other way. Default: false.
   */
  query?: boolean | undefined
}

/** Where a name and a password are read. */
export interface BasicAuthOptions {
  /**
   * true: also from `?username=` and `?password=` in the url; or what they are called there. Urls end
   * up in logs, so ask for it only where a client can send credentials in no other way. Default: false.
   */
  query?: boolean | QueryNames | undefined
}

/** What the credentials are called in a query. */
export interface QueryNames {
  /** Default: username. */
  username?: string | undefined
  /** Default: password. */
  password?: string | undefined
}

const SEPARATOR = '\0' // in no name and no value, RFC 9110 §5.5

const USUAL_NAMES: Credentials = { username: 'username', password: 'password' }

// What Phoenix's clients put before their token when it travels as a subprotocol.
const PHOENIX_BEARER = 'base64url.bearer.phx.'

/**
 * Is the request that opened a connection: as received on a server, as dialled on a client.
 *
 * Its parts are read when first asked for. Names that a peer chose are kept in `Map`s and objects
 * without a prototype, so `__proto__` is just a name.
 */
export class RequestDetails {
  /** The target as it came: path and query; on a client, the whole url. */
  readonly url: string
  /** The peer's address; behind a trusted proxy, the one that the proxy saw. */
  readonly remoteAddress: string

  readonly #params: ReadonlyMap<string, string> | undefined
  #rawHeaders: readonly string[] | string
  #headers: Readonly<Record<string, string>> | undefined
  #queries: URLSearchParams | undefined
  #cookies: ReadonlyMap<string, string> | undefined
  #ignored: 'token' | 'basicAuth' | undefined

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

  /** The path as it came, without the query. */
  get path(): string {
    return pathOf(this.url.replace(/^wss?:\/\/[^/?]*/i, '')) ?? ''
  }

  /** What stood for each `:param` of the server's path, decoded. */
  get params(): Readonly<Record<string, string>> {
    return Object.assign(bare(), Object.fromEntries(this.#params ?? []))
  }

  /** The headers, names in lower case; one that came twice is joined by a comma (cookies: `; `). */
  get headers(): Readonly<Record<string, string>> {
    return (this.#headers ??= gathered(this.#raw))
  }

  /**
   * Looks one header up without reading, and keeping, all of them.
   *
   * @internal
   */
  header(name: string): string | undefined {
    if (this.#headers) return this.#headers[name]
    let found: string | undefined
    const rawHeaders = this.#raw
    for (let index = 0; index < rawHeaders.length; index += 2) {
      if (rawHeaders[index]?.toLowerCase() !== name) continue
      const value = rawHeaders[index + 1] ?? ''
      found = found === undefined ? value : `${found}, ${value}`
    }
    return found
  }

  /**
   * Keeps the headers as one text: it is for as long as the connection lives, and they are many.
   *
   * @internal
   */
  pack(): void {
    const headers = this.#raw
    this.#rawHeaders = headers.some((text) => text.includes(SEPARATOR))
      ? headers // what a program links with is not checked as a request of Node is
      : headers.join(SEPARATOR)
    this.#headers = undefined
  }

  get #raw(): readonly string[] {
    return typeof this.#rawHeaders === 'string'
      ? this.#rawHeaders.split(SEPARATOR)
      : this.#rawHeaders
  }

  /** What stood behind the `?`, in order, doubles included. */
  get queries(): URLSearchParams {
    const [, query = ''] = this.url.split(/\?(.*)/s)
    return (this.#queries ??= new URLSearchParams(query))
  }

  /** The cookies, decoded; of two with one name the first counts, RFC 6265 §5.4. */
  get cookies(): ReadonlyMap<string, string> {
    return (this.#cookies ??= cookiesOf(this.headers.cookie ?? ''))
  }

  /** The subprotocols that were offered, in order. */
  get protocols(): readonly string[] {
    const offered = this.headers['sec-websocket-protocol'] ?? ''
    return offered
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
  }

  /**
   * Reads credentials from the Authorization header, RFC 7617; with `query` also from the url.
   *
   * @throws TypeError for an option that is unknown or can't be.
   */
  basicAuth(options: BasicAuthOptions = {}): Credentials | undefined {
    const names = namesIn(options)
    const [, encoded] = /^Basic +([\w+/=-]+)$/i.exec(this.headers.authorization ?? '') ?? []
    const [, user, secret] = /^([^:]*):(.*)$/s.exec(fromBase64(encoded) ?? '') ?? []
    if (user !== undefined && secret !== undefined) return { username: user, password: secret }
    const { queries } = this
    const username = queries.get(names?.username ?? USUAL_NAMES.username)
    const password = queries.get(names?.password ?? USUAL_NAMES.password)
    if (username === null || password === null) return undefined
    if (names) return { username, password }
    this.#ignored = 'basicAuth'
    return undefined
  }

  /**
   * Reads a token from `Authorization: Bearer`, or else from the subprotocol that Phoenix's clients
   * put theirs in; with `query` also from `?token=` in the url. A query with two tokens has none, as
   * one of them was added by another party.
   *
   * @throws TypeError for an option that is unknown or can't be.
   */
  token(options: TokenOptions = {}): string | undefined {
    checkNames(options, ['query'])
    const { query = false } = options
    if (typeof query !== 'boolean') throw unexpected('`query`', 'true or false', query)
    const [, bearer] = /^Bearer +(\S+)$/i.exec(this.headers.authorization ?? '') ?? []
    if (bearer !== undefined) return bearer
    const offered = this.protocols.find((name) => name.startsWith(PHOENIX_BEARER))
    if (offered !== undefined) return fromBase64(offered.slice(PHOENIX_BEARER.length))
    const [token, another] = this.queries.getAll('token')
    if (token === undefined || another !== undefined) return undefined
    if (query) return token
    this.#ignored = 'token'
    return undefined
  }

  /**
   * The method that found credentials in the query and ignored them, as it was not asked to read it.
   *
   * @internal
   */
  get ignoredQuery(): 'token' | 'basicAuth' | undefined {
    return this.#ignored
  }
}

/** Is the headers that a client asks with, as far as they are its own. */
export function dialledHeaders(
  url: URL,
  headers: Readonly<Record<string, string>>,
  protocols: readonly string[],
): string[] {
  const offered = protocols.length > 0 ? ['sec-websocket-protocol', protocols.join(', ')] : []
  return ['host', url.host, ...Object.entries(headers).flat(), ...offered]
}

/** Returns what credentials are called in a query; undefined where it isn't read. */
function namesIn(options: BasicAuthOptions): Credentials | undefined {
  checkNames(options, ['query'])
  const { query = false } = options
  if (typeof query === 'boolean') return query ? USUAL_NAMES : undefined
  if (!isObject(query) || isList(query)) {
    throw unexpected('`query`', 'true, false, or { username, password } as names', query)
  }
  checkNames(query, ['username', 'password'], 'query.')
  const { username = USUAL_NAMES.username, password = USUAL_NAMES.password } = query
  for (const name of [username, password]) {
    if (typeof name !== 'string') throw unexpected('a name in `query`', 'a string', name)
  }
  return { username, password }
}

function bare(): Record<string, string> {
  return Object.create(null) as Record<string, string>
}

function gathered(rawHeaders: readonly string[]): Record<string, string> {
  const headers = bare()
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase()
    const value = rawHeaders[index + 1] ?? ''
    const before = headers[name]
    headers[name] =
      before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`
  }
  return headers
}

function cookiesOf(header: string): Map<string, string> {
  const cookies = new Map<string, string>()
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    const name = pair.slice(0, equals).trim()
    if (equals < 0 || name === '' || cookies.has(name)) continue
    cookies.set(name, unescaped(unquoted(pair.slice(equals + 1).trim())))
  }
  return cookies
}

function unquoted(text: string): string {
  const quoted = text.length > 1 && text.startsWith('"') && text.endsWith('"')
  return quoted ? text.slice(1, -1) : text
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Reads base64 in either alphabet, with or without padding, as UTF-8. */
function fromBase64(encoded: string | undefined): string | undefined {
  if (encoded === undefined) return undefined
  try {
    const binary = atob(encoded.replaceAll('-', '+').replaceAll('_', '/'))
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      Uint8Array.from(binary, (char) => char.charCodeAt(0)),
    )
  } catch {
    return undefined
  }
}

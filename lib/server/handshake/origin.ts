/** A parsed origin, RFC 6454 §6.2; in a pattern the scheme may be missing. */
interface Origin {
  readonly scheme: string | undefined
  readonly wildcard: boolean
  readonly name: string
  readonly port: string
}

const ORIGIN = /^(?:([a-z][a-z\d+.-]*):\/\/)?(\*\.)?([a-z\d._-]+|\[[\da-f:.]+\])(:\d{1,5})?$/i
const DEFAULT_PORTS = new Map<string | undefined, string>([
  ['http', ':80'],
  ['https', ':443'],
])

const MAX_PRINTED = 300 // characters of peer input in a log; a host name has at most 253

/** Returns whether a value is valid as an entry of a server's `origins`. */
export function isOriginPattern(value: unknown): boolean {
  return typeof value === 'string' && parse(value) !== undefined
}

/**
 * Returns whether a page of `origin` may connect to a server that was requested as `host`.
 *
 * A page of the same host and port always may connect, whatever its scheme: a proxy may have
 * terminated TLS.
 */
export function originAllowed(
  origin: string,
  host: string | undefined,
  allowed: readonly string[] | '*',
): boolean {
  if (allowed === '*') return true
  if (origin === 'null') return allowed.includes('null')
  const page = parse(origin)
  if (page?.scheme === undefined || page.wildcard) return false
  const server = parse(host ?? '')
  if (server && server.scheme === undefined && !server.wildcard && matches(server, page)) {
    return true
  }
  return allowed.some((entry) => {
    const pattern = parse(entry)
    return pattern !== undefined && matches(pattern, page)
  })
}

/** Returns how to allow pages of a rejected origin; undefined where no entry can. */
export function originCure(origin: string, allowed: readonly string[] | '*'): string | undefined {
  const page = origin.length > MAX_PRINTED ? undefined : parse(origin)
  if (origin !== 'null' && (page?.scheme === undefined || page.wildcard)) return undefined
  const option = allowed.length === 0 ? `{ origins: ['${origin}'] }` : `'${origin}' in \`origins\``
  return (
    `a page of ${origin} was refused with 403, because it is not of this server's own host and port. ` +
    `To let such pages in, give the server the option ${option}.`
  )
}

function matches(pattern: Origin, page: Origin): boolean {
  if (pattern.scheme !== undefined && pattern.scheme !== page.scheme) return false
  const defaultPort = DEFAULT_PORTS.get(page.scheme) ?? ''
  if ((pattern.port || defaultPort) !== (page.port || defaultPort)) return false
  return pattern.wildcard ? page.name.endsWith(`.${pattern.name}`) : page.name === pattern.name
}

function parse(text: string): Origin | undefined {
  const [whole, scheme, wildcard, name = '', port = ''] = ORIGIN.exec(text.toLowerCase()) ?? []
  return whole === undefined ? undefined : { scheme, wildcard: wildcard !== undefined, name, port }
}

import { isIPv4 } from 'node:net'

const HOST = /^([a-z\d._-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i
const PATTERN = /^((?:\*\.)?[a-z\d._-]+|\[[\da-f:.]+\])$/i

const MAX_PRINTED = 300 // characters of a peer's words in a log; a host name has at most 253

/** Where a server listens. */
export interface Binding {
  /** The address it is bound to; an empty text where it has none, or none of TCP. */
  readonly address: string
  /** The name that `serve` was given; an empty text where it was not called. */
  readonly name: string
}

/** Tells whether a value may stand in a server's `hosts`. */
export function isHostPattern(value: unknown): boolean {
  return typeof value === 'string' && PATTERN.test(value)
}

/** Tells whether an address is of this machine alone. */
export function isLoopback(address: string): boolean {
  if (address === '::1') return true
  const plain = address.replace(/^::ffff:/i, '')
  return isIPv4(plain) && plain.startsWith('127.')
}

/** Tells whether a host, as a request names it, is one of `allowed`, on any port. */
export function hostAllowed(host: string, allowed: readonly string[] | '*'): boolean {
  if (allowed === '*') return true
  const name = nameIn(host)
  return name !== undefined && allowed.some((entry) => matches(entry.toLowerCase(), name))
}

/**
 * Tells whether a host is one that only this machine resolves: `localhost`, a loopback address, or
 * the name that `serve` was given. A page can't make a name of its own resolve to these.
 */
export function isLocalHost(host: string, binding: Binding): boolean {
  const name = nameIn(host)
  if (name === undefined) return false
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  return name === binding.name.toLowerCase() || isLoopback(name.replace(/^\[(.*)\]$/, '$1'))
}

/** Returns how to let in requests for a host that was refused; undefined where no entry can. */
export function hostCure(host: string, binding: Binding, allowed: unknown): string | undefined {
  const name = host.length > MAX_PRINTED ? undefined : nameIn(host)
  if (name === undefined) return undefined
  if (allowed !== undefined) {
    return (
      `a request for the host ${name} was refused with 421, because \`hosts\` does not name it. ` +
      `To let such requests in, add '${name}' to \`hosts\`.`
    )
  }
  return (
    `a request for the host ${name} was refused with 421, because this server listens on ` +
    `${binding.address}, which serves this machine alone. ` +
    `To let such requests in, give the server the option { hosts: ['${name}'] }, ` +
    `or { trustProxy: 1 } where they come through a proxy.`
  )
}

function matches(pattern: string, name: string): boolean {
  if (pattern.startsWith('*.')) return name.endsWith(pattern.slice(1))
  return pattern === name || (pattern.startsWith('[') && nameIn(pattern) === name)
}

/** Returns the name in a Host header, without its port, in one spelling. */
function nameIn(host: string): string | undefined {
  const [, name] = HOST.exec(host.toLowerCase()) ?? []
  if (!name?.startsWith('[')) return name
  return URL.canParse(`http://${name}`) ? new URL(`http://${name}`).hostname : undefined
}

import { isIPv4 } from 'node:net'

const HOST = /^([a-z\d._-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i
const PATTERN = /^((?:\*\.)?[a-z\d._-]+|\[[\da-f:.]+\])$/i

const MAX_PRINTED = 300 // characters of peer input in a log; a host name has at most 253

/** The address that a server listens on. */
export interface Binding {
  /** The address it is bound to; an empty string where it has none, or no TCP address. */
  readonly address: string
  /** The host that was passed to `serve`; an empty string where `serve` was not called. */
  readonly name: string
}

/** Returns whether a value is valid as an entry of a server's `hosts`. */
export function isHostPattern(value: unknown): boolean {
  return typeof value === 'string' && PATTERN.test(value)
}

/** Returns whether an address is a loopback address. */
export function isLoopback(address: string): boolean {
  if (address === '::1') return true
  const plain = address.replace(/^::ffff:/i, '')
  return isIPv4(plain) && plain.startsWith('127.')
}

/** Returns whether the host of a request is one of `allowed`, on any port. */
export function hostAllowed(host: string, allowed: readonly string[] | '*'): boolean {
  if (allowed === '*') return true
  const name = hostName(host)
  return name !== undefined && allowed.some((entry) => matches(entry.toLowerCase(), name))
}

/**
 * Returns whether a host refers to this machine: `localhost`, a loopback address, or the host that
 * was passed to `serve`. An attacker's page can't be served under any of these names.
 */
export function isLocalHost(host: string, binding: Binding): boolean {
  const name = hostName(host)
  if (name === undefined) return false
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  return name === binding.name.toLowerCase() || isLoopback(name.replace(/^\[(.*)\]$/, '$1'))
}

/** Returns how to allow requests for a rejected host; undefined where no entry can. */
export function hostCure(host: string, binding: Binding, allowed: unknown): string | undefined {
  const name = host.length > MAX_PRINTED ? undefined : hostName(host)
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
  return pattern === name || (pattern.startsWith('[') && hostName(pattern) === name)
}

/** Returns the normalized name in a Host header, without its port. */
function hostName(host: string): string | undefined {
  const [, name] = HOST.exec(host.toLowerCase()) ?? []
  if (!name?.startsWith('[')) return name
  return URL.canParse(`http://${name}`) ? new URL(`http://${name}`).hostname : undefined
}

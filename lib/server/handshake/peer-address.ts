import type { IncomingMessage } from 'node:http'
import { isIPv4, isIPv6, type Socket } from 'node:net'

// Proxies write these forms into X-Forwarded-For: 192.0.2.1, 192.0.2.1:80, 2001:db8::1,
// [2001:db8::1]:80, and any of them in quotes.
const ENTRY = /^"?(?:\[(?<bracketed>[^\]]+)\](?::\d+)?|(?<v4>[\d.]+)(?::\d+)?|(?<bare>[^"]+))"?$/

const MAPPED = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/ // an IPv4 address, RFC 4291 §2.5.5.2

/**
 * Returns the address of a peer: behind trusted proxies, the address that the farthest of them saw.
 * The address is normalized and has no port. A proxy that forwards no address counts as the peer.
 */
export function clientAddress(
  { headers, socket }: IncomingMessage,
  trustProxy: boolean | number,
): string {
  const hops = Number(trustProxy)
  if (hops === 0) return socketAddress(socket)
  const entries = String(headers['x-forwarded-for'] ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
  const forwarded = entries.at(-Math.min(hops, entries.length)) ?? ''
  return forwardedAddress(forwarded) ?? socketAddress(socket)
}

/** Returns the remote address of a socket; an empty string where it has none. */
export function socketAddress({ remoteAddress = '' }: Pick<Socket, 'remoteAddress'>): string {
  return canonicalAddress(remoteAddress) ?? remoteAddress
}

/**
 * Returns the key that an address is counted by: an IPv4 address itself, but the first 64 bits of
 * an IPv6 address, because a single peer may use all addresses that share these bits.
 */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  const rest = tail === undefined || tail === '' ? 0 : tail.split(':').length
  while (tail !== undefined && groups.length + rest < 8) groups.push('0')
  return `${[...groups, ...(tail ?? '').split(':')].slice(0, 4).join(':')}::/64`
}

/** Returns the address in an entry of X-Forwarded-For; undefined where the entry has none. */
function forwardedAddress(entry: string): string | undefined {
  const { bracketed, v4, bare } = ENTRY.exec(entry)?.groups ?? {}
  return canonicalAddress(bracketed ?? v4 ?? bare ?? '')
}

/** Returns an address in the form of RFC 5952, without a zone; undefined for an invalid address. */
function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text
  const [address = ''] = text.split('%')
  if (!isIPv6(address)) return undefined
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [, high, low] = MAPPED.exec(canonical) ?? []
  if (high === undefined || low === undefined) return canonical
  const bits = [parseInt(high, 16), parseInt(low, 16)]
  return bits.flatMap((pair) => [pair >> 8, pair & 0xff]).join('.')
}

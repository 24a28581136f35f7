import { encoder } from '../../connection/message.ts'
import { decodeBase64 } from './base64.ts'

// A page can't set headers, so it offers its token as a subprotocol with this prefix. Phoenix's
// clients chose the prefix, and plain servers read it, too.
const TOKEN_PREFIX = 'base64url.bearer.phx.'

/** Returns whether an offered subprotocol carries a token. */
export function isTokenSubprotocol(name: string): boolean {
  return name.startsWith(TOKEN_PREFIX)
}

/** Returns the subprotocol that a client offers to send a token. */
export function encodeTokenSubprotocol(token: string): string {
  // Only the slash is replaced, because a subprotocol may not contain it: Phoenix decodes the
  // alphabet of plain base64, in spite of the prefix's name.
  const base64 = btoa(String.fromCharCode(...encoder.encode(token)))
  return TOKEN_PREFIX + base64.replaceAll('=', '').replaceAll('/', '_')
}

/** Returns the token that a subprotocol carries; undefined if it can't be decoded. */
export function decodeTokenSubprotocol(name: string): string | undefined {
  return decodeBase64(name.slice(TOKEN_PREFIX.length))
}

import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { subprotocol } from 'ws'
import { PeerConnectError } from '../../server/handshake/peer-connect-error.ts'
import type { ServerSettings } from '../../options/server.ts'
import type { Transport } from '../transport.ts'
import { acceptOffer, type Agreement } from './deflate/extensions.ts'
import { TcpTransport } from './tcp-transport.ts'

const KEY = /^[+/0-9a-z]{22}==$/i
const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11' // RFC 6455 §1.3

/**
 * A function that answers an upgrade request with 101 and returns its transport. The caller must
 * start the transport in the same turn.
 *
 * @throws PeerConnectError with status 400 for an invalid request, 0 if the peer has disconnected.
 */
export type Upgrader = (request: IncomingMessage, tcp: Duplex, head: Buffer) => Transport

/** Makes the upgrader of one server. */
export function makeUpgrader(settings: ServerSettings): Upgrader {
  return (request, tcp, head) => {
    const accept = computeAccept(request)
    const protocol = chooseProtocol(request, settings)
    const agreement = negotiate(request, settings)
    if (!tcp.readable || !tcp.writable) {
      tcp.destroy()
      throw new PeerConnectError('the peer has left', { status: 0, reason: 'left' })
    }
    const lines = [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${accept}`,
    ]
    if (protocol !== '') lines.push(`Sec-WebSocket-Protocol: ${protocol}`)
    if (agreement) lines.push(`Sec-WebSocket-Extensions: ${agreement.answer}`)
    tcp.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
    if (head.length > 0) tcp.unshift(head)
    const deflate = agreement?.parameters
    const countsFrames = settings.rateLimit !== false
    return new TcpTransport(request.socket, {
      side: 'server',
      protocol,
      settings,
      countsFrames,
      deflate,
    })
  }
}

/** Computes the value of Sec-WebSocket-Accept, RFC 6455 §4.2.2. */
function computeAccept({ headers }: IncomingMessage): string {
  const { 'sec-websocket-key': key = '' } = headers
  if (!KEY.test(key)) throw badRequest('Missing or invalid Sec-WebSocket-Key header')
  return createHash('sha1')
    .update(key + KEY_SUFFIX)
    .digest('base64')
}

/** Chooses the first offered subprotocol that the server supports, or an empty string. */
function chooseProtocol({ headers }: IncomingMessage, { protocols }: ServerSettings): string {
  const { 'sec-websocket-protocol': offer } = headers
  if (offer === undefined) return ''
  try {
    return [...subprotocol.parse(offer)].find((name) => protocols.includes(name)) ?? ''
  } catch {
    throw badRequest('Invalid Sec-WebSocket-Protocol header')
  }
}

function negotiate({ headers }: IncomingMessage, settings: ServerSettings): Agreement | undefined {
  const { 'sec-websocket-extensions': offers } = headers
  if (offers === undefined || settings.compression === false) return undefined
  try {
    return acceptOffer(offers, settings)
  } catch {
    throw badRequest('Invalid or unacceptable Sec-WebSocket-Extensions header')
  }
}

function badRequest(text: string): PeerConnectError {
  return new PeerConnectError(text, { status: 400, reason: 'request' })
}

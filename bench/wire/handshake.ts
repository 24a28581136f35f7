import { createHash } from 'node:crypto'

const MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11' // RFC 6455 §1.3

/** How compression is offered: as browsers do, or so that each message stands for itself. */
export type Offer = 'as browsers' | 'no takeover'

const OFFERS: Readonly<Record<Offer, string>> = {
  'as browsers': 'client_max_window_bits',
  'no takeover': 'server_no_context_takeover; client_no_context_takeover',
}

/** Returns the request of a client for a connection. */
export function request(port: number, path: string, deflate?: Offer): string {
  const offer = deflate && `Sec-WebSocket-Extensions: permessage-deflate; ${OFFERS[deflate]}\r\n`
  return (
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n` +
    'Connection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n' +
    `${offer ?? ''}\r\n`
  )
}

/** Returns the answer of a server that lets the client in. */
export function answer(request: string): string {
  const [, key = ''] = /^sec-websocket-key: *(.*?)\r$/im.exec(request) ?? []
  const accept = createHash('sha1').update(`${key}${MAGIC}`).digest('base64')
  return (
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`
  )
}

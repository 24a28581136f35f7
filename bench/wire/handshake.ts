import { createHash } from 'node:crypto'

const MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11' // RFC 6455 §1.3

const OFFER =
  'Sec-WebSocket-Extensions: permessage-deflate; ' +
  'server_no_context_takeover; client_no_context_takeover\r\n'

/** Is how a client asks for a connection. */
export function request(port: number, path: string, deflate = false): string {
  return (
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n` +
    'Connection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n' +
    `${deflate ? OFFER : ''}\r\n`
  )
}

/** Is how a server lets the client in. */
export function answer(request: string): string {
  const [, key = ''] = /^sec-websocket-key: *(.*?)\r$/im.exec(request) ?? []
  const accept = createHash('sha1').update(`${key}${MAGIC}`).digest('base64')
  return (
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`
  )
}

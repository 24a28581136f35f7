import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { WebSocket, WebSocketServer } from 'ws'
import { compresses, fansOut, tlsFiles } from './mode.ts'
import { report } from './report.ts'

const https =
  tlsFiles && createServer({ cert: readFileSync(tlsFiles.cert), key: readFileSync(tlsFiles.key) })
const server = new WebSocketServer({
  ...(https ? { server: https } : { port: 0, host: '127.0.0.1' }),
  // A broadcast has to be the same for all; an echo is compressed as `ws` does it by default.
  perMessageDeflate: compresses && (fansOut ? { serverNoContextTakeover: true } : {}),
})
server.on('connection', (socket) => {
  // As ours does: text arrives as a string, so the bytes are decoded and encoded again.
  if (fansOut) socket.on('message', (data: Buffer) => broadcast(data.toString()))
  else socket.on('message', (data: Buffer) => socket.send(data.toString()))
})
const listening = once(https ?? server, 'listening')
https?.listen(0, '127.0.0.1')
await listening
report(((https ?? server).address() as AddressInfo).port)

/** As its README has it. */
function broadcast(text: string): void {
  for (const client of server.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(text)
  }
}

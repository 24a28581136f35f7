import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'
import { report } from './report.ts'

const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
server.on('connection', (socket) => {
  // As ours does: text arrives as a string, so the bytes are decoded and encoded again.
  socket.on('message', (data: Buffer) => socket.send(data.toString()))
})
await once(server, 'listening')
report((server.address() as AddressInfo).port)

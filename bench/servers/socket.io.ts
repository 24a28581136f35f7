import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server } from 'socket.io'
import { compresses, fansOut, hasRooms } from './mode.ts'
import { report } from './report.ts'

const http = createServer()
const io = new Server(http, {
  transports: ['websocket'],
  serveClient: false,
  pingInterval: 3_600_000, // its pings are messages, which would be counted
  perMessageDeflate: compresses && { threshold: 1024, serverNoContextTakeover: true },
})
io.on('connection', (socket) => {
  if (hasRooms) void socket.join('room:1')
  const hearers = hasRooms ? io.to('room:1') : fansOut ? io : socket
  socket.on('m', (text) => hearers.emit('m', text))
  socket.on('a', (text: string, answer: (text: string) => void) => answer(text))
})
http.listen(0, '127.0.0.1')
await once(http, 'listening')
report((http.address() as AddressInfo).port)

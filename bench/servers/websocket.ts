import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import websocket from 'websocket'
import { fansOut } from './mode.ts'
import { report } from './report.ts'

const http = createServer()
const server = new websocket.server({ httpServer: http, autoAcceptConnections: true })
server.on('connect', (connection) => {
  connection.on('message', ({ utf8Data = '' }) => {
    if (fansOut) server.broadcastUTF(utf8Data)
    else connection.sendUTF(utf8Data)
  })
})
http.listen(0, '127.0.0.1')
await once(http, 'listening')
report((http.address() as AddressInfo).port)

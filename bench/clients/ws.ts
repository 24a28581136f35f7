import { once } from 'node:events'
import { WebSocket } from 'ws'
import { report } from '../servers/report.ts'

let count = 0
const port = Number(process.argv[2])
const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false })
socket.on('message', (data: Buffer) => {
  if (data.toString() !== '') count++ // as ours does: text arrives as a string
})
await once(socket, 'open')
report(port, () => count)

// A client of server.ts: sends each line that you type, and prints each message.
// Run: NAME=ann node --conditions=source --import tsx samples/start/client.ts
import { createInterface } from 'node:readline'
import { listen, WebsocketClient } from 'simplewebsockets'

const { NAME = 'guest', PORT = '8080' } = process.env
const client = new WebsocketClient({ reconnect: true })

listen(client, 'connect', (connection) => {
  console.log('connected')
  listen(connection, 'message', (message) => console.log(message))
})
listen(client, 'connectError', (error) => console.log(error.msg))
listen(client, 'retry', ({ delay }) => console.log(`again in ${Math.round(delay)} ms`))
void client.open(`ws://localhost:${PORT}/chat/${NAME}`)

const input = createInterface(process.stdin)
input.on('line', (line) => client.connection?.send(line) ?? console.log('not connected: not sent'))
input.on('close', () => void client.close())

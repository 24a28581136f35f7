// Talks in the chat of server.ts: what you type is said, and what is said is printed.
// Run: NAME=ann node --conditions=source --import tsx samples/start/client.ts
import { createInterface } from 'node:readline'
import { listen, WebsocketClient } from 'simplewebsockets'

const { NAME = 'somebody', PORT = '8080' } = process.env
const client = new WebsocketClient({ reconnect: true })

listen(client, 'connect', (connection) => {
  console.log('here we are')
  listen(connection, 'message', (message) => console.log(message))
})
listen(client, 'connectError', (error) => console.log(error.msg))
listen(client, 'retry', ({ delay }) => console.log(`again in ${Math.round(delay)} ms`))
void client.open(`ws://localhost:${PORT}/chat/${NAME}`)

const typed = createInterface(process.stdin)
typed.on('line', (line) => client.connection?.send(line) ?? console.log('not connected: not said'))
typed.on('close', () => void client.close())

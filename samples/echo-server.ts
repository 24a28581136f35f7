// Sends each message back. Its client is echo-client.ts.
// Run: node --conditions=source --import tsx samples/echo-server.ts
import { listen, WebsocketServer } from 'simplewebsockets'

const server = new WebsocketServer()

listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.send(`Echo: ${message}`))
  listen(client, 'close', ({ code, description }) => console.log(`closed: ${code} ${description}`))
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

// Answers each message; echo-client.ts is its other half.
// Run: node --conditions=source --import tsx samples/echo-server.ts
import { listen, WebsocketServer } from 'simplewebsockets'

const server = new WebsocketServer()

listen(server, 'listening', ({ host, port }) => console.log(`listening on ws://${host}:${port}`))

listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.send(`Echo back at you: ${message}`))
})

listen(server, 'connectError', (error) => error.log())
listen(server, 'closed', ({ port }) => console.log(`closed port ${port}`))

void server.serve(Number(process.env.PORT ?? 8080)) // who listens to connectError hears if it can't

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void server.close())

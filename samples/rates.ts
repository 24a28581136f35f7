// Limits how much each peer may send. A connection that sends more closes with 1008.
// Run: node --conditions=source --import tsx samples/rates.ts
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'

const server = new WebsocketServer({
  maxReceivedMessageSize: 64 * 1024,
  maxConnectionsPerAddress: 100,
  rateLimit: { messages: 20, per: 1_000, policy: 'close' }, // or 'drop'
})
listen(server, 'client', (client) => {
  listen(client, 'message', () => {})
  listen(client, 'error', (error) => console.log(`the server: ${error.msg}`))
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const client = new WebsocketClient()
const connection = await client.open(`ws://localhost:${port}`)
for (let count = 0; count < 100; count++) connection.send('now!')
const { code, description } = await once(connection, 'close')
console.log(`the client: ${code} ${description}`)
await server.close()

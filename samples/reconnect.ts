// Comes back as often and as soon as it is told, asking for what it missed, until it is replaced.
// Run: node --conditions=source --import tsx samples/reconnect.ts
import { ConnectError, listen, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import type { ReconnectOptions } from 'simplewebsockets'

const server = new WebsocketServer({ path: '/feed', authorize: (request) => !!request.token() })
let count = 0
listen(server, 'client', (client) => {
  client.send(`${++count}, after ${client.request.query.get('since')}`)
  client.close(count < 3 ? 1012 : 4001) // a restart, say; or the same user came elsewhere
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

let lastSeen = 0
const freshToken = (): Promise<string> => Promise.resolve(`token-${Date.now()}`) // your service

const reconnect: ReconnectOptions = {
  attempts: 20,
  delay: (attempt) => Math.random() * Math.min(5_000, 100 * 2 ** attempt),
  // As usual, but not after 4001, with which this server closes a client that is replaced.
  when: (cause, usual) => usual && (cause instanceof ConnectError || cause.code !== 4001),
}
const client = new WebsocketClient({
  reconnect,
  headers: async () => ({ Authorization: `Bearer ${await freshToken()}` }),
})
void client.open(() => `ws://localhost:${port}/feed?since=${lastSeen}`)

for await (const connection of listen(client, 'connect')) {
  for await (const message of listen(connection, 'message')) {
    lastSeen = parseInt(String(message))
    console.log(`heard ${message}`)
  }
}
console.log('replaced')
await server.close()

// Tokens that last as long as one connection: the client asks for a fresh one at every attempt.
// Run: node --conditions=source --import tsx samples/token.ts
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'

const issued = new Set<string>()

/** Stands for the request to your login service. */
function freshToken(): Promise<string> {
  const token = `token-${issued.size + 1}`
  issued.add(token)
  return Promise.resolve(token)
}

const used = new Set<string>()
const server = new WebsocketServer({
  authorize: (request) => {
    const token = request.token() ?? ''
    if (!issued.has(token) || used.has(token)) return false // 401
    used.add(token)
    return { token }
  },
})
listen(server, 'client', (client) => client.send(`welcome with ${client.context.token}`))
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const client = new WebsocketClient({
  headers: async () => ({ authorization: `Bearer ${await freshToken()}` }),
  reconnect: true,
})
for (let count = 1; count <= 3; count++) {
  const connected = once(client, 'connect')
  if (count === 1) void client.open(`ws://localhost:${port}`)
  const connection = await connected
  console.log(await once(connection, 'message'))
  server.clients.close(1012, 'a restart, say')
}
await client.close()
await server.close()

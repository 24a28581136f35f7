// Asks questions over one connection, and gets each its own reply, in whatever order they come.
// Run: node --conditions=source --import tsx samples/request.ts
import { listen, once, WebsocketClient, WebsocketServer, type Data } from 'simplewebsockets'
import type { WebsocketConnection } from 'simplewebsockets'

let lastId = 0

async function request(connection: WebsocketConnection, question: string): Promise<string> {
  const id = `${++lastId} `
  const isReply = (message: Data): message is string => String(message).startsWith(id)
  const reply = once(connection, 'message', { where: isReply, signal: AbortSignal.timeout(5_000) })
  connection.send(id + question)
  return (await reply).slice(id.length)
}

const server = new WebsocketServer()
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => void client.send(String(message).toUpperCase()))
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const connection = await new WebsocketClient().open(`ws://localhost:${port}`)
console.log(await Promise.all(['red', 'green'].map((word) => request(connection, word))))
await server.close()

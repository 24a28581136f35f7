// Three spellings of one meaning: a callback, a loop, and one value.
// Run: node --conditions=source --import tsx samples/listen.ts
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'

const server = new WebsocketServer()
listen(server, 'client', (client) => {
  client.send('hello')
  client.close()
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))
const connection = await new WebsocketClient().open(`ws://localhost:${port}`)

const stop = listen(connection, 'message', (message) => console.log(`heard ${message}`))
for await (const message of listen(connection, 'message')) console.log(`got ${message}`)
const { code } = await once(connection, 'close')

console.log(`closed: ${code}`)
stop() // harmless, as it has ended
await server.close()

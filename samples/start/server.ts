// A chat whose talk survives a restart: it is kept in a file, and told to whoever connects.
// Run: node --conditions=source --import tsx samples/start/server.ts
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { listen, WebsocketServer } from 'simplewebsockets'

const file = process.env.TALK ?? 'talk.txt'
const server = new WebsocketServer({ path: '/chat/:name' })

listen(server, 'client', (client) => {
  const { name } = client.request.params
  if (existsSync(file)) client.send(readFileSync(file, 'utf8').trimEnd())

  listen(client, 'message', (message) => {
    const line = `${name}: ${message}`
    appendFileSync(file, `${line}\n`)
    server.emit(line) // to everyone; client.broadcast(line) leaves out who said it
  })
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void server.close())

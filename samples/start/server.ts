// A chat that keeps its messages in a file and sends them to each new client.
// Run: node --conditions=source --import tsx samples/start/server.ts
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { listen, WebsocketServer } from 'simplewebsockets'

const file = process.env.TALK ?? 'chat.txt'
const server = new WebsocketServer({ path: '/chat/:name' })

listen(server, 'client', (client) => {
  const { name } = client.request.params
  if (existsSync(file)) client.send(readFileSync(file, 'utf8').trimEnd())

  listen(client, 'message', (message) => {
    const line = `${name}: ${message}`
    appendFileSync(file, `${line}\n`)
    server.emit(line)
  })
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void server.close())

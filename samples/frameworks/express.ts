// Shares a port with Express.
// Run: node --conditions=source --import tsx samples/frameworks/express.ts
import { createServer } from 'node:http'
import express from 'express'
import { listen, WebsocketServer } from 'simplewebsockets'

const app = express()
app.get('/', (_, response) => void response.send('hello from Express'))

const http = createServer(app)
const server = new WebsocketServer({ path: '/live' }).attach(http)
listen(server, 'client', (client) => client.send('hello from the same port'))

http.listen(Number(process.env.PORT ?? 8080), 'localhost', () => {
  const { port } = Object(http.address()) as { port: number }
  console.log(`listening on ws://localhost:${port}`)
})

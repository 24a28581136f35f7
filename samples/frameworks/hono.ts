// Shares a port with Hono on Node.
// Run: node --conditions=source --import tsx samples/frameworks/hono.ts
import { createServer } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { listen, WebsocketServer } from 'simplewebsockets'

const app = new Hono()
app.get('/', (context) => context.text('hello from Hono'))

const answer = getRequestListener((request) => app.fetch(request))
const http = createServer((request, response) => void answer(request, response))
const server = new WebsocketServer({ path: '/live' }).attach(http)
listen(server, 'client', (client) => client.send('hello from the same port'))

http.listen(Number(process.env.PORT ?? 8080), 'localhost', () => {
  const { port } = Object(http.address()) as { port: number }
  console.log(`listening on ws://localhost:${port}`)
})

// Rooms for phoenix.js, unmodified, with a page at http://localhost:8080 to be opened in two tabs.
// Run: node --conditions=source --import tsx samples/channels-chat/server.ts
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'

const files: Record<string, [type: string, file: string]> = {
  '/': ['text/html', './page.html'],
  '/page.js': ['text/javascript', './page.js'],
  '/page.css': ['text/css', '../chat/page.css'],
  '/icon.svg': ['image/svg+xml', '../chat/icon.svg'],
  '/phoenix.mjs': ['text/javascript', import.meta.resolve('phoenix')],
}
const http = createServer((request, response) => {
  const [type, file] = files[request.url ?? ''] ?? []
  if (!file) return response.writeHead(404).end()
  response.setHeader('Content-Type', `${type}; charset=utf-8`)
  readFile(new URL(file, import.meta.url)).then((body) => response.end(body), console.error)
})

const server = new WebsocketServer({ path: '/socket' })
const rooms = new ChannelServer(server).topic('room:*')

listen(rooms, 'join', ({ channel, payload: { name }, accept, reject }) => {
  if (!name) return reject({ reason: 'who are you?' })
  listen(channel.messages, 'new_msg', ({ payload: { body }, reply }) => {
    channel.broadcast('new_msg', { name, body })
    reply({ at: new Date().toISOString() })
  })
  accept()
  channel.broadcast('entered', { name })
})
listen(rooms, 'leave', ({ channel, reason }) => console.log(`${channel.topic}: ${reason}`))

server.attach(http)
http.listen(Number(process.env.PORT ?? 8080), 'localhost', () => {
  const { port } = Object(http.address()) as { port: number }
  console.log(`listening on ws://localhost:${port}`)
})

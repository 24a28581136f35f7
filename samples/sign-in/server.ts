// Signs a page in: a cookie for its requests, and a token for each of its connections.
// Run: node --conditions=source --import tsx samples/sign-in/server.ts (and open http://localhost:8080)
import { createServer } from 'node:http'
import express from 'express'
import { listen, WebsocketServer } from 'simplewebsockets'
import { endSessions, login, redeem, userOf } from './login.ts'
import { site } from './site.ts'

const { PORT = '8080', LIFETIME = '600000' } = process.env
const app = express().use(site, login)
app.post('/logout', (request, response) => {
  const user = userOf(request)
  if (user === undefined) return void response.sendStatus(401)
  endSessions(user)
  server.room(`user:${user}`).close(1008, 'signed out') // on every node
  response.end()
})

const http = createServer(app)
const server = new WebsocketServer({
  path: '/live',
  protocols: ['chat'],
  authorize: (request) => {
    const user = redeem(request.token())
    return user !== undefined && { user } // false: 401
  },
}).attach(http)
listen(server, 'client', (client) => {
  const { user } = client.context
  server.room(`user:${user}`).add(client)
  const timer = setTimeout(() => void client.close(4000, 'expired'), Number(LIFETIME))
  listen(client, 'close', () => clearTimeout(timer))
  client.send(`hello ${user}`)
})

http.listen(Number(PORT), 'localhost', () => {
  const { port } = Object(http.address()) as { port: number }
  console.log(`listening on ws://localhost:${port}`)
})

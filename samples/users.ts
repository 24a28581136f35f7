// A room for each user: reaches all tabs of a user, and signs all of them out at once.
// Run: node --conditions=source --import tsx samples/users.ts (and open ws://localhost:8080?token=a1)
import { listen, WebsocketServer } from 'simplewebsockets'

const names = new Map([
  ['a1', 'ann'],
  ['b2', 'bob'],
])

const server = new WebsocketServer({
  authorize: (request) => {
    const name = names.get(request.token({ query: true }) ?? '')
    return name !== undefined && { name } // false is answered with 401, the rest is the context
  },
})

listen(server, 'client', (client) => {
  const { name } = client.context
  const tabs = server.room(`user:${name}`).add(client)

  listen(client, 'message', (message) => {
    const [verb, to = '', ...words] = String(message).split(' ')
    if (verb === 'tell') server.room(`user:${to}`).emit(`${name}: ${words.join(' ')}`)
    if (verb === 'sign-out') tabs.close(1008, 'signed out') // on every node
  })
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

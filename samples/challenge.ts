// A message challenge: until a client has said the secret, it hears nothing of the others.
// Run: SECRET=sesame node --conditions=source --import tsx samples/challenge.ts
import { listen, WebsocketServer } from 'simplewebsockets'

const secret = process.env.SECRET ?? 'sesame'
const server = new WebsocketServer()

listen(server, 'client', (client) => {
  client.valid = false // emit and broadcast skip it
  client.send('what is the secret?')

  listen(client, 'message', (message) => {
    if (client.valid) {
      client.broadcast(message)
    } else if (message === secret) {
      client.valid = true
      client.send('welcome')
      client.broadcast('somebody came in')
    } else {
      client.close(1008, 'that is not the secret')
    }
  })
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

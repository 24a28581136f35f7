// Expects a secret as the first message. Until then the client gets no messages of the others.
// Run: SECRET=sesame node --conditions=source --import tsx samples/challenge.ts
import { listen, once, WebsocketServer } from 'simplewebsockets'

const { PORT = '8080', SECRET = 'sesame', PATIENCE = '5000' } = process.env
const patience = Number(PATIENCE)
const server = new WebsocketServer()

listen(server, 'client', async (client) => {
  client.valid = false // emit and broadcast skip it
  client.send('what is the secret?')
  const signal = AbortSignal.timeout(patience) // 5,000 ms, say
  const said = await once(client, 'message', { signal }).catch(() => 'nothing in time')
  if (said !== SECRET) return client.close(1008, 'that is not the secret')
  client.valid = true
  client.send('welcome')
  client.broadcast('another client came in')
  listen(client, 'message', (message) => client.broadcast(message))
})

const { port } = await server.serve(Number(PORT))
console.log(`listening on ws://localhost:${port}`)

// One of several nodes over Redis: what is said on one is heard on all.
// Run: REDIS=redis://localhost:6379 node --conditions=source --import tsx samples/backplanes/redis.ts
import { createClient } from 'redis'
import { listen, WebsocketServer } from 'simplewebsockets'
import { redisBackplane } from 'simplewebsockets/redis'

const url = process.env.REDIS ?? 'redis://localhost:6379'
const backplane = redisBackplane(createClient({ url }), { prefix: 'shop.' })
const server = new WebsocketServer({ backplane })
listen(server, 'backplane', ({ state }) => console.log(`the other nodes are ${state}`))
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.broadcast(message))
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

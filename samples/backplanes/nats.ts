// One of several nodes over NATS: what is said on one is heard on all.
// Run: NATS=nats://localhost:4222 node --conditions=source --import tsx samples/backplanes/nats.ts
import { connect } from '@nats-io/transport-node'
import { listen, WebsocketServer } from 'simplewebsockets'
import { natsBackplane } from 'simplewebsockets/nats'

const connection = connect({
  servers: process.env.NATS ?? 'nats://localhost:4222',
  waitOnFirstConnect: true, // the server may come later,
  maxReconnectAttempts: -1, // and go for as long as it likes
})
const server = new WebsocketServer({ backplane: natsBackplane(connection) })
listen(server, 'backplane', ({ state }) => console.log(`the other nodes are ${state}`))
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.broadcast(message))
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

// Four processes on one port, one chat: each message reaches all clients, whichever process serves them.
// Run: node --conditions=source --import tsx samples/cluster/server.ts (with redis-server on the PATH)
import { spawn } from 'node:child_process'
import cluster from 'node:cluster'
import { listen, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { redisBackplane } from 'simplewebsockets/redis'
import { createClient } from 'redis'

const { PORT = '8080', REDIS_PORT = '6399', NODES = '4' } = process.env

if (cluster.isPrimary) {
  const redis = spawn('redis-server', ['--port', REDIS_PORT, '--bind', '127.0.0.1', '--save', ''])
  process.on('exit', () => redis.kill())
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit())
  redis.on('error', ({ message }) => console.error(`no Redis (${message}): each node is alone`))
  let ready = 0 // each node says twice that it is: it serves, and it reaches the others
  cluster.on('message', () => ++ready === 2 * Number(NODES) && void visit())
  for (let node = 1; node <= Number(NODES); node++) cluster.fork({ NODE: node })
} else {
  const backplane = redisBackplane(createClient({ url: `redis://127.0.0.1:${REDIS_PORT}` }))
  const server = new WebsocketServer({ backplane })
  listen(server, 'client', (client) => {
    client.send(`node ${process.env.NODE} serves you`)
    listen(client, 'message', (message) => server.emit(`${message} (by node ${process.env.NODE})`))
  })
  listen(server, 'listening', () => process.send?.('serves'))
  listen(server, 'backplane', ({ state }) => state === 'up' && process.send?.(state))
  await server.serve(Number(PORT))
}

/** Six visitors come; the first one greets all of them. */
async function visit(): Promise<void> {
  console.log(`listening on ws://localhost:${PORT}, with ${NODES} processes`)
  for (let visitor = 6; visitor >= 1; visitor--) {
    const connection = await new WebsocketClient().open(`ws://localhost:${PORT}`)
    listen(connection, 'message', (message) => console.log(`visitor ${visitor}: ${message}`))
    if (visitor === 1) connection.send('hello from visitor 1')
  }
}

// Runs what fails and what goes well with secrets planted everywhere: secrets.ts REDIS_PORT NATS_PORT
import { connect } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketError,
  WebsocketServer,
  type WebsocketConnection,
} from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'
import { natsBackplane } from 'simplewebsockets/nats'
import { redisBackplane, redisHistory, type RedisClient } from 'simplewebsockets/redis'
import { errorLog } from '../../lib/error-log.ts'
import { is } from './engines.ts'
import { planted } from './planted.ts'

const [, , redisPort, natsPort] = process.argv
const { body, token, cookie, basicPassword } = planted
const credentials = {
  headers: {
    cookie: `session=${cookie}`,
    authorization: `Basic ${btoa(`ann:${basicPassword}`)}`,
    'x-token': token,
  },
}
const redisUrl = (name: string, password: string): string =>
  `redis://${name}:${password}@127.0.0.1:${redisPort}`
const ignore = (): void => {}

/** Waits for what fails, and prints it. */
async function failed(action: Promise<unknown>): Promise<void> {
  const error: unknown = await action.then(ignore, (cause: unknown) => cause)
  if (error instanceof WebsocketError) error.log()
  else if (error !== undefined) new WebsocketError('failed', { cause: error }).log()
}

/** Redis refuses the password. */
async function withoutPassword(client: RedisClient, end: () => void): Promise<void> {
  const backplane = redisBackplane(client, { heartbeat: 100 })
  await is(backplane, 'down')
  const server = new WebsocketServer({ backplane })
  server.emit(body)
  console.log(backplane.stats())
  backplane.close()
  end()
}

/** Redis takes no message, and no history; whether `error` has a listener makes no difference. */
async function withoutPermission(isHeard: boolean): Promise<void> {
  const client = new Redis(redisUrl('limited', planted.redisPassword))
  client.on('error', ignore)
  const backplane = redisBackplane(client, { heartbeat: 1_000 })
  await is(backplane, 'up')
  const server = new WebsocketServer({
    path: '/socket',
    backplane,
    // As a session that is looked up: it fails with the command, in which the token stands.
    authorize: async ({ protocols }) => {
      if (protocols.length === 0) await client.publish('sessions', token)
      return {}
    },
  })
  const channels = new ChannelServer(server)
  const store = redisHistory(client)
  channels.topic('room:*', { open: true })
  channels.topic('kept:*', { open: true, history: { size: 10, store } })
  const failures: WebsocketError[] = []
  if (isHeard) listen(server, 'error', (error) => void failures.push(error))
  if (isHeard) listen(server, 'peerError', (error) => error.log())
  const { port } = await server.serve(0)
  const url = `ws://localhost:${port}/socket/websocket?vsn=2.0.0&token=${token}`
  await failed(new WebsocketClient(credentials).open(url))

  const member = new ChannelClient({ authToken: token, params: { token } })
  await member.open(`ws://localhost:${port}/socket`)
  const room = member.channel('room:1', { token })
  await room.join()
  listen(room.messages, 'said', () => {
    throw new Error('boom')
  })
  await failed(member.channel('kept:1', { token }).join())
  await failed(channels.emit('kept:1', 'said', { body }))
  await channels.emit('room:1', 'said', { body })
  await once(room.messages, 'said')
  server.emit(body)
  await failed(room.push('unheard', { body }, { timeout: 100 }))
  for (const error of failures) error.log()
  console.log(failures, backplane.stats(), server.stats())
  await member.close()
  await server.close()
  backplane.close()
  await store.close?.()
  client.disconnect()
}

/** NATS refuses the token, and then not. */
async function overNats(): Promise<void> {
  const servers = `nats://127.0.0.1:${natsPort}`
  const refused = natsBackplane(connect({ servers, token }))
  await is(refused, 'down')
  console.log(refused.stats())
  const connection = await connect({ servers, token: planted.natsToken })
  const backplane = natsBackplane(connection)
  await is(backplane, 'up')
  const server = new WebsocketServer({ backplane })
  server.emit(body)
  server.emit(new Uint8Array(1 << 22))
  await connection.close()
  server.emit(body)
  console.log(backplane.stats())
  backplane.close()
}

/** Listeners, handshakes and peers fail. */
async function withoutBackplane(): Promise<void> {
  const server = new WebsocketServer({ path: '/chat', maxReceivedMessageSize: 1_000 })
  listen(server, 'client', (client) => {
    listen(client, 'message', (message) => {
      throw Object.assign(new Error('boom'), { message: 'boom', context: { message } })
    })
  })
  const { port } = await server.serve(0)
  const open = (path = `/chat?token=${token}`): Promise<WebsocketConnection> =>
    new WebsocketClient(credentials).open(`ws://ann:${basicPassword}@localhost:${port}${path}`)
  for (const message of [body, body.repeat(1_000)]) {
    const connection = await open()
    connection.send(message)
    await once(connection, 'close')
  }
  await failed(open(`/nowhere?token=${token}`))
  await failed(
    new WebsocketClient(credentials).open(`htp://ann:${basicPassword}@localhost/?token=${token}`),
  )
  const foreign = { headers: { ...credentials.headers, origin: 'https://evil.example' } }
  await failed(new WebsocketClient(foreign).open(`ws://localhost:${port}/chat?token=${token}`))
  await server.close()
  await failed(open())

  const channelServer = new WebsocketServer({ path: '/socket' })
  new ChannelServer(channelServer)
  const { port: other } = await channelServer.serve(0)
  const url = `ws://localhost:${other}/socket/websocket?vsn=2.0.0&token=${token}`
  for (const message of [body, `["1","1","a","${body}"]`, `[${body}`]) {
    const connection = await new WebsocketClient(credentials).open(url)
    connection.send(message)
    await once(connection, 'close')
  }
  await channelServer.close()
}

for (const name of ['default', 'limited']) {
  const url = redisUrl(name, planted.wrongPassword)
  const ioredis = new Redis(url, { retryStrategy: () => 100 })
  await withoutPassword(ioredis, () => ioredis.disconnect())
  await withoutPassword(createClient({ url }), ignore)
}
await withoutPermission(false)
await withoutPermission(true)
await overNats()
await withoutBackplane()
errorLog.flush()
console.log('done')
process.exit()

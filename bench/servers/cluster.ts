// One of two nodes with an engine between them: cluster.ts WAY URL
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from '@nats-io/transport-node'
import { createAdapter } from '@socket.io/redis-adapter'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { Server } from 'socket.io'
import {
  link,
  listen,
  natsBackplane,
  redisBackplane,
  WebsocketClient,
  WebsocketServer,
} from '../built.ts'
import { report } from './report.ts'

/** The abilities of a node: to publish a text to all nodes, and to accept clients on a port. */
interface Node {
  readonly port: number
  readonly publish: (text: string) => unknown
}

const MARK = 'sent at '
const SAMPLES = 1_000
const [, , way = '', url = ''] = process.argv
const prefix = `${way}.` // ways share an engine
const latencies: number[] = []

const now = (): number => Number(process.hrtime.bigint() / 1_000n) // microseconds, of the machine

function heard(text: string): void {
  if (text.startsWith(MARK)) latencies.push(now() - Number(text.slice(MARK.length)))
}

async function ours(backplane: ReturnType<typeof redisBackplane>): Promise<Node> {
  const server = new WebsocketServer({ backplane })
  listen(server, 'client', (client) => {
    listen(client, 'message', (message) => server.emit(message))
  })
  const up = new Promise<void>((resolve) =>
    backplane.listen?.((state) => state === 'up' && resolve()),
  )
  const [, member] = await link(server, new WebsocketClient())
  listen(member, 'message', (message) => heard(String(message)))
  const { port } = await server.serve(0, '127.0.0.1')
  await up
  return { port, publish: (text) => server.emit(text) }
}

/** The part of socket.io's adapter by which a message of another node goes to the members. */
interface Broadcaster {
  broadcast: (this: Broadcaster, packet: { data: unknown[] }, options: unknown) => void
}

async function socketIo(): Promise<Node> {
  const http = createServer()
  const io = new Server(http, {
    transports: ['websocket'],
    serveClient: false,
    pingInterval: 3_600_000,
    perMessageDeflate: false,
  })
  const publisher = createClient({ url })
  const subscriber = publisher.duplicate()
  await Promise.all([publisher.connect(), subscriber.connect()])
  io.adapter(createAdapter(publisher, subscriber))
  io.on('connection', (socket) => void socket.on('m', (text) => io.emit('m', text)))
  // A message of another node goes to members by the method of the adapter's own parent.
  const parent = Object.getPrototypeOf(Object.getPrototypeOf(io.of('/').adapter)) as Broadcaster
  const { broadcast } = parent
  parent.broadcast = function (this: Broadcaster, packet, options) {
    heard(String(packet.data[1])) // before it goes to any member
    broadcast.call(this, packet, options)
  }
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return { port: (http.address() as AddressInfo).port, publish: (text) => io.emit('m', text) }
}

async function bareRedis(): Promise<Node> {
  const publisher = createClient({ url })
  const subscriber = publisher.duplicate()
  await Promise.all([publisher.connect(), subscriber.connect()])
  await subscriber.subscribe('bare', (bytes) => heard(String(bytes)), true)
  return { port: 0, publish: (text) => publisher.publish('bare', Buffer.from(text)) }
}

async function bareIoRedis(): Promise<Node> {
  const [publisher, subscriber] = [new Redis(url), new Redis(url)]
  subscriber.on('messageBuffer', (_: Buffer, message: Buffer) => heard(String(message)))
  await subscriber.subscribe('bare')
  return { port: 0, publish: (text) => publisher.publish('bare', Buffer.from(text)) }
}

async function bareNats(): Promise<Node> {
  const connection = await connect({ servers: url })
  connection.subscribe('bare', { callback: (_, { data }) => heard(Buffer.from(data).toString()) })
  await connection.flush()
  return { port: 0, publish: (text) => connection.publish('bare', Buffer.from(text)) }
}

const ways: Readonly<Record<string, () => Promise<Node>>> = {
  'node-redis': () => ours(redisBackplane(createClient({ url }), { prefix })),
  ioredis: () => ours(redisBackplane(new Redis(url), { prefix })),
  nats: () => ours(natsBackplane(connect({ servers: url }), { prefix })),
  'socket.io': socketIo,
  'bare node-redis': bareRedis,
  'bare ioredis': bareIoRedis,
  'bare nats': bareNats,
}

const node = await ways[way]?.()
if (!node) throw new Error(`what is ${way}?`)

process.on('message', (question) => {
  if (question === 'publish') void publish()
  if (question === 'latencies') process.send?.(latencies.splice(0))
})
report(node.port)

async function publish(): Promise<void> {
  for (let sample = 0; sample < SAMPLES; sample++) {
    void node?.publish(`${MARK}${now()}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  process.send?.(SAMPLES)
}

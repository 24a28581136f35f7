// A node of the soak: rooms on one port, channels on another. Run by soak.ts:
// NAME PORT PORT REDIS WITHIN TOPICS
import { listen, WebsocketServer, type WebsocketConnection } from '../../lib/index.ts'
import { ChannelServer, Presence, type Channel, type Message } from '../../lib/channels/index.ts'
import { is, open } from '../../spec/support/engines.ts'
import {
  compression,
  total,
  type Ask,
  type Head,
  type NodeOrder,
  type NodeReport,
  type Said,
  type Told,
} from './words.ts'

const [, , node = '', roomsPort, channelsPort, redis = '', within, topics] = process.argv
const MESSAGES = 60 // a second, from one client
const KIB = 1024
const WATER = 'x'.repeat(64 * KIB) // of which MOST_WATER fills what the kernel holds
const MOST_WATER = 300
const MOST_CLOSING = 10_000 // ms until what is left over ends with it
const MOST_WAITING = 2_000 // ms

const violations: string[] = []
const below = open('node-redis', redis, { prefix: 'rooms.', heartbeat: 500 })
const above = open('node-redis', redis, { prefix: 'channels.', heartbeat: 500 })
const backplanes = [below.backplane, above.backplane]
const limits = { maxBufferedAmount: 256 * KIB, compression }
const rooms = new WebsocketServer({
  ...limits,
  backplane: below.backplane,
  rateLimit: { messages: MESSAGES, policy: 'drop' },
})
const sockets = new WebsocketServer({
  ...limits,
  path: '/socket',
  backplane: above.backplane,
  rateLimit: { messages: MESSAGES },
})
const servers = [rooms, sockets]
const channels = new ChannelServer(sockets)
const topic = channels.topic('room:*')
const presence = new Presence(topic, { heartbeat: 1_000 })
const names = new Set<string>()
const heads = new Map<string, number>()
let members = 0

/** Numbers of one membership must come without a gap: what was dropped was a flood. */
class Sender {
  #from = ''
  #number = 0

  takes(from: string, number: number): void {
    const expected = from === this.#from ? this.#number + 1 : 1
    if (number !== expected) violations.push(`${node} got ${number} of ${from}, not ${expected}`)
    this.#from = from
    this.#number = number
  }
}

const at = (room: string): number => heads.get(room) ?? 0

function said(room: string, from: string, number: number): Said {
  heads.set(room, at(room) + 1)
  return { room, from, number, node, at: at(room) }
}

/** Sends to a client that doesn't read, until that is too much. */
function drown(connection: WebsocketConnection, pour: () => void, left = MOST_WATER): void {
  if (!connection.isOpen || left === 0) return
  pour()
  setTimeout(() => drown(connection, pour, left - 1), 1)
}

listen(rooms, 'client', (connection) => {
  const senders = new Map<string, Sender>()
  const tell = (told: Told): void => void connection.send(JSON.stringify(told))
  listen(connection, 'message', (text) => {
    const asked = JSON.parse(String(text)) as Ask
    if (asked.ask === 'flood') return
    if (asked.ask === 'drown') {
      drown(connection, () => connection.send(JSON.stringify({ told: 'water', WATER })))
      return
    }
    const room = rooms.room(asked.room)
    const head = (): Head => ({ room: asked.room, node, at: at(asked.room) })
    names.add(asked.room)
    if (asked.ask === 'say') {
      const { from, number } = asked
      senders.get(asked.room)?.takes(from, number)
      room.emit(JSON.stringify({ told: 'said', ...said(asked.room, from, number) }))
      return
    }
    if (asked.ask === 'join') {
      room.add(connection)
      senders.set(asked.room, new Sender())
      tell({ told: 'joined', ...head() })
    } else if (asked.ask === 'leave') {
      room.delete(connection)
      tell({ told: 'left', ...head() })
    } else {
      tell({ told: 'head', ...head() })
    }
  })
})

listen(topic, 'join', ({ channel, payload, accept }) => {
  const { who } = payload as { who: string }
  const sender = new Sender()
  members++
  accept({ room: channel.topic, node, at: at(channel.topic) })
  presence.track(channel, who, { node })
  hears(channel, sender)
})
listen(topic, 'leave', () => {
  members--
})

function hears(channel: Channel, sender: Sender): void {
  const { topic: room } = channel
  listen(channel.messages, 'say', ({ payload, reply }: Message<Said>) => {
    sender.takes(payload.from, payload.number)
    const told = said(room, payload.from, payload.number)
    channel.broadcast('said', told)
    void channel.push('said', told)
    reply({})
  })
  listen(channel.messages, 'head', ({ reply }: Message) => {
    reply({})
    void channel.push('head', { room, node, at: at(room) }) // a reply overtakes messages that wait
  })
  listen(channel.messages, 'flood', () => {})
  listen(channel.messages, 'drown', ({ reply }: Message) => {
    reply({})
    if (!channel.connection) return
    drown(channel.connection, () => void channel.push('water', { WATER }))
  })
}

const inRooms = (): number => [...names].reduce((sum, name) => sum + rooms.room(name).size, 0)

function handles(): Record<string, number> {
  return total(process.getActiveResourcesInfo().map((name) => ({ [name]: 1 })))
}

function report(order: NodeOrder): void {
  if (order === 'weigh') globalThis.gc?.()
  const stats = servers.map((server) => server.stats())
  const engines = backplanes.map((backplane) => backplane.stats())
  const reported: NodeReport = {
    answers: order,
    node,
    held: {
      connections: stats.reduce((sum, { connections }) => sum + connections, 0),
      handshakes: stats.reduce((sum, { handshakes }) => sum + handshakes, 0),
      'members of rooms': inRooms(),
      'members of channels': members,
      present: presence.size,
      'channels of Redis': engines.reduce((sum, engine) => sum + engine.channels, 0),
    },
    counted: total([
      ...stats.map(({ received, sent }) => ({ received, sent })),
      ...stats.map(({ drops }) => prefixed('dropped', drops)),
      ...stats.map(({ refusals }) => prefixed('refused', refusals)),
      ...engines.map(({ published }) => ({ published })),
    ]),
    handles: handles(),
    heap: process.memoryUsage().heapUsed,
    present: order === 'presence' ? present() : undefined,
    violations: violations.splice(0),
  }
  process.send?.(reported)
}

function prefixed(word: string, tally: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(tally).map(([name, value]) => [`${word}: ${name}`, value]),
  )
}

function present(): Record<string, string[]> {
  const all = Array.from({ length: Number(topics) }, (_, index) => `room:${index}`)
  return Object.fromEntries(all.map((name) => [name, [...presence.in(name).keys()].sort()]))
}

/** Closes, and leaves it to Node to end when nothing is left to do. */
async function close(): Promise<void> {
  await Promise.all(servers.map((server) => server.close({ within: Number(within) })))
  report('report')
  await Promise.all([below, above].map((opened) => opened.close()))
  process.disconnect()
}

process.on('SIGTERM', () => void close())
process.on('disconnect', () => setTimeout(() => process.exit(1), MOST_CLOSING).unref())
process.on('message', report)
for (const cause of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(cause, (error: unknown) => {
    violations.push(`${node}: ${cause}: ${error instanceof Error ? error.stack : String(error)}`)
  })
}
await Promise.race([
  Promise.all(backplanes.map((backplane) => is(backplane, 'up'))),
  new Promise((resolve) => setTimeout(resolve, MOST_WAITING).unref()), // Redis is down: it comes later
])
await rooms.serve(Number(roomsPort), '127.0.0.1')
await sockets.serve(Number(channelsPort), '127.0.0.1')
report('report')

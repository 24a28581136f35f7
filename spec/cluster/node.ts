// One node of a cluster, in a process of its own: node.ts WAY URL HEARTBEAT
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer, Presence, type Message } from 'simplewebsockets/channels'
import { open, type Way } from '../support/engines.ts'

const [, , way = '', url = '', heartbeat = ''] = process.argv
const { backplane } = open(way as Way, url, { heartbeat: 300 })
const server = new WebsocketServer({ backplane, path: '/socket' })
const rooms = new ChannelServer(server).topic('room:*')
const presence = new Presence(rooms, { heartbeat: Number(heartbeat) })

listen(rooms, 'join', ({ channel, payload, accept }) => {
  accept()
  const { name } = payload as { name: string }
  presence.track(channel, name, { pid: process.pid })
  listen(channel.messages, 'say', ({ payload: said, reply }: Message) => {
    process.send?.({ handled: said })
    channel.broadcast('said', said)
    reply({ pid: process.pid })
  })
})
const tell = (): void => void process.send?.({ here: presence.in('room:1').size, names: names() })
const names = (): string[] => [...presence.in('room:1').keys()].sort()
listen(presence, 'sync', tell)
listen(server, 'backplane', ({ state }) => void process.send?.({ state }))
process.on('disconnect', () => process.exit())
const { port } = await server.serve(0, '127.0.0.1')
process.send?.({ port })

// Rooms for the clients of Phoenix and Amber: new Socket('ws://localhost:8080/socket') joins them.
// Run: node --conditions=source --import tsx samples/channels-chat.ts
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'

interface Chat {
  new_msg: { body: string }
}

const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)
const rooms = channels.topic<Chat, Chat>('room:*')
const last = new Map<string, Chat['new_msg']>()

listen(rooms, 'join', ({ channel, payload, accept, reject }) => {
  if (!payload.name) return reject({ reason: 'who are you?' })
  listen(channel.messages, 'new_msg', ({ payload, reply }) => {
    last.set(channel.topic, payload)
    channel.broadcast('new_msg', payload)
    reply()
  })
  accept({ last: last.get(channel.topic) ?? null })
})

listen(rooms, 'leave', ({ channel, reason }) => console.log(`${channel.topic}: ${reason}`))

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

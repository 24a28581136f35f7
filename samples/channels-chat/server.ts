// Rooms for phoenix.js, unmodified, and for our own client: pages at http://localhost:8080 and /ours.
// Run: node --conditions=source --import tsx samples/channels-chat/server.ts
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer, Presence } from 'simplewebsockets/channels'
import { makeSite } from './site.ts'

const server = new WebsocketServer({ path: '/socket' })
const rooms = new ChannelServer(server).topic('room:*')
const presence = new Presence(rooms)

listen(rooms, 'join', ({ channel, payload: { name }, accept, reject }) => {
  if (!name) return reject({ reason: 'who are you?' })
  listen(channel.messages, 'new_msg', ({ payload: { body }, reply }) => {
    channel.broadcast('new_msg', { name, body })
    reply({ at: new Date().toISOString() })
  })
  presence.track(channel, `${name}`, { since: Date.now() }) // all are told, until the channel leaves
  accept()
})
listen(rooms, 'leave', ({ channel, reason }) => console.log(`${channel.topic}: ${reason}`))

const site = await makeSite()
server.attach(site)
site.listen(Number(process.env.PORT ?? 8080), 'localhost', () => {
  const { port } = Object(site.address()) as { port: number }
  console.log(`listening on ws://localhost:${port}`)
})

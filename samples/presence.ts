// Who is here: known to the server by keys of yours, and told to all who are.
// Run: node --conditions=source --import tsx samples/presence.ts
import { listen, once, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer, Presence } from 'simplewebsockets/channels'

const server = new WebsocketServer({ path: '/socket' })
const rooms = new ChannelServer(server).topic('room:*')
const presence = new Presence(rooms)
listen(rooms, 'join', ({ channel, payload: { name }, accept }) => {
  presence.track(channel, `${name}`, { device: 'phone' })
  accept()
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const ann = new ChannelClient()
const room = ann.channel('room:1', { name: 'ann' })
const who = new Presence(room) // now, or once it has joined
listen(who, 'join', ({ key, before }) => before.length > 0 || console.log(`${key} came in`))
listen(who, 'leave', ({ key, after }) => after.length > 0 || console.log(`${key} went`))
listen(who, 'sync', () => console.log(`here: ${[...who].map(([name]) => name).join(', ')}`))
void room.join()
await ann.open(`ws://localhost:${port}/socket`)
await once(who, 'sync')

const bob = new ChannelClient()
void bob.channel('room:1', { name: 'bob' }).join()
await bob.open(`ws://localhost:${port}/socket`)
await once(who, 'join')
console.log('on this node:', ...presence.in('room:1').keys()) // a Map: name → what is known, once per place
await bob.close()
await once(who, 'leave')
await ann.close()
await server.close()

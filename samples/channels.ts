// Both ends of a channel: who may join, what is answered, and what its members hear.
// Run: node --conditions=source --import tsx samples/channels.ts
import { listen, once, WebsocketServer, type RequestDetails } from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'

const mayEnter = (user: { name?: string } = {}, topic = ''): boolean =>
  user.name === 'ann' && topic !== 'room:2'

const authorize = (request: RequestDetails): object => ({ name: request.token() })
const server = new WebsocketServer({ path: '/socket', authorize }) // origins, limits, backplane: here
const channels = new ChannelServer(server) // before it serves

const rooms = channels.topic('room:*') // 'lobby' is itself; the first declared that fits counts
listen(rooms, 'join', ({ channel, payload: { name }, accept, reject }) => {
  if (!mayEnter(channel.connection?.context, channel.topic)) return reject({ reason: 'no' })
  listen(channel.messages, 'new_msg', ({ payload: { body }, reply }) => {
    channels.emit(channel.topic, 'new_msg', { name, body })
    reply({ id: 7 })
  })
  accept({ history: ['it was quiet'] })
})
listen(rooms, 'leave', ({ channel, reason }) => console.log(`${channel.topic}: ${reason}`))

const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const client = new ChannelClient({ authToken: () => 'ann' })
const room = client.channel('room:1', { name: 'ann' })

listen(client, 'error', ({ msg }) => console.log(msg))
listen(room.messages, 'new_msg', ({ payload: { name, body } }) => console.log(`${name}: ${body}`))
await client.open(`ws://localhost:${port}/socket`) // and /websocket?vsn=2.0.0
console.log(await room.join()) // what was accepted with
console.log(await room.push('new_msg', { body: 'hi' })) // the reply; it rejects when it is refused

await room.leave()
void client.channel('room:2').join()
await once(client, 'error')
await client.close()
await server.close()

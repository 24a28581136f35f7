// A topic that gives every new member its latest messages, before anything new.
// Run: node --conditions=source --import tsx samples/replay/backlog.ts
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'

const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)
channels.topic('room:*', { open: true, history: { backlog: 2 } }) // the latest 2 messages
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

for (const body of ['one', 'two', 'three']) await channels.emit('room:1', 'said', { body })

const client = new ChannelClient()
const room = client.channel('room:1')
await client.open(`ws://localhost:${port}/socket`)
await room.join()
console.log('joined')
await channels.emit('room:1', 'said', { body: 'four' })
for await (const { payload } of listen(room.messages, 'said')) {
  console.log(payload.body) // two, three, four
  if (payload.body === 'four') break
}
await client.close()
await server.close()

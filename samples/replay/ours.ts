// A topic with a history: who was cut off is given what was said meanwhile, or told that it isn't all.
// Run: node --conditions=source --import tsx samples/replay/ours.ts
import { listen, once, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'
import { cut } from 'simplewebsockets/testing'

const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)
channels.topic('room:*', { open: true, history: { size: 100, ttl: 300_000 } }) // and in, out, join
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const client = new ChannelClient()
const room = client.channel('room:1')
const heard: number[] = []
const reload = (): void => console.log('something may be missing')

listen(room.messages, 'said', ({ payload: { n } }) => heard.push(Number(n)))
listen(room, 'join', (answer) => {
  const { recovered } = answer as { recovered?: boolean } // undefined: nothing was asked
  if (recovered === false) reload()
})
void client.open(`ws://localhost:${port}/socket`)
await room.join()

let count = 0
for (const missed of [2, 101]) {
  for (const connection of server.clients) cut(connection) // as a network does that fails
  for (let n = 1; n <= missed; n++) void channels.emit('room:1', 'said', { n: ++count })
  await once(room, 'join')
  void channels.emit('room:1', 'said', { n: ++count })
  while (heard.at(-1) !== count) await once(room.messages, 'said')
  console.log(`heard ${heard.length} of ${count}`)
}
await client.close()
await server.close()

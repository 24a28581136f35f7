// One contract for both ends of a channel: it types them, and what breaks it goes nowhere.
// Run: node --conditions=source --import tsx samples/contract.ts
import { listen, once, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'
import { z } from 'zod'

const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)

const chat = {
  in: { new_msg: z.object({ body: z.string().min(1) }) }, // any Standard Schema: zod, valibot, arktype
  out: { new_msg: z.object({ name: z.string(), body: z.string() }) }, // checked by our own client
  join: z.object({ name: z.string() }),
}
const rooms = channels.topic('room:*', chat)
listen(rooms, 'join', ({ channel, payload: { name }, accept }) => {
  listen(channel.messages, 'new_msg', ({ payload: { body }, reply }) => {
    channels.emit(channel.topic, 'new_msg', { name, body })
    reply()
  })
  accept()
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const client = new ChannelClient()
await client.open(`ws://localhost:${port}/socket`)
const room = client.channel('room:1', { name: 'ann' }, chat) // the object that the server has
await room.join()
const heard = once(room.messages, 'new_msg')
await room.push('new_msg', { body: 'hi' })
const { name, body } = (await heard).payload // strings both, the compiler knows
console.log(`${name}: ${body}`)
await room.push('new_msg', { body: '' }).catch((error: unknown) => console.log(String(error)))
await client.close()
await server.close()

// A bot in the lobby of samples/channels-chat: it greets who comes in, and tells who is here when asked.
// Run: node --conditions=source --import tsx samples/channels-bot.ts (beside the chat)
import { listen } from 'simplewebsockets'
import { ChannelClient, Presence } from 'simplewebsockets/channels'

const { PORT = '8080', NAME = 'Bot' } = process.env

const client = new ChannelClient() // it connects again by itself, and its channels join again
const lobby = client.channel('room:lobby', { name: NAME })
const presence = new Presence(lobby)
const say = (body: string): Promise<unknown> => lobby.push('new_msg', { body })

listen(client, 'error', ({ msg }) => console.log(msg))
listen(lobby, 'join', () => console.log('joined the lobby'))
listen(presence, 'leave', ({ key, after }) => after.length > 0 || console.log(`${key} went`))
listen(presence, 'join', ({ key, before }) => {
  if (key === NAME || before.length > 0) return
  console.log(`${key} is here`)
  return say(`Hello ${key}!`)
})
listen(lobby.messages, 'new_msg', ({ payload: { name, body } }) => {
  console.log(`${name}: ${body}`)
  if (body === 'Who is here?') return say([...presence].map(([key]) => key).join(', '))
})

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void client.close())

void lobby.join()
await client.open(`ws://localhost:${PORT}/socket`)

import { ChannelServer, listen, WebsocketServer } from '../built.ts'
import { report } from './report.ts'

const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)
listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
  listen(channel.messages, 'echo', ({ payload, reply }) => reply(payload))
  listen(channel.messages, 'shout', ({ payload }) => channels.emit(channel.topic, 'shout', payload))
  accept()
})
const { port } = await server.serve(0, '127.0.0.1')
report(port)

// A server of channels in a process of its own, to be stopped, killed and frozen: mounted.ts <port>
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'

const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)
listen(channels.topic('room:*'), 'join', ({ accept }) => accept({ pid: process.pid }))
await server.serve(Number(process.argv[2]))
process.on('SIGTERM', () => {
  void server.close().then(() => process.exit())
})
process.send?.('ready')

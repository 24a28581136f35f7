// What phoenix.js and a ChannelServer say to each other: joining, pushing, crashing, joining again.
// Run: node --conditions=source --import tsx samples/channels-transcript.ts
import { Socket } from 'phoenix'
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import WebSocket from 'ws'

/** What phoenix.js connects with: it prints all frames, those of bytes in hex. */
class PrintingSocket extends WebSocket {
  constructor(url: string) {
    super(url)
    this.on('message', (data: ArrayBuffer, isBinary) => print('<', data, isBinary ? 'hex' : 'utf8'))
  }
  override send(data: string | ArrayBuffer): void {
    print('>', data, typeof data === 'string' ? 'utf8' : 'hex')
    super.send(data)
  }
}
const print = (way: string, data: string | ArrayBuffer, encoding: BufferEncoding): void =>
  console.log(way, Buffer.from(data as ArrayBuffer).toString(encoding))

const server = new WebsocketServer({ path: '/socket' })
const channels = new ChannelServer(server)
listen(channels, 'error', () => {}) // the crash is meant
const rooms = channels.topic('room:*')
listen(rooms, 'join', ({ channel, payload, accept }) => {
  listen(channel.messages, 'echo', ({ payload, reply }) => reply(payload))
  listen(channel.messages, 'boom', () => Promise.reject(new Error('boom')))
  accept({ hello: payload.name })
})
listen(rooms, 'leave', ({ reason }) => void (reason === 'left' && server.close()))
const { port } = await server.serve(0)
const socket = new Socket(`ws://localhost:${port}/socket`, { transport: PrintingSocket })
const room = socket.channel('room:1', { name: 'ann' })
const bytes = Uint8Array.of(1, 2).buffer
const boom = (): unknown => room.push('echo', bytes).receive('ok', () => room.push('boom', {}))
const steps = [() => room.push('echo', { body: 'hi' }).receive('ok', boom), () => room.leave()]
room.join().receive('ok', () => steps.shift()?.())
socket.onClose(() => socket.disconnect())
socket.connect()

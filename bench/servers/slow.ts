// Each message goes to all clients; a client that doesn't read is closed, or skipped.
import { listen, WebsocketServer } from '../built.ts'
import { report } from './report.ts'

const [, , policy] = process.argv
const server = new WebsocketServer({
  maxBufferedAmount: 2 * 1024 * 1024,
  slowConsumer: policy === 'drop' ? 'drop' : 'close',
  closeTimeout: 500,
})
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => server.emit(message))
})
const { port } = await server.serve(0, '127.0.0.1')
report(port, () => server.stats().drops.slowConsumer)

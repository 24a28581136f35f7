import { listen, WebsocketServer } from '../built.ts'
import { compresses, fansOut } from './mode.ts'
import { report } from './report.ts'

const server = new WebsocketServer({ compression: compresses })
listen(server, 'client', (client) => {
  if (fansOut) listen(client, 'message', (message) => server.emit(message))
  else listen(client, 'message', (message) => client.send(message))
})
const { port } = await server.serve(0, '127.0.0.1')
report(port)

import { listen, WebsocketServer } from 'simplewebsockets'
import { report } from './report.ts'

const server = new WebsocketServer()
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.send(message))
})
const { port } = await server.serve(0, '127.0.0.1')
report(port)

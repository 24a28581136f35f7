import { z } from 'zod'
import { json, listen, WebsocketServer } from '../built.ts'
import { report } from './report.ts'

const Say = z.object({ type: z.literal('say'), text: z.string() })

const server = new WebsocketServer({ messages: json({ in: Say, out: Say }) })
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.send(message))
})
const { port } = await server.serve(0, '127.0.0.1')
report(port)

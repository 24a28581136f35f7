import { z } from 'zod'
import { listen, WebsocketServer } from '../built.ts'
import { report } from './report.ts'

const Say = z.object({ type: z.literal('say'), text: z.string() })

function parse(data: string | Uint8Array): unknown {
  try {
    return JSON.parse(String(data))
  } catch {
    return undefined
  }
}

const server = new WebsocketServer()
listen(server, 'client', (client) => {
  listen(client, 'message', (data) => {
    const { data: message } = Say.safeParse(parse(data))
    if (message) client.send(JSON.stringify(message))
    else void client.close(1008)
  })
})
const { port } = await server.serve(0, '127.0.0.1')
report(port)

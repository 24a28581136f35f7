// Messages checked by a schema: what doesn't fit is answered, and never reaches your code.
// Run: node --conditions=source --import tsx samples/validate.ts
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { z } from 'zod'

const Order = z.object({ item: z.string().min(1), count: z.int().positive() })
const Message = z
  .string() // bytes are refused
  .transform((text, context) => {
    try {
      return JSON.parse(text) as unknown
    } catch {
      context.addIssue('not JSON')
      return z.NEVER
    }
  })
  .pipe(Order)

const server = new WebsocketServer()
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => {
    const { data, error } = Message.safeParse(message)
    if (data) client.send(`${data.count} of ${data.item}`)
    else client.send(`refused: ${error.issues.map((issue) => issue.message).join()}`)
  })
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const connection = await new WebsocketClient().open(`ws://localhost:${port}`)
for (const message of ['{"item":"tea","count":2}', '{"item":"tea"}', 'junk']) {
  connection.send(message)
  console.log(await once(connection, 'message'))
}
await server.close()

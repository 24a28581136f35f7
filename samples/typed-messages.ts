// Typed messages: a schema checks what each side receives, the compiler what it sends.
// Run: node --conditions=source --import tsx samples/typed-messages.ts
import { json, listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { z } from 'zod'

const Order = z.object({ item: z.string().min(1), count: z.int().positive() })
const Receipt = z.object({ item: z.string(), total: z.number() })

const server = new WebsocketServer({ messages: json({ in: Order, out: Receipt }) })
listen(server, 'client', (client) => {
  listen(client, 'error', (error) => console.log(error.code, error.message))
  listen(client, 'message', ({ item, count }) => client.send({ item, total: 3 * count }))
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const client = new WebsocketClient({ messages: json({ in: Receipt, out: Order }) })
const connection = await client.open(`ws://localhost:${port}`)
connection.send({ item: 'tea', count: 2 })
console.log(await once(connection, 'message')) // { item: 'tea', total: 6 }
connection.send({ item: 'tea', count: -1 }) // the compiler can't know that this is refused
console.log(await once(connection, 'close'))
await server.close()

// Messages as MessagePack: any format of bytes or text is two functions.
// Run: node --conditions=source --import tsx samples/msgpack.ts
import { pack, unpack } from 'msgpackr'
import { codec, listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { z } from 'zod'

const Reading = z.object({ sensor: z.string(), at: z.date(), values: z.array(z.number()) })

const messages = codec({
  encode: (reading: z.input<typeof Reading>) => pack(reading),
  decode: (data) => {
    if (typeof data === 'string') throw new TypeError('expected MessagePack, got text')
    return Reading.parse(unpack(data)) // what doesn't fit closes the connection with 1007
  },
})

const server = new WebsocketServer({ messages })
listen(server, 'client', (client) => {
  listen(client, 'message', ({ sensor, at, values }) => {
    client.send({ sensor: `${sensor}, doubled`, at, values: values.map((value) => 2 * value) })
  })
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const connection = await new WebsocketClient({ messages }).open(`ws://localhost:${port}`)
connection.send({ sensor: 'tea', at: new Date('2026-01-01'), values: [71.5, 70] })
const { sensor, at, values } = await once(connection, 'message')
console.log(`${sensor}: ${values.join(' and ')}, in ${at.getUTCFullYear()}`)

const stranger = await new WebsocketClient().open(`ws://localhost:${port}`)
stranger.send('plain text')
const { code, description } = await once(stranger, 'close')
console.log(code, description)
await server.close()

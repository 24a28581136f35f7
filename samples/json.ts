// JSON both ways: stringify what you send, parse what you get, and answer what isn't JSON.
// Run: node --conditions=source --import tsx samples/json.ts
import { listen, once, WebsocketClient, WebsocketServer, type Data } from 'simplewebsockets'

interface Sum {
  add: number[]
}

/** The one place where a message becomes something you know: undefined when it isn't. */
function parse(message: Data): Sum | undefined {
  try {
    const value: unknown = JSON.parse(String(message))
    return isSum(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isSum(value: unknown): value is Sum {
  if (typeof value !== 'object' || value === null || !('add' in value)) return false
  return Array.isArray(value.add) && value.add.every((part) => typeof part === 'number')
}

const server = new WebsocketServer()
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => {
    const sum = parse(message)
    const reply = sum ? { total: sum.add.reduce((a, b) => a + b, 0) } : { error: 'not a sum' }
    client.send(JSON.stringify(reply))
  })
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const connection = await new WebsocketClient().open(`ws://localhost:${port}`)
connection.send(JSON.stringify({ add: [1, 2, 3] }))
console.log(await once(connection, 'message')) // {"total":6}
connection.send('junk')
console.log(await once(connection, 'message')) // {"error":"not a sum"}
await server.close()

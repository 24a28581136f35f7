// Counts what happens on every server of this process, as a metrics library wants it.
// Run: node --conditions=source --import tsx samples/metrics.ts (with echo-client.ts, and see)
import { subscribe } from 'node:diagnostics_channel'
import { listen, WebsocketServer } from 'simplewebsockets'

const counters = new Map<string, number>()

function count(name: string): void {
  counters.set(name, (counters.get(name) ?? 0) + 1)
}

for (const name of ['open', 'close', 'message', 'drop', 'refusal'] as const) {
  subscribe(`simplewebsockets:${name}`, () => count(name))
}
subscribe('simplewebsockets:close', (event) => {
  const { code } = event as { code: number }
  count(`close ${code}`)
})

const server = new WebsocketServer()
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.send(message))
  listen(client, 'close', () => console.log(Object.fromEntries(counters)))
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)

// Shares a port with Fastify, and closes with it.
// Run: node --conditions=source --import tsx samples/frameworks/fastify.ts
import fastify from 'fastify'
import { listen, WebsocketServer } from 'simplewebsockets'

const app = fastify()
app.get('/', () => 'hello from Fastify')

const server = new WebsocketServer({ path: '/live' }).attach(app.server)
listen(server, 'client', (client) => client.send('hello from the same port'))
app.addHook('preClose', () => server.close())

await app.listen({ port: Number(process.env.PORT ?? 8080), host: 'localhost' })
const { port } = Object(app.server.address()) as { port: number }
console.log(`listening on ws://localhost:${port}`)

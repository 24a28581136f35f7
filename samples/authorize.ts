// Decides before the upgrade whether a peer may connect: by the cookie of a session, or by a token.
// Run: node --conditions=source --import tsx samples/authorize.ts
import { listen, once, PeerConnectError } from 'simplewebsockets'
import { WebsocketClient, WebsocketServer, type ClientOptions } from 'simplewebsockets'

interface User {
  name: string
  banned?: boolean
}

/** Stands for your database. */
const sessions = new Map<string, User>([
  ['s1', { name: 'ann' }],
  ['s2', { name: 'bob', banned: true }],
])
const userOf = (session = ''): Promise<User | undefined> => Promise.resolve(sessions.get(session))

const server = new WebsocketServer({
  authorize: async (request) => {
    const user = await userOf(request.cookies.session ?? request.token())
    if (user?.banned) throw new PeerConnectError('you are banned', { status: 403 })
    return user // undefined: 401
  },
  protocols: ['chat'],
})
listen(server, 'client', (client) => client.send(`hello ${client.context.name}`))
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const token = Buffer.from('s1').toString('base64url')
const asPage: ClientOptions = { protocols: ['chat', `base64url.bearer.phx.${token}`] }
const asSession = (id: string): ClientOptions => ({ headers: { cookie: `session=${id}` } })

for (const options of [asSession('s1'), asPage, asSession('s2'), asSession('s3')]) {
  const entered = new WebsocketClient(options).open(`ws://localhost:${port}`)
  await entered.then(
    async (connection) => console.log(await once(connection, 'message'), connection.protocol),
    (error: unknown) => console.log(String(error)),
  )
}
await server.close()

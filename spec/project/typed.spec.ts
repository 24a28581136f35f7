import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  codec,
  json,
  listen,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketServer,
  type AnyConnection,
  type AnyServer,
  type ClientOptions,
  type ConnectionOf,
  type Data,
  type SendData,
  type WebsocketConnection,
} from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { link, pair } from 'simplewebsockets/testing'
import * as v from 'valibot'
import { z } from 'zod'
import { exactly } from '../support/exactly.ts'

const ClientMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('draw'), x: z.number(), y: z.number() }),
  z.object({ type: z.literal('undo'), id: z.number() }),
])
const ServerMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('joined'), name: z.string() }),
  z.object({ type: z.literal('undone'), id: z.number() }),
])
type ClientMessage = z.infer<typeof ClientMessage>
type ServerMessage = z.infer<typeof ServerMessage>
type Undone = Extract<ServerMessage, { type: 'undone' }>
interface User {
  readonly name: string
}

const board = new WebsocketServer({
  path: '/board/:id',
  authorize: async (request): Promise<User | null> => {
    exactly<string>()(request.params.id)
    // @ts-expect-error: the path has no such param
    exactly<never>()(request.params.ids)
    await Promise.resolve()
    return request.token({ query: true }) === 'open' ? { name: 'ann' } : null
  },
  messages: json({ in: ClientMessage, out: ServerMessage }),
})

test('a server infers its context, its messages and its params', () => {
  const server = board
  exactly<WebsocketServer<User, ClientMessage, ServerMessage, '/board/:id'>>()(server)
  listen(server, 'client', (client) => {
    exactly<string>()(client.request.params.id)
    // @ts-expect-error: the path has no such param
    exactly<never>()(client.request.params.ids)
    exactly<User>()(client.context)
    listen(client, 'message', (message) => exactly<ClientMessage>()(message))
    exactly<Promise<ClientMessage>>()(once(client, 'message'))
    client.send({ type: 'joined', name: client.context.name })
    // @ts-expect-error: another shape
    client.send({ type: 'joined' })
    // @ts-expect-error: text is no message of this server
    client.send('joined')
    client.broadcast({ type: 'undone', id: 1 })
    // @ts-expect-error: a message that only clients send
    client.broadcast({ type: 'undo', id: 1 })
    server.room('red').add(client).emit({ type: 'undone', id: 1 }, { except: client })
    // @ts-expect-error: another shape
    server.room('red').emit({ type: 'undone', id: '1' })
    // @ts-expect-error: another shape
    server.emit({ type: 'gone' })
    // @ts-expect-error: another shape
    server.clients.emit('gone')
  })
})

test('a client infers its messages', () => {
  const client = new WebsocketClient({ messages: json({ in: ServerMessage, out: ClientMessage }) })
  exactly<WebsocketClient<ServerMessage, ClientMessage>>()(client)
  listen(client, 'connect', (connection) => {
    listen(connection, 'message', (message) => exactly<ServerMessage>()(message))
    connection.send({ type: 'draw', x: 1, y: 2 })
    // @ts-expect-error: a message that only the server sends
    connection.send({ type: 'joined', name: 'ann' })
  })
})

test('a message is narrowed by the predicate of `once`', () => {
  const [, client] = pair({ client: { messages: json({ in: ServerMessage, out: ClientMessage }) } })
  const isUndone = (message: ServerMessage): message is Undone => message.type === 'undone'
  const reply = once(client, 'message', { where: isUndone })
  exactly<Promise<Undone>>()(reply)
  const inferred = once(client, 'message', { where: (message) => message.type === 'undone' })
  exactly<Promise<Undone>>()(inferred)
  // @ts-expect-error: a message has no such type
  void once(client, 'message', { where: (message) => message.type === 'drawn' })
})

test('without `messages` a message is text or bytes', () => {
  const server = new WebsocketServer()
  exactly<WebsocketServer>()(server)
  listen(server, 'client', (client) => {
    exactly<WebsocketConnection>()(client)
    listen(client, 'message', (message) => exactly<Data>()(message))
    exactly<Parameters<typeof client.send>>()([5] as [SendData])
    // @ts-expect-error: an object has to be encoded
    client.send({ type: 'joined' })
    // @ts-expect-error: a path that the compiler doesn't know may lack a param
    exactly<string>()(client.request.params.id)
  })
})

test('a schema of any library gives its output to a receiver, and its input to a sender', () => {
  const stamped = v.pipe(
    v.string(),
    v.transform((text) => new Date(text)),
  )
  const [server, client] = pair({
    server: { messages: json({ in: stamped }) },
    client: { messages: json({ out: stamped }) },
  })
  listen(server, 'message', (message) => exactly<Date>()(message))
  listen(client, 'message', (message) => exactly<unknown>()(message))
  client.send('2026-01-01')
  // @ts-expect-error: the schema takes text
  client.send(new Date())
})

test('types may be given without a schema, and by functions of your own', () => {
  const [server] = pair({ server: { messages: json<{ ask: string }, { answer: number }>() } })
  listen(server, 'message', (message) => exactly<{ ask: string }>()(message))
  // @ts-expect-error: another shape
  server.send({ ask: 'why' })
  const bits = codec({
    encode: (bits: boolean[]) => bits.map(Number).join(''),
    decode: (data) => [...String(data)].map((bit) => bit === '1'),
  })
  const [one] = pair({ server: { messages: bits } })
  listen(one, 'message', (message) => exactly<boolean[]>()(message))
  // @ts-expect-error: another shape
  assert.throws(() => one.send('101'), TypeError)
  // @ts-expect-error: what is encoded is text or bytes
  codec({ encode: () => ({}), decode: String })
  // @ts-expect-error: no such option
  assert.throws(() => json({ inn: ClientMessage }), TypeError)
})

test('a context is an object, or nothing', () => {
  const asObject = new WebsocketServer({ authorize: () => ({ id: 7 }) })
  exactly<WebsocketServer<{ id: number }>>()(asObject)
  const asBoolean: WebsocketServer = new WebsocketServer({ authorize: () => true })
  exactly<WebsocketServer>()(asBoolean)
  const asUnion = new WebsocketServer({
    authorize: (request) => {
      if (request.cookies.banned) return false
      return request.token() === 'root' ? { role: 'admin' as const } : { role: 'user' as const }
    },
  })
  exactly<WebsocketServer<{ role: 'admin' } | { role: 'user' }>>()(asUnion)
  const looked = new WebsocketServer({
    authorize: (request) => {
      if (request.cookies.banned) throw new PeerConnectError('banned', { status: 403 })
      return new Map([['a', { name: 'ann' }]]).get(request.token() ?? '')
    },
  })
  exactly<WebsocketServer<{ name: string }>>()(looked)
  const asEither = new WebsocketServer({
    authorize: (request) => request.token() === 'root' || { name: 'ann' },
  })
  listen(asEither, 'client', (client) => {
    // @ts-expect-error: with `true` there is no name
    exactly<string>()(client.context.name)
  })
  // @ts-expect-error: a string is no context
  new WebsocketServer({ authorize: (request) => request.token() })
  // @ts-expect-error: nor is a promise of one
  new WebsocketServer({ authorize: (request) => Promise.resolve(request.token()) })
  // @ts-expect-error: nor is a number
  new WebsocketServer({ authorize: () => 5 })
})

test('a server with a context, messages and a path is taken where any server is', () => {
  const count = (server: AnyServer): number => server.clients.size
  const greet = (connection: AnyConnection): boolean => connection.isOpen
  count(board)
  count(new WebsocketServer())
  // A context and a path need no special type.
  const plain = (server: WebsocketServer): number => server.stats().connections
  plain(new WebsocketServer({ authorize: () => ({ name: 'ann' }), path: '/:room/:seat' }))
  const inRoom = (connection: WebsocketConnection): boolean => connection.send('hello')
  const server = new WebsocketServer({ authorize: () => ({ name: 'ann' }), path: '/:room' })
  listen(server, 'client', inRoom)
  listen(server, 'client', greet)
  // @ts-expect-error: text is no message of that server
  plain(board)
  const channels = new ChannelServer(server)
  exactly<ChannelServer<{ name: string }>>()(channels)
  const linked = (): Promise<unknown> =>
    link(board, new WebsocketClient({ messages: json({ in: ServerMessage }) }), '/board/1').then(
      ([one, other]) => {
        exactly<WebsocketConnection<User, ClientMessage, ServerMessage, '/board/:id'>>()(one)
        exactly<WebsocketConnection<{}, ServerMessage, unknown>>()(other)
      },
    )
  exactly<() => Promise<unknown>>()(linked)
})

test('the type of a connection is that of its server or client', () => {
  type Member = ConnectionOf<typeof board>
  exactly<WebsocketConnection<User, ClientMessage, ServerMessage, '/board/:id'>[]>()([] as Member[])
  type Own = ConnectionOf<WebsocketClient<ServerMessage, ClientMessage>>
  exactly<WebsocketConnection<{}, ServerMessage, ClientMessage>[]>()([] as Own[])
})

test('options that are built apart keep their types', () => {
  const options: ClientOptions<ServerMessage, ClientMessage> = {
    messages: json({ in: ServerMessage, out: ClientMessage }),
    reconnect: true,
  }
  exactly<WebsocketClient<ServerMessage, ClientMessage>>()(new WebsocketClient(options))
})

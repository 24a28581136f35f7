import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import {
  listen,
  memoryBackplane,
  once,
  WebsocketClient,
  WebsocketServer,
  type Address,
  type CallbackError,
  type CloseReason,
  type ConnectError,
  type ConnectionEvents,
  type Data,
  type FrameError,
  type PeerConnectError,
  type ReconnectOptions,
  type RefusedChannel,
  type Retry,
  type ReadonlyRoom,
  type SendData,
  type Listenable,
  type Unlisten,
  type WebsocketConnection,
  type WebsocketError,
  type ServerOptions,
} from 'simplewebsockets'
import { cut, link, pair } from 'simplewebsockets/testing'
import { exactly } from '../support/exactly.ts'

/*
 * The compiler judges what stands here: a line under `@ts-expect-error` must be refused, and
 * `exactly<One>()(value)` only compiles for a value of that very type.
 */

test('the argument of a callback is inferred, for every event of a server', () => {
  const server = new WebsocketServer()
  listen(server, 'listening', (value) => exactly<Address>()(value))
  listen(server, 'client', (value) => exactly<WebsocketConnection>()(value))
  listen(server, 'connectError', (value) => exactly<ConnectError>()(value))
  listen(server, 'peerError', (value) => exactly<PeerConnectError>()(value))
  listen(server, 'error', (value) => exactly<WebsocketError>()(value))
  listen(server, 'backplane', ({ state, refused }) => {
    exactly<'up' | 'down'>()(state)
    exactly<readonly RefusedChannel[]>()(refused)
  })
  listen(server, 'closed', (value) => exactly<Address>()(value))
})

test('the argument of a callback is inferred, for every event of a client', () => {
  const client = new WebsocketClient()
  listen(client, 'connect', (value) => exactly<WebsocketConnection>()(value))
  listen(client, 'connectError', (value) => exactly<ConnectError>()(value))
  listen(client, 'retry', (value) => exactly<Retry>()(value))
  listen(client, 'retry', ({ cause }) => exactly<ConnectError | CloseReason>()(cause))
  listen(client, 'error', (value) => exactly<WebsocketError>()(value))
  listen(client, 'closed', (value) => exactly<CloseReason>()(value))
})

test('the argument of a callback is inferred, for every event of a connection', () => {
  const [end] = pair()
  listen(end, 'message', (value) => exactly<Data>()(value))
  listen(end, 'ping', (value) => exactly<Data>()(value))
  listen(end, 'pong', (value) => exactly<Data>()(value))
  listen(end, 'drain', (value) => exactly<void>()(value))
  listen(end, 'error', (value) => exactly<FrameError | CallbackError>()(value))
  listen(end, 'close', (value) => exactly<CloseReason>()(value))
})

test('the argument of a callback is inferred, for every event of a room', () => {
  const server = new WebsocketServer()
  for (const room of [server.room('lobby'), server.clients]) {
    listen(room, 'join', (value) => exactly<WebsocketConnection>()(value))
    listen(room, 'leave', (value) => exactly<WebsocketConnection>()(value))
  }
})

test('the clients of a server can be looked at, emitted to and closed, and not changed', () => {
  const { clients } = new WebsocketServer()
  exactly<ReadonlyRoom<WebsocketConnection>>()(clients)
  // @ts-expect-error: the server alone adds
  assert.equal(clients.add, undefined)
  // @ts-expect-error: the server alone removes
  assert.equal(clients.delete, undefined)
})

test('a type that is only nearly the one asked for is refused', () => {
  const text = 'text'.trim()
  exactly<string>()(text)
  // @ts-expect-error: narrower than what is asked for
  exactly<Data>()(text)
  // @ts-expect-error: wider than what is asked for
  exactly<'text'>()(text)
  // @ts-expect-error: unknown to the compiler
  exactly<string>()(JSON.parse('"text"'))
})

test('a callback may return anything, and take nothing', () => {
  const [end] = pair()
  listen(end, 'message', () => 5)
  listen(end, 'message', async () => {
    await Promise.resolve()
  })
  listen(end, 'drain', () => {})
  // @ts-expect-error: a callback has one argument
  listen(end, 'message', (message: Data, more: unknown) => [message, more])
  // @ts-expect-error: a message may be bytes
  listen(end, 'message', (message: string) => message)
})

test('a context is what authorize returns', async () => {
  interface User {
    name: string
  }
  const server = new WebsocketServer({
    authorize: ({ query }): User | undefined => {
      const name = query.get('name')
      return name === null ? undefined : { name }
    },
  })
  listen(server, 'client', (client) => {
    listen(client, 'message', () => client.context.name)
    return exactly<User>()(client.context)
  })
  listen(server.clients, 'join', ({ context }) => exactly<User>()(context))
  listen(server.room('x'), 'leave', ({ context }) => exactly<User>()(context))
  const url = 'ws://localhost/?name=ann'
  const [there, here] = await link(server, new WebsocketClient(), url)
  assert.equal(there.context.name, 'ann')
  // @ts-expect-error: there is no such thing in it
  assert.equal(there.context.age, undefined)
  // @ts-expect-error: a client has none
  assert.equal(here.context.name, undefined)
})

test('a context is what a promise of authorize is for', () => {
  const server = new WebsocketServer({
    authorize: async (request) => {
      await Promise.resolve()
      if (request.token() === undefined) return null
      return { level: 7 }
    },
  })
  listen(server, 'client', ({ context }) => exactly<{ level: number }>()(context))
  const some = new WebsocketServer({ authorize: () => ({ level: 7 }) })
  listen(some, 'client', ({ context }) => exactly<{ level: number }>()(context))
})

test('authorize is handed a signal and a request of Node, which there may be none of', () => {
  const server = new WebsocketServer({
    authorize: async (_, { signal, incoming }) => {
      await Promise.resolve(signal.aborted)
      exactly<IncomingMessage | undefined>()(incoming) // there is none over link
      return { address: incoming?.socket.remoteAddress }
    },
  })
  listen(server, 'client', ({ context }) => exactly<{ address: string | undefined }>()(context))
})

test('credentials are read in a query where that is asked for', () => {
  const authorize: NonNullable<ServerOptions['authorize']> = (request) => {
    request.token({ query: true })
    request.basicAuth({ query: true })
    request.basicAuth({ query: { username: 'user' } })
    // @ts-expect-error: a token has no other name
    request.token({ query: 'auth' })
    // @ts-expect-error: the names are those in the query
    request.basicAuth({ username: 'user' })
    return true
  }
  assert.equal(new WebsocketServer({ authorize }).isOpen, false)
})

test('a server that only says yes or no has a context of nothing', () => {
  const server = new WebsocketServer({ authorize: (request) => request.token() === 'secret' })
  listen(server, 'client', (client) => {
    // @ts-expect-error: nothing is known of it
    assert.equal(client.context.name, undefined)
  })
  const typed = new WebsocketServer<{ name: string }>({
    // @ts-expect-error: that is no such context
    authorize: () => ({ nam: 'ann' }),
  })
  assert.equal(typed.isOpen, false)
})

test('options that are misspelt, or of a wrong type, are refused', () => {
  const refused = [
    // @ts-expect-error: keepaliveTimeout
    () => new WebsocketServer({ keepAliveTimeout: 5 }),
    // @ts-expect-error: origins
    () => new WebsocketServer({ origin: ['https://example.com'] }),
    // @ts-expect-error: a list, or '*'
    () => new WebsocketServer({ origins: 'https://example.com' }),
    // @ts-expect-error: milliseconds
    () => new WebsocketServer({ closeTimeout: '5s' }),
    // @ts-expect-error: false alone disables
    () => new WebsocketServer({ keepaliveTimeout: null }),
    // @ts-expect-error: 'close' or 'drop'
    () => new WebsocketServer({ slowConsumer: 'wait' }),
    // @ts-expect-error: publish and close are missing
    () => new WebsocketServer({ backplane: { subscribe: () => () => {} } }),
    // @ts-expect-error: a server's option
    () => new WebsocketClient({ path: '/' }),
    // @ts-expect-error: strings
    () => new WebsocketClient({ headers: { count: 5 } }),
    // @ts-expect-error: a function
    () => new WebsocketClient({ reconnect: { delay: 1_000 } }),
    // @ts-expect-error: a number, or false
    () => new WebsocketClient({ reconnect: { attempts: true } }),
    // @ts-expect-error: attempts
    () => new WebsocketClient({ reconnect: { attempt: 5 } }),
    // @ts-expect-error: protocols
    () => new WebsocketClient({ protocol: ['chat'] }),
    // @ts-expect-error: code and description
    () => new WebsocketServer().close({ reason: 'x' }),
    // @ts-expect-error: a signal
    () => new WebsocketClient().open('ws://localhost', { timeout: 5 }),
    // @ts-expect-error: except
    () => new WebsocketServer().room('x').emit('x', { but: undefined }),
    // @ts-expect-error: a string
    () => new WebsocketServer().room(5),
  ]
  for (const slip of refused) assert.throws(slip, TypeError)
})

test('the functions of `reconnect` are typed, and answer at once', () => {
  const client = new WebsocketClient({
    reconnect: {
      attempts: 5,
      delay: (attempt) => {
        exactly<number>()(attempt)
        return attempt
      },
      when: (cause) => {
        exactly<ConnectError | CloseReason>()(cause)
        return 'status' in cause ? cause.code !== 'ERR_HANDSHAKE_REFUSED' : cause.code !== 1000
      },
    },
  })
  // @ts-expect-error: a promise decides nothing
  const never = { when: () => Promise.resolve(true) } satisfies ReconnectOptions
  assert.deepEqual([client.isOpen, typeof never.when], [false, 'function'])
})

test('undefined means the default of every option', () => {
  const nothing = undefined
  const server = new WebsocketServer({
    path: nothing,
    authorize: nothing,
    keepaliveTimeout: nothing,
    backplane: nothing,
  })
  const reconnect = { attempts: nothing, delay: nothing, when: nothing }
  const client = new WebsocketClient({ headers: nothing, connectTimeout: nothing, reconnect })
  listen(server, 'client', () => {}, { once: nothing, signal: nothing })
  server.room('x').emit('x', { except: nothing })
  assert.equal(client.isOpen, false)
})

test('events that a target does not have are refused', () => {
  const [end] = pair()
  const server = new WebsocketServer()
  const client = new WebsocketClient()
  const refused = [
    // @ts-expect-error: message
    () => listen(end, 'mesage', () => {}),
    // @ts-expect-error: a server's
    () => listen(end, 'client', () => {}),
    // @ts-expect-error: client
    () => listen(server, 'connection', () => {}),
    // @ts-expect-error: a connection's
    () => listen(server, 'message', () => {}),
    // @ts-expect-error: closed
    () => listen(client, 'close', () => {}),
    // @ts-expect-error: join
    () => listen(server.room('x'), 'joined', () => {}),
    // @ts-expect-error: not even with a loop
    () => listen(end, 'mesage'),
    // @ts-expect-error: nor with a wait
    () => once(end, 'mesage'),
    // @ts-expect-error: a symbol is none
    () => listen(end, Symbol('message'), () => {}),
    // @ts-expect-error: a number is none
    () => once(server, 5),
  ]
  for (const slip of refused) assert.throws(slip, TypeError)
})

test('what is no target, or no callback, is refused', () => {
  const [end] = pair()
  const refused = [
    // @ts-expect-error: an object is no target
    () => listen({}, 'message', () => {}),
    // @ts-expect-error: an EventTarget is none
    () => listen(new EventTarget(), 'message', () => {}),
    // @ts-expect-error: nothing is none
    () => once(undefined, 'message'),
    // @ts-expect-error: text is no callback
    () => listen(end, 'message', 'callback'),
    // @ts-expect-error: null is no callback
    () => listen(end, 'message', null),
    // @ts-expect-error: nor is a number
    () => listen(end, 'message', 5),
  ]
  for (const slip of refused) assert.throws(slip, TypeError)
})

test('what may be sent is text, bytes or a number', () => {
  const [end] = pair()
  const server = new WebsocketServer()
  const refused = [
    // @ts-expect-error: JSON is yours to make
    () => end.send({ hello: 'world' }),
    // @ts-expect-error: numbers are no bytes
    () => end.send([1, 2]),
    // @ts-expect-error: nothing is nothing to send
    () => end.broadcast(undefined),
    // @ts-expect-error: true is no text
    () => server.emit(true),
    // @ts-expect-error: a big number is none
    () => end.ping(5n),
  ]
  for (const slip of refused) assert.throws(slip, TypeError)
  exactly<boolean>()(end.send('x'))
  const sent: SendData[] = [
    ...['x', 7, Buffer.from('x'), new Uint8Array(1), new Float32Array(1)],
    ...[new DataView(new ArrayBuffer(1)), new ArrayBuffer(1), new SharedArrayBuffer(1)],
  ]
  for (const data of sent) {
    end.send(data)
    end.broadcast(data)
    void end.ping(data)
    server.emit(data)
    server.room('x').emit(data)
  }
})

test('what is only to be read cannot be written', () => {
  const [end] = pair()
  const server = new WebsocketServer()
  const refused = [
    // @ts-expect-error: it is what it is
    () => (end.id = 'me'),
    // @ts-expect-error: close() closes
    () => (end.isOpen = false),
    // @ts-expect-error: add() and delete() do that
    () => (server.clients.size = 0),
  ]
  for (const slip of refused) assert.throws(slip, TypeError)
  end.valid = false
})

test('the values of a loop are typed', async () => {
  const [end, peer] = pair()
  const loop = listen(end, 'message', { signal: AbortSignal.abort() })
  exactly<AsyncIterableIterator<Data>>()(loop)
  // @ts-expect-error: a loop has no once
  assert.throws(() => listen(end, 'message', { once: true }), TypeError)
  const closes = listen(end, 'close')
  await peer.close(4000)
  for await (const reason of closes) {
    exactly<CloseReason>()(reason)
    assert.equal(reason.code, 4000)
  }
  const clients = listen(new WebsocketServer({ authorize: () => ({ level: 7 }) }), 'client')
  exactly<AsyncIterableIterator<WebsocketConnection<{ level: number }>>>()(clients)
})

test('the value of a once is typed', async () => {
  const [end, peer] = pair()
  peer.send('hello')
  const message = await once(end, 'message')
  exactly<Data>()(message)
  cut(peer)
  const { code } = await once(end, 'close', {})
  exactly<number>()(code)
  assert.equal(code, 1006)
})

test('what stops a listener is disposable', async () => {
  const [end, peer] = pair()
  let count = 0
  {
    using unlisten = listen(end, 'message', () => (count += 1))
    exactly<Unlisten>()(unlisten)
    const disposable: Disposable = unlisten
    assert.equal(typeof disposable[Symbol.dispose], 'function')
    peer.send('inside')
    await peer.ping()
  }
  peer.send('outside')
  await peer.ping()
  assert.equal(count, 1)
})

test('makers and connections close at the end of their block', async () => {
  let closed: Promise<CloseReason>
  {
    await using server = new WebsocketServer({ backplane: memoryBackplane() })
    await using client = new WebsocketClient()
    const [there, here] = await link(server, client)
    await using end: WebsocketConnection = there
    closed = once(here, 'close')
    assert.ok(end.isOpen)
  }
  assert.equal((await closed).code, 1000)
})

test('what takes a target takes each kind of it', () => {
  const messages = (target: Listenable<ConnectionEvents>): AsyncIterableIterator<Data> =>
    listen(target, 'message')
  const sizeOf = (room: ReadonlyRoom<WebsocketConnection>): number => room.size
  const [end] = pair()
  assert.equal(typeof messages(end).next, 'function')
  assert.equal(sizeOf(new WebsocketServer().clients), 0)
  // @ts-expect-error: a server has no messages
  assert.throws(() => messages(new WebsocketServer()), TypeError)
})

test('code outside the package cannot make a target, or forge its events', () => {
  // @ts-expect-error: the name of the private half is not exported
  const forged: Listenable<{ close: CloseReason }> = {}
  assert.throws(() => listen(forged, 'close', () => {}), TypeError)
  const [end] = pair()
  // @ts-expect-error: there is no such method
  assert.equal(end.emit, undefined)
})

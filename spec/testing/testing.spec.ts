import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import {
  ClosedError,
  ConnectError,
  listen,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketConnection,
  WebsocketServer,
  type ClientOptions,
  type Data,
  type ServerOptions,
} from 'simplewebsockets'
import { cut, link, pair } from 'simplewebsockets/testing'

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Links a client that is not let in, and gives what it is told. */
async function refusal(
  options: ServerOptions,
  clientOptions: ClientOptions = {},
  url?: string,
): Promise<ConnectError> {
  const server = new WebsocketServer(options)
  listen(server, 'client', () => assert.fail('it is not let in'))
  const refused = once(server, 'peerError')
  const client = new WebsocketClient(clientOptions)
  const error: unknown = await link(server, client, url).catch((cause: unknown) => cause)
  assert.ok(error instanceof ConnectError)
  assert.equal((await refused).status, error.status)
  assert.equal(server.clients.size, 0)
  assert.equal(client.connection, undefined)
  return error
}

test('a pair is the two ends of one connection', async () => {
  const [server, client] = pair()
  assert.ok(server instanceof WebsocketConnection && client instanceof WebsocketConnection)
  assert.deepEqual([server.side, client.side], ['server', 'client'])
  assert.deepEqual([server.isOpen, client.isOpen], [true, true])
  assert.deepEqual([server.request.url, server.request.headers.host], ['/', 'localhost'])
  assert.equal(server.request.remoteAddress, '127.0.0.1')
  assert.notEqual(server.id, client.id)
  server.send('from the server')
  client.send(Uint8Array.of(1, 2))
  assert.equal(await once(client, 'message'), 'from the server')
  assert.deepEqual(await once(server, 'message'), Uint8Array.of(1, 2))
  assert.equal(typeof (await server.ping()), 'number')
})

test('the ends of a pair share no memory', async () => {
  const [server, client] = pair()
  const sent = Uint8Array.of(1, 2)
  client.send(sent)
  sent[0] = 9
  const received = await once(server, 'message')
  assert.deepEqual(received, Uint8Array.of(1, 2))
})

test('the ends of a pair have options of their own, and a context', async () => {
  const context = { user: 'ann' }
  const [server, client] = pair({
    server: { binary: true, keepaliveTimeout: false },
    client: { maxReceivedMessageSize: 3, keepaliveTimeout: false },
    context,
  })
  assert.equal(server.context, context)
  assert.deepEqual(client.context, {})
  assert.deepEqual(pair()[0].context, {})
  client.send('text')
  assert.deepEqual(await once(server, 'message'), Uint8Array.from(Buffer.from('text')))
  server.send('four')
  assert.equal((await once(server, 'close')).code, 1009)
})

test("the ends of a pair have a server's and a client's defaults", async () => {
  const [server, client] = pair()
  listen(client, 'message', () => {})
  const more = 'x'.repeat(2 ** 20 + 1)
  server.send(more)
  assert.equal(typeof (await server.ping()), 'number')
  client.send(more)
  assert.equal((await once(client, 'close')).code, 1009)
})

test('an option of a pair that is unknown throws', () => {
  // @ts-expect-error: a slip
  assert.throws(() => pair({ sever: {} }), /unknown option `sever`: did you mean `server`/)
  // @ts-expect-error: a slip
  assert.throws(() => pair({ server: { binery: true } }), /did you mean `binary`/)
  // @ts-expect-error: a server's option, where the path and the like mean nothing
  assert.throws(() => pair({ client: { path: '/' } }), TypeError)
})

test('broadcast reaches no end in a pair', async () => {
  const [server, client] = pair()
  listen(client, 'message', () => assert.fail('nobody said so'))
  listen(server, 'message', () => assert.fail('nobody said so'))
  server.broadcast('x')
  client.broadcast('x')
  await server.ping()
})

test('a pair closes with a handshake', async () => {
  const [server, client] = pair()
  const reason = { code: 4000, description: 'enough' }
  assert.deepEqual(await client.close(4000, 'enough'), reason)
  assert.deepEqual(await once(server, 'close'), reason)
  assert.deepEqual(await once(client, 'close'), reason)
})

test('a pair keeps alive like any connection', () => {
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const [server] = pair({ server: { keepaliveTimeout: 1_000 } })
    const [lone] = pair({ server: { keepaliveTimeout: false } })
    mock.timers.tick(2_000)
    assert.ok(server.bufferedAmount > 0)
    assert.equal(lone.bufferedAmount, 0)
  } finally {
    mock.timers.reset()
  }
})

test('a cut ends both ends with 1006 and without a handshake', async () => {
  for (const side of [0, 1] as const) {
    const ends = pair()
    const asked = ends[0].ping()
    cut(ends[side])
    for (const end of ends) {
      const { code, description } = await once(end, 'close')
      assert.equal(code, 1006)
      assert.equal(description, 'Abnormal closure, no further detail available')
      assert.equal(end.isOpen, false)
      assert.equal(end.send('late'), false)
    }
    await assert.rejects(asked, ClosedError)
    cut(ends[side])
  }
})

test('a cut during a closing handshake keeps the reason of the end that closed', async () => {
  const [server, client] = pair()
  const closing = client.close(4000, 'enough')
  cut(client) // behind the close frame, which is sent
  const reason = { code: 4000, description: 'enough' }
  assert.deepEqual([await closing, await once(server, 'close')], [reason, reason])
})

test('what had arrived before a cut is not lost', async () => {
  const [server, client] = pair()
  client.send('one')
  await client.ping()
  cut(server)
  assert.equal(await once(server, 'message'), 'one')
})

test('a link is an end of the server and one of the client', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  const [entered, connected] = [once(server, 'client'), once(client, 'connect')]
  const [there, here] = await link(server, client)
  assert.equal(there, await entered)
  assert.equal(here, await connected)
  assert.equal(here, client.connection)
  assert.deepEqual([...server.clients], [there])
  assert.deepEqual([there.side, here.side], ['server', 'client'])
  assert.deepEqual([there.request.url, here.request.url], ['/', 'ws://localhost/'])
  assert.equal(there.request.remoteAddress, '127.0.0.1')
  assert.ok(server.isOpen && client.isOpen)
  here.send('up')
  there.send('down')
  assert.equal(await once(there, 'message'), 'up')
  assert.equal(await once(here, 'message'), 'down')
})

test('a link goes to a path, with its params and its query', async () => {
  const server = new WebsocketServer({ path: '/rooms/:room' })
  const url = 'ws://example.com:8080/rooms/a%20b/?token=x'
  const [there, here] = await link(server, new WebsocketClient(), url)
  assert.deepEqual({ ...there.request.params }, { room: 'a b' })
  assert.equal(there.request.path, '/rooms/a%20b/')
  assert.equal(there.request.token({ query: true }), 'x')
  assert.equal(there.request.headers.host, 'example.com:8080')
  assert.equal(here.request.url, url)
})

test('the url of a link may be a URL, or a function, and of any scheme that a client knows', async () => {
  const server = new WebsocketServer()
  for (const url of [
    new URL('wss://localhost/x'),
    () => 'http://localhost/x',
    () => Promise.resolve(new URL('https://localhost/x')),
  ]) {
    const [there] = await link(server, new WebsocketClient(), url)
    assert.equal(there.request.url, '/x')
  }
  await assert.rejects(link(server, new WebsocketClient(), 'localhost/x'), ConnectError)
  await assert.rejects(
    link(server, new WebsocketClient(), () => Promise.reject(new Error('no token'))),
    (error) => error instanceof ConnectError && error.message === 'no token',
  )
})

test('a link brings the headers of its client, and the context that authorize makes of them', async () => {
  const server = new WebsocketServer({
    authorize: async (request) => {
      await turn()
      return { user: request.basicAuth()?.username, cookie: request.cookies.id }
    },
  })
  const authorization = `Basic ${Buffer.from('ann:secret').toString('base64')}`
  const client = new WebsocketClient({ headers: { authorization, Cookie: 'id=7' } })
  const [there, here] = await link(server, client)
  assert.deepEqual(there.context, { user: 'ann', cookie: '7' })
  assert.equal(here.request.headers.authorization, authorization)
  assert.deepEqual(here.context, {})
})

test('a link agrees on the first subprotocol offered that the server speaks', async () => {
  const server = new WebsocketServer({ protocols: ['v1', 'v2'] })
  const offer = (protocols: string[]): Promise<string[]> =>
    link(server, new WebsocketClient({ protocols })).then((ends) =>
      ends.map(({ protocol }) => protocol),
    )
  assert.deepEqual(await offer(['v2', 'v1']), ['v2', 'v2'])
  assert.deepEqual(await offer(['v3', 'v1']), ['v1', 'v1'])
  assert.deepEqual(await offer([]), ['', ''])
})

test('a client that offers subprotocols none of which is spoken fares as over the network', async () => {
  const options = { protocols: ['v1'] }
  const outcome = (opening: Promise<unknown>): Promise<unknown> =>
    opening.then(
      () => 'it is let in',
      (cause: unknown) => cause instanceof ConnectError && 'it is refused',
    )
  const served = new WebsocketServer(options)
  const { port } = await served.serve(0)
  const over = await outcome(
    new WebsocketClient({ protocols: ['v2'] }).open(`ws://localhost:${port}`),
  )
  await served.close()
  const without = await outcome(
    link(new WebsocketServer(options), new WebsocketClient({ protocols: ['v2'] })),
  )
  assert.equal(without, over)
})

test('a link that is refused rejects with the status of the answer', async () => {
  const origin = { headers: { origin: 'https://evil.example' } }
  const statuses = [
    await refusal({ path: '/chat' }, {}, 'ws://localhost/other'),
    await refusal({ authorize: () => false }),
    await refusal({ authorize: () => Promise.resolve(null) }),
    await refusal({ origins: ['https://example.com'] }, origin),
    await refusal({ authorize: () => Promise.reject(new Error('no database')) }),
    await refusal({
      authorize: () => {
        throw new PeerConnectError('teapot', { status: 418 })
      },
    }),
  ].map(({ status }) => status)
  assert.deepEqual(statuses, [404, 401, 401, 403, 500, 418])
})

test('an origin that is allowed is let in', async () => {
  const server = new WebsocketServer({ origins: ['https://example.com'] })
  for (const origin of ['https://example.com', 'http://localhost']) {
    const [there] = await link(server, new WebsocketClient({ headers: { origin } }))
    assert.equal(there.request.headers.origin, origin)
  }
})

test('a server without a port is not opened by a client that it refuses', async () => {
  const server = new WebsocketServer({ path: '/here' })
  await assert.rejects(
    link(server, new WebsocketClient(), 'ws://localhost/elsewhere'),
    ConnectError,
  )
  assert.equal(server.isOpen, false)
  await link(server, new WebsocketClient(), 'ws://localhost/here')
  assert.equal(server.isOpen, true)
})

test('a link is refused past the limits of its server', async () => {
  const server = new WebsocketServer({ maxConnections: 2, maxConnectionsPerAddress: 1 })
  const [there] = await link(server, new WebsocketClient())
  const tooMany = link(server, new WebsocketClient())
  await assert.rejects(tooMany, (error) => error instanceof ConnectError && error.status === 429)
  await there.close()
  await link(server, new WebsocketClient())
})

test('a link whose authorize takes too long is refused with 503', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const server = new WebsocketServer({
      handshakeTimeout: 1_000,
      authorize: () => new Promise<boolean>(() => {}),
    })
    const refused = assert.rejects(
      link(server, new WebsocketClient()),
      (error) => error instanceof ConnectError && error.status === 503,
    )
    await turn()
    assert.equal(server.stats().handshakes, 1)
    mock.timers.tick(1_000)
    await refused
    assert.equal(server.stats().handshakes, 0)
  } finally {
    mock.timers.reset()
  }
})

test('a link to a server that closes meanwhile, or is closing, is refused with 503', async () => {
  const server = new WebsocketServer({
    closeTimeout: 0,
    authorize: ({ path }) => (path === '/' ? true : new Promise<boolean>(() => {})),
  })
  const [there, here] = await link(server, new WebsocketClient())
  listen(here, 'message', () => new Promise(() => {})) // so busy that it doesn't hear of the close
  for (let count = 0; count < 100; count++) there.send('x')
  const links = [link(server, new WebsocketClient(), 'ws://localhost/wait')]
  await turn()
  const closing = server.close()
  links.push(link(server, new WebsocketClient()))
  for (const refused of links) {
    await assert.rejects(refused, (error) => error instanceof ConnectError && error.status === 503)
  }
  await closing
})

test('a client that gives up while it waits for a link leaves the server', async () => {
  const server = new WebsocketServer({ authorize: () => new Promise<boolean>(() => {}) })
  const client = new WebsocketClient()
  const left = once(server, 'peerError')
  const linked = link(server, client)
  await turn()
  assert.equal(server.stats().handshakes, 1)
  await client.close(4000, 'no longer')
  await assert.rejects(linked, ConnectError)
  const { status, message } = await left
  assert.deepEqual([status, message], [0, 'the peer has left'])
  assert.equal(server.stats().handshakes, 0)
  assert.equal(server.stats().refusals.left, 1)
  assert.deepEqual(await once(client, 'closed'), { code: 4000, description: 'no longer' })
})

test('a client gives up a link after its connectTimeout', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const server = new WebsocketServer({ authorize: () => new Promise<boolean>(() => {}) })
    const left = once(server, 'peerError')
    const linked = link(server, new WebsocketClient({ connectTimeout: 1_000 }))
    await turn()
    mock.timers.tick(1_000)
    await assert.rejects(linked, { message: 'no answer within 1000 ms' })
    assert.equal((await left).status, 0)
  } finally {
    mock.timers.reset()
  }
})

test('a client that gives up in the moment it is let in leaves nothing open behind it', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  listen(client, 'connect', () => assert.fail('it had given up'))
  const entered = once(server, 'client')
  listen(server, 'client', () => client.close())
  await assert.rejects(link(server, client), ConnectError)
  assert.equal((await once(await entered, 'close')).code, 1006)
  assert.equal(client.connection, undefined)
  assert.equal(server.clients.size, 0)
})

test('a client that is open already cannot be linked once more, but again after its close', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  const first = link(server, client)
  await assert.rejects(link(server, client), /the client is opening already/)
  await first
  await assert.rejects(link(server, client), /the client is open already/)
  assert.equal(server.clients.size, 1)
  await client.close()
  const [there] = await link(server, client)
  assert.deepEqual([...server.clients], [there])
})

test('several links at once give matching ends, whichever is let in first', async () => {
  const gates = new Map<string, () => void>()
  const server = new WebsocketServer({
    authorize: async ({ path }) => {
      await new Promise<void>((resolve) => gates.set(path, resolve))
      return { path }
    },
  })
  const paths = Array.from({ length: 20 }, (_, index) => `/${index}`)
  const linking = paths.map((path) => link(server, new WebsocketClient(), `ws://localhost${path}`))
  await turn()
  assert.equal(server.stats().handshakes, 20)
  for (const path of [...paths].sort().reverse()) gates.get(path)?.()
  const ends = await Promise.all(linking)
  for (const [index, [there, here]] of ends.entries()) {
    assert.equal(there.context.path, `/${index}`)
    here.send(`from ${index}`)
    assert.equal(await once(there, 'message'), `from ${index}`)
  }
})

test('what is sent as soon as a link is made is not lost', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  listen(server, 'client', (connection) => connection.send('welcome'))
  listen(client, 'connect', (connection) => connection.send('hello'))
  const [there, here] = await link(server, client)
  await turn()
  assert.equal(await once(here, 'message'), 'welcome')
  assert.equal(await once(there, 'message'), 'hello')
})

test('broadcast over links reaches all but the sender', async () => {
  const server = new WebsocketServer()
  const ends = [
    await link(server, new WebsocketClient()),
    await link(server, new WebsocketClient()),
  ] as const
  const heard: Data[] = []
  listen(ends[1][1], 'message', (message) => void heard.push(message))
  listen(ends[0][1], 'message', () => assert.fail('it spoke itself'))
  ends[0][0].broadcast('hello')
  await turn()
  assert.deepEqual(heard, ['hello'])
})

test('a server may be served and linked to at once', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const [linked, here] = await link(server, new WebsocketClient())
  const dialled = await new WebsocketClient().open(`ws://localhost:${port}`)
  assert.equal(server.clients.size, 2)
  linked.broadcast('to the network')
  assert.equal(await once(dialled, 'message'), 'to the network')
  await server.close()
  assert.equal((await once(here, 'close')).code, 1001)
  assert.equal((await once(dialled, 'close')).code, 1001)
})

test('a served connection can be cut, too', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const here = await new WebsocketClient().open(`ws://localhost:${port}`)
  cut(here)
  assert.equal((await once(await entered, 'close')).code, 1006)
  assert.equal((await once(here, 'close')).code, 1006)
  await server.close()
})

test('a linked server closes, and may be linked to again', async () => {
  const server = new WebsocketServer()
  for (let times = 0; times < 2; times++) {
    const [, here] = await link(server, new WebsocketClient())
    await server.close()
    assert.equal((await once(here, 'close')).code, 1001)
    assert.equal(server.isOpen, false)
  }
})

import assert from 'node:assert/strict'
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once as onceEmitted } from 'node:events'
import {
  createServer,
  get,
  request as ask,
  type IncomingMessage,
  type RequestListener,
  type Server as HttpServer,
} from 'node:http'
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { test } from 'node:test'
import {
  ClosedError,
  closeCodeTexts,
  ConnectError,
  listen,
  memoryBackplane,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketServer,
  type Address,
  type Backplane,
  type ClientOptions,
  type RequestDetails,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { WebSocketServer as ForeignServer } from 'ws'
import { ADMISSION } from '../../lib/internal.ts'
import { handshake, certificate, RawPeer } from '../support/rawpeer.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { memoryEnds } from '../support/transport/memory.ts'

/** The reason that a closing server closes with. */
const AWAY = { code: 1001, description: 'Remote peer is going away' }

/** Lets what is ready in this turn of the event loop happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Connects to a path on a port of this machine. */
function open(port: number, path = '/', options?: ClientOptions): Promise<WebsocketConnection> {
  return new WebsocketClient(options).open(`ws://localhost:${port}${path}`)
}

/** Resolves with the HTTP status that a server refuses with. */
async function statusOf(opening: Promise<unknown>): Promise<number | undefined> {
  const error: unknown = await opening.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  assert.ok(error instanceof ConnectError, `expected a ConnectError, got ${String(error)}`)
  return error.status
}

/** An http server of another program. */
class App implements AsyncDisposable {
  readonly http: HttpServer | HttpsServer
  port = 0

  constructor(http: HttpServer | HttpsServer) {
    this.http = http
  }

  static async listen(
    http: HttpServer | HttpsServer = createServer(hello),
    where: { path: string } | { port: number; host: string } = { port: 0, host: 'localhost' },
  ): Promise<App> {
    const app = new App(http)
    http.listen(where)
    await onceEmitted(http, 'listening')
    if (!('path' in where)) app.port = (http.address() as AddressInfo).port
    return app
  }

  /** Asks for a page. */
  async page(path = '/'): Promise<number | undefined> {
    const { port } = this
    const [response] = (await onceEmitted(
      get({ port, path, host: 'localhost', agent: false }),
      'response',
    )) as [IncomingMessage]
    response.resume()
    await onceEmitted(response, 'end')
    return response.statusCode
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.http.close()
    this.http.closeAllConnections()
    if (this.http.listening) await onceEmitted(this.http, 'close')
  }
}

const hello: RequestListener = (_, response) => void response.end('hello')

/** Returns the network resources that keep this process busy. */
const sockets = (): string[] =>
  process.getActiveResourcesInfo().filter((name) => /TCP|TLS|Pipe/.test(name))

/** Starts a program of its own that has our package at hand. */
function runs(code: string): ChildProcessWithoutNullStreams {
  return spawn(
    process.execPath,
    ['--conditions=source', '--import', 'tsx', '--input-type=module', '-e', code],
    { cwd: join(import.meta.dirname, '../..') },
  )
}

/** Runs a program to its end; gives its exit code and its words. */
async function run(code: string): Promise<{ code: unknown; said: string }> {
  const child = runs(code)
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  }
  const [exit] = (await onceEmitted(child, 'close')) as unknown[]
  return { code: exit, said }
}

// serve

test('serve resolves with the bound port, the host as passed and the bound address', async () => {
  await using server = new WebsocketServer()
  const told = once(server, 'listening')
  assert.equal(server.isOpen, false)
  const address = await server.serve(0, 'localhost')
  assert.ok(address.port > 0)
  assert.equal(address.host, 'localhost')
  assert.match(address.address, /^(127\.0\.0\.1|::1)$/)
  assert.deepEqual(await told, address)
  assert.equal(server.isOpen, true)
})

test('serve without a port means 8080 on localhost', async () => {
  await using server = new WebsocketServer()
  listen(server, 'connectError', () => {})
  const outcome = await server.serve().catch((error: unknown) => error)
  // Another process on this machine may have the port.
  if (outcome instanceof ConnectError) assert.match(outcome.msg, /EADDRINUSE.*:8080$/)
  else assert.deepEqual([(outcome as Address).port, (outcome as Address).host], [8080, 'localhost'])
})

for (const [port, host] of [
  [-1, 'localhost'],
  [65_536, 'localhost'],
  [1.5, 'localhost'],
  [NaN, 'localhost'],
  [0, 'nowhere.invalid'],
] as const) {
  test(`serve on port ${port} of ${host} rejects, is a connectError, and may be tried again`, async () => {
    await using server = new WebsocketServer()
    const told = once(server, 'connectError')
    const closed: Address[] = []
    listen(server, 'closed', (address) => void closed.push(address))
    const error: unknown = await server.serve(port, host).catch((cause: unknown) => cause)
    assert.ok(error instanceof ConnectError)
    assert.ok(error.cause instanceof Error)
    assert.equal(await told, error)
    assert.equal(server.isOpen, false)
    assert.ok((await server.serve(0)).port > 0)
    assert.deepEqual(closed, [])
  })
}

for (const port of ['8080', null, NaN, {}, 65_536] as unknown[] as number[]) {
  test(`a port of ${JSON.stringify(port)} says what a port is`, async () => {
    const server = new WebsocketServer()
    listen(server, 'connectError', () => {})
    await assert.rejects(
      server.serve(port),
      /^ConnectError: expected `port` to be a whole number from 0 to 65535, got /,
    )
  })
}

for (const host of [5, null, {}] as unknown[] as string[]) {
  test(`a host of ${JSON.stringify(host)} says what a host is, and listens nowhere`, async () => {
    const server = new WebsocketServer()
    listen(server, 'connectError', () => {})
    await assert.rejects(
      server.serve(0, host),
      /^ConnectError: expected `host` to be a host name or an address, got /,
    )
    assert.equal(server.isOpen, false)
  })
}

test('serve on a server that serves says so and leaves it alone', async () => {
  await using server = new WebsocketServer()
  const first = server.serve(0)
  await assert.rejects(server.serve(0), /the server serves already/)
  const { port } = await first
  const told = once(server, 'connectError')
  await assert.rejects(server.serve(0), ConnectError)
  assert.match((await told).msg, /serves already/)
  await open(port)
  assert.equal(server.clients.size, 1)
})

test('close and then serve in one turn closes one life and begins the next', async () => {
  await using server = new WebsocketServer()
  const story: string[] = []
  for (const event of ['listening', 'closed'] as const) {
    listen(server, event, () => void story.push(event))
  }
  const { port } = await server.serve(0)
  const gone = once(await open(port), 'close')
  const closing = server.close()
  const serving = server.serve(0)
  await assert.rejects(server.serve(0), /the server serves already/)
  assert.equal(await statusOf(link(server, new WebsocketClient())), 503)
  await closing
  assert.deepEqual(await gone, AWAY)
  await open((await serving).port)
  assert.ok(server.isOpen)
  assert.deepEqual(story, ['listening', 'closed', 'listening'])
})

test('close and serve on a server that was never open serves', async () => {
  await using server = new WebsocketServer()
  void server.close()
  await open((await server.serve(0)).port)
})

test('serve and close by turns, all in one turn, end as the last one says', async () => {
  const server = new WebsocketServer()
  const story: string[] = []
  for (const event of ['listening', 'closed'] as const) {
    listen(server, event, () => void story.push(event))
  }
  const calls: Promise<unknown>[] = []
  for (let round = 0; round < 3; round++) calls.push(server.serve(0), server.close())
  await Promise.all(calls)
  assert.equal(server.isOpen, false)
  assert.deepEqual(story, ['listening', 'closed', 'listening', 'closed', 'listening', 'closed'])
  void server.serve(0)
  void server.close()
  const { port } = await server.serve(0)
  await open(port)
  await server.close()
  assert.equal(server.isOpen, false)
})

test('serve after a close that takes its time serves when that is over, and a close ends both', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const gone = once(await open(port), 'close')
  await open(port)
  const slow = server.close({ within: 600_000, batch: 1 })
  const serving = server.serve(0)
  const last = server.close()
  await Promise.all([slow, serving, last])
  assert.deepEqual(await gone, AWAY)
  assert.equal(server.isOpen, false)
})

for (const slip of ['cert', 'key'] as const) {
  test(`serve with a bad ${slip} for TLS rejects, is a connectError, and may be tried again`, async () => {
    const good = certificate()
    const tls = { ...good, [slip]: 'no PEM' }
    await using server = new WebsocketServer({ tls })
    const told = once(server, 'connectError')
    const error: unknown = await server.serve(0).catch((cause: unknown) => cause)
    assert.ok(error instanceof ConnectError)
    assert.ok(error.cause instanceof Error)
    assert.equal(await told, error)
    assert.equal(server.isOpen, false)
    tls[slip] = good[slip]
    const { port } = await server.serve(0)
    await new WebsocketClient({ tls: { ca: good.cert } }).open(`wss://localhost:${port}`)
  })
}

test('a server that has closed serves again, with its callbacks', async () => {
  await using server = new WebsocketServer()
  const story: string[] = []
  for (const event of ['listening', 'client', 'closed'] as const) {
    listen(server, event, () => void story.push(event))
  }
  for (let round = 0; round < 2; round++) {
    const { port } = await server.serve(0)
    await open(port)
    await server.close()
  }
  assert.deepEqual(story, ['listening', 'client', 'closed', 'listening', 'client', 'closed'])
})

test('a server may be served again as soon as `closed` is told', async () => {
  await using server = new WebsocketServer()
  await server.serve(0)
  void server.close()
  await once(server, 'closed')
  const { port } = await server.serve(0)
  await open(port)
})

test('a server may be served again inside its `closed` listener', async () => {
  await using server = new WebsocketServer()
  const again = new Promise<Address>((resolve, reject) => {
    listen(server, 'closed', () => server.serve(0).then(resolve, reject), { once: true })
  })
  await server.serve(0)
  await server.close()
  const { port } = await again
  await open(port)
  assert.ok(server.isOpen)
})

test('a wait for `listening` made before `serve` gets it in every life of a server', async () => {
  const server = new WebsocketServer()
  for (let life = 0; life < 3; life++) {
    const listening = once(server, 'listening')
    await turn()
    assert.equal(await server.serve(0), await listening)
    await server.close()
  }
})

test('a wait begun with `serve` inside a `closed` listener is one of the next life', async () => {
  await using server = new WebsocketServer()
  const next = new Promise<Promise<unknown>[]>((resolve) => {
    const again = (): void => resolve([server.serve(0), once(server, 'listening')])
    listen(server, 'closed', again, { once: true })
  })
  await server.serve(0)
  await server.close()
  const [served, listening] = await Promise.all(await next)
  assert.equal(served, listening)
})

test('closing while it begins to serve closes when it does', async () => {
  const server = new WebsocketServer()
  const closed = once(server, 'closed')
  const serving = server.serve(0)
  await server.close()
  const { port } = await serving
  assert.equal((await closed).port, port)
  assert.equal(server.isOpen, false)
  await assert.rejects(open(port), /ECONNREFUSED/)
})

test('closing while it fails to serve is harmless', async () => {
  const server = new WebsocketServer()
  const serving = server.serve(0, 'nowhere.invalid')
  const [outcome] = await Promise.allSettled([serving, server.close()])
  assert.equal(outcome.status, 'rejected')
  assert.equal(server.isOpen, false)
})

test('a program that could not serve is not silent, unless it listens to connectError', async () => {
  const program = (listens: boolean): string => `
    import { listen, WebsocketServer } from 'simplewebsockets'
    const server = new WebsocketServer()
    if (${listens}) listen(server, 'connectError', (error) => console.log('told:', error.msg))
    server.serve(-1)
    setTimeout(() => console.log('goes on'), 50)`
  const [bare, heard] = await Promise.all([run(program(false)), run(program(true))])
  assert.equal(bare.code, 1)
  assert.match(bare.said, /ConnectError/)
  assert.equal(heard.code, 0, heard.said)
  assert.match(heard.said, /^told: .*\ngoes on\n$/)
})

test('being out of file descriptors ends no process', async () => {
  const child = runs(`
    import { closeSync, openSync } from 'node:fs'
    import { WebsocketClient, WebsocketServer } from 'simplewebsockets'
    const server = new WebsocketServer()
    const { port } = await server.serve(0)
    const first = await new WebsocketClient().open('ws://localhost:' + port)
    const taken = []
    try { for (;;) taken.push(openSync('/dev/null')) } catch {}
    console.log(port)
    process.stdin.once('data', async () => {
      await first.ping()
      for (const file of taken) closeSync(file)
      console.log('alive')
      process.exit()
    })`)
  const [first] = (await onceEmitted(child.stdout, 'data')) as [Buffer]
  const port = Number(first.toString())
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  }
  const peers = [await RawPeer.connect(port), await RawPeer.connect(port)]
  await Promise.race([...peers.map((peer) => peer.gone()), onceEmitted(child, 'close')])
  child.stdin.on('error', () => {}).end('go on\n')
  if (child.exitCode === null) await onceEmitted(child, 'close')
  assert.equal(child.exitCode, 0, said)
  assert.match(said, /alive/)
  for (const peer of peers) peer.tcp.destroy()
})

// attach

test('an http server of yours keeps its pages, and takes WebSockets too', async () => {
  await using app = await App.listen()
  await using server = new WebsocketServer()
  assert.equal(server.attach(app.http), server)
  assert.ok(server.isOpen)
  const entered = once(server, 'client')
  const here = await open(app.port)
  here.send('hello')
  assert.equal(await once(await entered, 'message'), 'hello')
  assert.equal(await app.page(), 200)
})

test('an https server of yours may be attached to', async () => {
  await using app = await App.listen(createTlsServer(certificate(), hello))
  await using server = new WebsocketServer()
  server.attach(app.http)
  const client = new WebsocketClient({ tls: { rejectUnauthorized: false } })
  const here = await client.open(`wss://localhost:${app.port}`)
  assert.ok((await here.ping()) >= 0)
})

test('an http server that does not listen yet may be attached to', async () => {
  const app = new App(createServer(hello))
  await using server = new WebsocketServer()
  const closed = once(server, 'closed')
  server.attach(app.http)
  await server.close()
  assert.deepEqual(await closed, { port: 0, host: '', address: '' })
})

test('an http server on a Unix socket may be attached to; its peers have no address', async () => {
  const path = join(tmpdir(), `server-spec-${process.pid}.sock`)
  await using app = await App.listen(createServer(hello), { path })
  const server = new WebsocketServer()
  server.attach(app.http)
  const entered = once(server, 'client')
  const request = ask({
    socketPath: path,
    headers: {
      Upgrade: 'websocket',
      Connection: 'Upgrade',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    },
  }).end()
  const [, tcp] = (await onceEmitted(request, 'upgrade')) as [unknown, Duplex]
  tcp.on('error', () => {}).resume()
  assert.equal((await entered).request.remoteAddress, '')
  const closed = once(server, 'closed')
  void server.close()
  tcp.destroy()
  assert.deepEqual(await closed, { port: 0, host: path, address: path })
})

test('several servers share an http server by path', async () => {
  await using app = await App.listen()
  await using chat = new WebsocketServer({ path: '/chat' })
  await using feed = new WebsocketServer({ path: '/feed/:name' })
  chat.attach(app.http)
  feed.attach(app.http)
  await open(app.port, '/chat')
  await open(app.port, '/feed/prices')
  await open(app.port, '/feed/prices/')
  assert.deepEqual([chat.clients.size, feed.clients.size], [1, 2])
  assert.equal(await statusOf(open(app.port, '/other')), 404)
  assert.equal(await statusOf(open(app.port, '/%zz')), 400)
  await chat.close()
  assert.equal(await statusOf(open(app.port, '/chat')), 404)
  await open(app.port, '/feed/news')
})

for (const first of ['strict', 'loose']) {
  test(`two policies on one http server don't mix, the ${first} one attached first`, async () => {
    await using app = await App.listen()
    await using strict = new WebsocketServer({ path: '/strict' })
    await using loose = new WebsocketServer({ path: '/loose', origins: '*' })
    for (const server of first === 'strict' ? [strict, loose] : [loose, strict])
      server.attach(app.http)
    const from = { headers: { Origin: 'https://evil.example' } }
    assert.equal(await statusOf(open(app.port, '/strict', from)), 403)
    await open(app.port, '/loose', from)
    assert.deepEqual([strict.clients.size, loose.clients.size], [0, 1])
  })
}

for (const [one, other] of [
  [undefined, undefined],
  [undefined, '/chat'],
  ['/chat', undefined],
  ['/chat', '/chat/'],
  ['/chat/:room', '/chat/lobby'],
] as const) {
  test(`overlapping paths ${one} and ${other} on one http server throw a TypeError`, async () => {
    await using app = await App.listen()
    await using first = new WebsocketServer({ path: one })
    await using second = new WebsocketServer({ path: other })
    first.attach(app.http)
    assert.throws(() => second.attach(app.http), {
      name: 'TypeError',
      message: /^expected a `path` of its own on this http server, got .+ beside .+$/,
    })
    assert.equal(second.isOpen, false)
    await open(app.port, one?.replace(':room', 'x'))
    assert.equal(first.clients.size, 1)
    await first.close()
    second.attach(app.http)
    assert.ok(second.isOpen)
  })
}

test('attaching twice is attaching once', async () => {
  await using app = await App.listen()
  await using server = new WebsocketServer()
  server.attach(app.http).attach(app.http)
  assert.equal(app.http.listenerCount('upgrade'), 1)
  await open(app.port)
  assert.equal(server.clients.size, 1)
})

test('a server may stand behind several http servers, and serve by itself', async () => {
  await using one = await App.listen()
  await using two = await App.listen()
  await using server = new WebsocketServer()
  server.attach(one.http).attach(two.http)
  const own = await server.serve(0)
  for (const { port } of [one, two, own]) await open(port)
  assert.equal(server.clients.size, 3)
  const closed = once(server, 'closed')
  await server.close()
  assert.equal((await closed).port, own.port)
  assert.equal(one.http.listenerCount('upgrade') + two.http.listenerCount('upgrade'), 0)
})

test('what is attached to must be an http server', () => {
  for (const junk of [undefined, null, 8080, {}]) {
    assert.throws(
      // @ts-expect-error: a slip
      () => new WebsocketServer().attach(junk),
      /^TypeError: expected what is attached to to be an http\.Server or an https\.Server, got /,
    )
  }
})

test('closing detaches, tells its clients, and leaves the http server running', async () => {
  await using app = await App.listen()
  const server = new WebsocketServer()
  server.attach(app.http)
  const here = await open(app.port)
  const [gone, closed] = [once(here, 'close'), once(server, 'closed')]
  await server.close()
  assert.deepEqual(await gone, AWAY)
  assert.equal((await closed).port, app.port)
  assert.equal(app.http.listenerCount('upgrade'), 0)
  assert.ok(app.http.listening)
  assert.equal(await app.page(), 200)
  server.attach(app.http)
  await open(app.port)
  await server.close()
})

test('an http server is not attached to while closing', async () => {
  await using app = await App.listen()
  const server = new WebsocketServer()
  await server.serve(0)
  const closing = server.close()
  assert.throws(() => server.attach(app.http), /is closing/)
  await closing
  assert.equal(server.isOpen, false)
})

test("an upgrade to another's path is left alone when there is another listener", async () => {
  await using app = await App.listen()
  await using server = new WebsocketServer({ path: '/ours' })
  server.attach(app.http)
  app.http.on('upgrade', ({ url = '', headers }: IncomingMessage, tcp: Duplex) => {
    if (url !== '/ours' || headers.upgrade !== 'websocket') {
      tcp.end(`HTTP/1.1 299 Theirs\r\nConnection: close\r\n\r\n`)
    }
  })
  for (const target of ['/theirs', '/%zz']) {
    const peer = await RawPeer.knock(app.port, { target })
    assert.equal((await peer.answer()).status, 299)
    await peer.gone()
  }
  const h2c = await RawPeer.knock(app.port, { target: '/ours', headers: { Upgrade: 'h2c' } })
  assert.equal((await h2c.answer()).status, 299)
  await h2c.gone()
  await open(app.port, '/ours')
  assert.equal(server.clients.size, 1)
})

test('an upgrade to h2c is refused where every upgrade is ours', async () => {
  await using app = await App.listen()
  await using server = new WebsocketServer({ path: '/ours' })
  server.attach(app.http)
  for (const [target, status] of [
    ['/ours', 400],
    ['/theirs', 404],
  ] as const) {
    const peer = await RawPeer.knock(app.port, { target, headers: { Upgrade: 'h2c' } })
    assert.equal((await peer.answer()).status, status)
    await peer.gone()
  }
})

test('a request that another listener has hung up on is refused with status 0', async () => {
  await using app = await App.listen()
  app.http.on('upgrade', (_, tcp: Duplex) => void tcp.destroy())
  await using server = new WebsocketServer()
  server.attach(app.http)
  const told: unknown[] = []
  listen(server, 'peerError', ({ status, msg }) => void told.push([status, msg]))
  const peer = await RawPeer.knock(app.port)
  assert.equal((await peer.rest()).toString(), '')
  assert.deepEqual(told, [[0, 'the peer has left']])
})

test('an upgrade that another listener took already is refused, and does no harm', async () => {
  await using app = await App.listen()
  const foreign = new ForeignServer({ noServer: true })
  app.http.on('upgrade', (request: IncomingMessage, tcp: Duplex, head: Buffer) => {
    if (request.url === '/taken') {
      foreign.handleUpgrade(request, tcp, head, (socket) => socket.on('error', () => {}))
    }
  })
  await using server = new WebsocketServer()
  server.attach(app.http)
  const told: string[] = []
  listen(server, 'peerError', ({ msg }) => void told.push(msg))
  const peer = await RawPeer.knock(app.port, { target: '/taken' })
  assert.equal((await peer.answer()).status, 101)
  await peer.gone()
  assert.deepEqual(told, ['another server took this upgrade already'])
  await open(app.port)
  assert.equal(server.clients.size, 1)
})

// path

test('a path has params, decoded, and a trailing slash is the same path', async () => {
  await using server = new WebsocketServer({ path: '/rooms/:room/users/:user' })
  const { port } = await server.serve(0)
  for (const target of ['/rooms/a%20b/users/%C3%A4', '/rooms/a%20b/users/%C3%A4/?x=1']) {
    const entered = once(server, 'client')
    await open(port, target)
    const { params, url } = (await entered).request
    assert.deepEqual({ ...params }, { room: 'a b', user: 'ä' })
    assert.equal(url, target)
  }
})

for (const [target, status] of [
  ['/rooms', 404],
  ['/rooms/', 404],
  ['/rooms/a/b', 404],
  ['/Rooms/a', 404],
  ['//rooms/a', 404],
  ['/rooms/%', 400],
  ['/rooms/%zz', 400],
  ['/rooms/%00', 400],
  ['/rooms/%ff', 400],
] as const) {
  test(`a request for ${target} is refused with ${status} where /rooms/:room is served`, async () => {
    await using server = new WebsocketServer({ path: '/rooms/:room' })
    const { port } = await server.serve(0)
    const told: number[] = []
    listen(server, 'peerError', (error) => void told.push(error.status))
    const peer = await RawPeer.knock(port, { target })
    assert.equal((await peer.answer()).status, status)
    await peer.gone()
    assert.deepEqual(told, [status])
  })
}

// protocols

for (const [spoken, offered, chosen] of [
  [['chat', 'feed'], ['feed', 'chat'], 'feed'],
  [['chat'], ['other', 'chat'], 'chat'],
  [['chat'], [], ''],
  [[], [], ''],
] as const) {
  test(`of [${spoken}] and [${offered}] the subprotocol is "${chosen}"`, async () => {
    await using server = new WebsocketServer({ protocols: spoken })
    const { port } = await server.serve(0)
    const entered = once(server, 'client')
    const here = await open(port, '/', { protocols: offered })
    assert.deepEqual([here.protocol, (await entered).protocol], [chosen, chosen])
    assert.deepEqual((await entered).request.protocols, offered)
  })
}

test('a peer that offers only other subprotocols is let in without one, and the cure is printed once', async (t) => {
  const print = t.mock.method(console, 'error', () => {})
  await using server = new WebsocketServer({ protocols: ['chat'] })
  const { port } = await server.serve(0)
  for (const offer of ['chat', undefined, 'a, b', 'base64url.bearer.phx.c2VjcmV0']) {
    const headers: Record<string, string> = offer ? { 'Sec-WebSocket-Protocol': offer } : {}
    const peer = await RawPeer.knock(port, { headers })
    const answer = await peer.answer()
    const chosen = offer === 'chat' ? offer : undefined
    assert.deepEqual([answer.status, answer.headers.get('sec-websocket-protocol')], [101, chosen])
    assert.equal(print.mock.callCount(), offer === 'chat' || offer === undefined ? 0 : 1)
    peer.tcp.destroy()
  }
  const [line = ''] = print.mock.calls.map(({ arguments: [text] }) => String(text))
  assert.match(line, /^simplewebsockets: .* \{ protocols: \['chat'\] \}\. Printed once\.$/)
  assert.doesNotMatch(line, /c2VjcmV0/)
})

// origins

for (const [what, options, headers, allowed] of [
  ['its own host', {}, { Origin: 'http://localhost:PORT' }, true],
  ['its own host behind TLS', {}, { Origin: 'https://localhost:PORT' }, true],
  ['another port', {}, { Origin: 'http://localhost:1' }, false],
  ['another host', {}, { Origin: 'https://example.com' }, false],
  ['a listed one', { origins: ['https://example.com'] }, { Origin: 'https://example.com' }, true],
  [
    'one like it',
    { origins: ['https://example.com'] },
    { Origin: 'https://example.com.eu' },
    false,
  ],
  ['any', { origins: '*' }, { Origin: 'https://example.com' }, true],
  ['an empty one', {}, { Origin: '' }, false],
  ['null', {}, { Origin: 'null' }, false],
  ['none', {}, {}, true],
  [
    'the host a trusted proxy was asked for',
    { trustProxy: true },
    { Origin: 'https://example.com', 'X-Forwarded-Host': 'forged.example, example.com' },
    true,
  ],
  [
    'the host that an untrusted proxy was asked for',
    {},
    { Origin: 'https://example.com', 'X-Forwarded-Host': 'example.com' },
    false,
  ],
  [
    'its own host behind a trusted proxy that names none',
    { trustProxy: true },
    { Origin: 'http://localhost:PORT' },
    true,
  ],
] as [string, ServerOptions, Record<string, string>, boolean][]) {
  test(`a page of ${what} ${allowed ? 'may connect' : 'gets 403'}`, async () => {
    await using server = new WebsocketServer(options)
    const { port } = await server.serve(0)
    const own = Object.entries(headers).map(([name, value]) => [
      name,
      value.replace('PORT', `${port}`),
    ])
    const told = once(server, 'peerError')
    const opening = open(port, '/', { headers: Object.fromEntries(own) as Record<string, string> })
    if (allowed) {
      assert.ok((await opening).isOpen)
    } else {
      assert.equal(await statusOf(opening), 403)
      assert.equal((await told).msg, `origin ${headers.Origin} is not allowed`)
    }
    assert.equal(server.clients.size, allowed ? 1 : 0)
  })
}

// authorize

test('what authorize returned is the context, with its type', async () => {
  await using server = new WebsocketServer({
    authorize: async (request: RequestDetails) => {
      await turn()
      return { user: request.query.get('user') ?? 'nobody' }
    },
  })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  await open(port, '/?user=ada')
  const { user }: { user: string } = (await entered).context
  assert.equal(user, 'ada')
})

for (const [verdict, let_in] of [
  [true, true],
  [{}, true],
  [[], false],
  [false, false],
  [null, false],
  [undefined, false],
  ['yes', false],
  [1, false],
] as [unknown, boolean][]) {
  const words = let_in ? 'lets in' : 'refuses with 401'
  test(`authorize that returns ${JSON.stringify(verdict)} ${words}`, async () => {
    await using server = new WebsocketServer({ authorize: () => verdict as true })
    const { port } = await server.serve(0)
    const told = once(server, 'peerError')
    if (let_in) {
      assert.ok((await open(port)).isOpen)
      return
    }
    const peer = await RawPeer.knock(port)
    const { status, headers } = await peer.answer()
    assert.equal(status, 401)
    assert.ok(headers.has('www-authenticate'))
    assert.deepEqual([(await told).status, (await told).msg], [401, 'not authorized'])
    await peer.gone()
  })
}

for (const [what, cause, status] of [
  ['an Error', new Error('secret'), 500],
  ['a string', 'secret', 500],
  ['null', null, 500],
  ['a status that is no number', { status: '404' }, 500],
  ['a status that is no refusal', { status: 200 }, 500],
  ['a status that HTTP does not have', { status: 999 }, 500],
  ['a status', { status: 404 }, 404],
  ['a PeerConnectError', new PeerConnectError('banned'), 403],
] as const) {
  test(`authorize that throws ${what} refuses with ${status}`, async () => {
    await using server = new WebsocketServer({
      authorize: () => {
        throw cause
      },
    })
    const { port } = await server.serve(0)
    const told = once(server, 'peerError')
    const peer = await RawPeer.knock(port)
    const answer = await peer.answer()
    assert.equal(answer.status, status)
    assert.equal((await told).status, status)
    assert.equal(answer.body.includes('secret'), false)
    await peer.gone()
  })
}

test('an authorize that is too slow refuses with 503, and its late answer opens nothing', async () => {
  let late: (context: {}) => void = () => {}
  await using server = new WebsocketServer({
    handshakeTimeout: 20,
    authorize: () => new Promise<{}>((resolve) => (late = resolve)),
  })
  const { port } = await server.serve(0)
  const told = once(server, 'peerError')
  const peer = await RawPeer.knock(port)
  assert.equal((await peer.answer()).status, 503)
  const error = await told
  assert.equal(error.status, 503)
  assert.equal(error.msg, '`authorize` did not answer within 20 ms of the connection')
  late({})
  await peer.gone()
  assert.deepEqual([server.clients.size, server.stats().handshakes], [0, 0])
})

test('an authorize that fails after it was too slow ends no process', async () => {
  let late: (cause: Error) => void = () => {}
  await using server = new WebsocketServer({
    handshakeTimeout: 20,
    authorize: () => new Promise<{}>((_, reject) => (late = reject)),
  })
  const { port } = await server.serve(0)
  const peer = await RawPeer.knock(port)
  assert.equal((await peer.answer()).status, 503)
  late(new Error('late'))
  await turn() // an unhandled rejection would be told now
  await peer.gone()
})

for (const [how, leave] of [
  ['RST', (peer) => void peer.tcp.resetAndDestroy()],
  ['FIN', (peer) => void peer.tcp.destroy()],
] as [string, (peer: RawPeer) => void][]) {
  test(`a peer that leaves by ${how} while authorize thinks is forgotten, with status 0`, async () => {
    let asked: () => void = () => {}
    const thinking = new Promise<void>((resolve) => (asked = resolve))
    await using server = new WebsocketServer({
      maxConnectionsPerAddress: 1,
      handshakeTimeout: 2_000,
      authorize: ({ url }) => {
        if (url !== '/slow') return true
        asked()
        return new Promise<true>(() => {})
      },
    })
    const { port } = await server.serve(0)
    const told = once(server, 'peerError')
    const peer = await RawPeer.knock(port, { target: '/slow' })
    await thinking
    assert.equal(server.stats().handshakes, 1)
    leave(peer)
    const error = await told
    assert.deepEqual([error.status, error.msg], [0, 'the peer has left'])
    assert.equal(server.stats().handshakes, 0)
    assert.equal(server.stats().refusals.left, 1)
    await open(port)
  })
}

test('a server that closes refuses a handshake that waits for authorize with 503', async () => {
  let late: (verdict: true) => void = () => {}
  let asked: () => void = () => {}
  const thinking = new Promise<void>((resolve) => (asked = resolve))
  const server = new WebsocketServer({
    authorize: () => {
      asked()
      return new Promise<true>((resolve) => (late = resolve))
    },
  })
  const { port } = await server.serve(0)
  const clients: unknown[] = []
  listen(server, 'client', (client) => void clients.push(client))
  const told = once(server, 'peerError')
  const peer = await RawPeer.knock(port)
  await thinking
  const closing = server.close()
  assert.equal((await peer.answer()).status, 503)
  assert.deepEqual([(await told).status, (await told).msg], [503, 'the server is closing'])
  late(true)
  await closing
  assert.deepEqual(clients, [])
  await peer.gone()
})

test('a closing server refuses with 503 a peer that was connected and asks only now', async () => {
  const server = new WebsocketServer({ closeTimeout: 50 })
  const { port } = await server.serve(0)
  const deaf = await RawPeer.enter(port) // never answers, so that closing takes its time
  const late = await RawPeer.connect(port)
  const closing = server.close()
  late.write(handshake())
  assert.equal((await late.answer()).status, 503)
  await closing
  deaf.tcp.destroy()
})

test('a closing server refuses a client that comes without http, too', async () => {
  const server = new WebsocketServer({ closeTimeout: 20 })
  const { port } = await server.serve(0)
  await RawPeer.enter(port) // never answers, so that closing takes its time
  const closing = server.close()
  assert.equal(await statusOf(link(server, new WebsocketClient())), 503)
  await closing
})

test('the first refused origin is printed once for each server, with the option that lets it in', async (t) => {
  const print = t.mock.method(console, 'error', () => {})
  const refuse = async (server: WebsocketServer, origin: string): Promise<void> => {
    const client = new WebsocketClient({ headers: { Origin: origin } })
    assert.equal(await statusOf(link(server, client)), 403)
  }
  const server = new WebsocketServer()
  await refuse(server, 'file://')
  assert.equal(print.mock.callCount(), 0, 'no option lets it in')
  for (let times = 0; times < 3; times++) await refuse(server, 'http://localhost:5173')
  await refuse(server, 'https://evil.com')
  await refuse(new WebsocketServer({ origins: ['https://a.com'] }), 'http://localhost:5173')
  const lines = print.mock.calls.map(({ arguments: [line] }) => String(line))
  assert.equal(lines.length, 2)
  assert.match(
    lines[0] ?? '',
    /^simplewebsockets: .*\{ origins: \['http:\/\/localhost:5173'\] \}\./,
  )
  assert.match(lines[1] ?? '', /'http:\/\/localhost:5173' in `origins`\./)
  const further = new WebsocketClient({ headers: { Origin: 'http://localhost:5173' } })
  await link(new WebsocketServer({ origins: ['http://localhost:5173'] }), further)
})

// tls and proxies

test('with tls it speaks wss, and only that', async () => {
  await using server = new WebsocketServer({ tls: certificate() })
  const { port } = await server.serve(0)
  const client = new WebsocketClient({ tls: { ca: certificate().cert } })
  const here = await client.open(`wss://localhost:${port}`)
  assert.ok((await here.ping()) >= 0)
  await assert.rejects(open(port), ConnectError)
  assert.equal(server.clients.size, 1)
})

for (const [what, words, status] of [
  ['plain HTTP', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
  ['junk', '\x16\x03\x01\x00\x05hello', 400],
  ['half a hello', '\x16\x03\x01', 408],
  ['nothing', '', 408],
] as const) {
  test(`a peer that sends ${what} to a server with tls is hung up on, and told of`, async () => {
    await using server = new WebsocketServer({
      tls: certificate(),
      handshakeTimeout: 50,
      closeTimeout: 50,
    })
    const { port } = await server.serve(0)
    const told = once(server, 'peerError', { signal: AbortSignal.timeout(1_000) })
    const peer = await RawPeer.connect(port)
    peer.write(Buffer.from(words, 'latin1'))
    assert.equal((await told).status, status)
    const leftover = server.close() // whatever is open still must not outlive it
    await Promise.all([peer.gone(), leftover])
  })
}

for (const [trustProxy, forwarded, address] of [
  [false, '1.1.1.1', 'own'],
  [0, '1.1.1.1', 'own'],
  [true, undefined, 'own'],
  [true, ' , ', 'own'],
  [true, '1.1.1.1', '1.1.1.1'],
  [true, 'forged, 1.1.1.1', '1.1.1.1'],
  [2, 'forged, 1.1.1.1, 2.2.2.2', '1.1.1.1'],
  [2, '1.1.1.1', '1.1.1.1'],
] as const) {
  test(`with trustProxy ${trustProxy} an X-Forwarded-For of ${forwarded} means ${address}`, async () => {
    await using server = new WebsocketServer({ trustProxy })
    const { port, address: own } = await server.serve(0)
    const entered = once(server, 'client')
    await open(
      port,
      '/',
      forwarded === undefined ? {} : { headers: { 'X-Forwarded-For': forwarded } },
    )
    assert.equal((await entered).request.remoteAddress, address === 'own' ? own : address)
  })
}

test('an IPv4 address is the same on a socket for both families', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0, '::')
  const entered = once(server, 'client')
  await new WebsocketClient().open(`ws://127.0.0.1:${port}`)
  assert.equal((await entered).request.remoteAddress, '127.0.0.1')
})

// limits

test('past maxConnections a peer gets 503, until another one goes', async () => {
  await using server = new WebsocketServer({ maxConnections: 2 })
  const { port } = await server.serve(0)
  const first = await open(port)
  await open(port)
  const told = once(server, 'peerError')
  assert.equal(await statusOf(open(port)), 503)
  assert.equal((await told).msg, 'there are 2 connections already')
  await first.close()
  await open(port)
  assert.equal(server.clients.size, 2)
  assert.equal(server.stats().refusals.maxConnections, 1)
})

test('a handshake that is not over counts among maxConnections', async () => {
  let asked: () => void = () => {}
  const thinking = new Promise<void>((resolve) => (asked = resolve))
  await using server = new WebsocketServer({
    maxConnections: 1,
    authorize: () => {
      asked()
      return new Promise<true>(() => {})
    },
  })
  const { port } = await server.serve(0)
  const peer = await RawPeer.knock(port)
  await thinking
  assert.equal(await statusOf(open(port)), 503)
  peer.tcp.destroy()
})

test('past maxConnectionsPerAddress an address gets 429, others come in, and it is freed again', async () => {
  await using server = new WebsocketServer({ maxConnectionsPerAddress: 2, trustProxy: true })
  const { port } = await server.serve(0)
  const from = (address: string): Promise<WebsocketConnection> =>
    open(port, '/', { headers: { 'X-Forwarded-For': address } })
  const first = await from('1.1.1.1')
  await from('1.1.1.1')
  const told = once(server, 'peerError')
  assert.equal(await statusOf(from('1.1.1.1')), 429)
  assert.equal((await told).msg, 'this address has 2 connections already')
  await from('2.2.2.2')
  await first.close()
  await from('1.1.1.1')
  assert.equal(await statusOf(from('1.1.1.1')), 429)
})

test('a peer that is refused does not count among the connections of its address', async () => {
  await using server = new WebsocketServer({
    maxConnectionsPerAddress: 1,
    authorize: ({ query }) => query.has('in'),
  })
  const { port } = await server.serve(0)
  for (let attempt = 0; attempt < 3; attempt++) assert.equal(await statusOf(open(port)), 401)
  const bad = await RawPeer.knock(port, {
    target: '/?in',
    headers: { 'Sec-WebSocket-Key': 'short' },
  })
  assert.equal((await bad.answer()).status, 400)
  await bad.gone()
  await open(port, '/?in')
})

// rooms, emit, stats

test('the same name is the same room; a name must be a string', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const here = await open(port)
  for (const name of ['lobby', '', '__proto__']) {
    server.room(name).add(await entered)
    assert.equal(server.room(name).size, 1)
    assert.equal(server.room(name).name, name)
    server.room(name).emit(name)
    assert.equal(await once(here, 'message'), name)
  }
  for (const junk of [undefined, 5, null, {}]) {
    // @ts-expect-error: a slip
    assert.throws(() => server.room(junk), /expected the name of a room to be a string, got /)
  }
})

test('emit reaches every client', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const ends = [await open(port), await open(port)]
  const heard = ends.map((end) => once(end, 'message'))
  server.emit('to all')
  assert.deepEqual(await Promise.all(heard), ['to all', 'to all'])
  // @ts-expect-error: a slip
  assert.throws(() => server.emit({}), TypeError)
})

test('stats counts what came and went, and the refusals', async () => {
  await using server = new WebsocketServer({ path: '/here' })
  const { port } = await server.serve(0)
  const drops = {
    ...{ slowConsumer: 0, rateLimit: 0, closing: 0, unread: 0, backplane: 0, channels: 0 },
    ...{ history: 0, invalid: 0, slowLoop: 0 },
  }
  const refusals = {
    ...{ request: 0, path: 0, host: 0, origin: 0, maxConnections: 0, maxConnectionsPerAddress: 0 },
    ...{ handshakeTimeout: 0, authorize: 0, channels: 0, closing: 0, left: 0, slowLoop: 0 },
  }
  const nothing = {
    ...{ connections: 0, handshakes: 0, received: 0, sent: 0, bytesReceived: 0, bytesSent: 0 },
    ...{ dropped: 0, drops, refused: 0, refusals },
  }
  assert.deepEqual(server.stats(), nothing)
  const entered = once(server, 'client')
  const here = await open(port, '/here')
  here.send('one')
  here.send('two')
  const there = await entered
  await once(there, 'message')
  server.emit('three')
  await once(here, 'message')
  assert.equal(await statusOf(open(port, '/there')), 404)
  assert.equal(await statusOf(open(port, '/there')), 404)
  const stats = server.stats()
  const { bytesReceived, bytesSent } = stats
  assert.deepEqual(stats, {
    ...nothing,
    ...{ connections: 1, received: 2, sent: 1, bytesReceived, bytesSent },
    ...{ refused: 2, refusals: { ...refusals, path: 2 } },
  })
  void here.close()
  await once(there, 'close')
  assert.equal(server.stats().connections, 0)
  assert.equal(stats.connections, 1, 'what was counted stays as it was')
})

for (const compression of [false, true]) {
  const how = compression ? 'compressed' : 'as they are'
  test(`stats counts the bytes of messages that go ${how}, of those who have gone, too`, async () => {
    await using server = new WebsocketServer({ compression })
    const { port } = await server.serve(0)
    listen(server, 'client', (client) => {
      listen(client, 'message', (message) => void client.send(message))
    })
    const text = 'x'.repeat(10_000)
    const here = await open(port, '/', { compression })
    const before = server.stats()
    here.send(text)
    await once(here, 'message')
    const after = server.stats()
    for (const name of ['bytesReceived', 'bytesSent'] as const) {
      const bytes = after[name] - before[name]
      if (compression) assert.ok(bytes > 10 && bytes < 200, `${bytes}`)
      else assert.equal(bytes, 10_000 + 4 + (name === 'bytesReceived' ? 4 : 0))
    }
    const [there] = server.clients
    assert.ok(there)
    void here.close()
    await once(there, 'close')
    const { bytesReceived, bytesSent } = server.stats()
    const closeFrame = 2 + 2 + Buffer.byteLength(closeCodeTexts.get(1000) ?? '')
    assert.equal(bytesReceived - after.bytesReceived, closeFrame + 4)
    assert.equal(bytesSent - after.bytesSent, closeFrame)
  })
}

test('a backplane that goes and comes back is told of, and its failures are errors', async () => {
  let tell: (state: 'up' | 'down') => void = () => {}
  let receive: (message: Uint8Array) => void = () => {}
  const failing: Backplane = {
    ...memoryBackplane(),
    subscribe: (_, callback) => {
      receive = callback
      return () => {}
    },
    publish: () => Promise.reject(new Error('unplugged')),
    close: () => {},
    listen: (state) => (tell = state),
  }
  await using server = new WebsocketServer({ backplane: failing })
  const states: string[] = []
  listen(server, 'backplane', ({ state }) => void states.push(state))
  tell('down')
  tell('up')
  assert.deepEqual(states, ['down', 'up'])
  const { port } = await server.serve(0)
  await open(port)
  const failed = once(server, 'error')
  server.emit('lost')
  assert.equal((await failed).msg, 'the backplane failed')
  server.emit('lost, too') // which is told once it works again: nothing is printed, no harm is done
  await turn()
  receive(Uint8Array.of(9, 9, 9))
  assert.equal(server.stats().dropped, 3, 'two could not go out, and one made no sense')
})

for (const keepaliveTimeout of [false, 20] as const) {
  test(`with a keepaliveTimeout of ${keepaliveTimeout} an honest peer stays`, async () => {
    await using server = new WebsocketServer({ keepaliveTimeout, fragmentationThreshold: 4 })
    const { port } = await server.serve(0)
    const entered = once(server, 'client')
    const here = await open(port, '/', { keepaliveTimeout, fragmentationThreshold: 4 })
    const there = await entered
    if (keepaliveTimeout !== false) {
      const pings = listen(here, 'ping')
      for (let count = 0; count < 3; count++) assert.equal((await pings.next()).value, 'keepalive')
    }
    here.send('in three frames')
    assert.equal(await once(there, 'message'), 'in three frames')
    assert.ok(here.isOpen && there.isOpen)
  })
}

// close

test('closing twice is closing once', async () => {
  const server = new WebsocketServer()
  const closed: Address[] = []
  listen(server, 'closed', (address) => void closed.push(address))
  await server.close()
  assert.deepEqual(closed, [], 'what was never open has not closed')
  const { port } = await server.serve(0)
  const here = await open(port)
  const gone = once(here, 'close')
  await Promise.all([server.close(), server.close({ code: 4000 }), server.close()])
  await server.close()
  assert.equal(closed.length, 1)
  assert.deepEqual(await gone, AWAY)
})

test('closing has a code and a text, as you choose', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const peer = await RawPeer.enter(port)
  const told = server.close({ code: 1012, description: 'back in a minute' })
  assert.deepEqual(await peer.closed(), { code: 1012, description: 'back in a minute' })
  peer.tcp.destroy()
  await told
  const again = await server.serve(0)
  const here = await open(again.port)
  void server.close({ code: undefined, description: 'bye' })
  assert.deepEqual(await once(here, 'close'), { code: 1001, description: 'bye' })
  await once(server, 'closed')
})

for (const how of ['serves', 'is attached'] as const) {
  test(`a server that ${how} closes within a time: in batches, and 503 at the door`, async (t) => {
    const server = new WebsocketServer()
    let port = 0
    if (how === 'serves') {
      port = (await server.serve(0)).port
    } else {
      const http = createServer()
      await new Promise<void>((resolve) => http.listen(0, 'localhost', resolve))
      t.after(() => http.close())
      server.attach(http)
      port = (http.address() as AddressInfo).port
    }
    const first = await RawPeer.enter(port)
    const last = await RawPeer.enter(port)
    const closing = server.close({ within: 400, batch: 1 })
    assert.match((await first.closed())?.description ?? '', /^Service restart retry=\d+$/)
    const late = await (await RawPeer.knock(port)).answer()
    assert.deepEqual([late.status, late.headers.get('retry-after')], [503, '1'])
    assert.equal((await last.closed())?.code, 1012)
    for (const peer of [first, last]) peer.tcp.destroy()
    await closing
    assert.equal(server.isOpen, false)
  })
}

test('a second close without `within` ends one with it at once', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const [first, second, third] = [await open(port), await open(port), await open(port)]
  const reasons = [first, second, third].map((here) => once(here, 'close'))
  const slow = server.close({ within: 600_000, batch: 1 })
  await reasons[0]
  const again = server.close({ within: 600_000 }) // joins the one under way
  assert.ok(second.isOpen)
  await Promise.all([slow, again, server.close({ code: 4000, description: 'now' })])
  const codes = (await Promise.all(reasons)).map(({ code }) => code)
  assert.deepEqual(codes, [1012, 4000, 4000])
})

test('a description that begins with codes closes a server, as text', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const gone = once(await open(port), 'close')
  await server.close({ description: '[1008][1005]bye' })
  assert.deepEqual(await gone, { code: 1001, description: '[1008][1005]bye' })
  assert.equal(server.isOpen, false)
  await server.serve(0)
  await server.close()
})

/** Lets a client in whose transport fails when it is to send a close frame. */
function enterBroken(server: WebsocketServer): Transport {
  const [transport] = memoryEnds()
  transport.close = () => {
    throw new Error('the transport is broken')
  }
  void server[ADMISSION].handle({
    source: { url: '/', rawHeaders: ['host', 'localhost'], remoteAddress: '127.0.0.1' },
    incoming: undefined,
    boundAddress: '',
    check: () => {},
    onAbort: () => () => {},
    accept: () => transport,
    reject: () => assert.fail('it is let in'),
  })
  return transport
}

for (const within of [0, 50]) {
  test(`whatever fails in a close within ${within} ms, the server has closed, and serves again`, async () => {
    const server = new WebsocketServer()
    const errors: unknown[] = []
    listen(server, 'error', ({ message }) => void errors.push(message))
    const { port } = await server.serve(0)
    enterBroken(server)
    const gone = once(await open(port), 'close')
    enterBroken(server)
    const told = once(server, 'closed')
    await server.close({ code: 1001, within })
    assert.equal((await told).port, port)
    assert.deepEqual(await gone, AWAY)
    assert.deepEqual(errors, ['the transport is broken', 'the transport is broken'])
    assert.deepEqual([server.isOpen, server.clients.size], [false, 0])
    await open((await server.serve(0)).port)
    await server.close()
  })
}

test('authorize may say when to come back', async () => {
  await using server = new WebsocketServer({
    authorize: () => {
      throw new PeerConnectError('full', { status: 429, retryAfter: 1.5 })
    },
  })
  const { port } = await server.serve(0)
  const { status, headers } = await (await RawPeer.knock(port)).answer()
  assert.deepEqual([status, headers.get('retry-after')], [429, '2'])
})

test('closing with a code that may not be sent throws a RangeError, and changes nothing', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const here = await open(port)
  for (const code of [0, 999, 1005, 1006, 1015, 2000, 5000, NaN, 1000.5]) {
    assert.throws(() => void server.close({ code }), RangeError)
  }
  // @ts-expect-error: a slip
  assert.throws(() => void server.close({ description: 5 }), TypeError)
  // @ts-expect-error: a slip
  assert.throws(() => void server.close({ within: 'a minute' }), TypeError)
  assert.ok(server.isOpen)
  assert.ok((await here.ping()) >= 0)
})

for (const event of ['client', 'closed', 'message'] as const) {
  test(`a server may be closed inside a ${event} listener`, async () => {
    const server = new WebsocketServer()
    const closed: unknown[] = []
    listen(server, 'closed', (address) => void closed.push(address))
    if (event !== 'message') listen(server, event, () => server.close())
    listen(server, 'client', (client) => {
      if (event === 'message') listen(client, 'message', () => server.close())
    })
    const { port } = await server.serve(0)
    const here = await open(port)
    const gone = once(here, 'close')
    here.send('now')
    if (event === 'closed') await server.close()
    assert.deepEqual(await gone, AWAY)
    await once(server, 'closed')
    assert.equal(closed.length, 1)
    assert.equal(server.clients.size, 0)
    assert.ok(!server.isOpen)
  })
}

test('closing leaves nothing behind: idle peers, half requests, plain requests, the deaf', async () => {
  const before = sockets()
  const server = new WebsocketServer({ closeTimeout: 50, authorize: ({ url }) => url !== '/no' })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const deaf = await RawPeer.enter(port)
  const there = await entered
  const polite = await open(port)
  const refused = await RawPeer.knock(port, { target: '/no' })
  const idle = await RawPeer.connect(port)
  const half = await RawPeer.connect(port)
  half.write('GET / HTTP/1.1\r\nHost: local')
  const plain = await RawPeer.connect(port)
  plain.write('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf')
  assert.equal((await refused.answer()).status, 401)
  assert.equal((await plain.answer()).status, 426)
  const [gone, goodbye] = [once(there, 'close'), once(polite, 'close')]
  await server.close()
  assert.deepEqual(await gone, AWAY)
  assert.deepEqual(await goodbye, AWAY)
  assert.equal(server.clients.size, 0)
  for (const peer of [deaf, refused, idle, half, plain]) await peer.gone()
  await turn()
  assert.deepEqual(sockets(), before)
})

test('closing leaves nothing behind of peers that never began with TLS', async () => {
  const before = sockets()
  const server = new WebsocketServer({
    closeTimeout: 50,
    handshakeTimeout: 60_000,
    tls: certificate(),
  })
  const { port } = await server.serve(0)
  const silent = await RawPeer.connect(port)
  const half = await RawPeer.connect(port)
  half.write(Buffer.from([0x16, 0x03, 0x01]))
  const client = new WebsocketClient({ tls: { rejectUnauthorized: false } })
  await client.open(`wss://localhost:${port}`) // by now the others have been accepted, too
  const closed = once(client, 'closed')
  await server.close()
  assert.deepEqual(await closed, AWAY)
  for (const peer of [silent, half]) await peer.gone()
  await turn()
  assert.deepEqual(sockets(), before)
})

for (const [what, end] of [
  ['the server closes', 'await server.close()'],
  ['the peer leaves', "client.close(); await once(server, 'peerError'); await server.close()"],
] as const) {
  test(`once ${what} an authorize that never answers holds no timer`, async () => {
    const { code, said } = await run(`
      import { once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
      let asked
      const asking = new Promise((resolve) => (asked = resolve))
      const server = new WebsocketServer({ authorize: () => new Promise(asked) })
      const { port } = await server.serve(0)
      const client = new WebsocketClient()
      client.open('ws://localhost:' + port).catch(() => {})
      await asking
      ${end}
      await client.close()
      await new Promise(setImmediate)
      console.log(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length)`)
    assert.deepEqual([code, said], [0, '0\n'])
  })
}

test('closing ends the loops and waits on the server and its rooms', async () => {
  const server = new WebsocketServer()
  await server.serve(0)
  const joins = listen(server.room('lobby'), 'join')
  const clients = listen(server, 'client')
  const waiting = once(server, 'client')
  await server.close()
  assert.equal((await joins.next()).done, true)
  assert.equal((await clients.next()).done, true)
  await assert.rejects(waiting, ClosedError)
})

test('a server is closed at the end of an `await using` block', async () => {
  const closed: Address[] = []
  let gone: Promise<unknown>
  {
    await using server = new WebsocketServer()
    listen(server, 'closed', (address) => void closed.push(address))
    const { port } = await server.serve(0)
    gone = once(await open(port), 'close')
  }
  assert.equal(closed.length, 1)
  assert.deepEqual(await gone, AWAY)
})

test('a client whose `client` listener failed unheard is closed with 1011, the others stay', async (t) => {
  const print = t.mock.method(console, 'error', () => {})
  await using server = new WebsocketServer()
  listen(server, 'client', ({ request }) => {
    if (request.url === '/bad') throw new Error('no setup')
  })
  const { port } = await server.serve(0)
  const good = await open(port, '/good')
  const bad = await open(port, '/bad')
  assert.equal((await once(bad, 'close')).code, 1011)
  assert.ok((await good.ping()) >= 0)
  assert.equal(print.mock.callCount(), 1)
})

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createServer as createTcpServer, connect as connectTcp, type Socket } from 'node:net'
import { once as onceEmitted } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, mock, test } from 'node:test'
import {
  CallbackError,
  ClosedError,
  closeReason,
  ConnectError,
  FrameError,
  listen,
  isSendableCloseCode,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketConnection,
  WebsocketError,
  WebsocketServer,
  type ClientOptions,
  type Data,
  type ServerOptions,
} from 'simplewebsockets'
import { cut } from 'simplewebsockets/testing'

const folder = mkdtempSync(join(tmpdir(), 'scenarios-'))
after(() => rmSync(folder, { recursive: true }))

/** Makes a certificate for localhost that no other program trusts. */
function certificate(): { cert: string; key: string } {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  const kind = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1']
  execFileSync('openssl', [...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
}

interface Served<Context extends {}> {
  server: WebsocketServer<Context>
  url: string
  connect: (options?: ClientOptions) => Promise<Met<Context>>
}

interface Met<Context extends {}> {
  client: WebsocketClient
  /** The client's end. */
  here: WebsocketConnection
  /** The server's end. */
  there: WebsocketConnection<Context>
}

/** Serves on a free port, and gives what connects to it. */
async function serve<Context extends {} = {}>(
  options: ServerOptions<Context> = {},
): Promise<Served<Context>> {
  const server = new WebsocketServer<Context>(options)
  const { port } = await server.serve(0)
  const url = `${options.tls ? 'wss' : 'ws'}://localhost:${port}`
  return {
    server,
    url,
    async connect(clientOptions) {
      const client = new WebsocketClient(clientOptions)
      const entered = once(server, 'client')
      const here = await client.open(url)
      return { client, here, there: await entered }
    },
  }
}

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const hello = (port: number): string =>
  `GET / HTTP/1.1\r\nHost: localhost:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`

/** Shakes hands over TCP, and then says nothing by itself. */
async function knock(url: string): Promise<Socket> {
  const port = Number(new URL(url).port)
  const tcp = connectTcp(port, 'localhost').on('error', () => {})
  tcp.write(hello(port))
  await onceEmitted(tcp, 'data')
  return tcp
}

/** Accepts one client over TCP, and then says nothing by itself. */
async function accept(
  options?: ClientOptions,
): Promise<{ here: WebsocketConnection; tcp: Socket }> {
  const server = createTcpServer().listen(0, 'localhost')
  await onceEmitted(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  const opening = new WebsocketClient({
    ...options,
    headers: { 'X-Silent': 'yes' },
  }).open(`ws://localhost:${port}`)
  const [tcp] = (await onceEmitted(server, 'connection')) as [Socket]
  const [request] = (await onceEmitted(tcp, 'data')) as [Buffer]
  const [, key = ''] = /Sec-WebSocket-Key: (.*)\r\n/i.exec(request.toString()) ?? []
  const { createHash } = await import('node:crypto')
  const digest = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
  tcp.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${digest.digest('base64')}\r\n\r\n`,
  )
  server.close()
  return { here: await opening, tcp }
}

test('scenario 1: a server and a client built with defaults print nothing', () => {
  const spies = [mock.method(process.stdout, 'write'), mock.method(process.stderr, 'write')]
  try {
    new WebsocketServer()
    new WebsocketClient()
    assert.deepEqual(
      spies.map((spy) => spy.mock.callCount()),
      [0, 0],
    )
  } finally {
    for (const spy of spies) spy.mock.restore()
  }
})

test('scenario 2: reasons have standard texts, and some may never be sent', () => {
  assert.deepEqual(closeReason(1000), { code: 1000, description: 'Normal connection closure' })
  assert.ok(isSendableCloseCode(1000))
  for (const code of [1004, 1005, 1006]) {
    assert.notEqual(closeReason(code).description, '')
    assert.ok(!isSendableCloseCode(code))
  }
})

test('scenario 3: a description that begins with a code is text, here and at the peer', async () => {
  const reason = { code: 1000, description: '[1008]parsed description' }
  assert.deepEqual(closeReason(1000, '[1008]parsed description'), reason)
  const { server, connect } = await serve()
  const { here, there } = await connect()
  const closed = once(there, 'close')
  assert.deepEqual(await here.close(1000, '[1008]parsed description'), reason)
  assert.deepEqual(await closed, reason)
  await server.close()
})

for (const Wrapper of [
  WebsocketError,
  ConnectError,
  PeerConnectError,
  CallbackError,
  FrameError,
  ClosedError,
]) {
  test(`scenario 4: a ${Wrapper.name} wraps a cause`, () => {
    const cause = new RangeError('out of range')
    assert.equal(new Wrapper(cause).msg, 'out of range')
    assert.equal(new Wrapper(cause).cause, cause)
    assert.equal(new Wrapper(new RangeError()).msg, 'RangeError')
    const print = mock.method(console, 'error', () => {})
    new Wrapper(cause).log()
    assert.equal(print.mock.callCount(), 1)
    print.mock.restore()
  })
}

test('scenario 5: a number and its decimal text go out as the same 9 bytes', async () => {
  const { server, connect } = await serve({ binary: true })
  const { here, there } = await connect()
  const messages = listen(there, 'message')
  here.send(123456789)
  here.send('123456789')
  const bytes = new TextEncoder().encode('123456789')
  for (let count = 0; count < 2; count++) {
    assert.deepEqual((await messages.next()).value, bytes)
  }
  await server.close()
})

test("scenario 6: extra headers reach the server, and the handshake's own can't be overridden", async () => {
  const { server, connect } = await serve()
  const { there } = await connect({
    headers: {
      'X-Extra': 'reached',
      Upgrade: 'h2c',
      connection: 'close',
      'Sec-WebSocket-Key': 'forged',
    },
  })
  const { headers } = there.request
  assert.equal(headers['x-extra'], 'reached')
  assert.equal(headers.upgrade, 'websocket')
  assert.equal(headers.connection, 'Upgrade')
  assert.notEqual(headers['sec-websocket-key'], 'forged')
  await server.close()
})

for (const [scheme, options] of [
  ['ws', () => ({})],
  ['wss', () => ({ tls: certificate() })],
] as [string, () => ServerOptions][]) {
  test(`scenario 7: a ${scheme} server closed inside its listening listener says where it listened`, async () => {
    const server = new WebsocketServer(options())
    listen(server, 'listening', () => server.close())
    const closed = once(server, 'closed')
    const { port } = await server.serve(0, 'localhost')
    const address = await closed
    assert.deepEqual([address.port, address.host], [port, 'localhost'])
    assert.match(address.address, /^(127\.0\.0\.1|::1)$/)
    assert.ok(!server.isOpen)
  })

  test(`scenario 8: a ${scheme} client connects and closes`, async () => {
    const { server, connect } = await serve(options())
    const { client, here, there } = await connect({ tls: { rejectUnauthorized: false } })
    const gone = once(there, 'close')
    const normal = { code: 1000, description: 'Normal connection closure' }
    assert.deepEqual(await here.close(), normal)
    assert.deepEqual(await once(here, 'close'), normal)
    assert.deepEqual(await gone, normal)
    assert.ok(!client.isOpen)
    assert.equal(server.clients.size, 0)
    assert.ok(server.isOpen)
    await server.close()
  })
}

test("scenario 9: a host that doesn't resolve is a ConnectError", async () => {
  const client = new WebsocketClient()
  const told = once(client, 'connectError')
  await assert.rejects(client.open('ws://badurl.invalid'), ConnectError)
  assert.ok((await told) instanceof ConnectError)
})

for (const fragmentationThreshold of [false, 16_384] as const) {
  for (const binary of [false, true]) {
    const how = `${binary ? 'binary' : 'text'} server, fragments ${fragmentationThreshold}`
    test(`scenario 10: echo through every length form up to 1 MiB: ${how}`, async () => {
      const { server, connect } = await serve({ binary, fragmentationThreshold })
      listen(server, 'client', (client) => {
        listen(client, 'message', (message) => void client.send(message))
      })
      const echo = async (clientBinary: boolean): Promise<void> => {
        const { here } = await connect({ binary: clientBinary, fragmentationThreshold })
        for (let size = 15; ; size = Math.min(size * 2, 1_048_576)) {
          const text = 'äöü€😀'.repeat(size).slice(0, size)
          const sent = new TextEncoder().encode(text).subarray(0, size)
          here.send(clientBinary ? sent : 'x'.repeat(size))
          const back: Data = await once(here, 'message')
          const expected = clientBinary ? sent : new TextEncoder().encode('x'.repeat(size))
          const bytes = typeof back === 'string' ? new TextEncoder().encode(back) : back
          assert.ok(Buffer.from(bytes).equals(Buffer.from(expected)), `${size} bytes came back`)
          assert.equal(typeof back, clientBinary || binary ? 'object' : 'string')
          if (size === 1_048_576) break
        }
        assert.equal((await here.close()).code, 1000)
      }
      // One after the other they open, so that each meets its own end; both echo at once.
      await Promise.all([echo(true), echo(false)])
      await server.close()
    })
  }
}

test('scenario 11: a ping is answered, and the peer hears why it was closed', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  const pong = once(here, 'pong')
  assert.ok((await here.ping('testping')) >= 0)
  const text = String(await pong)
  assert.equal(text, 'testping')
  const gone = once(there, 'close')
  await here.close(1000, text)
  assert.deepEqual(await gone, { code: 1000, description: 'testping' })
  assert.ok(server.isOpen)
  await server.close()
})

test('scenario 12: a message over 1 MiB is refused with 1009', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  const gone = once(there, 'close')
  const error = once(there, 'error')
  here.send('x'.repeat(1_048_577))
  const tooBig = { code: 1009, description: 'Maximum message size of 1048576 Bytes exceeded' }
  assert.deepEqual(await once(here, 'close'), tooBig)
  assert.deepEqual(await gone, tooBig)
  assert.equal((await error).msg, tooBig.description)
  assert.ok(server.isOpen)
  await server.close()
})

test('scenario 13: a frame over its limit is refused with 1008, the same message in fragments passes', async () => {
  const { server, connect } = await serve({ maxReceivedFrameSize: 65_536 })
  const { here } = await connect()
  here.send('x'.repeat(65_537))
  const reason = { code: 1008, description: 'frame size exceeds maximum of 65536 Bytes.' }
  assert.deepEqual(await once(here, 'close'), reason)
  assert.ok(server.isOpen)
  const { here: careful, there } = await connect({ fragmentationThreshold: 16_384 })
  careful.send('x'.repeat(65_537))
  assert.equal((await once(there, 'message')).length, 65_537)
  await server.close()
})

test('scenario 14: a peer that never answers pings is given up', async () => {
  const { here } = await accept({ keepaliveTimeout: 20 })
  assert.deepEqual(await once(here, 'close'), {
    code: 1006,
    description: 'could not ping the server.',
  })
  const { server, url } = await serve({ keepaliveTimeout: 20 })
  const entered = once(server, 'client')
  await knock(url)
  assert.deepEqual(await once(await entered, 'close'), {
    code: 1006,
    description: 'could not ping the client.',
  })
  assert.ok(server.isOpen)
  await server.close()
})

test('scenario 15: a server that closes tells its clients that it goes away', async () => {
  const { server, connect } = await serve()
  const [one, two] = [await connect(), await connect()]
  const closes = [once(one.here, 'close'), once(two.here, 'close')]
  await server.close()
  const away = { code: 1001, description: 'Remote peer is going away' }
  assert.deepEqual(await Promise.all(closes), [away, away])
  assert.ok(!one.client.isOpen && !two.client.isOpen && !server.isOpen)
})

test('scenario 16: messages sent before a listener is added arrive in order', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  for (const number of [1, 2, 3]) here.send(number)
  await here.ping()
  const messages: Data[] = []
  listen(there, 'message', (message) => void messages.push(message))
  here.send(4)
  await here.ping()
  assert.deepEqual(messages, ['1', '2', '3', '4'])
  await server.close()
})

test('scenario 17: an async listener is awaited before the next message is given to it', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  let running = 0
  const order: Data[] = []
  const done = new Promise<void>((resolve) => {
    listen(there, 'message', async (message) => {
      running++
      assert.equal(running, 1)
      await new Promise(setImmediate)
      order.push(message)
      running--
      if (order.length === 20) resolve()
    })
  })
  for (let number = 0; number < 20; number++) here.send(number)
  await done
  assert.deepEqual(order.map(Number), [...Array(20).keys()])
  await server.close()
})

test("scenario 18: a listener's failure is an error event, and the next message still arrives", async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  listen(there, 'message', (message) => {
    if (message === 'bad') throw new Error('could not')
    there.send(message)
  })
  const failed = once(there, 'error')
  here.send('bad')
  here.send('good')
  assert.equal(await once(here, 'message'), 'good')
  assert.equal((await failed).msg, 'could not')
  await server.close()
})

test('scenario 19: several listeners of one event all run, also when the first one throws', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  const ran: string[] = []
  listen(there, 'error', () => {})
  listen(there, 'message', () => {
    ran.push('first')
    throw new Error('first')
  })
  listen(there, 'message', () => void ran.push('second'))
  listen(there, 'pong', () => {
    ran.push('third')
    throw new Error('third')
  })
  listen(there, 'pong', () => void ran.push('fourth'))
  here.send('x')
  await there.ping()
  assert.deepEqual(ran, ['first', 'second', 'third', 'fourth'])
  await server.close()
})

test('scenario 20: an invalid connection is left out of emit and broadcast, not of its own', async () => {
  const { server, connect } = await serve()
  const [one, two] = [await connect(), await connect()]
  const [heardByOne, heardByTwo] = [listen(one.here, 'message'), listen(two.here, 'message')]
  one.there.valid = false
  server.emit('to all')
  two.there.broadcast('to others')
  one.there.send('to one')
  one.there.broadcast('from one')
  assert.equal((await heardByOne.next()).value, 'to one')
  assert.equal((await heardByTwo.next()).value, 'to all')
  assert.equal((await heardByTwo.next()).value, 'from one')
  one.there.valid = true
  server.emit('to all again')
  assert.equal((await heardByOne.next()).value, 'to all again')
  await server.close()
})

test("scenario 21: broadcast on a client's connection reaches no peer, does nothing", async () => {
  const { server, connect } = await serve()
  const [one, two] = [await connect(), await connect()]
  one.here.broadcast('nobody')
  one.here.send('somebody')
  assert.equal(await once(one.there, 'message'), 'somebody')
  two.there.send('first')
  assert.equal(await once(two.here, 'message'), 'first')
  await server.close()
})

test('scenario 22: authorize reads credentials from the header, the query, and by names of your own', async () => {
  const { server, url } = await serve<{ user: string }>({
    authorize(request) {
      const named = request.basicAuth({ query: { username: 'user', password: 'pass' } })
      const found = request.basicAuth({ query: true }) ?? named
      return found?.password === 'a:b:c' ? { user: found.username } : false
    },
  })
  const users: string[] = []
  listen(server, 'client', ({ context }) => void users.push(context.user))
  const basic = Buffer.from('ada:a:b:c').toString('base64')
  await new WebsocketClient({ headers: { Authorization: `Basic ${basic}` } }).open(url)
  await new WebsocketClient().open(`${url}/?username=bob&password=a:b:c`)
  await new WebsocketClient().open(`${url}/?user=cyd&pass=a:b:c`)
  assert.deepEqual(users, ['ada', 'bob', 'cyd'])
  const refused = once(server, 'peerError')
  await assert.rejects(
    new WebsocketClient().open(`${url}/?username=eve&password=guess`),
    (error) => error instanceof ConnectError && error.status === 401,
  )
  assert.equal((await refused).status, 401)
  await server.close()
})

for (const [what, status, fail] of [
  ['a throw', 500, () => new Error('database down')],
  ['an error with a status', 418, () => Object.assign(new Error('teapot'), { status: 418 })],
  ['a PeerConnectError', 429, () => new PeerConnectError('slower', { status: 429 })],
] as [string, number, () => Error][]) {
  test(`scenario 22: ${what} in authorize answers ${status}`, async () => {
    const { server, url } = await serve({
      authorize: () => {
        throw fail()
      },
    })
    const refused = once(server, 'peerError')
    await assert.rejects(
      new WebsocketClient().open(url),
      (error) => error instanceof ConnectError && error.status === status,
    )
    const error = await refused
    assert.equal(error.status, status)
    assert.equal(error.msg, fail().message)
    await server.close()
  })
}

test('scenario 23: a port in use is a connectError, and serve rejects', async () => {
  const { server, url } = await serve()
  const second = new WebsocketServer()
  const told = once(second, 'connectError')
  await assert.rejects(second.serve(Number(new URL(url).port)), /EADDRINUSE/)
  assert.ok((await told) instanceof ConnectError)
  assert.ok(!second.isOpen)
  await server.close()
})

test('scenario 24: a peer that never answers the close frame is cut after closeTimeout', async () => {
  const { server, url } = await serve({ closeTimeout: 20 })
  const entered = once(server, 'client')
  const tcp = await knock(url)
  const there = await entered
  const ended = once(there, 'close')
  const reason = { code: 4001, description: 'that is all' }
  assert.deepEqual(await there.close(4001, 'that is all'), reason)
  assert.deepEqual(await ended, reason)
  if (!tcp.closed) await onceEmitted(tcp, 'close')
  await server.close()
})

test('scenario 25: the default text of a code is on the wire', async () => {
  const { server, url } = await serve()
  const entered = once(server, 'client')
  const tcp = await knock(url)
  void (await entered).close(1011)
  const [frame] = (await onceEmitted(tcp, 'data')) as [Buffer]
  assert.equal(frame.readUInt16BE(2), 1011)
  assert.equal(frame.subarray(4).toString(), 'Internal server error')
  tcp.destroy()
  await server.close()
})

test('scenario 26: a connection is out of clients before its close event', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  server.room('lobby').add(there)
  const sizes = new Promise((resolve) =>
    listen(there, 'close', () => resolve([server.clients.size, server.room('lobby').size])),
  )
  cut(here)
  assert.deepEqual(await sizes, [0, 0])
  await server.close()
})

test('scenario 27: a ping is cut to 125 bytes, a close text to 123 on a character boundary', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  const ping = once(there, 'ping')
  void here.ping('x'.repeat(300))
  assert.equal(await ping, 'x'.repeat(125))
  const gone = once(there, 'close')
  await here.close(1000, '€'.repeat(100))
  assert.equal((await gone).description, '€'.repeat(41))
  await server.close()
})

test('scenario 28: codes that may not be sent throw a RangeError and change nothing', async () => {
  const { server, connect } = await serve()
  const { here, there } = await connect()
  for (const code of [999, 1005, 1006, 1015, 5000]) {
    assert.throws(() => void here.close(code), RangeError)
    assert.ok(here.isOpen)
  }
  const gone = once(there, 'close')
  const both = [here.close(4000, 'first'), here.close(4001, 'second')]
  const first = { code: 4000, description: 'first' }
  assert.deepEqual(await Promise.all(both), [first, first])
  assert.deepEqual(await gone, first)
  await server.close()
})

test('scenario 28: closing twice sends one close frame', async () => {
  const { here, tcp } = await accept({ closeTimeout: 50 })
  const chunks: Buffer[] = []
  tcp.on('data', (chunk: Buffer) => chunks.push(chunk))
  void here.close(4000)
  void here.close(4000)
  await once(here, 'close')
  const bytes = Buffer.concat(chunks)
  assert.equal(bytes.length, 6 + ((bytes[1] ?? 0) & 0x7f))
  tcp.destroy()
})

test('scenario 29: TCP dropped without a close frame is 1006, a close frame without a code 1005', async () => {
  const { server, url } = await serve()
  const ends: [number, Buffer | undefined][] = [
    [1006, undefined],
    [1005, Buffer.from([0x88, 0x80, 0, 0, 0, 0])],
  ]
  for (const [code, frame] of ends) {
    const entered = once(server, 'client')
    const tcp = await knock(url)
    const there = await entered
    if (frame) tcp.write(frame)
    else tcp.destroy()
    assert.equal((await once(there, 'close')).code, code)
    tcp.destroy()
  }
  await server.close()
})

test('scenario 30: open on a client that is open or opening says so and leaves it alone', async () => {
  const { server, url } = await serve()
  const client = new WebsocketClient()
  const opening = client.open(url)
  await assert.rejects(client.open(url), /opening already/)
  const connection = await opening
  await assert.rejects(
    client.open(url),
    (error) => error instanceof ConnectError && error.msg.includes('open already'),
  )
  assert.equal(client.connection, connection)
  assert.ok(connection.isOpen)
  await server.close()
})

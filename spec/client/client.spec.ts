import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once as onceEmitted } from 'node:events'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  ConnectError,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type ClientOptions,
  type CloseReason,
  type Data,
  type UrlSource,
} from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { certificate, frame, proofOf, RawPeer, RawServer } from '../support/rawpeer.ts'

const NORMAL = { code: 1000, description: 'Normal connection closure' }

/** Lets what is ready in this turn of the event loop happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Resolves with the error that an attempt failed with. */
async function failure(opening: Promise<unknown>): Promise<ConnectError> {
  const error: unknown = await opening.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  assert.ok(error instanceof ConnectError, `expected a ConnectError, got ${String(error)}`)
  return error
}

/** Makes a client, and records everything that it tells. */
function told(options?: ClientOptions): { client: WebsocketClient; story: string[] } {
  const client = new WebsocketClient(options)
  const story: string[] = []
  listen(client, 'connect', () => void story.push('connect'))
  listen(client, 'connectError', () => void story.push('connectError'))
  listen(client, 'closed', ({ code }) => void story.push(`closed ${code}`))
  return { client, story }
}

/** Runs a program of its own that has our package at hand; gives its exit code and its words. */
async function run(code: string): Promise<{ code: unknown; said: string }> {
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--import', 'tsx', '--input-type=module', '-e', code],
    { cwd: join(import.meta.dirname, '../..') },
  )
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  }
  const [exit] = (await onceEmitted(child, 'close')) as unknown[]
  return { code: exit, said }
}

// where to

for (const [what, url] of [
  ['a string', (port) => `ws://localhost:${port}/a?b=c`],
  ['a URL', (port) => new URL(`ws://localhost:${port}/a?b=c`)],
  ['an http url', (port) => `http://localhost:${port}/a?b=c`],
  ['a URL of http', (port) => new URL(`http://localhost:${port}/a?b=c`)],
  ['a function', (port) => () => `ws://localhost:${port}/a?b=c`],
  [
    'an async function',
    (port) => async () => Promise.resolve(new URL(`ws://localhost:${port}/a?b=c`)),
  ],
] as [string, (port: number) => UrlSource][]) {
  test(`open takes ${what}`, async () => {
    await using server = new WebsocketServer()
    const { port } = await server.serve(0)
    const entered = once(server, 'client')
    const client = new WebsocketClient()
    const connected = once(client, 'connect')
    const here = await client.open(url(port))
    assert.equal(await connected, here)
    assert.equal(client.connection, here)
    assert.ok(client.isOpen)
    assert.equal(here.request.url, `ws://localhost:${port}/a?b=c`)
    assert.equal(here.request.path, '/a')
    assert.equal((await entered).request.url, '/a?b=c')
  })
}

test('open takes an https url for wss', async () => {
  await using server = new WebsocketServer({ tls: certificate() })
  const { port } = await server.serve(0)
  const client = new WebsocketClient({ tls: { ca: certificate().cert } })
  const here = await client.open(`https://localhost:${port}`)
  assert.equal(here.request.url, `wss://localhost:${port}/`)
})

test('a url given as a URL is not changed', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const url = new URL(`http://localhost:${port}`)
  await new WebsocketClient().open(url)
  assert.equal(url.href, `http://localhost:${port}/`)
})

for (const [what, url, message] of [
  ['an empty url', '', 'expected a url like ws://localhost:8080, got ""'],
  ['no url', undefined, 'expected a url like ws://localhost:8080, got "undefined"'],
  ['a number', 8080, 'expected a url like ws://localhost:8080, got "8080"'],
  ['a host', 'localhost:8080', 'expected a url like ws://localhost:8080, got "localhost:8080"'],
  ['a path', '/chat', 'expected a url like ws://localhost:8080, got "/chat"'],
  ['another scheme', 'ftp://x', 'expected a url like ws://localhost:8080, got "ftp://x"'],
  [
    'another scheme with secrets, which are left out',
    'ftp://ann:hidden@x/y?token=hidden',
    'expected a url like ws://localhost:8080, got "ftp://…@x/y?…"',
  ],
  ['a url of nothing', 'ws://', 'expected a url like ws://localhost:8080, got "ws://"'],
  [
    'a port too high',
    'ws://x:65536',
    'expected a url like ws://localhost:8080, got "ws://x:65536"',
  ],
  ['a fragment', 'ws://localhost:1/#x', 'The URL contains a fragment identifier'],
  [
    'a function that gives junk',
    () => 'junk',
    'expected a url like ws://localhost:8080, got "junk"',
  ],
  [
    'a function that throws',
    () => {
      throw new Error('no token')
    },
    'no token',
  ],
  ['a function that rejects', () => Promise.reject(new Error('no token')), 'no token'],
  [
    'a function that throws nothing',
    () => {
      throw undefined
    },
    'ConnectError',
  ],
] as [string, UrlSource, string][]) {
  test(`open of ${what} rejects, is a connectError, and ends with 1006`, async () => {
    const { client, story } = told()
    const heard = once(client, 'connectError')
    const closed = once(client, 'closed')
    const error = await failure(client.open(url))
    assert.equal(error.msg, message)
    assert.equal(await heard, error)
    assert.deepEqual(await closed, { code: 1006, description: message })
    assert.deepEqual(story, ['connectError', 'closed 1006'])
    assert.deepEqual([client.isOpen, client.connection], [false, undefined])
  })
}

test('a slip in the options of open throws a TypeError', () => {
  const slip = { signl: AbortSignal.abort() }
  assert.throws(
    () => void new WebsocketClient().open('ws://x', slip as {}),
    /did you mean `signal`/,
  )
})

test('a client that was opened with a signal that is none may be opened again', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  await using client = new WebsocketClient()
  for (const signal of [null, 5, 'stop', {}, new AbortController()]) {
    assert.throws(() => void client.open(`ws://localhost:${port}`, { signal: signal as never }), {
      name: 'TypeError',
      message: /^expected `signal` to be an AbortSignal, got /,
    })
  }
  assert.ok((await client.open(`ws://localhost:${port}`)).isOpen)
})

test('a refused connection says so', async () => {
  const free = await RawServer.listen()
  const { url } = free
  await free.close()
  assert.match((await failure(new WebsocketClient().open(url))).msg, /ECONNREFUSED/)
})

// headers and protocols

for (const [manner, made] of [
  ['values', <Value>(value: Value) => value],
  [
    'functions',
    <Value>(value: Value) =>
      () =>
        value,
  ],
  [
    'async functions',
    <Value>(value: Value) =>
      () =>
        Promise.resolve(value),
  ],
] as [string, <Value>(value: Value) => Value][]) {
  test(`headers and protocols may be ${manner}`, async () => {
    await using server = new WebsocketServer({ protocols: ['two'] })
    const { port } = await server.serve(0)
    const entered = once(server, 'client')
    const client = new WebsocketClient({
      headers: made({ 'X-Extra': 'reached' }),
      protocols: made(['one', 'two']),
    })
    const here = await client.open(`ws://localhost:${port}`)
    const { headers, protocols } = (await entered).request
    assert.equal(headers['x-extra'], 'reached')
    assert.deepEqual(protocols, ['one', 'two'])
    assert.equal(here.protocol, 'two')
    assert.equal(here.request.headers['x-extra'], 'reached')
    assert.deepEqual(here.request.protocols, ['one', 'two'])
  })
}

test('functions are asked anew at every attempt', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  let count = 0
  const client = new WebsocketClient({ headers: () => ({ 'X-Count': `${++count}` }) })
  for (const expected of ['1', '2']) {
    const entered = once(server, 'client')
    await client.open(() => `ws://localhost:${port}`)
    assert.equal((await entered).request.headers['x-count'], expected)
    await client.close()
  }
})

for (const [what, options, message] of [
  [
    'protocols',
    { protocols: () => 5 },
    /expected `protocols` to be an array of different .* got 5$/,
  ],
  ['protocols twice', { protocols: () => ['a', 'a'] }, /expected `protocols` to be an array/],
  [
    'headers',
    { headers: () => ['a'] },
    /expected `headers` to be a plain object .* an array of 1$/,
  ],
  ['a header', { headers: () => ({ a: 5 }) }, /expected `headers` to be a plain object of strings/],
  ['headers that say nothing', { headers: () => undefined }, /expected `headers`.*undefined$/],
  ['a header of two lines', { headers: { a: 'b\r\nc: d' } }, /Invalid character in header content/],
  ['a header without a name', { headers: { '': 'b' } }, /Header name must be a valid HTTP token/],
  [
    'a function that throws',
    {
      headers: () => {
        throw new Error('no token')
      },
    },
    /^no token$/,
  ],
  ['a function that rejects', { protocols: () => Promise.reject(new Error('no')) }, /^no$/],
] as [string, ClientOptions, RegExp][]) {
  test(`junk for ${what} is a ConnectError`, async () => {
    const { client, story } = told(options)
    assert.match((await failure(client.open('ws://localhost:1'))).msg, message)
    assert.deepEqual(story, ['connectError', 'closed 1006'])
  })
}

test("the handshake's own headers can't be changed", async () => {
  await using raw = new RawHost()
  const server = await raw.listen()
  const client = new WebsocketClient({
    headers: { Upgrade: 'h2c', CONNECTION: 'close', 'sec-websocket-version': '8', 'X-Mine': 'yes' },
  })
  const opening = client.open(server.url)
  const peer = await server.peer()
  const lines = (await peer.request()).map((line) => line.toLowerCase())
  for (const line of [
    'upgrade: websocket',
    'connection: upgrade',
    'sec-websocket-version: 13',
    'x-mine: yes',
  ]) {
    assert.ok(lines.includes(line), line)
  }
  peer.tcp.destroy()
  await failure(opening)
})

test('an agent of yours connects', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  let asked = 0
  class Counting extends Agent {
    override createConnection(...args: unknown[]): never {
      asked++
      const make = Reflect.get(Agent.prototype, 'createConnection') as (
        ...given: unknown[]
      ) => never
      return make.apply(this, args)
    }
  }
  const agent = new Counting()
  await new WebsocketClient({ agent }).open(`ws://localhost:${port}`)
  assert.equal(asked, 1)
  agent.destroy()
})

// answers other than 101

/** A raw server that ends, with its peers, at the end of a block. */
class RawHost implements AsyncDisposable {
  #server: RawServer | undefined

  async listen(): Promise<RawServer> {
    return (this.#server = await RawServer.listen())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.close()
  }
}

/** Opens to a server that answers so. */
async function answered(
  answer: (peer: RawPeer, server: RawServer) => unknown,
  options?: ClientOptions,
): Promise<{ error: ConnectError; story: string[] }> {
  await using raw = new RawHost()
  const server = await raw.listen()
  const { client, story } = told(options)
  const opening = failure(client.open(server.url))
  const peer = await server.peer()
  await peer.request()
  await answer(peer, server)
  const error = await opening
  peer.tcp.destroy()
  await peer.gone()
  return { error, story }
}

test('another answer than 101 is a ConnectError with its status, headers and body', async () => {
  const { error, story } = await answered((peer) =>
    peer.write(
      'HTTP/1.1 403 Forbidden\r\nX-Reason: Banned\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n' +
        'Content-Length: 8\r\n\r\ngo away!',
    ),
  )
  assert.equal(error.msg, 'the server answered 403 Forbidden')
  assert.equal(error.status, 403)
  assert.equal(error.headers?.['x-reason'], 'Banned')
  assert.equal(error.headers['set-cookie'], 'a=1,b=2')
  assert.equal(Reflect.get(error.headers, '__proto__'), undefined)
  assert.equal(error.body, 'go away!')
  assert.deepEqual(story, ['connectError', 'closed 1006'])
})

test('101 behind another answer in the same packet opens nothing', async () => {
  await using raw = new RawHost()
  const server = await raw.listen()
  const { client, story } = told()
  const opening = failure(client.open(server.url))
  const peer = await server.peer()
  const accept = proofOf(await peer.request())
  peer.write(
    'HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n' +
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  const { status, message } = await opening
  assert.deepEqual([status, message], [401, 'the server answered 401 No'])
  await peer.gone()
  assert.deepEqual(story, ['connectError', 'closed 1006'])
})

test('what a server answers forges no line of a log', async () => {
  const { error } = await answered((peer) =>
    peer.write('HTTP/1.1 403 No\x1b[2J\x9b\r\nContent-Length: 0\r\n\r\n'),
  )
  assert.doesNotMatch(error.message, /\p{Cc}/u)
})

test('an answer without a text says its status', async () => {
  const { error } = await answered((peer) =>
    peer.write('HTTP/1.1 418 \r\nContent-Length: 0\r\n\r\n'),
  )
  assert.deepEqual([error.msg, error.status, error.body], ['the server answered 418', 418, ''])
})

test('of a long body only the first 4 KiB are kept', async () => {
  const { error } = await answered((peer) =>
    peer.write(`HTTP/1.1 500 Oops\r\nContent-Length: 10000\r\n\r\n${'x'.repeat(10_000)}`),
  )
  assert.equal(error.body, 'x'.repeat(4_096))
})

test('an endless body ends the attempt, not the memory', async () => {
  const { error } = await answered(async (peer) => {
    peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
    for (let count = 0; count < 10_000 && peer.tcp.writable && !peer.tcp.destroyed; count++) {
      if (!peer.tcp.write(chunk)) {
        await Promise.race([onceEmitted(peer.tcp, 'drain'), onceEmitted(peer.tcp, 'close')]).catch(
          () => {},
        )
      }
    }
    assert.ok(!peer.tcp.writable || peer.tcp.destroyed, 'it was hung up on')
  })
  assert.deepEqual([error.status, error.body?.length], [200, 4_096])
})

test('a body that takes too long is taken as far as it came', async () => {
  const { error } = await answered((peer) =>
    peer.write('HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nnot all'),
  )
  assert.deepEqual([error.status, error.body], [503, 'not all'])
})

test('a body that is cut off is taken as far as it came', async () => {
  const { error } = await answered((peer) => {
    peer.write('HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nnot all')
    peer.tcp.end()
  })
  assert.deepEqual([error.status, error.body], [503, 'not all'])
})

test('a redirect is not followed, and credentials stay here', async () => {
  await using raw = new RawHost()
  const elsewhere = await raw.listen()
  let met = false
  void elsewhere.peer().then(() => (met = true))
  const { error } = await answered(
    (peer) =>
      peer.write(
        `HTTP/1.1 302 Found\r\nLocation: ${elsewhere.url}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      ),
    { headers: { Authorization: 'Bearer secret', Cookie: 'session=secret' } },
  )
  assert.deepEqual([error.status, error.headers?.location], [302, elsewhere.url])
  await turn()
  assert.equal(met, false)
})

for (const [what, headers, message] of [
  ['a wrong accept key', { 'Sec-WebSocket-Accept': 'AAAA' }, 'Invalid Sec-WebSocket-Accept header'],
  ['another upgrade', { Upgrade: 'h2c' }, 'Invalid Upgrade header'],
  [
    'an extension never asked for',
    { 'Sec-WebSocket-Extensions': 'permessage-deflate' },
    'Server sent a Sec-WebSocket-Extensions header but no extension was requested',
  ],
  [
    'a subprotocol never offered',
    { 'Sec-WebSocket-Protocol': 'chat' },
    'Server sent a subprotocol but none was requested',
  ],
] as [string, Record<string, string>, string][]) {
  test(`a server that answers with ${what} is a ConnectError`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    const { client, story } = told()
    const opening = failure(client.open(server.url))
    const peer = await server.accept(headers)
    assert.equal((await opening).msg, message)
    assert.deepEqual(story, ['connectError', 'closed 1006'])
    await peer.gone()
  })
}

for (const chosen of [undefined, 'other', 'a, b']) {
  test(`of the subprotocols offered a server must choose one, not ${chosen}`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    const opening = failure(new WebsocketClient({ protocols: ['a', 'b'] }).open(server.url))
    const peer = await server.accept(
      chosen === undefined ? {} : { 'Sec-WebSocket-Protocol': chosen },
    )
    assert.match((await opening).msg, /^Server sent (no|an invalid) subprotocol$/)
    await peer.gone()
  })
}

for (const extension of [
  'permessage-deflate; server_max_window_bits=7',
  'permessage-deflate; server_max_window_bits=16',
  'permessage-deflate; server_max_window_bits=abc',
  'permessage-deflate; server_max_window_bits',
  'permessage-deflate; constructor',
  'permessage-deflate; __proto__=1',
  'constructor',
  ',;constructor',
]) {
  test(`a server that answers with the extension "${extension}" is a ConnectError`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    const { client, story } = told({ compression: true })
    const opening = failure(client.open(server.url))
    const peer = await server.accept({ 'Sec-WebSocket-Extensions': extension })
    const error = await opening
    // `, ` may stand for one of two: then the second parameter is what ws minds, or nothing.
    assert.match(error.msg, /Sec-WebSocket-Extensions|extension|parameter/i)
    assert.deepEqual(story, ['connectError', 'closed 1006'])
    await peer.gone()
  })
}

// giving up

test('a server that accepts and says nothing is given up after connectTimeout', async () => {
  await using raw = new RawHost()
  const server = await raw.listen()
  const { client, story } = told({ connectTimeout: 20 })
  const error = await failure(client.open(server.url))
  assert.equal(error.msg, 'no answer within 20 ms')
  assert.deepEqual(story, ['connectError', 'closed 1006'])
  await (await server.peer()).gone()
})

test('a url that never comes is given up after connectTimeout, with no dial later', async () => {
  await using raw = new RawHost()
  const server = await raw.listen()
  let late: (url: string) => void = () => {}
  const { client, story } = told({ connectTimeout: 20 })
  const error = await failure(client.open(() => new Promise<string>((resolve) => (late = resolve))))
  assert.equal(error.msg, 'no answer within 20 ms')
  let met = false
  void server.peer().then(() => (met = true))
  late(server.url)
  await turn()
  await turn()
  assert.equal(met, false)
  assert.deepEqual(story, ['connectError', 'closed 1006'])
})

for (const [when, reason, message] of [
  ['before', undefined, 'gave up to connect: This operation was aborted'],
  ['while', undefined, 'gave up to connect: This operation was aborted'],
  ['before', new Error('too late'), 'gave up to connect: too late'],
  ['while', 'enough', 'gave up to connect: enough'],
] as const) {
  test(`a signal aborted ${when} connecting gives up: ${message}`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    const { client, story } = told()
    const control = new AbortController()
    if (when === 'before') control.abort(reason)
    const opening = failure(client.open(server.url, { signal: control.signal }))
    const peer = when === 'while' ? await server.peer() : undefined
    control.abort(reason)
    const error = await opening
    assert.equal(error.msg, message)
    if (reason !== undefined) assert.equal(error.cause, reason)
    await peer?.gone()
    await turn()
    assert.deepEqual(story, ['closed 1006'])
  })
}

test('a signal aborted before asks for no url', async () => {
  let asked = false
  const { client } = told()
  const url = (): string => {
    asked = true
    return 'ws://localhost:1'
  }
  await failure(client.open(url, { signal: AbortSignal.abort() }))
  assert.equal(asked, false)
})

test('a signal aborted after connecting does nothing', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const { client, story } = told()
  const control = new AbortController()
  const here = await client.open(`ws://localhost:${port}`, { signal: control.signal })
  control.abort()
  assert.ok((await here.ping()) >= 0)
  assert.deepEqual(story, ['connect'])
  await client.close()
})

for (const stage of ['resolving', 'connecting'] as const) {
  test(`closing while ${stage} gives up, with the code and text`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    const { client, story } = told()
    const closed = once(client, 'closed')
    const url = stage === 'connecting' ? server.url : () => new Promise<string>(() => {})
    const opening = failure(client.open(url))
    const peer = stage === 'connecting' ? await server.peer() : undefined
    await client.close(4000, 'enough')
    assert.equal((await opening).msg, 'gave up to connect: enough')
    assert.deepEqual(await closed, { code: 4000, description: 'enough' })
    await peer?.gone()
    assert.deepEqual(story, ['closed 4000'])
  })

  test(`closing while ${stage} is done when it resolves: the client may be opened again`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    await using good = new WebsocketServer()
    const { port } = await good.serve(0)
    const { client, story } = told()
    const url = stage === 'connecting' ? server.url : () => new Promise<string>(() => {})
    const opening = failure(client.open(url))
    if (stage === 'connecting') await server.peer()
    await client.close()
    const again = client.open(`ws://localhost:${port}`)
    await opening
    assert.ok((await again).isOpen)
    assert.deepEqual(story, ['closed 1000', 'connect'])
    await client.close()
  })
}

test('`closed` has been told when closing is done', async () => {
  const { client, story } = told()
  await link(new WebsocketServer(), client)
  await client.close(4000)
  assert.deepEqual(story, ['connect', 'closed 4000'])
})

test('a listener of messages that closes the client waits for nothing that waits for it', async () => {
  const client = new WebsocketClient({ closeTimeout: 60_000 })
  const [there, here] = await link(new WebsocketServer(), client)
  const handled = new Promise<void>((resolve) => {
    listen(here, 'message', async () => {
      await client.close()
      resolve()
    })
  })
  there.send('one')
  there.send('two')
  await handled
  await client.close()
})

test('closing what was never opened, or has closed, does nothing', async () => {
  const { client, story } = told()
  await client.close()
  await failure(client.open('junk'))
  await client.close()
  assert.deepEqual(story, ['connectError', 'closed 1006'])
})

test('closing with a code that may not be sent is a RangeError, and changes nothing', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const { client } = told()
  const opening = client.open(`ws://localhost:${port}`)
  for (const code of [999, 1005, 1006, 1015, 5000]) {
    await assert.rejects(async () => client.close(code), RangeError)
  }
  const here = await opening
  await assert.rejects(async () => client.close(1005), RangeError)
  assert.ok((await here.ping()) >= 0)
  await client.close()
})

// closed

test('`closed` comes once, after the last event of its connection', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const { client, story } = told()
  const here = await client.open(`ws://localhost:${port}`)
  listen(here, 'close', ({ code }) => void story.push(`close ${code}`))
  await Promise.all([client.close(), client.close(4000), here.close(4001)])
  assert.deepEqual(await once(client, 'closed'), NORMAL)
  assert.deepEqual(story, ['connect', 'close 1000', 'closed 1000'])
  assert.deepEqual([client.isOpen, client.connection], [false, undefined])
})

for (const [what, end, expected] of [
  ['its server closes', (peer) => peer.send(8, Buffer.from([0x0f, 0xa0]), { masked: false }), 4000],
  ['its server says no reason', (peer) => peer.send(8, '', { masked: false }), 1005],
  ['its server sends a bad frame', (peer) => peer.send(3, '', { masked: false }), 1002],
  ['its server masks', (peer) => peer.send(1, 'x'), 1002],
  ['TCP is reset', (peer) => void peer.tcp.resetAndDestroy(), 1006],
  ['TCP ends', (peer) => void peer.tcp.destroy(), 1006],
] as [string, (peer: RawPeer) => void, number][]) {
  test(`\`closed\` comes once when ${what}: ${expected}`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    const { client, story } = told({ closeTimeout: 50 })
    const opening = client.open(server.url)
    const peer = await server.accept()
    const here = await opening
    const closes = [once(here, 'close'), once(client, 'closed')]
    end(peer)
    const [close, closed] = await Promise.all(closes)
    assert.equal(close?.code, expected)
    assert.deepEqual(closed, close)
    peer.tcp.destroy()
    await turn()
    assert.deepEqual(story, ['connect', `closed ${expected}`])
  })
}

for (const where of ['close', 'closed'] as const) {
  test(`a client may be opened again inside a ${where} listener`, async () => {
    await using server = new WebsocketServer()
    const { port } = await server.serve(0)
    const url = `ws://localhost:${port}`
    const { client, story } = told()
    const reopened = new Promise<boolean>((resolve, reject) => {
      const again = (): void => {
        client.open(url).then((here) => resolve(here.isOpen), reject)
      }
      if (where === 'closed') listen(client, 'closed', again, { once: true })
      else listen(client, 'connect', (here) => void listen(here, 'close', again), { once: true })
    })
    const first = await client.open(url)
    await first.close()
    assert.ok(await reopened)
    assert.ok(client.isOpen)
    assert.notEqual(client.connection, first)
    const before = where === 'closed' ? ['connect', 'closed 1000'] : ['connect']
    assert.deepEqual(story, [...before, 'connect'])
    await client.close()
    await once(client, 'closed')
    assert.deepEqual(story, [...before, 'connect', 'closed 1000'])
  })
}

test('a wait begun with an attempt inside a `closed` listener is one of the next life', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const url = `ws://localhost:${port}`
  const client = new WebsocketClient()
  const next = new Promise<Promise<unknown>[]>((resolve) => {
    const again = (): void => resolve([client.open(url), once(client, 'connect')])
    listen(client, 'closed', again, { once: true })
  })
  await client.open(url)
  await client.close()
  const [opened, connected] = await Promise.all(await next)
  assert.equal(opened, connected)
  await client.close()
})

test('an attempt that fails inside a `close` listener ends the client with 1006', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const { client, story } = told()
  listen(client, 'connect', (here) => {
    listen(here, 'close', () => client.open('junk'))
  })
  await client.open(`ws://localhost:${port}`)
  await client.close()
  assert.equal((await once(client, 'closed')).code, 1006)
  assert.deepEqual(story, ['connect', 'connectError', 'closed 1006'])
})

test('opening twice says so, and leaves the first attempt alone', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const url = `ws://localhost:${port}`
  const { client, story } = told()
  const first = client.open(url)
  assert.match(
    (await failure(client.open(url))).msg,
    /^the client is opening already: close it first$/,
  )
  await first
  assert.match(
    (await failure(client.open(url))).msg,
    /^the client is open already: close it first$/,
  )
  assert.deepEqual(story, ['connectError', 'connect', 'connectError'])
  assert.equal(server.clients.size, 1)
  await client.close()
})

// the first messages

test('what the server sends together with its answer is not lost', async () => {
  await using raw = new RawHost()
  const server = await raw.listen()
  const messages: Data[] = []
  const client = new WebsocketClient()
  const opening = client.open(server.url)
  const plain = { masked: false }
  const frames = ['one', 'two', 'three'].map((text) => frame(1, text, plain))
  const peer = await server.accept({}, Buffer.concat([...frames, frame(8, '', plain)]))
  const here = await opening
  await turn()
  for await (const message of listen(here, 'message')) messages.push(message)
  assert.deepEqual(messages, ['one', 'two', 'three'])
  assert.equal((await once(here, 'close')).code, 1005)
  peer.tcp.destroy()
})

test('what a server sends inside its `client` listener is not lost', async () => {
  await using server = new WebsocketServer()
  listen(server, 'client', (there) => {
    for (const text of ['one', 'two', 'three']) there.send(text)
  })
  const { port } = await server.serve(0)
  const client = new WebsocketClient()
  const messages: Data[] = []
  listen(client, 'connect', (here) => {
    listen(here, 'message', (message) => void messages.push(message))
  })
  const here = await client.open(`ws://localhost:${port}`)
  await here.ping()
  assert.deepEqual(messages, ['one', 'two', 'three'])
  await client.close()
})

test('a frame limit counts for what comes together with the answer, too', async () => {
  await using raw = new RawHost()
  const server = await raw.listen()
  const opening = new WebsocketClient({ maxReceivedFrameSize: 10 }).open(server.url)
  const peer = await server.accept({}, frame(2, Buffer.alloc(11), { masked: false }))
  const here = await opening
  assert.deepEqual(await peer.closed(), {
    code: 1008,
    description: 'frame size exceeds maximum of 10 Bytes.',
  })
  peer.tcp.destroy()
  assert.equal((await once(here, 'close')).code, 1008)
})

for (const maxReceivedFrameSize of [false, 1_000] as const) {
  test(`with a frame limit of ${maxReceivedFrameSize} nothing of what came with the answer is lost`, async () => {
    await using raw = new RawHost()
    const server = await raw.listen()
    const opening = new WebsocketClient({ maxReceivedFrameSize }).open(server.url)
    const plain = { masked: false }
    const peer = await server.accept(
      {},
      Buffer.concat([frame(1, 'one', plain), frame(1, 'two', plain)]),
    )
    const here = await opening
    peer.send(1, 'three', plain)
    const messages = listen(here, 'message')
    for (const text of ['one', 'two', 'three']) {
      assert.deepEqual(await messages.next(), { done: false, value: text })
    }
    peer.tcp.destroy()
    await once(here, 'close')
  })
}

// a program

test('a program that could not connect is not silent, unless it listens to connectError', async () => {
  const program = (how: string): string => `
    import { listen, WebsocketClient } from 'simplewebsockets'
    const client = new WebsocketClient()
    ${how}
    setTimeout(() => console.log('goes on'), 100)`
  const [bare, heard, given, aborted] = await Promise.all([
    run(program(`client.open('junk')`)),
    run(program(`listen(client, 'connectError', () => console.log('told')); client.open('junk')`)),
    run(program(`client.open(() => new Promise(() => {})); client.close()`)),
    run(program(`client.open('ws://localhost', { signal: AbortSignal.abort() })`)),
  ])
  assert.equal(bare.code, 1)
  assert.match(bare.said, /ConnectError/)
  assert.deepEqual([heard.code, heard.said], [0, 'told\ngoes on\n'])
  for (const stopped of [given, aborted]) {
    assert.deepEqual([stopped.code, stopped.said], [0, 'goes on\n'])
  }
})

test('a client whose connection has closed keeps no process running', async () => {
  const { code, said } = await run(`
    import { WebsocketClient, WebsocketServer } from 'simplewebsockets'
    const server = new WebsocketServer()
    const { port } = await server.serve(0)
    const client = new WebsocketClient()
    await client.open('ws://localhost:' + port)
    await client.close()
    await server.close()
    await new Promise(setImmediate)
    console.log(process.getActiveResourcesInfo().filter((name) => /TCPSocket|Timeout/.test(name)).length)`)
  assert.deepEqual([code, said], [0, '0\n'])
})

test('a wait for `connect` made before `open` gets it in every life of a client', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const client = new WebsocketClient()
  for (let life = 0; life < 3; life++) {
    const connected = once(client, 'connect')
    await turn()
    assert.equal(await client.open(`ws://localhost:${port}`), await connected)
    await client.close()
  }
})

test('a client is closed at the end of an `await using` block', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  let gone: Promise<CloseReason>
  {
    await using client = new WebsocketClient()
    await client.open(`ws://localhost:${port}`)
    gone = once(await entered, 'close')
  }
  assert.deepEqual(await gone, NORMAL)
})

test('a connection whose `connect` listener failed unheard is closed with 1011', async (t) => {
  const print = t.mock.method(console, 'error', () => {})
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const client = new WebsocketClient()
  listen(client, 'connect', () => Promise.reject(new Error('no setup')))
  await client.open(`ws://localhost:${port}`)
  assert.equal((await once(client, 'closed')).code, 1011)
  assert.equal(print.mock.callCount(), 1)
})

test('a connection whose `connect` listener failed closes with 1011 when that was heard, too', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const client = new WebsocketClient()
  const heard = once(client, 'error')
  listen(client, 'connect', () => {
    throw new Error('no setup')
  })
  const closed = once(client, 'closed')
  await client.open(`ws://localhost:${port}`)
  assert.equal((await heard).msg, 'no setup')
  assert.equal((await closed).code, 1011)
})

test('a broadcast on the connection of a client reaches no peer', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const client = new WebsocketClient()
  const here = await client.open(`ws://localhost:${port}`)
  here.broadcast('reaches nobody')
  assert.ok((await here.ping()) >= 0)
  await client.close()
})

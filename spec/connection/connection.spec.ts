import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import {
  ClosedError,
  listen,
  once,
  WebsocketClient,
  type WebsocketConnection,
  WebsocketError,
  WebsocketServer,
  type CloseReason,
  type Data,
} from 'simplewebsockets'
import { cut, link, pair } from 'simplewebsockets/testing'

/** Resolves when everything that was under way in memory has come to rest. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Makes a listener that is busy until it is released. */
/** Sends until a peer that has paused reading holds all that it takes. */
async function fillBuffers(connection: WebsocketConnection): Promise<void> {
  for (let count = 0; count < 20; count++) connection.send('')
  await settled()
  connection.send('x'.repeat(256 * 1024))
  await settled()
}

function busy(): { listener: () => Promise<void>; release: () => void } {
  let release = (): void => {}
  const promise = new Promise<void>((resolve) => (release = resolve))
  return { listener: () => promise, release: () => release() }
}

for (const [what, wrong] of [
  ['undefined', undefined],
  ['null', null],
  ['an object', {}],
  ['NaN', Number.NaN],
  ['Infinity', Infinity],
  ['a symbol', Symbol('x')],
  ['an array', [1, 2]],
  ['a Blob', new Blob(['text'])],
] as [string, never][]) {
  test(`sending ${what} is a TypeError that says what may be sent`, () => {
    const [server] = pair()
    const told = /^TypeError: expected what is sent to be a string, bytes or a finite/
    assert.throws(() => server.send(wrong), told)
    assert.throws(() => server.broadcast(wrong), told)
    if (wrong !== undefined) assert.throws(() => void server.ping(wrong), told)
    assert.ok(server.isOpen)
  })
}

for (const [what, code, description] of [
  ['a Float32Array for a text', 1000, new Float32Array(4)],
  ['a number for a text', 1000, 7],
  ['null for a text', 1000, null],
  ['a string for a code', '1000', ''],
  ['a fraction for a code', 1000.5, ''],
  ['NaN for a code', Number.NaN, ''],
] as [string, never, never][]) {
  test(`closing with ${what} throws and changes nothing`, () => {
    const [server] = pair()
    assert.throws(
      () => void server.close(code, description),
      /^(Type|Range)Error: expected a close/,
    )
    assert.ok(server.isOpen)
  })
}

test('every connection has an id of its own that stays', () => {
  const [server, client] = pair()
  assert.equal(server.id, server.id)
  assert.notEqual(server.id, client.id)
  assert.match(server.id, /^[\da-f-]{36}$/)
})

test('the two ends know their sides, the context and the request', () => {
  const [server, client] = pair({ context: { name: 'ada' } })
  assert.deepEqual([server.side, client.side], ['server', 'client'])
  assert.deepEqual(server.context, { name: 'ada' })
  assert.equal(server.request.url, '/')
  assert.equal(server.protocol, '')
})

test('text arrives as a string and bytes as a Uint8Array, whatever was sent', async () => {
  const [server, client] = pair()
  const messages = listen(server, 'message')
  client.send('text')
  client.send(Buffer.from([1, 2]))
  client.send(-0.5)
  assert.equal((await messages.next()).value, 'text')
  assert.deepEqual((await messages.next()).value, Uint8Array.of(1, 2))
  assert.equal((await messages.next()).value, '-0.5')
})

test('with `binary` everything arrives as bytes, pings and pongs too', async () => {
  const [server, client] = pair({ server: { binary: true } })
  const bytes = new TextEncoder().encode('text')
  client.send('text')
  assert.deepEqual(await once(server, 'message'), bytes)
  const [ping, pong] = [once(server, 'ping'), once(server, 'pong')]
  void client.ping('text')
  void server.ping('text')
  assert.deepEqual([await ping, await pong], [bytes, bytes])
  server.send('text')
  assert.deepEqual(await once(client, 'message'), bytes)
})

test('a ping that is no text arrives as bytes', async () => {
  const [server, client] = pair()
  const ping = once(server, 'ping')
  void client.ping(Uint8Array.of(0xff, 0xfe))
  assert.deepEqual(await ping, Uint8Array.of(0xff, 0xfe))
})

test('a ping resolves with its round trip, which is then the latency', async () => {
  const [server] = pair()
  assert.equal(server.latency, undefined)
  const latency = await server.ping(7)
  assert.equal(server.latency, latency)
})

test('the text that a peer closes with forges no line of a log', async () => {
  const [server, client] = pair()
  void client.close(4000, 'bye\n[12:00] all is well\x1b[2J')
  assert.equal((await once(server, 'close')).description, 'bye\n[12:00] all is well\x1b[2J')
  await assert.rejects(server.ping(), /closed: 4000 bye\\u000a\[12:00\] all is well\\u001b\[2J$/)
})

test('a ping on a closed connection rejects with a ClosedError that knows the code', async () => {
  const [server, client] = pair()
  const pending = server.ping()
  cut(client)
  await assert.rejects(pending, (error) => error instanceof ClosedError && error.closeCode === 1006)
  await once(server, 'close')
  await assert.rejects(server.ping(), /the connection has closed: 1006 Abnormal closure/)
})

test('no more than 1,000 pings wait for their pong', async () => {
  const [server, client] = pair()
  listen(client, 'message', busy().listener)
  for (let count = 0; count < 100; count++) server.send(count)
  await settled() // the client doesn't read any more, so it answers nothing
  for (let count = 0; count < 1_000; count++) void server.ping()
  await assert.rejects(
    server.ping(),
    (error) => error instanceof WebsocketError && error.msg.startsWith('1000 pings wait'),
  )
})

test('send says false above the high-water mark, and drain follows', async () => {
  const [server, client] = pair({ server: { highWaterMark: 100 } })
  const { listener, release } = busy()
  listen(client, 'message', listener)
  await fillBuffers(server)
  const before = server.bufferedAmount
  const drained = once(server, 'drain')
  assert.equal(server.send('x'.repeat(51)), false)
  assert.equal(server.bufferedAmount, before + 2 + 51) // the frame's head and its payload
  release()
  await drained
  assert.ok(server.bufferedAmount <= 100)
  await settled()
  assert.equal(server.send('x'), true)
})

test('send says false on a closed connection, and never throws for its state', async () => {
  const [server, client] = pair()
  const closed = server.close()
  assert.equal(server.send('x'), false)
  await closed
  assert.equal(server.send('x'), false)
  assert.equal(client.send('x'), false)
  server.broadcast('x')
})

test('a peer that does not read is closed with 1013 past maxBufferedAmount', async () => {
  const [server, client] = pair({ server: { maxBufferedAmount: 100, closeTimeout: 0 } })
  listen(client, 'message', busy().listener)
  await fillBuffers(server)
  assert.equal(server.send('x'.repeat(100)), false)
  assert.ok(!server.isOpen)
  const reason = { code: 1013, description: 'more than 100 bytes wait to be read' }
  assert.deepEqual(await once(server, 'close'), reason)
})

test("with slowConsumer 'drop' what is too much is dropped, and drain tells when it is not", async () => {
  const [server, client] = pair({ server: { maxBufferedAmount: 100, slowConsumer: 'drop' } })
  const { listener, release } = busy()
  const received: Data[] = []
  listen(client, 'message', listener)
  listen(client, 'message', (message) => void received.push(message))
  await fillBuffers(server)
  const drained = once(server, 'drain')
  assert.equal(server.send('b'.repeat(60)), false)
  release()
  await drained
  assert.equal(server.send('c'), true)
  await settled()
  assert.deepEqual(received.slice(21), ['c'])
})

test('one message may be larger than maxBufferedAmount when nothing else waits', async () => {
  const [server, client] = pair({ server: { maxBufferedAmount: 10 } })
  assert.equal(server.send('x'.repeat(1_000)), false)
  assert.equal((await once(client, 'message')).length, 1_000)
})

test('a message that only just fits by its bytes is sent, whatever its letters could take', async () => {
  const [server, client] = pair({ server: { maxBufferedAmount: 100, slowConsumer: 'drop' } })
  server.send('x'.repeat(46))
  server.send('y'.repeat(50)) // 98 bytes with the heads of both frames
  server.send('zzz')
  const messages = listen(client, 'message')
  assert.equal((await messages.next()).value, 'x'.repeat(46))
  assert.equal((await messages.next()).value, 'y'.repeat(50))
  server.send('end')
  assert.equal((await messages.next()).value, 'end')
})

test('while a connection closes for what waits, more of it is dropped and counted', async () => {
  const server = new WebsocketServer({ maxWaitingBytes: 600 })
  const [there, here] = await link(server, new WebsocketClient())
  listen(there, 'message', () => new Promise(() => {}))
  void once(there, 'pong').catch(() => {}) // which keeps reading going
  for (let count = 0; count < 6; count++) here.send('12345')
  assert.equal((await once(here, 'close')).code, 1008)
  assert.equal(server.stats().received, 4)
  assert.equal(server.stats().drops.closing, 2)
})

test("a peer's close without a text has the standard text of its code", async () => {
  const [server, client] = pair()
  const closed = once(server, 'close')
  await client.close(1001)
  assert.deepEqual(await closed, { code: 1001, description: 'Remote peer is going away' })
})

test('a code at the start of a close text is text, on both ends', async () => {
  const [server, client] = pair()
  const closed = once(server, 'close')
  const reason = { code: 4000, description: '[4001][1011]mine' }
  assert.deepEqual(await client.close(4000, '[4001][1011]mine'), reason)
  assert.deepEqual(await closed, reason)
})

test('both ends report the reason of the end that closed first', async () => {
  const [server, client] = pair()
  const reasons = [once(server, 'close'), once(client, 'close')]
  const closing = server.close(4001, 'server')
  void client.close(4002, 'client')
  assert.deepEqual(await closing, { code: 4001, description: 'server' })
  // Each closed before it heard of the other.
  assert.deepEqual(
    (await Promise.all(reasons)).map(({ code }) => code),
    [4001, 4002],
  )
})

test('closing again later resolves with the reason it closed for', async () => {
  const [server, client] = pair()
  await client.close(4000, 'first')
  await once(server, 'close')
  assert.deepEqual(await server.close(4001), { code: 4000, description: 'first' })
})

test('a connection that is terminated ends at once, without a closing handshake, with 1006', async () => {
  const [server, client] = pair()
  const ends = Promise.all([once(server, 'close'), once(client, 'close')])
  client.terminate()
  assert.equal(client.isOpen, false)
  assert.equal(client.send('late'), false)
  const abnormal = { code: 1006, description: 'Abnormal closure, no further detail available' }
  assert.deepEqual(await ends, [abnormal, abnormal])
  await assert.rejects(client.ping(), ClosedError)
  client.terminate() // twice is harmless
  assert.deepEqual(await client.close(4000), abnormal)
})

test('terminating a connection that is closing ends the wait for the peer; the reason stays', async () => {
  const [server, client] = pair({ client: { closeTimeout: 60_000 } })
  const { listener, release } = busy()
  listen(server, 'message', listener)
  for (let count = 0; count < 100; count++) client.send('x') // so that the server reads no more
  await settled()
  const closing = client.close(4000, 'enough')
  client.terminate()
  assert.deepEqual(await closing, { code: 4000, description: 'enough' })
  release()
  assert.equal((await once(server, 'close')).code, 4000) // its close frame was sent before
})

test('what came before a connection is terminated is delivered before its close', async () => {
  const [server, client] = pair()
  const story: unknown[] = []
  listen(server, 'message', (message) => {
    story.push(message)
    return settled()
  })
  listen(server, 'close', ({ code }) => void story.push(code))
  for (const text of ['one', 'two']) client.send(text)
  await client.ping() // so that both are there
  server.terminate()
  await once(server, 'close')
  assert.deepEqual(story, ['one', 'two', 1006])
})

for (const compression of [false, true]) {
  for (const side of ['server', 'client'] as const) {
    const how = compression ? 'compressed' : 'plain'
    test(`a ${side} ends TCP at once with terminate, whatever the peer does: ${how}`, async () => {
      await using server = new WebsocketServer({ compression, closeTimeout: 60_000 })
      const entered = once(server, 'client')
      const { port } = await server.serve(0)
      await using client = new WebsocketClient({ compression, closeTimeout: 60_000 })
      const here = await client.open(`ws://localhost:${port}`)
      const there = await entered
      const ends = Promise.all([once(there, 'close'), once(here, 'close')])
      if (side === 'server') there.terminate()
      else here.terminate()
      assert.deepEqual(
        (await ends).map(({ code }) => code),
        [1006, 1006],
      )
      assert.equal(server.clients.size, 0)
    })
  }
}

test('a connection closes at the end of an `await using` block', async () => {
  const [server, client] = pair()
  await client[Symbol.asyncDispose]()
  assert.equal((await once(server, 'close')).code, 1000)
})

test('a listener may close and await that, with messages still waiting for it', async () => {
  const [server, client] = pair()
  const reasons: CloseReason[] = []
  listen(server, 'message', async () => {
    reasons.push(await server.close(4000, 'done'))
  })
  client.send('a')
  client.send('b')
  assert.equal((await once(server, 'close')).code, 4000)
  await settled()
  assert.equal(reasons.length, 2)
})

test('close comes at once to an end that closes without listening to what waits', async () => {
  const [server, client] = pair()
  client.send('nobody listens')
  await client.ping()
  const order: string[] = []
  listen(server, 'close', () => void order.push('event'))
  await server.close()
  order.push('promise')
  assert.deepEqual(order, ['event', 'promise'])
})

test('a peer that closes leaves time to listen to what it said', async () => {
  const [server, client] = pair()
  client.send('last words')
  await client.close()
  const order: string[] = []
  listen(server, 'close', () => void order.push('close'))
  await settled()
  assert.equal(order.length, 0)
  listen(server, 'message', (message) => void order.push(String(message)))
  await once(server, 'close')
  assert.deepEqual(order, ['last words', 'close'])
})

test('a connection that closes inside the listener of `client` or `connect` closes properly', async () => {
  const server = new WebsocketServer()
  const client = new WebsocketClient()
  listen(server, 'client', (connection) => void connection.close(4000, 'not you'))
  listen(client, 'connect', (connection) => void connection.close(4001, 'nor you'))
  const [there, here] = await link(server, client)
  assert.equal((await once(there, 'close')).code, 4000)
  assert.equal((await once(here, 'close')).code, 4001)
})

test('keepalive pings a silent peer without a pong event, and measures', async () => {
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const [server, client] = pair({ server: { keepaliveTimeout: 10 } })
    let pongs = 0
    listen(server, 'pong', () => (pongs += 1))
    const ping = once(client, 'ping')
    mock.timers.tick(10)
    mock.timers.tick(10)
    assert.equal(await ping, 'keepalive')
    await settled()
    assert.equal(pongs, 0)
    assert.ok(server.latency !== undefined)
    for (let beat = 0; beat < 10; beat++) {
      mock.timers.tick(10)
      await settled()
    }
    assert.ok(server.isOpen)
  } finally {
    mock.timers.reset()
  }
})

test('a busy peer that answers no ping lives, a silent one is given up after two to three periods', async () => {
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const [server, client] = pair({ server: { keepaliveTimeout: 10 } })
    listen(server, 'message', () => {})
    for (let count = 0; count < 10; count++) {
      client.send(count)
      await settled()
      mock.timers.tick(10)
    }
    assert.ok(server.isOpen)
    listen(client, 'message', busy().listener)
    for (let count = 0; count < 40; count++) server.send('')
    await settled() // from now on the client doesn't read, so it says nothing
    const closed = once(server, 'close')
    mock.timers.tick(10)
    assert.ok(server.isOpen)
    mock.timers.tick(20)
    assert.deepEqual(await closed, { code: 1006, description: 'could not ping the client.' })
  } finally {
    mock.timers.reset()
  }
})

test('keepalive gives up a peer that never ends a closing handshake, with the reason it closed for', async () => {
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const [server, client] = pair({ server: { keepaliveTimeout: 10 } })
    listen(client, 'message', busy().listener)
    for (let count = 0; count < 40; count++) server.send('')
    await settled()
    const closed = server.close(4000, 'bye')
    mock.timers.tick(40)
    assert.deepEqual(await closed, { code: 4000, description: 'bye' })
  } finally {
    mock.timers.reset()
  }
})

test('without keepalive no peer is pinged', async () => {
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const [server] = pair({
      server: { keepaliveTimeout: false },
      client: { keepaliveTimeout: false },
    })
    mock.timers.tick(1_000_000)
    await settled()
    assert.equal(server.latency, undefined)
    assert.ok(server.isOpen)
  } finally {
    mock.timers.reset()
  }
})

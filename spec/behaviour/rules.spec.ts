import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { mock, test } from 'node:test'
import {
  CallbackError,
  ClosedError,
  FrameError,
  listen,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketServer,
  type Data,
  type WebsocketError,
} from 'simplewebsockets'
import { cut, link, pair } from 'simplewebsockets/testing'
import { errorLog } from '../../lib/error-log.ts'
import { printedBy } from '../support/printed.ts'

/** Resolves when everything that was under way in memory has come to rest. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('law 1: a message is never lost for want of a listener', async () => {
  const [server, client] = pair()
  for (const text of ['one', 'two', 'three', 'four']) client.send(text)
  await client.ping() // all four have arrived by now
  assert.equal(await once(server, 'message'), 'one')
  await client.ping()
  assert.equal(await once(server, 'message'), 'two')
  const rest: Data[] = []
  listen(server, 'message', (message) => void rest.push(message))
  await client.ping()
  assert.deepEqual(rest, ['three', 'four'])
})

test('law 1: what a listener that stopped had not got yet waits for the next one', async () => {
  const [server, client] = pair()
  const loop = listen(server, 'message')
  for (const text of ['one', 'two', 'three']) client.send(text)
  assert.deepEqual(await loop.next(), { done: false, value: 'one' })
  await loop.return?.()
  assert.equal(await once(server, 'message'), 'two')
})

test('law 1: more bytes waiting than `maxWaitingBytes` close with 1008 and the cure', async () => {
  const [server, client] = pair({ server: { maxWaitingBytes: 600 } })
  const failed = once(server, 'error')
  client.send('x'.repeat(60))
  client.send('y'.repeat(30))
  const cure = 'listen to `message`, even with an empty callback'
  assert.deepEqual(await once(client, 'close'), { code: 1008, description: cure })
  const error = await failed
  assert.ok(error instanceof FrameError)
  assert.equal(error.closeCode, 1008)
  assert.equal(error.msg, cure)
})

test('law 2: a listener gets one message at a time, in order', async () => {
  const [server, client] = pair()
  const story: string[] = []
  listen(server, 'message', async (message) => {
    story.push(`begin ${message}`)
    await Promise.resolve()
    story.push(`end ${message}`)
  })
  client.send('a')
  client.send('b')
  await settled()
  assert.deepEqual(story, ['begin a', 'end a', 'begin b', 'end b'])
})

test('law 2: a slow listener delays no other', async () => {
  const [server, client] = pair()
  const quick: Data[] = []
  const slow: Data[] = []
  listen(server, 'message', (message) => {
    slow.push(message)
    return new Promise(() => {})
  })
  listen(server, 'message', (message) => void quick.push(message))
  for (const text of ['a', 'b', 'c']) client.send(text)
  await client.ping()
  assert.deepEqual(slow, ['a'])
  assert.deepEqual(quick, ['a', 'b', 'c'])
})

test('law 2: a once inside a listener gets the message after the one being handled', async () => {
  const [server, client] = pair()
  const answers: string[] = []
  const seen: Data[] = []
  listen(server, 'message', async (message) => {
    seen.push(message)
    if (message !== 'question') return
    await Promise.resolve() // by now the answer is waiting
    answers.push(String(await once(server, 'message')))
  })
  for (const text of ['question', 'answer', 'more']) client.send(text)
  await settled()
  assert.deepEqual(answers, ['answer'])
  assert.deepEqual(seen, ['question', 'answer', 'more'])
})

test('law 2: past a soft bound of waiting messages the peer feels it', async () => {
  const [server, client] = pair()
  let release = (): void => {}
  const seen: Data[] = []
  listen(server, 'message', (message) => {
    seen.push(message)
    if (seen.length > 1) return undefined
    return new Promise<void>((resolve) => (release = resolve))
  })
  for (let number = 0; number < 100; number++) client.send('x'.repeat(1024))
  await settled()
  assert.ok(client.bufferedAmount > 0)
  release()
  await client.ping()
  assert.equal(client.bufferedAmount, 0)
  assert.equal(seen.length, 100)
})

for (const [reason, wait] of [
  ['once', (server) => once(server, 'pong')],
  ['ping', (server) => server.ping()],
  ['close', (server) => server.close()],
] as [string, (server: ReturnType<typeof pair>[0]) => Promise<unknown>][]) {
  test(`law 2: reading goes on while a ${reason} is pending`, async () => {
    const [server, client] = pair({ server: { closeTimeout: 0 } })
    listen(server, 'message', () => new Promise(() => {}))
    for (let number = 0; number < 100; number++) client.send('x'.repeat(1024))
    await settled()
    assert.ok(client.bufferedAmount > 0)
    void wait(server)
    await settled()
    assert.equal(client.bufferedAmount, 0)
  })
}

test('law 2: reading that goes on has an end too: 1008', async () => {
  const [server, client] = pair({ server: { maxWaitingBytes: 10_000, closeTimeout: 0 } })
  listen(server, 'message', () => new Promise(() => {}))
  void once(server, 'pong').catch(() => {})
  for (let number = 0; number < 100; number++) client.send('x'.repeat(100))
  const { code, description } = await once(client, 'close')
  assert.equal(code, 1008)
  assert.equal(description, 'more than 10000 bytes wait for a slow listener')
})

test('law 2: keepalive never gives up a peer while we are the ones who pause', async () => {
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const [server, client] = pair({ server: { keepaliveTimeout: 10 } })
    listen(server, 'message', () => new Promise(() => {}))
    for (let number = 0; number < 100; number++) client.send(number)
    await settled()
    for (let period = 0; period < 10; period++) {
      mock.timers.tick(10)
      await settled()
    }
    assert.ok(server.isOpen)
  } finally {
    mock.timers.reset()
  }
})

test('law 2: events other than messages come at once, side by side', async () => {
  const server = new WebsocketServer()
  const entered: string[] = []
  listen(server, 'client', (client) => {
    entered.push(client.id)
    return new Promise(() => {})
  })
  await link(server, new WebsocketClient())
  await link(server, new WebsocketClient())
  assert.equal(entered.length, 2)
})

const failures: [manner: string, fail: () => unknown][] = [
  [
    'throw',
    () => {
      throw new Error('boom')
    },
  ],
  ['rejection', () => Promise.reject(new Error('boom'))],
]
for (const [manner, fail] of failures) {
  test(`law 3: the ${manner} of a listener becomes an error, and harms no other`, async () => {
    const [server, client] = pair()
    const errors: WebsocketError[] = []
    const seen: Data[] = []
    listen(server, 'error', (error) => void errors.push(error))
    listen(server, 'message', fail)
    listen(server, 'message', (message) => void seen.push(message))
    client.send('a')
    client.send('b')
    await settled()
    assert.deepEqual(seen, ['a', 'b'])
    assert.equal(errors.length, 2)
    assert.ok(errors[0] instanceof CallbackError)
    assert.equal(errors[0].msg, 'boom')
    assert.equal(errors[0].event, 'message')
    assert.ok(server.isOpen)
  })
}

test('law 3: a connection without an error listener passes it to its maker', async () => {
  const server = new WebsocketServer()
  const client = new WebsocketClient()
  const [there, here] = await link(server, client)
  const [onServer, onClient] = [once(server, 'error'), once(client, 'error')]
  for (const connection of [there, here]) {
    listen(connection, 'message', () => {
      throw new Error('boom')
    })
  }
  here.send('x')
  there.send('x')
  assert.equal((await onServer).msg, 'boom')
  assert.equal((await onClient).msg, 'boom')
  assert.ok(there.isOpen && here.isOpen)
})

test('law 3: unlistened it is printed once, and the connection closes with 1011', async () => {
  const printed = await printedBy(async () => {
    const [server, client] = pair()
    listen(server, 'message', () => {
      throw new Error('boom')
    })
    client.send('x')
    assert.equal((await once(client, 'close')).code, 1011)
  })
  assert.equal(printed.length, 1)
  assert.ok(printed[0] instanceof CallbackError)
  assert.match(printed[0].stack ?? '', /boom/)
})

test('law 3: a client whose `client` or `connect` listener failed unheard is closed with 1011', async () => {
  const printed = await printedBy(async () => {
    const server = new WebsocketServer()
    listen(server, 'client', () => Promise.reject(new Error('no database')))
    const [, here] = await link(server, new WebsocketClient())
    assert.equal((await once(here, 'close')).code, 1011)

    const client = new WebsocketClient()
    listen(client, 'connect', () => {
      throw new Error('no setup')
    })
    const [there] = await link(new WebsocketServer(), client)
    assert.equal((await once(there, 'close')).code, 1011)
  })
  assert.deepEqual(
    printed.map((error) => (error as CallbackError).msg),
    ['no database', 'no setup'],
  )
})

test('law 3: a client whose `client` or `connect` listener failed is closed with 1011, heard or not', async () => {
  const server = new WebsocketServer()
  const errors: string[] = []
  listen(server, 'error', ({ message }) => void errors.push(message))
  listen(server, 'client', () => Promise.reject(new Error('no database')))
  const [, here] = await link(server, new WebsocketClient())
  assert.equal((await once(here, 'close')).code, 1011)

  const client = new WebsocketClient()
  listen(client, 'error', ({ message }) => void errors.push(message))
  listen(client, 'connect', () => {
    throw new Error('no setup')
  })
  const [there] = await link(new WebsocketServer(), client)
  assert.equal((await once(there, 'close')).code, 1011)
  assert.deepEqual(errors, ['no database', 'no setup'])
})

for (const [manner, fail] of failures) {
  test(`law 3: after the unheard ${manner} of a listener nothing more is delivered`, async () => {
    const server = new WebsocketServer()
    const [there, here] = await link(server, new WebsocketClient())
    const seen: Data[] = []
    for (let count = 0; count < 1_000; count++) here.send(count)
    const printed = await printedBy(async () => {
      listen(there, 'message', (message) => {
        seen.push(message)
        return fail()
      })
      listen(there, 'ping', () => assert.fail('a ping was delivered'))
      listen(there, 'pong', () => assert.fail('a pong was delivered'))
      const waiting = once(there, 'message')
      assert.equal(await waiting, '0')
      const next = once(there, 'message')
      void here.ping()
      assert.equal((await once(here, 'close')).code, 1011)
      await assert.rejects(next, ClosedError)
    })
    assert.deepEqual(seen, ['0'])
    assert.equal(printed.length, 1)
    assert.equal(server.stats().drops.closing, 999)
  })
}

test('law 3: what waits when a listener fails unheard on a closed connection is dropped', async () => {
  const server = new WebsocketServer()
  const [there, here] = await link(server, new WebsocketClient())
  for (let count = 0; count < 100; count++) here.send(count)
  await here.close()
  const seen: Data[] = []
  const printed = await printedBy(async () => {
    listen(there, 'message', (message) => {
      seen.push(message)
      throw new Error('boom')
    })
    assert.equal((await once(there, 'close')).code, 1000)
  })
  assert.deepEqual(seen, ['0'])
  assert.equal(printed.length, 1)
  assert.equal(server.stats().drops.closing, 99)
})

test('law 3: a connection whose error listener fails for each message is printed once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] }) // the second doesn't end
  const printed = await printedBy(async () => {
    const [server, client] = pair()
    listen(server, 'message', () => {
      throw new Error('first')
    })
    listen(server, 'error', () => {
      throw new Error('second')
    })
    for (let count = 0; count < 1_000; count++) client.send(count)
    await client.ping()
    assert.ok(server.isOpen)
    errorLog.flush()
  })
  assert.equal(printed.length, 2)
  assert.match(String(printed[1]), /^… and 999 more like it .*: `error` of a connection failed/)
})

test('law 3: a failing error listener is printed', async () => {
  const printed = await printedBy(async () => {
    const [server, client] = pair()
    listen(server, 'message', () => {
      throw new Error('first')
    })
    listen(server, 'error', () => {
      throw new Error('second')
    })
    client.send('x')
    await client.ping()
    assert.ok(server.isOpen)
  })
  assert.deepEqual(
    printed.map((error) => (error as CallbackError).msg),
    ['second'],
  )
})

test("law 3: peers' errors without a listener are not printed", async () => {
  const printed = await printedBy(async () => {
    const [server, client] = pair({ server: { maxReceivedMessageSize: 10 } })
    client.send('x'.repeat(11))
    assert.equal((await once(server, 'close')).code, 1009)
  })
  assert.deepEqual(printed, [])
})

for (const [what, authorize] of [
  ['fails', () => Promise.reject(new Error('the database is down'))],
  ['answers with a text', () => 'ann'],
] as [string, () => never][]) {
  test(`law 3: an authorize that ${what} is a failure of yours, and printed`, async () => {
    const printed = await printedBy(async () => {
      await assert.rejects(link(new WebsocketServer({ authorize }), new WebsocketClient()))
    })
    assert.match(String(printed), /the database is down|not authorized/)
    const heard = new WebsocketServer({ authorize })
    listen(heard, 'peerError', () => {})
    const nothing = await printedBy(async () => {
      await assert.rejects(link(heard, new WebsocketClient()))
    })
    assert.deepEqual(nothing, [])
  })
}

test('law 3: a refusal that authorize chose is none of your failures', async () => {
  const printed = await printedBy(async () => {
    const authorize = (): never => {
      throw new PeerConnectError('later', { status: 500, cause: new TypeError('as planned') })
    }
    await assert.rejects(link(new WebsocketServer({ authorize }), new WebsocketClient()))
  })
  assert.deepEqual(printed, [])
})

const unexpected = ({ message }: Error): void => assert.fail(message)
for (const isHeard of [false, true]) {
  const manner = isHeard ? 'tells `error` nothing' : 'prints nothing'
  test(`law 3: a peer that leaves while a listener waits for it ${manner}`, async () => {
    const printed = await printedBy(async () => {
      const [server, client] = [new WebsocketServer(), new WebsocketClient()]
      listen(server, 'client', async (connection) => {
        await once(connection, 'message')
      })
      listen(client, 'connect', async (connection) => {
        await once(connection, 'message')
      })
      const [there, here] = await link(server, client)
      if (isHeard) {
        listen(server, 'error', unexpected)
        listen(client, 'error', unexpected)
        listen(there, 'error', unexpected)
        listen(here, 'error', unexpected)
      }
      listen(there, 'ping', () => there.ping(Uint8Array.of(1)).then(() => once(there, 'drain')))
      await here.ping()
      await here.close()
      await once(there, 'close')
      await settled()
    })
    assert.deepEqual(printed, [])
  })
}

test('law 3: a listener that waits for another connection than its own did fail', async () => {
  const [server, client] = pair()
  const [other] = pair()
  const failed = once(server, 'error')
  listen(server, 'message', () => once(other, 'message'))
  client.send('x')
  await client.ping()
  void other.close()
  const { cause } = await failed
  assert.ok(cause instanceof ClosedError && cause.target === other)
  assert.ok(server.isOpen)
})

test('law 4: nothing a peer does can throw in your process', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const handshake =
    'GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
  const rudeness = [
    '',
    'GET',
    '\0\0\0\0\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    handshake.slice(0, -2),
    handshake,
    `${handshake}\x8f\x00`,
    `${handshake}\x81\x05hello`,
    `${handshake}\x88\x82\0\0\0\0\x00\x01`,
  ]
  for (const words of rudeness) {
    const tcp = connectTcp(port, '127.0.0.1').on('error', () => {})
    await onceEmitted(tcp, 'connect')
    tcp.write(words, 'latin1')
    tcp.resetAndDestroy()
    await onceEmitted(tcp, 'close')
  }
  const [polite] = await link(server, new WebsocketClient())
  assert.equal(typeof (await polite.ping()), 'number')
  await server.close()
})

test('law 4: a promise that no code awaits ends no process', async () => {
  const [server, client] = pair()
  void once(server, 'drain')
  void listen(server, 'drain').next()
  void client.ping()
  void server.ping()
  cut(server)
  void server.ping()
  void server.close()
  void once(server, 'message')
  const closed = new WebsocketClient()
  listen(closed, 'connectError', () => {})
  void closed.open('ws://localhost:1')
  await once(closed, 'closed')
  await settled() // an unhandled rejection would end the process now
})

test('law 5: when a target ends, its iterators and waits end', async () => {
  const [server, client] = pair()
  const messages: Data[] = []
  const looped = (async () => {
    for await (const message of listen(server, 'message')) messages.push(message)
    return 'ended'
  })()
  const pongs = listen(server, 'pong')
  const waiting = once(server, 'drain')
  client.send('one')
  client.send('two')
  await client.close(4000, 'enough')
  await assert.rejects(waiting, (error) => error instanceof ClosedError && error.closeCode === 4000)
  assert.equal(await looped, 'ended')
  assert.deepEqual(await pongs.next(), { done: true, value: undefined })
  assert.deepEqual(messages, ['one', 'two'])
})

test('law 5: on an ended target the end sticks, and nothing else comes any more', async () => {
  const [server, client] = pair()
  client.send('unread')
  await client.close(4000, 'enough')
  const reason = { code: 4000, description: 'enough' }
  assert.deepEqual(await once(server, 'close'), reason)
  assert.deepEqual(await once(server, 'close'), reason)
  const closes = listen(server, 'close')
  assert.deepEqual(await closes.next(), { done: false, value: reason })
  assert.deepEqual(await closes.next(), { done: true, value: undefined })
  const called = new Promise((resolve) => listen(server, 'close', resolve))
  assert.deepEqual(await called, reason)
  await assert.rejects(once(server, 'pong'), ClosedError)
  const messages: Data[] = []
  for await (const message of listen(server, 'message')) messages.push(message)
  assert.deepEqual(messages, [])
  await assert.rejects(once(server, 'message'), ClosedError)
})

test('law 5: close comes after the messages before it', async () => {
  const [server, client] = pair()
  const story: string[] = []
  listen(server, 'message', async (message) => {
    await new Promise(setImmediate)
    story.push(String(message))
  })
  const closed = once(server, 'close').then(() => story.push('close'))
  for (const text of ['a', 'b', 'c']) client.send(text)
  await client.close()
  await closed
  assert.deepEqual(story, ['a', 'b', 'close'], 'c is being handled: it was given before the close')
})

test('law 5: close comes at latest closeTimeout later', async () => {
  const [server, client] = pair({ server: { closeTimeout: 5 } })
  listen(server, 'message', () => new Promise(() => {}))
  client.send('handled for ever')
  client.send('never given')
  await client.close()
  assert.equal((await once(server, 'close')).code, 1000)
})

test('law 5: a maker ends at closed, and its callbacks stay for the next serve', async () => {
  const server = new WebsocketServer()
  let clients = 0
  listen(server, 'client', () => (clients += 1))
  const loop = listen(server, 'client')
  const { port } = await server.serve(0)
  const closed = once(server, 'closed')
  await server.close()
  assert.equal((await closed).port, port)
  assert.equal((await once(server, 'closed')).port, port)
  assert.deepEqual(await loop.next(), { done: true, value: undefined })
  const next = once(server, 'client')
  const again = await server.serve(0)
  await new WebsocketClient().open(`ws://localhost:${again.port}`)
  assert.ok((await next).isOpen)
  assert.equal(clients, 1)
  const waiting = once(server, 'client')
  await server.close()
  await assert.rejects(waiting, ClosedError)
})

test('law 6: an unknown option or event throws a TypeError with the nearest name', () => {
  const [server] = pair()
  assert.throws(
    // @ts-expect-error: a slip
    () => new WebsocketServer({ keepAliveTimeout: 5 }),
    new TypeError('unknown option `keepAliveTimeout`: did you mean `keepaliveTimeout`?'),
  )
  assert.throws(
    // @ts-expect-error: a slip
    () => listen(server, 'mesage', () => {}),
    new TypeError('unknown event of a connection `mesage`: did you mean `message`?'),
  )
  // @ts-expect-error: a slip
  assert.throws(() => listen(server, 'message', () => {}, { onec: true }), /did you mean `once`/)
  // @ts-expect-error: a slip
  assert.throws(() => new WebsocketServer().close({ cod: 1001 }), /did you mean `code`/)
})

test('law 6: every message dropped by a policy is counted', async () => {
  const server = new WebsocketServer({ maxBufferedAmount: 100, slowConsumer: 'drop' })
  const [there] = await link(server, new WebsocketClient())
  for (let count = 0; count < 5; count++) there.send('x'.repeat(60))
  assert.equal(server.stats().sent, 1)
  assert.equal(server.stats().dropped, 4)
})

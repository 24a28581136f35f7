import assert from 'node:assert/strict'
import { mock, suite, test, type TestContext } from 'node:test'
import { inspect } from 'node:util'
import {
  CallbackError,
  ClosedError,
  ConnectError,
  listen,
  once,
  WebsocketServer,
  type WebsocketConnection,
} from 'simplewebsockets'
import {
  ChannelError,
  amber,
  ChannelClient,
  ChannelServer,
  phoenix,
  phoenixV1,
  type ChannelClientOptions,
  type Logger,
  type PushFrame,
  type Serializer,
} from 'simplewebsockets/channels'
import { cut, link } from 'simplewebsockets/testing'
import { printedBy } from '../../support/printed.ts'
import { Books } from '../../support/channels/books.ts'

const URL_ = 'ws://localhost/socket'
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Scene {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  readonly client: ChannelClient
  /** Connects, and gives the server's end. */
  readonly open: () => Promise<WebsocketConnection>
}

function scene(t: TestContext, options?: ChannelClientOptions): Scene {
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  const client = new ChannelClient({ keepaliveTimeout: false, ...options })
  t.after(() => client.close())
  const open = async (): Promise<WebsocketConnection> => (await link(server, client, URL_))[0]
  return { server, channels, client, open }
}

const dialects: readonly Serializer[] = [phoenix, phoenixV1]

for (const serializer of dialects) {
  suite(`a channel client of ${serializer.name}`, () => {
    test('joins, pushes, is answered, hears and leaves', async (t) => {
      const { channels, client, open } = scene(t, { serializer })
      const rooms = channels.topic('room:*')
      listen(rooms, 'join', ({ channel, payload, accept }) => {
        listen(channel.messages, 'double', ({ payload: number, reply }) => reply(number.n * 2))
        listen(channel.messages, 'no', ({ refuse }) => refuse({ why: 'not' }))
        accept({ hello: payload.name })
        void channel.push('welcome', { to: payload.name })
      })
      const left = once(rooms, 'leave')
      await open()
      const room = client.channel('room:1', { name: 'ann' })
      assert.equal(room.state, 'closed')
      const joining = room.join()
      assert.equal(room.state, 'joining')
      assert.deepEqual(await joining, { hello: 'ann' })
      assert.equal(room.state, 'joined')
      assert.deepEqual((await once(room.messages, 'welcome')).payload, { to: 'ann' })
      assert.equal(await room.push('double', { n: 21 }), 42)
      await assert.rejects(room.push('no', {}), (error: ChannelError) => {
        assert.ok(error instanceof ChannelError)
        assert.deepEqual(
          [error.status, error.reply, error.topic],
          ['error', { why: 'not' }, 'room:1'],
        )
        return true
      })
      const heard = once(room.messages, 'news')
      channels.emit('room:1', 'news', { n: 1 })
      assert.deepEqual((await heard).payload, { n: 1 })
      await room.leave()
      assert.equal(room.state, 'closed')
      assert.deepEqual(await once(room, 'close'), { code: 1000, description: 'left' })
      assert.equal((await left).reason, 'left')
      await assert.rejects(room.push('double', { n: 1 }), ClosedError)
      await assert.rejects(room.join(), ClosedError)
    })

    test('joins again when the membership crashes, and when the connection is lost', async (t) => {
      const { channels, client, open } = scene(t, {
        serializer,
        rejoin: { delay: () => 1 },
        reconnect: { delay: () => 1 },
      })
      const rooms = channels.topic('room:*')
      let joins = 0
      listen(rooms, 'join', ({ channel, payload, accept }) => {
        joins++
        listen(channel.messages, 'crash', () => {
          throw new Error('as asked')
        })
        accept(payload)
      })
      listen(channels, 'error', () => {})
      await open()
      let asked = 0
      const room = client.channel('room:1', () => ({ asked: ++asked }))
      assert.deepEqual(await room.join(), { asked: 1 })
      const again = once(room, 'join')
      await assert.rejects(room.push('crash', {}), ClosedError)
      assert.deepEqual(await again, { asked: 2 })
      const third = once(room, 'join')
      const closed = once(client, 'close')
      assert.ok(room.connection)
      cut(room.connection)
      assert.equal((await closed).code, 1006)
      assert.deepEqual(await third, { asked: 3 })
      assert.equal(joins, 3)
    })
  })
}

suite('a channel client', () => {
  test('says and reads the frames that the books have', async (t) => {
    const client = new ChannelClient({ keepaliveTimeout: false })
    t.after(() => client.close())
    const books = await Books.meet(client)
    const room = client.channel('room:1', { name: 'ann' })
    const early = room.join()
    const waiting = room.push('first', { n: 1 })
    assert.deepEqual(await books.take(), [['1', '1', 'room:1', 'phx_join', { name: 'ann' }]])
    await books.reply('1', 'room:1', { id: 7 })
    assert.deepEqual(await early, { id: 7 })
    assert.deepEqual(await books.take(), [['1', '2', 'room:1', 'first', { n: 1 }]])
    await books.say(['1', '2', 'room:1', 'phx_reply', { status: 'ok', response: { a: 1 } }])
    assert.deepEqual(await waiting, { a: 1 })
    const events: unknown[] = []
    listen(room, 'message', ({ event, payload }) => events.push([event, payload]))
    await books.say(
      ['1', null, 'room:1', 'evt', { n: 1 }],
      [null, null, 'room:1', 'evt', { n: 2 }],
      ['0', null, 'room:1', 'evt', { n: 'of another membership' }],
      ['1', null, 'room:2', 'evt', { n: 'of another topic' }],
      Uint8Array.from(
        Buffer.from('00010606 31 726f6f6d3a31 62696e617279 000102ff'.replaceAll(' ', ''), 'hex'),
      ),
    )
    assert.deepEqual(events, [
      ['evt', { n: 1 }],
      ['evt', { n: 2 }],
      ['binary', Uint8Array.of(0, 1, 2, 255)],
    ])
    const leaving = room.leave()
    assert.equal(room.state, 'leaving')
    assert.deepEqual(await books.take(), [['1', '3', 'room:1', 'phx_leave', {}]])
    await books.say(
      ['1', '3', 'room:1', 'phx_reply', { status: 'ok', response: {} }],
      ['1', '1', 'room:1', 'phx_close', {}],
    )
    await leaving
    assert.equal(room.state, 'closed')
  })

  test('sends a heartbeat when the last was answered 30 s ago, and drops a server that is silent', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.after(() => mock.timers.reset())
    const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
    const books = await Books.meet(client)
    mock.timers.tick(29_999)
    assert.deepEqual(await books.take(), [])
    mock.timers.tick(1)
    assert.deepEqual(await books.take(), [[null, '1', 'phoenix', 'heartbeat', {}]])
    mock.timers.tick(20_000)
    await books.say([null, '1', 'phoenix', 'phx_reply', { status: 'ok', response: {} }])
    mock.timers.tick(29_999)
    assert.deepEqual(await books.take(), [])
    mock.timers.tick(1)
    assert.deepEqual(await books.take(), [[null, '2', 'phoenix', 'heartbeat', {}]])
    await books.say([null, '1', 'phoenix', 'phx_reply', { status: 'ok', response: {} }])
    const closed = once(client, 'close')
    mock.timers.tick(30_000)
    assert.equal((await closed).code, 1006)
  })

  test('gives up a join after its timeout, tells the server, and joins anew', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.after(() => mock.timers.reset())
    const client = new ChannelClient({ keepaliveTimeout: false, rejoin: { delay: () => 1_000 } })
    const books = await Books.meet(client)
    const room = client.channel('room:1')
    const errors: ChannelError[] = []
    listen(room, 'error', (error) => errors.push(error as ChannelError))
    const joining = room.join()
    const pushed = room.push('late', {}, { timeout: 15_000 })
    await books.take()
    mock.timers.tick(10_000)
    await assert.rejects(joining, { name: 'ChannelError', status: 'timeout' })
    assert.equal(room.state, 'errored')
    assert.deepEqual(await books.take(), [['1', '2', 'room:1', 'phx_leave', {}]])
    await books.say(
      ['1', '1', 'room:1', 'phx_reply', { status: 'ok', response: {} }],
      ['1', '2', 'room:1', 'phx_reply', { status: 'ok', response: {} }],
      ['1', '1', 'room:1', 'phx_close', {}],
    )
    assert.equal(room.state, 'errored')
    mock.timers.tick(1_000)
    assert.deepEqual(await books.take(), [['3', '3', 'room:1', 'phx_join', {}]])
    mock.timers.tick(4_000)
    await assert.rejects(pushed, { status: 'timeout' })
    await books.reply('3', 'room:1')
    assert.equal(room.state, 'joined')
    assert.deepEqual(await books.take(), [])
    assert.deepEqual(
      errors.map(({ status }) => status),
      ['timeout', 'timeout'],
    )
  })

  test('tells why a join was refused, and tries it again unless told not to', async (t) => {
    const { channels, client, open } = scene(t, { rejoin: { delay: () => 1 } })
    let asked = 0
    listen(channels.topic('room:*'), 'join', ({ accept, reject }) => {
      if (++asked < 3) reject({ reason: 'not yet' })
      else accept({})
    })
    await open()
    const room = client.channel('room:1')
    await assert.rejects(room.join(), {
      name: 'ChannelError',
      status: 'error',
      reply: { reason: 'not yet' },
      message: 'a join on `room:1` was answered `error`: {"reason":"not yet"}',
    })
    await once(room, 'join')
    assert.equal(asked, 3)

    const once_ = scene(t, { rejoin: { when: ({ status }) => status !== 'error' } })
    listen(once_.channels.topic('room:*'), 'join', ({ reject }) => reject({ reason: 'never' }))
    await once_.open()
    const never = once_.client.channel('room:1')
    await assert.rejects(never.join(), { reply: { reason: 'never' } })
    assert.equal(never.state, 'closed')
    await once(never, 'close')
  })

  for (const where of ['when', 'delay'] as const) {
    test(`leave() inside \`rejoin.${where}\` ends the channel`, async (t) => {
      mock.timers.enable({ apis: ['setTimeout'] })
      t.after(() => mock.timers.reset())
      const leaving = (): true => {
        void room.leave()
        return true
      }
      const rejoin = where === 'when' ? { when: leaving } : { delay: () => Number(leaving()) }
      const client = new ChannelClient({ keepaliveTimeout: false, heartbeat: false, rejoin })
      t.after(() => client.close())
      const books = await Books.meet(client)
      const room = client.channel('room:1')
      const told: string[] = []
      listen(room, 'error', () => told.push('error'))
      listen(room, 'close', ({ description }) => told.push(description))
      const joining = room.join()
      await books.take()
      await books.reply('1', 'room:1', { reason: 'no' }, 'error')
      await assert.rejects(joining, { reply: { reason: 'no' } })
      assert.equal(room.state, 'closed')
      mock.timers.tick(60_000)
      assert.deepEqual(await books.take(), [])
      assert.deepEqual(told, ['left'])
      await assert.rejects(room.join(), ClosedError)
    })
  }

  test('join() inside `rejoin.when` begins the next attempt, and no other one follows', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.after(() => mock.timers.reset())
    const when = (): boolean => {
      void room.join()
      return true
    }
    const client = new ChannelClient({
      keepaliveTimeout: false,
      heartbeat: false,
      rejoin: { when },
    })
    t.after(() => client.close())
    const books = await Books.meet(client)
    const room = client.channel('room:1')
    void room.join()
    await books.take()
    await books.reply('1', 'room:1', {}, 'error')
    assert.deepEqual(await books.take(), [['2', '2', 'room:1', 'phx_join', {}]])
    await books.reply('2', 'room:1')
    mock.timers.tick(9_000)
    assert.equal(room.state, 'joined')
    assert.deepEqual(await books.take(), [])
  })

  test('a push that is not answered resolves when it is sent, and its refusal goes nowhere', async (t) => {
    const client = new ChannelClient({ keepaliveTimeout: false })
    t.after(() => client.close())
    const books = await Books.meet(client)
    const room = client.channel('room:1')
    listen(room, 'error', () => assert.fail('it was told not to wait'))
    void room.join()
    let isSent = false
    const pushed = room.push('evt', {}, { reply: false }).then(() => (isSent = true))
    await books.take()
    assert.equal(isSent, false)
    await books.reply('1', 'room:1')
    await pushed
    assert.deepEqual(await books.take(), [['1', '2', 'room:1', 'evt', {}]])
    await books.say(['1', '2', 'room:1', 'phx_reply', { status: 'error', response: {} }])
    assert.throws(() => room.push('evt', {}, { reply: 'no' } as object), /`reply`/)
    assert.throws(() => room.push('evt', {}, { signal: {} as AbortSignal }), /`signal`/)
  })

  test('a refused push is an `error` of the channel only where its promise is left alone', async (t) => {
    const { channels, client, open } = scene(t)
    listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
      listen(channel.messages, 'no', ({ payload, refuse }) => refuse(payload))
      accept({})
    })
    await open()
    const room = client.channel('room:1')
    const errors: unknown[] = []
    listen(room, 'error', (error) => errors.push((error as ChannelError).reply))
    await room.join()
    await room.push('no', 'caught').catch(() => {})
    await assert.rejects(room.push('no', 'awaited'), ChannelError)
    const heard = once(room, 'error')
    void room.push('no', 'left alone')
    await heard
    assert.deepEqual(errors, ['left alone'])
  })

  test('an event that a server has no listener for is refused', async (t) => {
    const { channels, client, open } = scene(t)
    channels.topic('room:*', { open: true })
    await open()
    const room = client.channel('room:1')
    await room.join()
    await assert.rejects(room.push('nothing', {}), { reply: { reason: 'unhandled event' } })
  })

  test('a second channel of a topic leaves the first one before it joins', async (t) => {
    const client = new ChannelClient({ keepaliveTimeout: false })
    t.after(() => client.close())
    const books = await Books.meet(client)
    const first = client.channel('room:1')
    void first.join()
    await books.take()
    await books.reply('1', 'room:1')
    const second = client.channel('room:1')
    void second.join()
    assert.deepEqual(await books.take(), [
      ['1', '2', 'room:1', 'phx_leave', {}],
      ['3', '3', 'room:1', 'phx_join', {}],
    ])
    const heard: string[] = []
    listen(first, 'message', () => heard.push('first'))
    listen(second, 'message', () => heard.push('second'))
    await books.say(
      ['1', '2', 'room:1', 'phx_reply', { status: 'ok', response: {} }],
      ['1', '1', 'room:1', 'phx_close', {}],
      ['3', '3', 'room:1', 'phx_reply', { status: 'ok', response: {} }],
      [null, null, 'room:1', 'evt', {}],
    )
    assert.deepEqual([first.state, second.state], ['closed', 'joined'])
    assert.deepEqual(heard, ['second'])
  })

  test('phx_close ends a channel for good', async (t) => {
    const client = new ChannelClient({ keepaliveTimeout: false })
    t.after(() => client.close())
    const books = await Books.meet(client)
    const room = client.channel('room:1')
    const joining = room.join()
    await books.take()
    await books.reply('1', 'room:1')
    await joining
    const pushed = room.push('a', {})
    await books.say(['1', '1', 'room:1', 'phx_close', {}])
    await assert.rejects(pushed, ClosedError)
    assert.deepEqual(await once(room, 'close'), {
      code: 1000,
      description: 'sent out by the server',
    })
    await books.take()
  })

  test('bytes go and come as bytes', async (t) => {
    const { channels, client, open } = scene(t)
    listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
      listen(channel.messages, 'echo', ({ payload, reply }) => reply(payload))
      accept({})
    })
    await open()
    const room = client.channel('room:1')
    await room.join()
    assert.deepEqual(await room.push('echo', Uint8Array.of(1, 2, 3)), Uint8Array.of(1, 2, 3))
    assert.throws(() => room.push('echo', 1n), TypeError)
    assert.throws(() => room.push('phx_leave', {}), TypeError)
    assert.throws(() => room.broadcast('echo', {}), /push/)
    assert.throws(() => client.channel('room:2').push('early', {}), /join first/)
  })

  test('its `reconnect.when` is told what Phoenix does: after any close code it tries again', async (t) => {
    let resolve: (given: unknown[]) => void = () => {}
    const asked = new Promise<unknown[]>((settle) => (resolve = settle))
    const when = (cause: unknown, usual: boolean): boolean => {
      resolve([cause, usual])
      return false
    }
    const there = await scene(t, { reconnect: { when } }).open()
    void there.close(1000, 'enough')
    assert.deepEqual(await asked, [{ code: 1000, description: 'enough' }, true])
  })

  test('in Amber it joins again after a reconnection, and pushes are done when sent', async (t) => {
    const { channels, client, open } = scene(t, {
      serializer: amber,
      reconnect: { delay: () => 1 },
    })
    const rooms = channels.topic('room:*')
    let joins = 0
    listen(rooms, 'join', ({ channel, accept }) => {
      joins++
      listen(channel.messages, 'new', ({ payload }) => channels.emit(channel.topic, 'new', payload))
      accept({})
    })
    await open()
    const room = client.channel('room:1')
    await room.join()
    const heard = once(room.messages, 'new')
    assert.equal(await room.push('new', { n: 1 }), undefined)
    assert.deepEqual((await heard).payload, { n: 1 })
    const again = once(room, 'join')
    assert.ok(room.connection)
    cut(room.connection)
    await again
    const reheard = once(room.messages, 'new')
    await room.push('new', { n: 2 })
    assert.deepEqual((await reheard).payload, { n: 2 })
    assert.equal(joins, 2)
    assert.throws(() => room.push('new', Uint8Array.of(1)), /Amber has no words for bytes/)
    assert.throws(() => new ChannelClient({ serializer: amber, authToken: 'a' }), /params/)
    await room.leave()
  })

  test('its params, token and headers are asked at every attempt, over a real socket', async (t) => {
    const server = new WebsocketServer({ path: '/socket' })
    const channels = new ChannelServer(server)
    channels.topic('*', { open: true })
    t.after(() => server.close())
    const { port } = await server.serve(0)
    let count = 0
    const client = new ChannelClient({
      params: () => Promise.resolve({ a: ++count, nested: { b: [1, 2] } }),
      authToken: () => `token ${count}`,
      headers: { 'x-mine': 'yes' },
      reconnect: { delay: () => 1 },
    })
    t.after(() => client.close())
    const first = once(server, 'client')
    await client.open(`ws://localhost:${port}/socket`)
    assert.ok(client.isOpen)
    const { request } = await first
    assert.equal(
      request.url,
      '/socket/websocket?a=1&nested%5Bb%5D%5B%5D=1&nested%5Bb%5D%5B%5D=2&vsn=2.0.0',
    )
    assert.equal(request.headers['x-mine'], 'yes')
    assert.match(String(request.token()), /^token \d$/)
    const second = once(server, 'client')
    const opened = once(client, 'open')
    await (await first).close(1000)
    assert.match((await second).request.url, /\?a=2&/)
    await opened
  })

  test('a push made while the server was down arrives after the rejoin', async (t) => {
    const serve = async (at: number): Promise<{ port: number; server: WebsocketServer }> => {
      const server = new WebsocketServer({ path: '/socket' })
      listen(new ChannelServer(server).topic('room:*'), 'join', ({ channel, accept }) => {
        listen(channel.messages, 'note', ({ payload, reply }) => reply({ noted: payload }))
        accept({})
      })
      t.after(() => server.close())
      const { port } = await server.serve(at)
      return { port, server }
    }
    const { port, server } = await serve(0)
    const client = new ChannelClient({ reconnect: { delay: () => 5 } })
    t.after(() => client.close())
    await client.open(`ws://localhost:${port}/socket`)
    const room = client.channel('room:1')
    await room.join()
    const closed = once(client, 'close')
    await server.close()
    await closed
    const failed = once(client, 'error')
    const pushed = [room.push('note', 1), room.push('note', 2)]
    assert.ok((await failed) instanceof ConnectError, 'it is down')
    const rejoined = once(room, 'join')
    await serve(port)
    await rejoined
    assert.deepEqual(await Promise.all(pushed), [{ noted: 1 }, { noted: 2 }])
  })

  for (const serializer of [phoenix, phoenixV1, amber]) {
    test(`a push is encoded once, sent at once or later, in ${serializer.name}`, async (t) => {
      const logged: unknown[] = []
      const logger: Logger = (kind, text, frame) => {
        const isEvent = kind === 'push' && text.includes('evt')
        if (isEvent) logged.push(inspect((frame as PushFrame).payload))
      }
      const { channels, client, open } = scene(t, { serializer, logger })
      const heard: unknown[] = []
      listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
        listen(channel.messages, 'evt', ({ payload, reply }) => reply(heard.push(payload)))
        accept()
      })
      await open()
      let count = 0
      const counted = { toJSON: () => ({ n: ++count }) }
      const room = client.channel('room:1')
      const joining = room.join()
      const changing = { n: 'as it was' }
      const early = [room.push('evt', counted), room.push('evt', changing)]
      changing.n = 'as it is'
      assert.throws(() => room.push('evt', { n: 1n }), /can't be JSON/)
      await joining
      await Promise.all(early)
      await room.push('evt', counted)
      assert.throws(() => room.push('evt', { n: 1n }), /can't be JSON/)
      await turn()
      assert.deepEqual(heard, [{ n: 1 }, { n: 'as it was' }, { n: 2 }])
      assert.equal(count, 2)
      assert.equal(logged[1], "{ n: 'as it was' }")
    })
  }

  test('bytes that wait for a join are sent as they were pushed', async (t) => {
    const { channels, client, open } = scene(t)
    const rooms = channels.topic('room:*')
    const asked = once(rooms, 'join')
    await open()
    const room = client.channel('room:1')
    void room.join()
    const bytes = Uint8Array.of(1, 2)
    void room.push('evt', bytes)
    bytes.fill(0)
    const { channel, accept } = await asked
    const heard = once(channel.messages, 'evt')
    accept()
    assert.deepEqual([...((await heard).payload as Uint8Array)], [1, 2])
  })

  test('a dialect of your own is a serializer whose codecs you write', async (t) => {
    const flip = (text: string | Uint8Array | undefined): string =>
      String(text).split('').reverse().join('')
    const flipped: Serializer = {
      ...phoenix,
      name: 'flipped',
      client: {
        encode: (frame) => flip(phoenix.client.encode(frame)),
        decode: (data) => phoenix.client.decode(flip(data)),
      },
    }
    const client = new ChannelClient({ serializer: flipped, keepaliveTimeout: false })
    t.after(() => client.close())
    const server = new WebsocketServer()
    const [there] = await link(server, client)
    const heard = once(there, 'message')
    const room = client.channel('room:1')
    const joining = room.join()
    assert.equal(flip(await heard), '["1","1","room:1","phx_join",{}]')
    there.send(flip('["1","1","room:1","phx_reply",{"status":"ok","response":{"id":7}}]'))
    assert.deepEqual(await joining, { id: 7 })
  })

  test('a codec of yours that throws is told, and the timers go on', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.after(() => mock.timers.reset())
    const broken: Serializer = {
      ...phoenix,
      client: {
        encode: (frame) => (frame.kind === 'join' ? phoenix.client.encode(frame) : boom()),
        decode: () => boom(),
      },
    }
    const client = new ChannelClient({ serializer: broken, reconnect: false, timeout: 1_000 })
    const errors: string[] = []
    listen(client, 'error', ({ message }) => errors.push(message))
    const books = await Books.meet(client)
    const room = client.channel('room:1')
    const joining = room.join()
    await books.say('anything')
    assert.deepEqual(errors.splice(0), ['as asked'])
    assert.throws(() => room.push('evt', {}), /as asked/)
    const left = room.leave()
    mock.timers.tick(1_000)
    await left
    await assert.rejects(joining, ClosedError)
    mock.timers.tick(29_000)
    await turn()
    assert.equal(errors.length, 2, 'the leave, and the heartbeat')
  })

  test('says to a logger what happens, whatever becomes of that', async (t) => {
    const lines: string[] = []
    const { channels, client, open } = scene(t, {
      logger: (kind, text) => {
        lines.push(`${kind}: ${text}`)
        throw new Error('the disk is full')
      },
    })
    channels.topic('room:*', { open: true })
    const errors: string[] = []
    listen(client, 'error', ({ message }) => errors.push(message))
    await open()
    const room = client.channel('room:1')
    await room.join()
    await room.leave()
    await turn()
    assert.deepEqual(lines, [
      'transport: connected to /socket/websocket',
      'push: room:1 join (1, 1)',
      'channel: joined room:1',
      'receive: room:1 reply (1, 1)',
      'push: room:1 leave (1, 2)',
      'channel: closed room:1: left',
      'receive: room:1 reply (1, 2)',
      'receive: room:1 close (1, null) (ignored)',
    ])
    assert.match(String(errors[0]), /the disk is full/)
  })

  test('a listener of a channel that fails is printed once, and its membership goes on', async (t) => {
    const { channels, client, open } = scene(t)
    channels.topic('room:*', { open: true })
    await open()
    const room = client.channel('room:1')
    await room.join()
    let heard = 0
    const last = new Promise<void>((resolve) => {
      listen(room.messages, 'said', () => {
        if (++heard === 100) resolve()
        boom()
      })
    })
    const printed = await printedBy(async () => {
      for (let count = 0; count < 100; count++) channels.emit('room:1', 'said', {})
      await last
    })
    assert.equal(printed.filter((line) => line instanceof CallbackError).length, 1)
    assert.equal(room.state, 'joined')
  })

  test('a listener of its connection that fails unheard is printed, and closes it with 1011', async (t) => {
    const { channels, client, open } = scene(t, { reconnect: false })
    channels.topic('room:*', { open: true })
    const there = await open()
    const room = client.channel('room:1')
    await room.join()
    const { connection } = room
    assert.ok(connection)
    const printed = await printedBy(async () => {
      listen(connection, 'ping', boom)
      there.ping().catch(() => {})
      assert.equal((await once(there, 'close')).code, 1011)
    })
    assert.equal(printed.length, 1)
  })

  test('an attempt that fails is an error, and giving up rejects', async () => {
    const server = new WebsocketServer({ path: '/socket', authorize: () => false })
    new ChannelServer(server)
    const client = new ChannelClient()
    const heard = once(client, 'error')
    await assert.rejects(link(server, client, URL_), ConnectError)
    assert.ok((await heard) instanceof ConnectError)
    await assert.rejects(new ChannelClient().open('nonsense'), ConnectError)
  })

  test('a channel client that was opened with a signal that is none may be opened again', async (t) => {
    const { client, open } = scene(t)
    assert.throws(() => void client.open(URL_, { signal: {} as AbortSignal }), {
      name: 'TypeError',
      message: 'expected `signal` to be an AbortSignal, got an object',
    })
    await open()
    assert.ok(client.isOpen)
    await client.close()
    const closed = await once(client, 'closed')
    assert.throws(() => void client.open(URL_, { signal: {} as AbortSignal }), TypeError)
    assert.equal(await once(client, 'closed'), closed) // which is still its end
  })

  test('an unknown option is refused, with the nearest', () => {
    assert.throws(() => new ChannelClient({ timeOut: 1 } as object), /did you mean `timeout`/)
    assert.throws(
      () => new ChannelClient({ rejoin: { wehn: () => true } } as object),
      /rejoin\.when/,
    )
    assert.throws(() => new ChannelClient({ timeout: 0 }), /`timeout`/)
    assert.throws(() => new ChannelClient({ reconnect: 'yes' } as object), /`reconnect`/)
  })
})

function boom(): never {
  throw new Error('as asked')
}

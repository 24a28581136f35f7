import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { EventEmitter, once as onceOf } from 'node:events'
import { suite, test, type TestContext } from 'node:test'
import {
  REALTIME_SUBSCRIBE_STATES,
  RealtimeClient,
  type WebSocketLikeConstructor,
} from '@supabase/realtime-js'
import { Socket as Phoenix18 } from 'phoenix'
import { Socket as Phoenix17 } from 'phoenix-1.7'
import { listen, once, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { amber, ChannelServer, phoenix, phoenixV1, Presence } from 'simplewebsockets/channels'
import WebSocket from 'ws'
import { sparePort } from '../support/ports.ts'
import { turn } from '../support/scene.ts'
import { AmberSocket, type AmberPatience } from '../support/channels/amberclient.ts'

/** The clients of Phoenix that are tried, unmodified. */
const versions: [version: string, Socket: PhoenixSocketMaker][] = [
  ['1.8.16', Phoenix18],
  ['1.7.23', Phoenix17],
]

interface Stage {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  /** A socket of the version under test, connected; it goes with the test. */
  readonly socket: (options?: OwnOptions) => PhoenixSocket
}

type Five = [string | null, string | null, string, string, unknown]

type OwnOptions = Partial<ConstructorParameters<PhoenixSocketMaker>[1]>

/** The options that make phoenix.js speak version 1: it has no serializer for that itself. */
const versionOne: OwnOptions = {
  vsn: '1.0.0',
  encode: (message, callback) => callback(JSON.stringify(message)),
  // A missing join_ref of version 1 is undefined there, as in the phoenix.js of its time.
  decode: (data, callback) => callback(JSON.parse(data as string) as PhoenixMessage),
}

/** Starts a server on a port of its own, mounted at /socket. */
async function stage(
  t: TestContext,
  Socket: PhoenixSocketMaker,
  options: ServerOptions = {},
): Promise<Stage> {
  const server = new WebsocketServer({ path: '/socket', ...options })
  const channels = new ChannelServer(server)
  const { port } = await server.serve(0)
  t.after(() => server.close())
  return { server, channels, socket: (own) => connected(t, Socket, port, own) }
}

function connected(
  t: TestContext,
  Socket: PhoenixSocketMaker,
  port: number,
  own: OwnOptions = {},
): PhoenixSocket {
  const socket = new Socket(`ws://localhost:${port}/socket`, {
    transport: WebSocket,
    rejoinAfterMs: () => 20,
    reconnectAfterMs: () => 20,
    timeout: 3_000,
    ...own,
  })
  socket.connect()
  t.after(() => socket.disconnect())
  return socket
}

/** Starts a server in a process of its own. */
async function startMounted(t: TestContext, port: number): Promise<ChildProcess> {
  const child = fork(new URL('../support/channels/mounted.ts', import.meta.url), [String(port)], {
    execArgv: ['--conditions=source', '--import', 'tsx'],
  })
  t.after(() => child.kill('SIGKILL'))
  await onceOf(child, 'message')
  return child
}

/** Tells of every time that a join was answered with ok, as `ok`. */
function welcomes(push: PhoenixPush): EventEmitter {
  const emitter = new EventEmitter()
  push.receive('ok', (response) => emitter.emit('ok', response))
  return emitter
}

/** Resolves with the answer to a join, a leave or a push. */
function answered(push: PhoenixPush): Promise<[status: string, response: unknown]> {
  return new Promise((resolve) => {
    for (const status of ['ok', 'error', 'timeout', 'later']) {
      push.receive(status, (response: unknown) => resolve([status, response]))
    }
  })
}

/** Resolves with the next event of that name. */
function heard(channel: PhoenixChannel, event: string): Promise<unknown> {
  return new Promise((resolve) => channel.on(event, resolve))
}

for (const [version, Socket] of versions) {
  suite(`phoenix.js ${version}`, { concurrency: 4, timeout: 60_000 }, () => {
    test('joins, with what it says, and gets the answer', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      listen(channels.topic('room:*'), 'join', ({ channel, payload, accept }) => {
        void channel.push('welcome', {})
        accept({ you: payload })
      })
      const channel = socket().channel('room:1', { name: 'ann' })
      const welcome = heard(channel, 'welcome')
      assert.deepEqual(await answered(channel.join()), ['ok', { you: { name: 'ann' } }])
      assert.deepEqual(await welcome, {})
      assert.equal(channel.state, 'joined')
    })

    test('is refused, and joins again by itself', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      let tries = 0
      listen(channels.topic('room:*'), 'join', ({ accept, reject }) => {
        tries += 1
        if (tries === 1) reject({ reason: 'not yet' })
        else accept()
      })
      const channel = socket().channel('room:1')
      const push = channel.join()
      const joined = new Promise((resolve) => push.receive('ok', resolve))
      assert.deepEqual(await answered(push), ['error', { reason: 'not yet' }])
      await joined
      assert.equal(tries, 2)
    })

    test('hears of a topic that is not there', async (t) => {
      const { socket } = await stage(t, Socket)
      const answer = await answered(socket().channel('nowhere').join())
      assert.deepEqual(answer, ['error', { reason: 'unmatched topic' }])
    })

    test('pushes and is answered, in JSON and in bytes', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
        listen(channel.messages, 'echo', ({ payload, reply }) => reply(payload))
        listen(channel.messages, 'no', ({ refuse }) => refuse({ reason: 'no' }))
        listen(channel.messages, 'later', ({ reply }) => reply({ when: 'later' }, 'later'))
        listen(channel.messages, 'shout', ({ payload, reply }) => {
          channels.emit(channel.topic, 'shouted', payload)
          void channel.push('to you', payload)
          reply()
        })
        accept()
      })
      const channel = socket().channel('room:1')
      channel.join()
      assert.deepEqual(await answered(channel.push('echo', { a: [1] })), ['ok', { a: [1] }])
      assert.deepEqual(await answered(channel.push('no', {})), ['error', { reason: 'no' }])
      assert.deepEqual(await answered(channel.push('later', {})), ['later', { when: 'later' }])
      const bytes = Uint8Array.of(0, 1, 2, 255)
      const [status, response] = await answered(channel.push('echo', bytes.buffer))
      assert.deepEqual([status, new Uint8Array(response as ArrayBuffer)], ['ok', bytes])
      const shouted = Promise.all([heard(channel, 'shouted'), heard(channel, 'to you')])
      channel.push('shout', bytes.buffer)
      for (const data of await shouted) assert.deepEqual(new Uint8Array(data as ArrayBuffer), bytes)
    })

    test('hears the others, and not itself', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
        listen(channel.messages, 'say', ({ payload, reply }) => {
          channel.broadcast('said', payload)
          channels.emit(channel.topic, 'said to all', payload)
          reply()
        })
        accept()
      })
      const [one, other] = [socket().channel('room:1'), socket().channel('room:1')]
      await Promise.all([answered(one.join()), answered(other.join())])
      const mine: unknown[] = []
      one.on('said', () => mine.push('said'))
      one.on('said to all', (payload) => mine.push(payload))
      const said = Promise.all([heard(other, 'said'), heard(other, 'said to all')])
      await answered(one.push('say', { body: 'hi' }))
      assert.deepEqual(await said, [{ body: 'hi' }, { body: 'hi' }])
      assert.deepEqual(mine, [{ body: 'hi' }]) // and it came before the answer
    })

    test('joins a topic twice: the first one is left before', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      const topic = channels.topic('room:*', { open: true })
      const mine = socket()
      const first = mine.channel('room:1')
      await answered(first.join())
      const left = once(topic, 'leave')
      const closed = new Promise<void>((resolve) => first.onClose(resolve))
      const second = mine.channel('room:1')
      assert.deepEqual(await answered(second.join()), ['ok', {}])
      await closed
      assert.equal((await left).reason, 'left')
      assert.deepEqual([first.state, second.state], ['closed', 'joined'])
    })

    test('joins again a second after a crash, where nothing else was said', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      listen(channels, 'error', () => {})
      listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
        listen(channel.messages, 'boom', () => Promise.reject(new Error('boom')))
        accept()
      })
      // An option that is undefined falls back on its default.
      const channel = socket({ rejoinAfterMs: undefined }).channel('room:1')
      const joins = welcomes(channel.join())
      await onceOf(joins, 'ok')
      const crashed = new Promise((resolve) => channel.onError(resolve))
      const start = performance.now()
      channel.push('boom', {})
      await crashed
      await onceOf(joins, 'ok')
      assert.ok(performance.now() - start >= 990)
    })

    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      test(`comes back, and joins again, when its server starts anew after ${signal}`, async (t) => {
        const port = await sparePort()
        const before = await startMounted(t, port)
        const channel = connected(t, Socket, port).channel('room:1')
        const joins = welcomes(channel.join())
        assert.deepEqual(await onceOf(joins, 'ok'), [{ pid: before.pid }])
        const ended = onceOf(before, 'exit')
        before.kill(signal)
        await ended
        const again = onceOf(joins, 'ok')
        const after = await startMounted(t, port)
        assert.deepEqual(await again, [{ pid: after.pid }])
        assert.equal(channel.state, 'joined')
      })
    }

    test('comes back to a server that was frozen', async (t) => {
      const port = await sparePort()
      const child = await startMounted(t, port)
      const channel = connected(t, Socket, port, { heartbeatIntervalMs: 400 }).channel('room:1')
      const joins = welcomes(channel.join())
      await onceOf(joins, 'ok')
      child.kill('SIGSTOP')
      const lost = new Promise((resolve) => channel.onError(resolve))
      await lost // its heartbeat got no answer
      const again = onceOf(joins, 'ok')
      child.kill('SIGCONT')
      assert.deepEqual(await again, [{ pid: child.pid }])
    })

    test('speaks version 1, with members who speak version 2', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      listen(channels, 'error', () => {})
      listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
        listen(channel.messages, 'say', ({ payload, reply }) => {
          channel.broadcast('said', payload)
          reply(payload)
        })
        listen(channel.messages, 'boom', () => Promise.reject(new Error('boom')))
        accept({ welcome: 1 })
      })
      const old = socket(versionOne).channel('room:1')
      const joins = welcomes(old.join())
      assert.deepEqual(await onceOf(joins, 'ok'), [{ welcome: 1 }])
      const young = socket().channel('room:1')
      await answered(young.join())
      const said = [heard(old, 'said'), heard(young, 'said')]
      assert.deepEqual(await answered(old.push('say', { from: 1 })), ['ok', { from: 1 }])
      assert.deepEqual(await answered(young.push('say', { from: 2 })), ['ok', { from: 2 }])
      assert.deepEqual(await Promise.all(said), [{ from: 2 }, { from: 1 }])
      const again = onceOf(joins, 'ok')
      old.push('boom', {})
      await again
      const closed = new Promise<void>((resolve) => old.onClose(resolve))
      assert.equal((await answered(old.leave()))[0], 'ok')
      await closed
    })

    test('leaves, and the topic hears of it', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      const topic = channels.topic('room:*', { open: true })
      const channel = socket().channel('room:1')
      await answered(channel.join())
      const left = once(topic, 'leave')
      const closed = new Promise<void>((resolve) => channel.onClose(resolve))
      assert.equal((await answered(channel.leave()))[0], 'ok')
      await closed
      assert.equal((await left).reason, 'left')
      assert.equal(channel.state, 'closed')
    })

    test('joins again after a listener has failed, on the same connection', async (t) => {
      const { server, channels, socket } = await stage(t, Socket)
      listen(channels, 'error', () => {})
      const topic = channels.topic('room:*')
      let joins = 0
      listen(topic, 'join', ({ channel, accept }) => {
        listen(channel.messages, 'boom', () => {
          throw new Error('boom')
        })
        accept({ joins: (joins += 1) })
      })
      const channel = socket().channel('room:1')
      const welcomed = welcomes(channel.join())
      await onceOf(welcomed, 'ok')
      const again = onceOf(welcomed, 'ok')
      const left = once(topic, 'leave')
      channel.push('boom', {})
      assert.equal((await left).reason, 'crashed')
      await again
      assert.deepEqual([joins, server.clients.size, channel.state], [2, 1, 'joined'])
    })

    test('is sent out, and does not come again', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      const asked = once(channels.topic('room:*'), 'join')
      const channel = socket().channel('room:1')
      const push = channel.join()
      const { channel: there, accept } = await asked
      accept()
      await answered(push)
      const closed = new Promise<void>((resolve) => channel.onClose(resolve))
      await there.leave()
      await closed
      assert.equal(channel.state, 'closed')
    })

    test('reconnects and joins again when its connection was closed', async (t) => {
      const { server, channels, socket } = await stage(t, Socket)
      channels.topic('room:*', { open: true })
      const channel = socket().channel('room:1')
      const joins = welcomes(channel.join())
      await onceOf(joins, 'ok')
      const again = onceOf(joins, 'ok')
      for (const client of server.clients) client.close(1012)
      await again
      assert.equal(channel.state, 'joined')
    })

    test('joins 100 channels at once, and again after a reconnection, without a wait', async (t) => {
      const server = new WebsocketServer({ path: '/socket' })
      // Whatever is past the burst would wait for most of two minutes.
      const channels = new ChannelServer(server, { joinRate: { perSecond: 1 } })
      const rooms = channels.topic('room:*')
      const presence = new Presence(rooms)
      listen(rooms, 'join', async ({ channel, accept }) => {
        for (let key = 0; key < 10; key++) presence.track(channel, `user ${key}`, { at: 'home' })
        await turn() // as if it looked something up
        accept({ history: 'x'.repeat(2_000) })
      })
      const { port } = await server.serve(0)
      t.after(() => server.close())
      const socket = connected(t, Socket, port)
      let [answers, refusals] = [0, 0]
      let all = (): void => {}
      const joined = (): Promise<void> => new Promise((resolve) => (all = resolve))
      const first = joined()
      for (let index = 0; index < 100; index++) {
        const push = socket.channel(`room:${index}`).join()
        push.receive('ok', () => {
          answers += 1
          if (answers % 100 === 0) all()
        })
        for (const status of ['error', 'timeout']) push.receive(status, () => (refusals += 1))
      }
      await first
      const second = joined()
      for (const client of server.clients) client.close(1012)
      await second
      assert.deepEqual([answers, refusals], [200, 0])
    })

    test('is answered its heartbeats', async (t) => {
      const { socket } = await stage(t, Socket)
      const beats = new EventEmitter()
      const decode: PhoenixSerializer['decode'] = (data, callback) => {
        const [join_ref, ref, topic, event, payload] = JSON.parse(data as string) as Five
        if (topic === 'phoenix') beats.emit('answer', payload)
        callback({ join_ref, ref, topic, event, payload })
      }
      const mine = socket({ heartbeatIntervalMs: 200, decode })
      const closed: unknown[] = []
      mine.onClose((event) => closed.push(event))
      for (let beat = 0; beat < 3; beat++) {
        assert.deepEqual(await onceOf(beats, 'answer'), [{ status: 'ok', response: {} }])
      }
      assert.deepEqual(closed, [])
    })
  })
}

test('phoenix.js 1.8.16 hands over its token as a subprotocol', async (t) => {
  const tokens: unknown[] = []
  const { channels, socket } = await stage(t, Phoenix18, {
    authorize: (request) => {
      tokens.push(request.token())
      return true
    },
  })
  channels.topic('room:*', { open: true })
  const channel = socket({ authToken: 'secret?>' }).channel('room:1')
  assert.equal((await answered(channel.join()))[0], 'ok')
  assert.deepEqual(tokens, ['secret?>'])
})

suite('supabase realtime-js', { timeout: 20_000 }, () => {
  for (const vsn of ['1.0.0', '2.0.0']) {
    test(`${vsn}: subscribes, hears a broadcast, and leaves`, async (t) => {
      const { channels, port } = await supabaseStage(t)
      const topic = channels.topic('realtime:*')
      const asked = once(topic, 'join')
      const client = supabase(t, port, vsn)
      const channel = client.channel('room1')
      const heard = new Promise((resolve) => channel.on('broadcast', { event: 'shout' }, resolve))
      const subscribed = subscription(channel)
      const { channel: there, payload, accept } = await asked
      assert.equal(there.topic, 'realtime:room1')
      assert.equal(payload.config.private, false)
      accept()
      await subscribed
      const said = { type: 'broadcast', event: 'shout', payload: { body: 'hi' } }
      channels.emit('realtime:room1', 'broadcast', said)
      assert.deepEqual(await heard, said)
      const left = once(topic, 'leave')
      assert.equal(await client.removeChannel(channel), 'ok')
      assert.equal((await left).reason, 'left')
    })
  }

  test('1.0.0: what it broadcasts arrives, and is acknowledged', async (t) => {
    const { channels, port } = await supabaseStage(t)
    listen(channels.topic('realtime:*'), 'join', ({ channel, accept }) => {
      listen(channel.messages, 'broadcast', ({ payload, reply }) => {
        channel.broadcast('broadcast', payload)
        reply()
      })
      accept()
    })
    const config = { broadcast: { ack: true } }
    const [one, other] = ['one', 'other'].map(() =>
      supabase(t, port, '1.0.0').channel('room1', { config }),
    )
    assert.ok(one && other)
    const heard = new Promise((resolve) => other.on('broadcast', { event: 'shout' }, resolve))
    await Promise.all([subscription(one), subscription(other)])
    const said = { type: 'broadcast', event: 'shout', payload: { body: 'hi' } } as const
    assert.equal(await one.send(said), 'ok')
    assert.deepEqual(await heard, said)
  })
})

async function supabaseStage(t: TestContext): Promise<{ channels: ChannelServer; port: number }> {
  const server = new WebsocketServer({ path: '/realtime/v1' })
  const channels = new ChannelServer(server)
  const { port } = await server.serve(0)
  t.after(() => server.close())
  return { channels, port }
}

function supabase(t: TestContext, port: number, vsn: string): RealtimeClient {
  const client = new RealtimeClient(`ws://localhost:${port}/realtime/v1`, {
    // Node 20 has none of its own, and supabase's type takes no overloads.
    transport: WebSocket as unknown as WebSocketLikeConstructor,
    params: { apikey: 'key' },
    vsn,
  })
  t.after(() => client.disconnect())
  return client
}

/** Resolves when a channel of supabase's is joined. */
function subscription(channel: ReturnType<RealtimeClient['channel']>): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.subscribe((status, error) => {
      if (error) reject(error)
      else if (status === REALTIME_SUBSCRIBE_STATES.SUBSCRIBED) resolve()
    })
  })
}

suite('amber.js', { timeout: 20_000 }, () => {
  const patience: AmberPatience = { reconnect: [20], pings: 10_000 }

  async function amberStage(
    t: TestContext,
    { ping = 30_000, ...own }: { ping?: number; pings?: number } = {},
  ): Promise<{ server: WebsocketServer; channels: ChannelServer; enter: () => AmberSocket }> {
    const server = new WebsocketServer({ path: '/chat' })
    const often = { ...amber, keepaliveTimings: { ...amber.keepaliveTimings, pingInterval: ping } }
    const channels = new ChannelServer(server, { serializers: [phoenix, phoenixV1, often] })
    const { port } = await server.serve(0)
    t.after(() => server.close())
    const enter = (): AmberSocket => {
      const socket = new AmberSocket(`ws://localhost:${port}/chat`, { ...patience, ...own })
      t.after(() => socket.disconnect())
      return socket
    }
    return { server, channels, enter }
  }

  test('joins, hears what it says itself as the others do, and leaves', async (t) => {
    const { channels, enter } = await amberStage(t)
    const topic = channels.topic('chat_room:*')
    listen(topic, 'join', ({ channel, accept }) => {
      listen(channel, 'message', ({ event, payload }) => {
        channels.emit(channel.topic, event, payload)
      })
      accept()
    })
    const [ann, bob] = [enter(), enter()]
    await Promise.all([ann.connect(), bob.connect()])
    const [here, there] = [ann.channel('chat_room:1'), bob.channel('chat_room:1')]
    const heard = (channel: typeof here): Promise<unknown> =>
      new Promise((resolve) => channel.on('msg:new', resolve))
    const bobIsIn = heard(there)
    there.join()
    there.push('msg:new', { message: 'me first' })
    assert.deepEqual(await bobIsIn, { message: 'me first' })
    const both = Promise.all([heard(here), heard(there)])
    here.join()
    here.push('msg:new', { message: 'hi' })
    assert.deepEqual(await both, [{ message: 'hi' }, { message: 'hi' }])
    const left = once(topic, 'leave')
    here.leave()
    assert.equal((await left).reason, 'left')
  })

  test('connects again by itself, and is a member of nothing then', async (t) => {
    const { server, channels, enter } = await amberStage(t)
    const topic = channels.topic('chat_room:*')
    const ann = enter()
    await ann.connect()
    const channel = ann.channel('chat_room:1')
    let joined = once(topic, 'join')
    channel.join()
    ;(await joined).accept()
    const left = once(topic, 'leave')
    const opened = new Promise<void>((resolve) => {
      ann.opened = resolve
    })
    for (const client of server.clients) client.close(1012)
    assert.equal((await left).reason, 'closed')
    await opened
    const heard: unknown[] = []
    channel.on('msg:new', (payload) => heard.push(payload))
    channels.emit('chat_room:1', 'msg:new', 'lost')
    joined = once(topic, 'join')
    channel.join()
    ;(await joined).accept()
    const next = new Promise((resolve) => channel.on('msg:new', resolve))
    channels.emit('chat_room:1', 'msg:new', 'found')
    assert.equal(await next, 'found')
    assert.deepEqual(heard, [])
  })

  test('stays as long as the server says ping', async (t) => {
    const { server, enter } = await amberStage(t, { ping: 20, pings: 2_000 })
    const left: unknown[] = []
    listen(server, 'client', (client) => {
      listen(client, 'close', (reason) => left.push(reason))
    })
    const ann = enter()
    await ann.connect()
    for (let ping = 0; ping < 5; ping++) await onceOf(ann.pings, 'ping')
    assert.deepEqual(left, [])
  })

  test('drops a connection without a ping, and connects again', async (t) => {
    const { server, enter } = await amberStage(t, { pings: 50 })
    const entered = once(server, 'client')
    const ann = enter()
    await ann.connect()
    const again = once(server, 'client')
    const closed = once(await entered, 'close')
    assert.equal((await closed).code, 1005)
    assert.ok(await again)
  })
})

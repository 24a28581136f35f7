import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import { Socket as Phoenix18 } from 'phoenix'
import { Socket as Phoenix17 } from 'phoenix-1.7'
import { listen, once, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import WebSocket from 'ws'

/** The clients of Phoenix that are tried, unmodified. */
const versions: [version: string, Socket: PhoenixSocketMaker][] = [
  ['1.8.16', Phoenix18],
  ['1.7.23', Phoenix17],
]

interface Stage {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  /** A socket of the version under test, connected; it goes with the test. */
  readonly socket: (options?: {
    authToken?: string
    params?: object
    heartbeatIntervalMs?: number
  }) => PhoenixSocket
}

/** Starts a server on a port of its own, mounted at /socket. */
async function stage(
  t: TestContext,
  Socket: PhoenixSocketMaker,
  options: ServerOptions = {},
): Promise<Stage> {
  const server = new WebsocketServer({ path: '/socket', ...options })
  const channels = new ChannelServer(server)
  const sockets: PhoenixSocket[] = []
  const { port } = await server.serve(0)
  t.after(async () => {
    for (const socket of sockets) socket.disconnect()
    await server.close()
  })
  return {
    server,
    channels,
    socket(own = {}) {
      const socket = new Socket(`ws://localhost:${port}/socket`, {
        transport: WebSocket,
        rejoinAfterMs: () => 20,
        reconnectAfterMs: () => 20,
        timeout: 3_000,
        ...own,
      })
      socket.connect()
      sockets.push(socket)
      return socket
    },
  }
}

/** Is how a join, a leave or a push is answered. */
function answered(push: PhoenixPush): Promise<[status: string, response: unknown]> {
  return new Promise((resolve) => {
    for (const status of ['ok', 'error', 'timeout', 'later']) {
      push.receive(status, (response: unknown) => resolve([status, response]))
    }
  })
}

/** Waits for a join that was answered with ok to be so once more. */
function secondTime(push: PhoenixPush): Promise<void> {
  let times = 0
  return new Promise((resolve) => {
    push.receive('ok', () => {
      times += 1
      if (times === 2) resolve()
    })
  })
}

/** Is the next event of that name. */
function heard(channel: PhoenixChannel, event: string): Promise<unknown> {
  return new Promise((resolve) => channel.on(event, resolve))
}

for (const [version, Socket] of versions) {
  suite(`phoenix.js ${version}`, { timeout: 20_000 }, () => {
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
          reply()
        })
        accept()
      })
      const [one, other] = [socket().channel('room:1'), socket().channel('room:1')]
      await Promise.all([answered(one.join()), answered(other.join())])
      const mine: unknown[] = []
      one.on('said', (payload) => mine.push(payload))
      const said = heard(other, 'said')
      await answered(one.push('say', { body: 'hi' }))
      assert.deepEqual(await said, { body: 'hi' })
      assert.deepEqual(mine, [])
    })

    test('leaves, and the topic hears of it', async (t) => {
      const { channels, socket } = await stage(t, Socket)
      const topic = channels.topic('room:*')
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
      const push = channel.join()
      await answered(push)
      const again = secondTime(push)
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
      channels.topic('room:*')
      const channel = socket().channel('room:1')
      const push = channel.join()
      await answered(push)
      const again = secondTime(push)
      for (const client of server.clients) client.close(1012)
      await again
      assert.equal(channel.state, 'joined')
    })

    test('is answered its heartbeats', async (t) => {
      const { server, socket } = await stage(t, Socket)
      const mine = socket({ heartbeatIntervalMs: 10 })
      await once(server, 'client')
      const closed: unknown[] = []
      mine.onClose((event) => closed.push(event))
      const before = server.stats().received
      await new Promise<void>((resolve) => {
        const look = (): unknown =>
          server.stats().received > before + 5 ? resolve() : setTimeout(look, 5)
        look()
      })
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
  channels.topic('room:*')
  const channel = socket({ authToken: 'secret?>' }).channel('room:1')
  assert.equal((await answered(channel.join()))[0], 'ok')
  assert.deepEqual(tokens, ['secret?>'])
})

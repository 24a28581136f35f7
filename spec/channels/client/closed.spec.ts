import assert from 'node:assert/strict'
import { mock, suite, test, type TestContext } from 'node:test'
import {
  ClosedError,
  ConnectError,
  listen,
  once,
  PeerConnectError,
  WebsocketServer,
} from 'simplewebsockets'
import {
  ChannelClient,
  ChannelServer,
  type Channel,
  type ChannelClientOptions,
} from 'simplewebsockets/channels'
import { cut, link } from 'simplewebsockets/testing'
import { OPEN_WITH } from '../../../lib/internal.ts'
import * as network from '../../../lib/transport/tcp/index.ts'

const URL_ = 'ws://localhost/socket'
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Scene {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  readonly client: ChannelClient
  readonly room: Channel
  /** The errors of the client by their status, and its ends, as it told them. */
  readonly told: unknown[]
  /** How many requests came since it was asked last. */
  readonly attempts: () => number
  /** From now on requests are refused with this status; 0: they are let in. */
  readonly refuse: (status: number) => void
}

/** A client that has joined `room:1`; the server's door can be shut. */
async function scene(t: TestContext, options?: ChannelClientOptions): Promise<Scene> {
  let refused = 0
  let count = 0
  const server = new WebsocketServer({
    path: '/socket',
    authorize: () => {
      count += 1
      if (refused > 0) throw new PeerConnectError('no', { status: refused })
      return {}
    },
  })
  const channels = new ChannelServer(server)
  channels.topic('room:*', { open: true })
  const client = new ChannelClient({ keepaliveTimeout: false, heartbeat: false, ...options })
  t.after(() => client.close())
  const told: unknown[] = []
  listen(client, 'error', (error) => told.push(error instanceof ConnectError && error.status))
  listen(client, 'closed', ({ code }) => told.push(`closed ${code}`))
  await link(server, client, URL_)
  const room = client.channel('room:1')
  await room.join()
  listen(room, 'close', ({ code }) => told.push(`room closed ${code}`))
  const attempts = (): number => {
    const since = count
    count = 0
    return since
  }
  attempts()
  return { server, channels, client, room, told, attempts, refuse: (status) => (refused = status) }
}

/** Time and chance stand still: every delay is as long as it can be. */
function freeze(t: TestContext): (milliseconds: number) => Promise<void> {
  mock.timers.enable({ apis: ['setTimeout'] })
  mock.method(Math, 'random', () => 1)
  t.after(() => {
    mock.timers.reset()
    mock.restoreAll()
  })
  return async (milliseconds) => {
    mock.timers.tick(milliseconds)
    await turn()
    await turn()
  }
}

const given: [what: string, options: ChannelClientOptions][] = [
  ['`params`', { params: () => ({ token: 'fresh' }) }],
  ['`authToken`', { authToken: () => 'fresh' }],
  ['`headers`', { headers: () => ({ authorization: 'fresh' }) }],
]

suite('a channel client that is refused when it connects again', () => {
  for (const status of [401, 403]) {
    test(`gives up at ${status} where no credential can change: it is told once, and the channels close`, async (t) => {
      const { server, client, room, told, attempts, refuse } = await scene(t)
      refuse(status)
      const closed = once(client, 'closed')
      const pushed = room.push('evt', {})
      for (const connection of server.clients) cut(connection)
      await closed
      await assert.rejects(pushed, ClosedError)
      assert.equal(attempts(), 1)
      assert.deepEqual(told, [status, 'room closed 1006', 'closed 1006'])
      assert.equal(room.state, 'closed')
      await assert.rejects(room.push('evt', {}), ClosedError)
      assert.match((await once(room, 'close')).description, new RegExp(`${status}`))
    })

    for (const [what, options] of given) {
      test(`tries again at ${status}, every 5 s, where ${what} is a function`, async (t) => {
        const { server, room, told, attempts, refuse } = await scene(t, options)
        const pass = freeze(t)
        refuse(status)
        for (const connection of server.clients) cut(connection)
        await turn()
        await pass(10) // the first delay after a connection that was lost
        assert.equal(attempts(), 1)
        for (let round = 0; round < 3; round++) {
          await pass(4_999)
          assert.equal(attempts(), 0)
          await pass(1)
          assert.equal(attempts(), 1)
        }
        assert.deepEqual(told, [status, status, status, status])
        refuse(0)
        const again = once(room, 'join')
        await pass(5_000)
        await again
        assert.equal(room.state, 'joined')
      })
    }
  }

  test('tries again where the url is a function, and only then', async (t) => {
    const pass = freeze(t)
    const client = new ChannelClient({ keepaliveTimeout: false })
    const told: unknown[] = []
    let attempts = 0
    listen(client, 'error', (error) => told.push(error instanceof ConnectError && error.status))
    listen(client, 'closed', () => told.push('closed'))
    const refusing = {
      dial: (_: unknown, { onError }: { onError: (error: unknown) => void }) => {
        attempts += 1
        queueMicrotask(() => onError(new ConnectError('no', { status: 403 })))
        return () => {}
      },
      onWake: () => () => {},
    } as unknown as typeof network
    const opening = client[OPEN_WITH](refusing, () => URL_)
    await pass(0)
    await pass(5_000)
    assert.equal(attempts, 2)
    const closed = once(client, 'closed')
    await client.close()
    await assert.rejects(opening, ConnectError)
    await closed
    attempts = 0
    await assert.rejects(client[OPEN_WITH](refusing, URL_), { status: 403 })
    assert.equal(attempts, 1)
    assert.deepEqual(told, [403, 403, 'closed', 403, 'closed'])
  })

  test('gives up at another status, and when its attempts are used up', async (t) => {
    for (const [status, options, tries] of [
      [404, { params: () => ({}) }, 1],
      [500, { reconnect: { attempts: 2, delay: () => 1 } }, 2],
    ] as const) {
      const { server, client, told, attempts, refuse } = await scene(t, options)
      refuse(status)
      const closed = once(client, 'closed')
      for (const connection of server.clients) cut(connection)
      await closed
      assert.equal(attempts(), tries)
      assert.deepEqual(told.slice(-2), ['room closed 1006', 'closed 1006'])
    }
  })

  test('a policy of yours decides, and is asked with what happened', async (t) => {
    const causes: unknown[] = []
    const when = (cause: object): boolean => causes.push(cause) < 3
    const { server, client, told, refuse } = await scene(t, {
      reconnect: { when, delay: () => 1 },
    })
    refuse(401)
    const closed = once(client, 'closed')
    for (const connection of server.clients) cut(connection)
    await closed
    assert.equal(causes.length, 3)
    assert.deepEqual(told, [401, 401, 'room closed 1006', 'closed 1006'])
  })
})

test('a `when` that tries 401 again keeps the slow pace, and one that is no function is told', async (t) => {
  const { server, attempts, refuse } = await scene(t, { reconnect: { when: () => true } })
  const pass = freeze(t)
  refuse(401)
  for (const connection of server.clients) cut(connection)
  await turn()
  await pass(10)
  assert.equal(attempts(), 1)
  await pass(4_999)
  assert.equal(attempts(), 0)
  await pass(1)
  assert.equal(attempts(), 1)
  const slip = { reconnect: { when: 5 } } as object
  assert.throws(() => new ChannelClient(slip), /`reconnect`/)
})

suite('a channel client that is closed by its program', () => {
  test('tells `closed` once, and its channels wait until it is opened again', async (t) => {
    const { server, client, room, told } = await scene(t)
    const closed = once(client, 'closed')
    await client.close()
    assert.equal((await closed).code, 1000)
    assert.deepEqual(told.splice(0), ['closed 1000'])
    assert.equal((await once(client, 'closed')).code, 1000, 'it sticks')
    assert.equal(room.state, 'errored')
    const pushed = room.push('evt', {}, { reply: false })
    const again = once(room, 'join')
    await link(server, client, URL_)
    await again
    await pushed
    const second = once(client, 'closed')
    await client.close()
    await second
    assert.deepEqual(told, ['closed 1000'])
  })

  test('without `reconnect` a lost connection is `closed`, and its channels wait, too', async (t) => {
    const { server, client, room, told } = await scene(t, { reconnect: false })
    const closed = once(client, 'closed')
    for (const connection of server.clients) cut(connection)
    await closed
    assert.deepEqual(told, ['closed 1006'])
    const again = once(room, 'join')
    await link(server, client, URL_)
    await again
  })

  test('lets the process end, whatever its channels wait for, until it is opened again', async (t) => {
    const before = timers()
    const server = new WebsocketServer({ path: '/socket', keepaliveTimeout: false })
    const silent = new ChannelServer(server, { joinTimeout: 3_600_000 }).topic('room:*')
    listen(silent, 'join', ({ channel, accept }) => {
      if (channel.topic === 'room:1') accept()
    })
    const client = new ChannelClient({ keepaliveTimeout: false, heartbeat: false })
    t.after(() => client.close())
    const [room, unanswered, late] = ['room:1', 'room:2', 'room:3'].map((topic) =>
      client.channel(topic),
    )
    assert.ok(room && unanswered && late)
    const joined = room.join()
    assert.equal(timers() - before, 1, 'it may be opened')
    await client.close()
    assert.equal(timers() - before, 0, 'it was never opened')
    await link(server, client, URL_)
    await joined
    const asked = once(silent, 'join')
    void unanswered.join()
    await asked
    room.push('evt', {}).catch(() => {})
    assert.equal(timers() - before, 2, 'it is open')
    await client.close()
    room.push('evt', {}).catch(() => {})
    void late.join()
    assert.equal(timers() - before, 0, 'it is closed')
    const again = once(room, 'join')
    await link(server, client, URL_)
    await again
    assert.equal(timers() - before, 3, 'it is open again')
  })
})

/** Counts the timers that keep the process alive. */
function timers(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
}

test('`closeTimeout` after the end of a channel what waits for slow listeners is dropped, and nothing follows `close`', async (t) => {
  const { channels, room, told } = await scene(t, { closeTimeout: 5_000 })
  const pass = freeze(t)
  let go = (): void => {}
  listen(room, 'error', ({ message }) => told.push(message))
  listen(room.messages, 'said', ({ payload }) => {
    told.push(payload)
    return new Promise<void>((resolve) => (go = resolve))
  })
  for (const number of [1, 2, 3]) void channels.emit('room:1', 'said', { number })
  await pass(0)
  await room.leave()
  await pass(4_999)
  assert.deepEqual(told.splice(0), [{ number: 1 }])
  await pass(1)
  const dropped = 'the listeners of `room:1` are too slow: 2 messages that waited are dropped'
  assert.deepEqual(told.splice(0), [dropped, 'room closed 1000'])
  go()
  await pass(0)
  assert.deepEqual(told, [])
})

import assert from 'node:assert/strict'
import { mock, suite, test, type TestContext } from 'node:test'
import { Presence as PhoenixPresence, Socket } from 'phoenix'
import {
  listen,
  memoryBackplane,
  once,
  WebsocketServer,
  type WebsocketConnection,
} from 'simplewebsockets'
import {
  ChannelClient,
  ChannelServer,
  Presence,
  type Channel,
  type Contract,
  type StandardSchema,
} from 'simplewebsockets/channels'
import { cut, link } from 'simplewebsockets/testing'
import WebSocket from 'ws'
import { inUse } from '../../support/heap.ts'
import { seeded } from '../../support/random.ts'
import { Raw } from '../../support/channels/raw.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Place {
  at: string
  phx_ref?: string
  phx_ref_prev?: string
}

interface Halves {
  joins: object
  leaves: object
}

interface Scene {
  readonly server: WebsocketServer
  readonly presence: Presence<Place>
  /** The server's ends, by their names. */
  readonly members: Map<string, Channel>
}

/** Rooms whose members are tracked by the names that they join with; without one they watch. */
function scene(when: 'before' | 'after' = 'before'): Scene {
  const server = new WebsocketServer({ path: '/socket' })
  const rooms = new ChannelServer(server).topic('room:*')
  const presence = new Presence<Place>(rooms)
  const members = new Map<string, Channel>()
  listen(rooms, 'join', ({ channel, payload, accept }) => {
    const track = (): void => {
      const name: unknown = payload.name
      if (typeof name !== 'string') return
      members.set(name, channel)
      presence.track(channel, name, { at: 'home' })
    }
    if (when === 'before') track()
    accept({})
    if (when === 'after') track()
    listen(channel, 'error', () => {})
    listen(channel.messages, 'crash', () => {
      throw new Error('as asked')
    })
  })
  return { server, presence, members }
}

async function enter(
  t: TestContext,
  server: WebsocketServer,
  name?: string,
): Promise<{
  client: ChannelClient
  room: Channel
  who: Presence<Place>
}> {
  const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
  t.after(() => client.close())
  await link(server, client, 'ws://localhost/socket')
  const room = client.channel('room:1', { name })
  const who = new Presence<Place>(room)
  const synced = once(who, 'sync')
  await room.join()
  await synced
  await turn()
  return { client, room, who }
}

const keys = (presence: Presence<Place>): string[] => [...presence].map(([key]) => key).sort()

for (const when of ['before', 'after'] as const) {
  suite(`members who are tracked ${when} they are let in`, () => {
    test('are told to all, and a member that joins is told of all', async (t) => {
      const { server, presence } = scene(when)
      const ann = await enter(t, server, 'ann')
      const bob = await enter(t, server, 'bob')
      const untracked = await enter(t, server)
      await turn()
      for (const { who } of [ann, bob, untracked]) assert.deepEqual(keys(who), ['ann', 'bob'])
      assert.deepEqual(keys(presence), ['ann', 'bob'])
      assert.equal(ann.who.get('bob')[0]?.at, 'home')
    })
  })
}

suite('a presence', () => {
  const endings: Record<string, (room: Channel) => unknown> = {
    leaves: (room) => room.leave(),
    crashes: (room) => room.push('crash', {}).catch(() => {}),
    'loses its connection': (room) => room.connection && cut(room.connection),
    'closes its connection': (room) => room.connection?.close(),
  }
  for (const [how, end] of Object.entries(endings)) {
    test(`a member who ${how} is gone at once, for all others`, async (t) => {
      const { server, presence } = scene()
      const ann = await enter(t, server, 'ann')
      const bob = await enter(t, server, 'bob')
      const left = once(bob.who, 'leave')
      await end(ann.room)
      const { key, after, metas } = await left
      assert.deepEqual([key, after, metas.length], ['ann', [], 1])
      assert.deepEqual(keys(presence), ['bob'])
    })
  }

  test('an update is one diff of both halves, and the new meta names the old one', async (t) => {
    const { server, presence, members } = scene()
    const ann = await enter(t, server, 'ann')
    const raw = await Raw.enter(server)
    await raw.join('room:1')
    const [before] = ann.who.get('ann')
    const channel = members.get('ann')
    assert.ok(channel)
    presence.track(channel, 'ann', { at: 'work' })
    const [[joinRef, ref, topic, event, diff] = []] = (await raw.heard()) as unknown[][]
    assert.deepEqual([joinRef, ref, topic, event], [null, null, 'room:1', 'presence_diff'])
    const { joins, leaves } = diff as { joins: Record<string, { metas: Place[] }>; leaves: unknown }
    assert.deepEqual(leaves, { ann: { metas: [before] } })
    assert.equal(joins.ann?.metas[0]?.phx_ref_prev, before?.phx_ref)
    const [after] = ann.who.get('ann')
    assert.deepEqual([ann.who.get('ann').length, after?.at], [1, 'work'])
  })

  test('the same key in two places has two metas, and goes with the last', async (t) => {
    const { server, presence } = scene()
    const one = await enter(t, server, 'ann')
    const two = await enter(t, server, 'ann')
    assert.equal(one.who.get('ann').length, 2)
    await one.room.leave()
    await turn()
    assert.equal(two.who.get('ann').length, 1)
    await two.room.leave()
    assert.equal(presence.size, 0)
  })

  test('topics of one pattern are apart', async (t) => {
    const { server, presence } = scene()
    await enter(t, server, 'ann')
    const raw = await Raw.enter(server)
    await raw.join('room:2', '1', { name: 'bob' })
    assert.deepEqual([...presence.in('room:1').keys()], ['ann'])
    assert.deepEqual([...presence.in('room:2').keys()], ['bob'])
    assert.deepEqual([...presence.in('room:3').keys()], [])
    assert.equal(presence.size, 2)
  })

  test('keys like __proto__ are keys, end to end', async (t) => {
    const { server } = scene()
    const names = ['__proto__', 'constructor', 'toString']
    for (const name of names) await enter(t, server, name)
    const watcher = await enter(t, server)
    assert.deepEqual(keys(watcher.who), [...names].sort())
    assert.equal(({} as { at?: string }).at, undefined)
  })

  test('a member that is refused, or has left, is not tracked', async () => {
    const server = new WebsocketServer({ path: '/socket' })
    const rooms = new ChannelServer(server).topic('room:*')
    const presence = new Presence(rooms)
    let last: Channel | undefined
    listen(rooms, 'join', ({ channel, payload, accept, reject }) => {
      last = channel
      presence.track(channel, 'ann', {})
      if (payload.ok) accept()
      else reject()
    })
    const raw = await Raw.enter(server)
    await raw.join('room:1', '1', {})
    assert.equal(presence.size, 0)
    await raw.join('room:1', '2', { ok: true })
    assert.equal(presence.size, 1)
    await raw.ask(['2', '3', 'room:1', 'phx_leave', {}])
    assert.ok(last)
    presence.track(last, 'ann', {})
    assert.equal(presence.size, 0)
  })

  test('what cannot be tracked throws, and nothing has changed', async (t) => {
    const { server, presence, members } = scene()
    const ann = await enter(t, server, 'ann')
    const channel = members.get('ann')
    assert.ok(channel)
    const wrong = { at: 1n } as unknown as Place
    assert.throws(() => presence.track(channel, 'bob', wrong), /can't be JSON/)
    assert.throws(() => presence.track(channel, 1 as unknown as string, { at: '' }), /a key/)
    assert.throws(() => ann.who.track(ann.room, 'a', { at: '' }), /a server tracks/)
    assert.throws(() => new Presence(null as unknown as Channel), /a channel or a topic/)
    assert.throws(() => new Presence(channel), { name: 'TypeError', message: /one of its topic/ })
    for (const list of [[], new Date(0)] as unknown as Place[]) {
      assert.throws(() => presence.track(channel, 'bob', list), /what is known to be an object/)
    }
    assert.deepEqual(keys(presence), ['ann'])
  })

  test('a channel of another topic is not tracked, though its name would fit', async () => {
    const server = new WebsocketServer({ path: '/socket' })
    const channels = new ChannelServer(server)
    const [own, rooms] = [channels.topic('room:own'), channels.topic('room:*')]
    const presence = new Presence(rooms)
    const joining = once(own, 'join')
    const raw = await Raw.enter(server)
    raw.say(['1', '1', 'room:own', 'phx_join', {}])
    const { channel, accept } = await joining
    for (const step of [() => {}, accept]) {
      step()
      assert.throws(() => presence.track(channel, 'ann', {}), {
        name: 'TypeError',
        message: /the channel to be a member of the topic `room:\*`/,
      })
    }
    const elsewhere = new Presence(new ChannelServer(new WebsocketServer()).topic('room:own'))
    assert.throws(() => elsewhere.track(channel, 'ann', {}), TypeError)
    assert.throws(() => presence.track('room:1' as unknown as Channel, 'ann', {}), TypeError)
    assert.equal(presence.size, 0)
  })

  test('a topic has one presence: a second one is refused', () => {
    const channels = new ChannelServer(new WebsocketServer())
    const rooms = channels.topic('room:*')
    assert.throws(() => new Presence(rooms, { heartbeat: 0 }), TypeError)
    new Presence(rooms)
    new Presence(channels.topic('lobby'))
    assert.throws(() => new Presence(rooms), {
      name: 'TypeError',
      message: 'the topic `room:*` has a presence already: use that one',
    })
  })

  test('a member that is sent out in the middle of its join keeps no key', async () => {
    const server = new WebsocketServer({ path: '/socket' })
    const rooms = new ChannelServer(server).topic('room:*')
    const presence = new Presence(rooms)
    const watcher = await Raw.enter(server)
    listen(rooms, 'join', ({ channel, payload, accept }) => {
      if (payload.keys) {
        for (const key of payload.keys as string[]) presence.track(channel, key, {})
        const stop = listen(presence, 'join', () => {
          stop()
          void channel.leave()
        })
      }
      accept()
    })
    await watcher.join('room:1')
    const raw = await Raw.enter(server)
    await raw.join('room:1', '1', { keys: ['one', 'two', 'three'] })
    assert.equal(presence.size, 0)
    const told = (await watcher.heard()).map((frame) => (frame as unknown[])[4]) as Halves[]
    const named = (half: 'joins' | 'leaves'): string[] =>
      told.flatMap((diff) => Object.keys(diff[half]))
    assert.deepEqual([named('joins'), named('leaves')], [['one'], ['one']])
  })

  test('listeners are told of changes in their order, also of those that they make', async (t) => {
    const { server, presence, members } = scene()
    const story: string[] = []
    listen(presence, 'join', ({ key, before }) => {
      story.push(`join ${key} ${before.length}`)
      const channel = members.get('ann')
      if (key === 'ann' && before.length === 0 && channel) {
        presence.track(channel, 'ann', { at: 'work' })
        presence.track(channel, 'also ann', { at: 'work' })
        assert.equal(presence.get('ann')[0]?.at, 'work')
        assert.equal(presence.size, 2)
      }
    })
    listen(presence, 'leave', ({ key, after }) => story.push(`leave ${key} ${after.length}`))
    listen(presence, 'sync', () => story.push('sync'))
    await enter(t, server, 'ann')
    assert.deepEqual(story, [
      ...['join ann 0', 'sync'],
      ...['join ann 1', 'leave ann 1', 'sync'],
      ...['join also ann 0', 'sync'],
    ])
  })

  test('a meta is what it was when it was tracked, and what JSON makes of it', async (t) => {
    const server = new WebsocketServer({ path: '/socket' })
    const rooms = new ChannelServer(server).topic('room:*')
    const presence = new Presence(rooms)
    const meta = { since: new Date(0), list: [1], gone: undefined }
    listen(rooms, 'join', ({ channel, accept }) => {
      assert.throws(() => presence.track(channel, 'ann', { id: 7n }), /what is known can't be JSON/)
      presence.track(channel, 'ann', meta)
      meta.list.push(2)
      accept()
    })
    const { who } = await enter(t, server)
    meta.list.push(3)
    const later = await enter(t, server)
    for (const known of [presence.get('ann')[0], who.get('ann')[0], later.who.get('ann')[0]]) {
      const { since, list, ...rest } = known as unknown as Record<string, unknown>
      assert.deepEqual([since, list, 'gone' in rest], ['1970-01-01T00:00:00.000Z', [1], false])
    }
  })

  test('a key, or a meta, that is too long is refused where it is tracked, with the cure', async (t) => {
    const server = new WebsocketServer({ path: '/socket' })
    const rooms = new ChannelServer(server).topic('room:*')
    const presence = new Presence(rooms)
    listen(rooms, 'join', ({ channel, accept }) => {
      const track = (key: string, meta: object) => () => presence.track(channel, key, meta)
      assert.throws(
        track('ä'.repeat(513), {}),
        /^RangeError: a key has 1026 bytes, and may have 1024: track by an id$/,
      )
      assert.throws(
        track('ann', { text: 'x'.repeat(16_374) }),
        /^RangeError: what is known has 16385 bytes of JSON, and may have 16384: keep what is large/,
      )
      track('ä'.repeat(512), { text: 'x'.repeat(16_373) })()
      accept()
    })
    const { who } = await enter(t, server)
    assert.equal(who.size, 1)
  })

  test('a meta of 508 levels is told to all, and one more is refused', async (t) => {
    const nested = (depth: number): object =>
      JSON.parse(
        `{"a":${'['.repeat(depth - 1)}"${'x'.repeat(999)}"${']'.repeat(depth - 1)}}`,
      ) as object
    const server = new WebsocketServer({ path: '/socket' })
    const rooms = new ChannelServer(server).topic('room:*')
    const presence = new Presence(rooms)
    listen(rooms, 'join', ({ channel, accept }) => {
      assert.throws(() => presence.track(channel, 'ann', nested(509)), /deeper than 508 levels/)
      presence.track(channel, 'ann', nested(508))
      accept()
    })
    const { who } = await enter(t, server)
    assert.deepEqual(keys(who), ['ann'])
  })

  test('a change is encoded once, for members and for other nodes', async (t) => {
    const backplane = memoryBackplane()
    const nodes = [1, 2].map(() => {
      const server = new WebsocketServer({ path: '/socket', backplane })
      const rooms = new ChannelServer(server).topic('room:*')
      return { server, rooms, presence: new Presence(rooms) }
    })
    const [one, other] = nodes
    assert.ok(one && other)
    let count = 0
    listen(one.rooms, 'join', ({ channel, accept }) => {
      accept()
      one.presence.track(channel, 'ann', { n: { toJSON: () => ++count } })
    })
    listen(other.rooms, 'join', ({ accept }) => accept())
    await turn()
    const there = await enter(t, other.server)
    const stringify = mock.method(JSON, 'stringify')
    t.after(() => stringify.mock.restore())
    const joined = once(there.who, 'join')
    const here = await enter(t, one.server)
    const { metas } = await joined
    const diffs = stringify.mock.calls.filter(
      ({ arguments: [value] }) => value !== null && typeof value === 'object' && 'joins' in value,
    )
    assert.deepEqual([diffs.length, count], [1, 1])
    assert.deepEqual(metas, here.who.get('ann'))
    assert.equal((metas[0] as unknown as { n: number }).n, 1)
  })
})

suite('phoenix.js beside our server', () => {
  test('its own presence follows the members that come and go', async (t) => {
    const { server } = scene()
    const { port } = await server.serve(0)
    const socket = new Socket(`ws://localhost:${port}/socket`, { transport: WebSocket })
    t.after(async () => {
      socket.disconnect()
      await server.close()
    })
    socket.connect()
    const channel = socket.channel('room:1', { name: 'phoenix' })
    const presence = new PhoenixPresence(channel)
    let seen: string[] = []
    const saw = (wanted: string): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          seen = presence.list((key) => key).sort()
          if (String(seen) === wanted) resolve()
        }
        presence.onSync(look)
        look()
      })
    const alone = saw('phoenix')
    channel.join()
    await alone
    const both = saw('ann,phoenix')
    const ann = await enter(t, server, 'ann')
    await both
    assert.deepEqual(keys(ann.who), ['ann', 'phoenix'])
    const gone = saw('phoenix')
    await ann.room.leave()
    await gone
  })
})

const overflow = 'the server told more than 100000 metas, or 10000 of one key, on `room:1`'
const metaOf = (ref: string): { phx_ref: string } => ({ phx_ref: ref })

/** A server from the books, which lets every member in and says what it is told to. */
async function books(
  t: TestContext,
  contract: Contract = {},
): Promise<{
  client: ChannelClient
  there: WebsocketConnection
  room: Channel
  who: Presence<Place>
  say: (event: string, payload: unknown) => Promise<void>
  /** Has the membership crash, and waits for the next one. */
  rejoin: () => Promise<void>
}> {
  const server = new WebsocketServer()
  const client = new ChannelClient({
    ...{ keepaliveTimeout: false, reconnect: false, rejoin: { delay: () => 0 } },
  })
  t.after(() => client.close())
  const [there] = await link(server, client)
  const room: Channel = client.channel('room:1', {}, contract)
  const who = new Presence<Place>(room)
  listen(there, 'message', (message) => {
    const [joinRef, ref, topic] = JSON.parse(String(message)) as unknown[]
    there.send(JSON.stringify([joinRef, ref, topic, 'phx_reply', { status: 'ok', response: {} }]))
  })
  await room.join()
  const say = async (event: string, payload: unknown): Promise<void> => {
    there.send(JSON.stringify([null, null, 'room:1', event, payload]))
    await turn()
  }
  const rejoin = async (): Promise<void> => {
    const again = once(room, 'join')
    listen(room, 'error', () => {})
    there.send(JSON.stringify([null, null, 'room:1', 'phx_error', {}]))
    await again
  }
  return { client, there, room, who, say, rejoin }
}

suite('the presence messages of a server', () => {
  test('a diff before the state waits for it, and there is one sync', async (t) => {
    const { who, say } = await books(t)
    const story: unknown[] = []
    listen(who, 'sync', () => story.push('sync'))
    listen(who, 'join', ({ key }) => story.push(`join ${key}`))
    listen(who, 'leave', ({ key }) => story.push(`leave ${key}`))
    const bob = { bob: { metas: [{ phx_ref: 'b' }] } }
    await say('presence_diff', { joins: bob, leaves: {} })
    assert.deepEqual(story, [])
    await say('presence_state', { ann: { metas: [{ phx_ref: 'a' }] } })
    await say('presence_diff', { joins: {}, leaves: bob })
    assert.deepEqual(story, ['join ann', 'join bob', 'sync', 'leave bob', 'sync'])
  })

  test('diffs that waited for a state are told one by one, and keep no list of metas each', async (t) => {
    const { who, there, say } = await books(t)
    const ann = (...refs: string[]): object => ({ ann: { metas: refs.map(metaOf) } })
    const story: unknown[] = []
    let kept = 0
    listen(who, 'sync', () => story.push('sync'))
    listen(who, 'join', ({ before }) => {
      story.push([before.length, who.get('ann').length])
      if (before.length === 5_000) kept = inUse()
    })
    for (let count = 0; count < 1_000; count++) {
      const diff = { joins: ann(`d${count}`), leaves: {} }
      there.send(JSON.stringify([null, null, 'room:1', 'presence_diff', diff]))
    }
    await say('presence_diff', { joins: {}, leaves: ann('d0') })
    const before = inUse()
    await say('presence_state', ann(...Array.from({ length: 5_000 }, (_, n) => `s${n}`)))
    while (story.at(-1) !== 'sync') await turn()
    const joins = Array.from({ length: 1_000 }, (_, n) => [5_000 + n, 5_001 + n])
    assert.deepEqual(story, [[0, 5_000], ...joins, 'sync'])
    assert.ok(
      kept - before < 10 * 2 ** 20,
      `${(kept - before) / 2 ** 20} MiB, where copies take 42`,
    )
  })

  test('after joining anew the old ones stay until the new state, and diffs wait for it', async (t) => {
    const server = new WebsocketServer()
    const client = new ChannelClient({ keepaliveTimeout: false, reconnect: { delay: () => 1 } })
    t.after(() => client.close())
    let there: { send: (text: string) => unknown } | undefined
    listen(server, 'client', (connection) => {
      there = connection
      listen(connection, 'message', (message) => {
        const [joinRef, ref] = JSON.parse(String(message)) as unknown[]
        connection.send(
          JSON.stringify([joinRef, ref, 'room:1', 'phx_reply', { status: 'ok', response: {} }]),
        )
      })
    })
    await link(server, client)
    const say = async (event: string, payload: unknown): Promise<void> => {
      there?.send(JSON.stringify([null, null, 'room:1', event, payload]))
      await turn()
    }
    const room = client.channel('room:1')
    const who = new Presence<Place>(room)
    await room.join()
    await say('presence_state', { ann: { metas: [{ phx_ref: 'a' }] } })
    const again = once(room, 'join')
    if (room.connection) cut(room.connection)
    await again
    await say('presence_diff', { joins: { bob: { metas: [{ phx_ref: 'b' }] } }, leaves: {} })
    assert.deepEqual(keys(who), ['ann'])
    const left = once(who, 'leave')
    await say('presence_state', { cid: { metas: [{ phx_ref: 'c' }] } })
    assert.equal((await left).key, 'ann')
    assert.deepEqual(keys(who), ['bob', 'cid'])
  })

  test('a diff of an old membership is not applied after the rejoin, though a schema takes its time', async (t) => {
    const checks: (() => void)[] = []
    const slow: StandardSchema = {
      '~standard': {
        version: 1,
        vendor: 'none',
        validate: (value) => new Promise((resolve) => checks.push(() => resolve({ value }))),
      },
    }
    const { room, who, say, rejoin } = await books(t, { out: { slow } })
    await say('presence_state', { ann: { metas: [{ phx_ref: 'a' }] } })
    await say('slow', {})
    await say('presence_diff', { joins: { ghost: { metas: [{ phx_ref: 'g' }] } }, leaves: {} })
    await rejoin()
    await say('presence_state', { ann: { metas: [{ phx_ref: 'a' }] } })
    for (const check of checks) check()
    await turn()
    assert.equal(room.state, 'joined')
    assert.deepEqual(keys(who), ['ann'])
  })

  test('a diff that waited for the state of an old membership is forgotten', async (t) => {
    const { who, say, rejoin } = await books(t)
    await say('presence_diff', { joins: { ghost: { metas: [{ phx_ref: 'g' }] } }, leaves: {} })
    await rejoin()
    await say('presence_state', {})
    assert.deepEqual(keys(who), [])
  })

  test('a presence that is made after the join begins with what its channel has seen', async (t) => {
    const { room, who, say } = await books(t)
    listen(room, 'message', () => {}) // which takes what a late listener would have waited for
    await say('presence_state', {
      ann: { metas: [{ phx_ref: 'a' }], user: { name: 'Ann' } },
      bob: { metas: [{ phx_ref: 'b' }] },
    })
    await say('presence_diff', { joins: {}, leaves: { bob: { metas: [{ phx_ref: 'b' }] } } })
    const late = new Presence<Place>(room)
    assert.deepEqual(keys(late), ['ann'])
    const story: unknown[] = []
    listen(late, 'join', ({ key, before, data }) => story.push(['join', key, before, data]))
    listen(late, 'leave', ({ key }) => story.push(['leave', key]))
    listen(late, 'sync', () => story.push('sync'))
    await say('presence_diff', { joins: { cid: { metas: [{ phx_ref: 'c' }] } }, leaves: {} })
    assert.deepEqual(story, [
      ['join', 'ann', [], { user: { name: 'Ann' } }],
      'sync',
      ['join', 'cid', [], {}],
      'sync',
    ])
    assert.deepEqual(keys(late), keys(who))
  })

  test('what a server tells beside the metas of a key is kept and shown', async (t) => {
    const { who, say } = await books(t)
    const story: unknown[] = []
    listen(who, 'join', ({ key, data }) => story.push(['join', key, data]))
    listen(who, 'leave', ({ key, data }) => story.push(['leave', key, data]))
    const ann = (ref: string, name: string): object => ({
      ann: { user: { name }, metas: [{ phx_ref: ref }] },
    })
    await say('presence_state', ann('1', 'Ann'))
    assert.deepEqual(who.dataOf('ann'), { user: { name: 'Ann' } })
    await say('presence_diff', { joins: ann('2', 'Anna'), leaves: ann('1', 'Ann') })
    assert.deepEqual(who.dataOf('ann'), { user: { name: 'Anna' } })
    await say('presence_diff', { joins: {}, leaves: ann('2', 'Anna') })
    assert.deepEqual([who.dataOf('ann'), who.dataOf('bob')], [{}, {}])
    assert.deepEqual(story, [
      ['join', 'ann', { user: { name: 'Ann' } }],
      ['join', 'ann', { user: { name: 'Anna' } }],
      ['leave', 'ann', { user: { name: 'Anna' } }],
      ['leave', 'ann', { user: { name: 'Anna' } }],
    ])
  })

  test('without a presence its events are events like any other', async (t) => {
    const { client, there } = await books(t)
    const errors: unknown[] = []
    listen(client, 'error', (error) => errors.push(error))
    const other = client.channel('room:2')
    await other.join()
    const state = { ann: { metas: [{ phx_ref: 'a' }] } }
    for (const [event, payload] of [
      ['presence_diff', 5],
      ['presence_state', state],
    ] as const) {
      const heard = once(other.messages, event)
      there.send(JSON.stringify([null, null, 'room:2', event, payload]))
      assert.deepEqual((await heard).payload, payload)
    }
    assert.deepEqual(errors, [])
  })

  test('diffs wait for a state in limits, and more is an error', async (t) => {
    const { room, who, there } = await books(t)
    const errors: string[] = []
    listen(room, 'error', ({ message }) => errors.push(message))
    const say = (key: string, pad: number): void => {
      const metas = [{ phx_ref: key, pad: 'x'.repeat(pad) }]
      const diff = { joins: { [key]: { metas } }, leaves: {} }
      there.send(JSON.stringify([null, null, 'room:1', 'presence_diff', diff]))
    }
    for (let count = 0; count < 9; count++) say(String(count), 1_000_000)
    while (errors.length === 0) await turn()
    assert.deepEqual(errors, ['the server told too much before who is here on `room:1`'])
    there.send(JSON.stringify([null, null, 'room:1', 'presence_state', {}]))
    while (who.size === 0) await turn()
    assert.equal(who.size, 8)
  })

  for (const [what, perKey] of [
    ['100,000 metas', 1_000],
    ['10,000 metas of one key', 10_000],
  ] as const) {
    test(`more than ${what} empty it with one error, until the next join`, async (t) => {
      const { room, who, say, rejoin } = await books(t)
      const errors: string[] = []
      listen(room, 'error', ({ message }) => errors.push(message))
      const keyCount = perKey === 10_000 ? 1 : 100
      const state = Object.fromEntries(
        Array.from({ length: keyCount }, (_, key) => [
          `k${key}`,
          { metas: Array.from({ length: perKey }, (__, n) => metaOf(String(n))) },
        ]),
      )
      const more = { k0: { metas: [metaOf('more')] } }
      await say('presence_state', state)
      await say('presence_diff', { joins: { k0: { metas: [metaOf('0')] } }, leaves: {} })
      assert.deepEqual([who.size, who.get('k0').length, errors], [keyCount, perKey, []])
      const story: unknown[] = []
      for (const event of ['join', 'leave'] as const) {
        listen(who, event, ({ key, metas: { length } }) => story.push([event, key, length]))
      }
      listen(who, 'sync', () => story.push('sync'))
      for (let count = 0; count < 3; count++) {
        await say('presence_diff', { joins: more, leaves: {} })
      }
      assert.deepEqual([who.size, errors], [0, [overflow]])
      const leaves = Object.keys(state).map((key) => {
        return ['leave', key, key === 'k0' ? perKey + 1 : perKey]
      })
      assert.deepEqual(story, [['join', 'k0', 1], ...leaves, 'sync'])
      await say('presence_state', more)
      assert.deepEqual([who.size, new Presence(room).size, errors.length], [0, 0, 1])
      await rejoin()
      await say('presence_state', more)
      assert.deepEqual(keys(who), ['k0'])
    })
  }

  test('a presence that is made after too many metas is told so', async (t) => {
    const { client, there } = await books(t)
    const room = client.channel('room:2')
    await room.join()
    const metas = Array.from({ length: 100_001 }, (_, n) => metaOf(String(n)))
    there.send(JSON.stringify([null, null, 'room:2', 'presence_state', { ann: { metas } }]))
    await once(room.messages, 'presence_state')
    const errors: string[] = []
    listen(room, 'error', ({ message }) => errors.push(message))
    assert.equal(new Presence(room).size, 0)
    assert.deepEqual(errors, [overflow.replace('room:1', 'room:2')])
  })

  for (const wrong of [null, 7, [], 'x', { joins: {} }, { joins: { a: 1 }, leaves: {} }]) {
    test(`${JSON.stringify(wrong)} is an error of the channel, and changes nothing`, async (t) => {
      const { room, who, say } = await books(t)
      await say('presence_state', { ann: { metas: [{ phx_ref: 'a' }] } })
      const errors: string[] = []
      listen(room, 'error', ({ message }) => errors.push(message))
      await say('presence_diff', wrong)
      if (!Array.isArray(wrong)) await say('presence_state', wrong ?? 1)
      assert.ok(errors.length > 0)
      assert.deepEqual(keys(who), ['ann'])
    })
  }

  test('1,000 random stories end as phoenix.js ends them', async (t) => {
    const { who, say } = await books(t)
    const first = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
    t.diagnostic(`SEED=${first}`)
    const roll = seeded(first)
    const pick = (most: number): number => Math.floor(roll() * most)
    const bag = (): PhoenixState => {
      const entries = Array.from({ length: pick(4) }, () => {
        const refs = new Set(Array.from({ length: 1 + pick(3) }, () => String(pick(8))))
        const metas = [...refs].map((phx_ref) => ({ phx_ref, n: pick(100) }))
        const data = roll() < 0.5 ? { user: pick(100) } : {}
        return [['ann', 'bob', 'toString', 'cid'][pick(4)] ?? '', { ...data, metas }] as const
      })
      return Object.fromEntries(entries)
    }
    const copy = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value)) as Value
    let theirs: PhoenixState = {}
    await say('presence_state', {})
    for (let count = 0; count < 1_000; count++) {
      if (roll() < 0.2) {
        const state = bag()
        theirs = PhoenixPresence.syncState(theirs, copy(state))
        await say('presence_state', state)
      } else {
        const diff = { joins: bag(), leaves: bag() }
        theirs = PhoenixPresence.syncDiff(theirs, copy(diff))
        await say('presence_diff', diff)
      }
      const mine = Object.fromEntries(
        [...who].map(([key, metas]) => [key, { ...who.dataOf(key), metas }]),
      )
      assert.deepEqual(mine, copy(theirs), `SEED=${first}, story ${count}`)
    }
  })

  test('100,000 members, and as many diffs', async (t) => {
    const { who, say } = await books(t)
    const state = Object.fromEntries(
      Array.from({ length: 100_000 }, (_, n) => [`k${n}`, { metas: [{ phx_ref: String(n) }] }]),
    )
    await say('presence_state', state)
    assert.equal(who.size, 100_000)
    await say('presence_diff', { joins: {}, leaves: state })
    assert.equal(who.size, 0)
  })
})

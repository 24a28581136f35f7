import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import { Presence as PhoenixPresence, Socket } from 'phoenix'
import { listen, once, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer, Presence, type Channel } from 'simplewebsockets/channels'
import { cut, link } from 'simplewebsockets/testing'
import WebSocket from 'ws'
import { seeded } from '../random.ts'
import { Raw } from './raw.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Place {
  at: string
  phx_ref?: string
  phx_ref_prev?: string
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
    test('are told to all, and who joins is told who is here', async (t) => {
      const { server, presence } = scene(when)
      const ann = await enter(t, server, 'ann')
      const bob = await enter(t, server, 'bob')
      const nobody = await enter(t, server)
      await turn()
      for (const { who } of [ann, bob, nobody]) assert.deepEqual(keys(who), ['ann', 'bob'])
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
    test(`a member who ${how} is gone at once, for everybody`, async (t) => {
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

  test('one who is refused, or has left, is not tracked', async () => {
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
    assert.deepEqual(keys(presence), ['ann'])
  })
})

suite('phoenix.js beside our server', () => {
  test('its own presence says who is here, whoever comes and goes', async (t) => {
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

/** A server from the books, which lets everybody in and says what it is told to. */
async function books(t: TestContext): Promise<{
  room: Channel
  who: Presence<Place>
  say: (event: string, payload: unknown) => Promise<void>
}> {
  const server = new WebsocketServer()
  const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
  t.after(() => client.close())
  const [there] = await link(server, client)
  const room = client.channel('room:1')
  const who = new Presence<Place>(room)
  listen(there, 'message', (message) => {
    const [joinRef, ref] = JSON.parse(String(message)) as unknown[]
    there.send(
      JSON.stringify([joinRef, ref, 'room:1', 'phx_reply', { status: 'ok', response: {} }]),
    )
  })
  await room.join()
  const say = async (event: string, payload: unknown): Promise<void> => {
    there.send(JSON.stringify([null, null, 'room:1', event, payload]))
    await turn()
  }
  return { room, who, say }
}

suite('what a server says of who is here', () => {
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
        return [['ann', 'bob', 'toString', 'cid'][pick(4)] ?? '', { metas }] as const
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
      const mine = Object.fromEntries([...who].map(([key, metas]) => [key, { metas }]))
      assert.deepEqual(mine, copy(theirs), `SEED=${first}, story ${count}`)
    }
  })

  test('100,000 who are here, and as many diffs', async (t) => {
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

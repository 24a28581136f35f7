import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Socket } from 'phoenix'
import { listen, memoryBackplane, once, WebsocketServer } from 'simplewebsockets'
import {
  HistoryError,
  ChannelClient,
  ChannelServer,
  memoryHistory,
  phoenix,
  Presence,
  type HistoryOptions,
  type HistoryPosition,
  type HistoryStore,
  type AnyEvents,
  type Serializer,
} from 'simplewebsockets/channels'
import { cut, link } from 'simplewebsockets/testing'
import WebSocket from 'ws'
import { z } from 'zod'
import { OPEN_WITH } from '../../../lib/internal.ts'
import { deferred } from '../../../lib/promises.ts'
import { FaultyHistory, turn } from '../../support/channels/faultyhistory.ts'
import { Random } from '../../support/channels/random.ts'
import { AMBER, PHOENIX_1, Raw } from '../../support/channels/raw.ts'

type Five = [string | null, string | null, string, string, AnyEvents]

interface Stage {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  readonly say: (...bodies: unknown[]) => void
}

function stage(history: HistoryOptions = {}): Stage {
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  channels.topic('room:*', { open: true, history })
  const say = (...bodies: unknown[]): void => {
    for (const body of bodies) void channels.emit('room:1', 'said', { body })
  }
  return { server, channels, say }
}

interface Answer {
  readonly recovered?: boolean
  readonly $history: HistoryPosition
}

/** Joins, and gives the answer and what came with it. */
async function join(
  { server }: Pick<Stage, 'server'>,
  $since?: unknown,
  topic = 'room:1',
): Promise<{ answer: Answer; bodies: unknown[]; client: Raw }> {
  const client = await Raw.enter(server)
  const [first, ...rest] = (await client.ask(['1', '1', topic, 'phx_join', { $since }])) as Five[]
  const bodies = rest.map(([, , , , payload]) => payload.body as unknown)
  return { answer: first?.[4].response as Answer, bodies, client }
}

test('a member that comes back is given what it missed, and only that', async () => {
  const room = stage()
  room.say('before')
  const { answer, bodies, client } = await join(room)
  const { epoch, offset } = answer.$history
  assert.deepEqual([answer.recovered, bodies, offset], [undefined, [], 1])
  room.say('one', 'two')
  const heard = (await client.heard()) as Five[]
  assert.deepEqual(
    heard.map(([, , , , payload]) => payload),
    [
      { body: 'one', $offset: 2 },
      { body: 'two', $offset: 3 },
    ],
  )
  const again = await join(room, answer.$history)
  assert.deepEqual([again.answer.recovered, again.bodies], [true, ['one', 'two']])
  assert.deepEqual(again.answer.$history, { epoch, offset: 3 })
  assert.deepEqual((await join(room, { epoch, offset: 2 })).bodies, ['two'])
  const last = await join(room, { epoch, offset: 3 })
  assert.deepEqual([last.answer.recovered, last.bodies], [true, []])
})

test('the first message of an epoch names it, and an empty payload has its offset', async () => {
  const { server, channels } = stage()
  const { answer, client } = await join({ server })
  assert.equal(answer.$history.offset, 0)
  void channels.emit('room:1', 'said', {})
  void channels.emit('room:1', 'said', {})
  const [first, second] = (await client.heard()) as Five[]
  assert.deepEqual(first?.[4], { $offset: 1, $epoch: answer.$history.epoch })
  assert.deepEqual(second?.[4], { $offset: 2 })
})

test('a member that is not told of what was before is given nothing old, whatever it claims', async () => {
  const room = stage({ size: 2 })
  const { answer, client } = await join(room)
  const { epoch } = answer.$history
  room.say('one', 'two', 'three')
  await client.heard()
  const wrong: unknown[] = [
    ...[5, 'x', [], true, {}, { epoch }, { offset: 1 }, { epoch: 5, offset: 1 }],
    ...[-1, 0.5, 'x', 2 ** 53, null].map((offset) => ({ epoch, offset })),
    ...[
      { epoch: 'x'.repeat(300), offset: 1 },
      { epoch: '', offset: 3 },
      { epoch: 'x', offset: 3 },
    ],
    ...[
      { epoch, offset: 0 },
      { epoch, offset: 4 },
      { epoch, offset: 1e15 },
    ],
  ]
  for (const $since of wrong) {
    const again = await join(room, $since)
    const seen = JSON.stringify($since).slice(0, 60)
    assert.deepEqual([again.answer.recovered, again.bodies], [false, []], seen)
    assert.deepEqual(again.answer.$history, { epoch, offset: 3 })
  }
  assert.equal((await join(room, null)).answer.recovered, undefined, 'nothing was asked')
  room.say('four')
  assert.equal((await client.heard()).length, 1, 'and it harms no other member')
})

test('a topic with a backlog gives its latest messages to every new member', async () => {
  const room = stage({ backlog: 2, size: 3 })
  assert.deepEqual((await join(room)).bodies, [])
  room.say('one')
  assert.deepEqual((await join(room)).bodies, ['one'])
  room.say('two', 'three', 'four', 'five')
  const { answer, bodies } = await join(room)
  assert.deepEqual([answer.recovered, bodies], [undefined, ['four', 'five']])
  const { epoch } = answer.$history
  const lost = await join(room, { epoch, offset: 1 })
  assert.deepEqual([lost.answer.recovered, lost.bodies], [false, ['four', 'five']])
  const whole = await join(room, { epoch, offset: 2 })
  assert.deepEqual([whole.answer.recovered, whole.bodies], [true, ['three', 'four', 'five']])
  const seen = await join(room, { epoch, offset: 5 })
  assert.deepEqual([seen.answer.recovered, seen.bodies], [true, []])
})

test('`accept` refuses one member what is old', async () => {
  const { server, channels } = stage()
  const rooms = channels.topic('closed:*', { history: { backlog: 2 } })
  listen(rooms, 'join', ({ accept }) => {
    // @ts-expect-error: no such option
    assert.throws(() => accept({}, { recovers: false }), /did you mean `recover`/)
    // @ts-expect-error: no boolean
    assert.throws(() => accept({}, { recover: 1 }), /expected `recover` to be true or false, got 1/)
    accept({}, { recover: false })
  })
  await channels.emit('closed:1', 'said', { body: 'one' })
  const { answer, bodies } = await join({ server }, undefined, 'closed:1')
  assert.deepEqual([answer.recovered, bodies, answer.$history.offset], [undefined, [], 1])
  await channels.emit('closed:1', 'said', { body: 'two' })
  const again = await join({ server }, answer.$history, 'closed:1')
  assert.deepEqual([again.answer.recovered, again.bodies], [false, []])
})

test('what a member broadcasts is recorded, and what a peer says of positions means nothing', async () => {
  const { server, channels } = stage()
  const rooms = channels.topic('other:*', { history: {} })
  listen(rooms, 'join', ({ channel, accept }) => {
    accept()
    listen(channel.messages, 'say', ({ payload }) => channel.broadcast('said', payload))
    void channel.push('hello', { $offset: 7 })
  })
  const ann = await (await Raw.enter(server)).join('other:1')
  const bob = await join({ server }, undefined, 'other:1')
  const forged = { body: 'hi', $offset: 99, $epoch: 'forged', $history: { epoch: 'x', offset: 9 } }
  assert.deepEqual(await ann.ask(['1', '2', 'other:1', 'say', forged]), [], 'not to itself')
  const [[, , , , heard]] = (await bob.client.heard()) as [Five]
  const { epoch, offset } = bob.answer.$history
  assert.deepEqual(heard, { body: 'hi', $history: forged.$history, $offset: 1, $epoch: epoch })
  const again = await join({ server }, { epoch, offset }, 'other:1')
  assert.deepEqual(again.bodies, ['hi', undefined], 'recorded, and what is pushed to one is not')
  await channels.emit('other:1', 'said', { body: 'all' })
  const [[, , , , next]] = (await ann.heard()) as [Five]
  assert.deepEqual(next, { body: 'all', $offset: 2 }, 'its own message is no gap for it')
})

test('a schema and a listener see nothing of `$since`', async () => {
  const { server, channels } = stage()
  const rooms = channels.topic('strict:*', {
    join: z.strictObject({ name: z.string() }),
    history: { size: 5 },
  })
  const seen: unknown[] = []
  listen(rooms, 'join', ({ payload, accept }) => {
    seen.push(payload)
    accept({ hello: payload.name })
  })
  const client = await Raw.enter(server)
  const payload = { name: 'ann', $since: { epoch: 'x', offset: 1 } }
  const [answer] = (await client.ask(['1', '1', 'strict:1', 'phx_join', payload])) as Five[]
  const response = answer?.[4].response as AnyEvents
  assert.deepEqual([response.hello, response.recovered, seen], ['ann', false, [{ name: 'ann' }]])
})

test('a join payload that is no object carries no `$since`, and comes as it is', async () => {
  const { server, channels } = stage()
  const seen: unknown[] = []
  listen(channels.topic('any:*', { history: {} }), 'join', ({ payload, accept }) => {
    seen.push(payload)
    accept()
  })
  const client = await Raw.enter(server)
  const payloads: unknown[] = ['$since', 5, null, [{ $since: 1 }], { $since: null, a: 1 }]
  for (const [index, payload] of payloads.entries()) {
    const [answer] = (await client.ask(['1', '1', `any:${index}`, 'phx_join', payload])) as Five[]
    const { $history, ...rest } = answer?.[4].response as AnyEvents
    assert.deepEqual([$history.offset, rest], [0, {}])
  }
  assert.deepEqual(seen, ['$since', 5, null, [{ $since: 1 }], { a: 1 }])
})

test('what is recorded has to be an object of plain JSON, and so has an answer', async () => {
  const { server, channels } = stage()
  const wrong: unknown[] = [new Uint8Array(1), [], null, 'x', 5, new Date(0), undefined]
  for (const payload of wrong) {
    assert.throws(() => void channels.emit('room:1', 'said', payload), {
      name: 'TypeError',
      message: /^expected a payload on a topic with `history` to be an object of plain JSON, got /,
    })
  }
  assert.throws(() => void channels.emit('room:1', 'presence_diff', {}), TypeError)
  void channels.emit('room:1', 'said', { toJSON: () => ({ body: 'said so' }) })
  const rooms = channels.topic('answers', { history: {} })
  const names: string[] = []
  listen(rooms, 'join', ({ accept }) => {
    for (const answer of ['x', [], null, new Uint8Array(1), { a: 5n }]) {
      try {
        accept(answer)
      } catch (error) {
        names.push((error as Error).name)
      }
    }
    accept()
  })
  await (await Raw.enter(server)).join('answers')
  assert.deepEqual(names, ['TypeError', 'TypeError', 'TypeError', 'TypeError', 'TypeError'])
  const { answer } = await join({ server })
  const { epoch } = answer.$history
  assert.deepEqual((await join({ server }, { epoch, offset: 0 })).bodies, ['said so'])
})

test('the answer to a join is taken as it is when it is given', async () => {
  const store = new FaultyHistory(new Random(1))
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  let count = 0
  for (const history of [{}, { store: store.node() }]) {
    listen(channels.topic(`to:${count}`, { history }), 'join', ({ accept }) => {
      const answer = { count: { toJSON: () => ++count } as unknown }
      accept(answer)
      answer.count = 'too late'
    })
    const client = await Raw.enter(server)
    client.say(['1', '1', `to:${count}`, 'phx_join', {}])
    await store.settle()
    const [answer] = (await client.heard()) as Five[]
    assert.equal(answer?.[4].response.count, count, 'and encoded once')
  }
  assert.equal(count, 2)
})

test('our own client does it by itself, and shows none of it', async () => {
  const { server, say } = stage()
  const client = new ChannelClient({ reconnect: false })
  const room = client.channel<{ said: { body: string } }>('room:1', { name: 'ann' })
  const heard: { body: string }[] = []
  const answers: unknown[] = []
  listen(room.messages, 'said', ({ payload }) => void heard.push(payload))
  listen(room, 'join', (answer) => void answers.push(answer))
  assert.ok(OPEN_WITH in client)
  for (let times = 0; times < 3; times++) {
    const joined = once(room, 'join')
    // A channel client opens as any client does, without a network, too.
    const opener = client as unknown as Parameters<typeof link>[1]
    const [, here] = await link(server, opener, 'ws://localhost/socket')
    void room.join()
    await joined
    say('live')
    await here.ping()
    const closed = once(client, 'close')
    cut(here)
    await closed
    say('missed')
  }
  const bodies = heard.map(({ body }) => body)
  assert.deepEqual(bodies, ['live', 'missed', 'live', 'missed', 'live'])
  assert.deepEqual(heard[0], { body: 'live' })
  assert.deepEqual(answers, [{}, { recovered: true }, { recovered: true }])
})

/** The code that the documentation advises for phoenix.js: it is for pages, and has no types. */
const advised = new URL('../../../samples/replay/with-phoenix.js', import.meta.url)
const { enter } = (await import(advised.href)) as {
  enter: (
    socket: PhoenixSocket,
    hear: (payload: { body: string }) => void,
    reload: () => void,
  ) => PhoenixPush
}

test('phoenix.js is given what it missed, by the lines of the documentation', async (t: TestContext) => {
  const { server, say } = stage()
  const { port } = await server.serve(0, '127.0.0.1')
  t.after(() => server.close())
  const socket = new Socket(`ws://127.0.0.1:${port}/socket`, {
    transport: WebSocket,
    reconnectAfterMs: () => 10,
    rejoinAfterMs: () => 10,
  })
  t.after(() => socket.disconnect())
  const heard: string[] = []
  const answers: Answer[] = []
  let reloads = 0
  let wake: () => void = () => {}
  const until = async (isSo: () => boolean): Promise<void> => {
    while (!isSo()) await new Promise<void>((resolve) => (wake = resolve))
  }
  const hear = ({ body }: { body: string }): void => {
    heard.push(body)
    wake()
  }
  enter(socket, hear, () => reloads++).receive('ok', (answer) => {
    answers.push(answer as Answer)
    wake()
  })
  socket.connect()
  await until(() => answers.length === 1)
  say('one')
  await until(() => heard.length === 1)
  for (const connection of server.clients) cut(connection)
  say('two', 'three')
  await until(() => heard.length === 3)
  assert.deepEqual([answers[1]?.recovered, answers[1]?.$history.offset], [true, 3])
  for (const connection of server.clients) cut(connection)
  for (let count = 0; count < 101; count++) say(String(count))
  await until(() => answers.length === 3)
  assert.deepEqual([answers[2]?.recovered, reloads, heard.length], [false, 1, 3])
})

test('in other dialects what is said has its offset, and in Amber a join has no answer', async () => {
  const { server, say } = stage()
  const client = await Raw.enter(server, AMBER)
  client.say({ event: 'join', topic: 'room:1' })
  await client.heard()
  const other = await Raw.enter(server, PHOENIX_1)
  other.say({ event: 'phx_join', topic: 'room:1', ref: '1', payload: {} })
  await other.heard()
  say('one', 'two')
  for (const peer of [client, other]) {
    const [, message] = (await peer.heard()) as AnyEvents[]
    assert.deepEqual(message?.payload, { body: 'two', $offset: 2 })
  }
})

test('presence is not recorded', async () => {
  const { server, channels } = stage()
  const rooms = channels.topic('here:*', { history: {} })
  const presence = new Presence<object>(rooms)
  listen(rooms, 'join', ({ channel, accept }) => {
    presence.track(channel, 'ann', {})
    accept()
  })
  await join({ server }, undefined, 'here:1')
  const { answer } = await join({ server }, undefined, 'here:1')
  assert.equal(answer.$history.offset, 0)
})

test('`emit` and `broadcast` resolve, with a history or without', async () => {
  const { server, channels } = stage()
  const without = channels.topic('plain', { open: true })
  const done: unknown[] = []
  listen(without, 'joined', ({ channel }) => {
    void channel.broadcast('said', 5).then((value) => done.push(value))
    void channel.leave()
    void channel.broadcast('said', 5).then((value) => done.push(value))
  })
  await (await Raw.enter(server)).join('plain')
  assert.equal(await channels.emit('plain', 'said', 5), undefined)
  assert.equal(await channels.emit('room:1', 'said', {}), undefined)
  assert.deepEqual(done, [undefined, undefined])
})

test('a store that throws refuses messages and joins, and is told', async () => {
  const broken = (): never => {
    throw new Error('broken')
  }
  const { server, channels } = stage({ store: { append: broken, read: broken } })
  const failed = once(server, 'error')
  await assert.rejects(channels.emit('room:1', 'said', {}), HistoryError)
  assert.equal((await failed).message, 'the history failed')
  const { answer } = await join({ server })
  assert.deepEqual(answer, { reason: 'history unavailable' })
})

test('a join that ends while the store is read is not let in, and has one `joined` and one `leave`', async () => {
  const read = deferred<{ epoch: string; offset: number; entries: [] }>()
  const store: HistoryStore = {
    append: () => ({ epoch: 'a', offset: 1 }),
    read: () => read.promise,
  }
  const { server, channels } = stage()
  const rooms = channels.topic('slow', { history: { store } })
  const told: string[] = []
  const accepted: boolean[] = []
  listen(rooms, 'join', ({ accept, reject }) => {
    accepted.push(accept())
    reject({ reason: 'too late' })
    accept({ twice: true })
  })
  listen(rooms, 'joined', () => told.push('joined'))
  listen(rooms, 'leave', ({ reason }) => told.push(reason))
  const said = async (peer: Raw, ...frames: unknown[]): Promise<unknown[]> =>
    ((await peer.ask(...frames)) as Five[]).map(([, ref, , event, payload]) => {
      return [ref, event, payload.status as unknown]
    })
  const client = await Raw.enter(server)
  assert.deepEqual(
    await said(client, ['1', '1', 'slow', 'phx_join', {}], ['4', '4', 'slow', 'phx_join', {}]),
    [['1', 'phx_reply', 'error']],
  )
  const leaver = await Raw.enter(server)
  assert.deepEqual(
    await said(leaver, ['2', '2', 'slow', 'phx_join', {}], ['2', '3', 'slow', 'phx_leave', {}]),
    [
      ['3', 'phx_reply', 'ok'],
      ['2', 'phx_close', undefined],
    ],
  )
  const gone = await Raw.enter(server)
  await gone.ask(['1', '1', 'slow', 'phx_join', {}])
  await gone.here.close()
  assert.deepEqual(told, ['joined', 'replaced', 'joined', 'left', 'joined', 'closed'])
  read.resolve({ epoch: 'a', offset: 0, entries: [] })
  await turn()
  const [[, ref, , , { status, response }]] = (await client.heard()) as [Five]
  assert.deepEqual([ref, status, response.twice], ['4', 'ok', undefined])
  await client.here.close()
  assert.deepEqual(told.slice(6), ['joined', 'closed'])
  assert.deepEqual(accepted, [true, true, true, true])
})

test('a join that fails once its store has answered is refused, and the failure is told', async () => {
  const store = new FaultyHistory(new Random(1))
  const encode: Serializer['server']['encode'] = (frame) => {
    if (frame.kind === 'reply' && frame.status === 'ok') throw new Error('no words')
    return phoenix.server.encode(frame)
  }
  const speechless: Serializer = { ...phoenix, server: { ...phoenix.server, encode } }
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server, { serializers: [speechless] })
  const rooms = channels.topic('slow', { history: { store: store.node() } })
  listen(rooms, 'join', ({ accept }) => accept())
  const failed = once(channels, 'error')
  const client = await Raw.enter(server)
  client.say(['1', '1', 'slow', 'phx_join', {}])
  await store.settle()
  assert.match((await failed).message, /no words/)
  const [answer] = (await client.heard()) as Five[]
  assert.deepEqual(answer?.[4], { status: 'error', response: { reason: 'join crashed' } })
})

test('a membership whose history is lost is told so to its topic', async () => {
  const store = new FaultyHistory(new Random(1))
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  const rooms = channels.topic('slow', { open: true, history: { store: store.node() } })
  const left = once(rooms, 'leave')
  const client = await Raw.enter(server)
  await channels.emit('slow', 'said', {})
  client.say(['1', '1', 'slow', 'phx_join', {}])
  await store.settle()
  store.flush()
  await channels.emit('slow', 'said', {})
  const { reason } = await left
  assert.equal(reason, 'historyLost')
  const [, frame] = (await client.heard()) as Five[]
  assert.deepEqual(frame, ['1', '1', 'slow', 'phx_error', { reason: 'history lost' }])
})

test('a topic knows its history by type, and refuses what it cannot have', () => {
  const { channels } = stage()
  const store = memoryHistory()
  const typed = channels.topic<{ say: { body: string } }, { said: { body: string } }>('typed:*', {
    history: { size: 5, ttl: 5, maxBytes: 5, backlog: 5, timeout: 5, store },
  })
  listen(typed, 'join', ({ channel, accept }) => {
    listen(channel.messages, 'say', ({ payload }) => channel.broadcast('said', payload))
    // @ts-expect-error: `body` is missing
    void channel.broadcast('said', { text: 'hi' })
    accept()
  })
  const halfStore = { append: () => ({ epoch: '', offset: 1 }) }
  const refused: [slip: () => unknown, text: RegExp][] = [
    // @ts-expect-error: size
    [() => channels.topic('a', { history: { sise: 5 } }), /unknown option `sise`.*`size`/],
    // @ts-expect-error: milliseconds
    [() => channels.topic('a', { history: { ttl: '5m' } }), /`ttl` to be milliseconds from 1 up/],
    // @ts-expect-error: options
    [() => channels.topic('a', { history: true }), /`history` to be an object/],
    // @ts-expect-error: history
    [() => channels.topic('a', { histroy: {} }), /unknown option `histroy`/],
    [
      () => channels.topic('a', { history: { backlog: -1 } }),
      /`backlog` to be a whole number from 0/,
    ],
    [
      // @ts-expect-error: read is missing
      () => channels.topic('a', { history: { store: halfStore } }),
      /`store` to be an object with `append` and `read`, such as redisHistory\(\)/,
    ],
    [() => memoryHistory({ maxBytes: 0.5 }), /`maxBytes` to be bytes/],
  ]
  for (const [slip, message] of refused) assert.throws(slip, { name: 'TypeError', message })
  channels.topic('a', {}) // nothing of the slips was left behind
})

test('with a backplane the store has to be one of all nodes', () => {
  const server = new WebsocketServer({ backplane: memoryBackplane() })
  const channels = new ChannelServer(server)
  for (const store of [undefined, memoryHistory()]) {
    assert.throws(() => channels.topic('room:*', { history: { store } }), {
      name: 'TypeError',
      message:
        /^expected the `store` of `history` to be one with `subscribe`, such as redisHistory\(\), as the server has a backplane, got /,
    })
  }
  const store = new FaultyHistory(new Random(1)).node()
  channels.topic('room:*', { history: { store } })
})

test('a server that has closed begins anew', async () => {
  const room = stage()
  const { answer } = await join(room)
  room.say('one')
  await room.server.close()
  const again = await join(room, answer.$history)
  assert.deepEqual([again.answer.recovered, again.bodies], [false, []])
})

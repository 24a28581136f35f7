import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { listen, memoryBackplane, once, WebsocketServer, type Backplane } from 'simplewebsockets'
import {
  ChannelClient,
  ChannelServer,
  phoenix,
  Presence,
  type History,
  type HistoryRecord,
  type Loose,
  type Serializer,
  type TopicOptions,
} from 'simplewebsockets/channels'
import { cut, link } from 'simplewebsockets/testing'
import { z } from 'zod'
import { OPEN_BY } from '../../lib/client.ts'
import { deferred, type Deferred } from '../../lib/promises.ts'
import { AMBER, Raw } from './raw.ts'

type Five = [string | null, string | null, string, string, Loose]

interface Stage {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  readonly say: (...bodies: unknown[]) => void
}

function stage(history: TopicOptions['history'] = {}, backplane?: Backplane): Stage {
  const server = new WebsocketServer({ path: '/socket', backplane })
  const channels = new ChannelServer(server)
  channels.topic('room:*', { open: true, history })
  const say = (...bodies: unknown[]): void => {
    for (const body of bodies) channels.emit('room:1', 'said', { body })
  }
  return { server, channels, say }
}

/** Joins, and gives the answer and what came with it. */
async function join(
  { server }: Pick<Stage, 'server'>,
  $seen?: unknown,
): Promise<{ answer: Loose; bodies: unknown[]; client: Raw }> {
  const client = await Raw.enter(server)
  const [first, ...rest] = (await client.ask(['1', '1', 'room:1', 'phx_join', { $seen }])) as Five[]
  const bodies = rest.map(([, , , , payload]) => payload.body as unknown)
  return { answer: first?.[4].response as Loose, bodies, client }
}

test('who comes back is given what they missed, and only that', async () => {
  const room = stage()
  room.say('before')
  const { answer, bodies } = await join(room)
  assert.deepEqual([answer.recovered, bodies], [undefined, []])
  room.say('one', 'two')
  const again = await join(room, answer.$seen)
  assert.deepEqual([again.answer.recovered, again.bodies], [true, ['one', 'two']])
  const [[sender, n] = ['', 0]] = Object.entries<number>(
    again.answer.$seen as Record<string, number>,
  )
  assert.deepEqual((await join(room, { [sender]: n + 2 })).bodies, [])
})

test('what a member broadcasts is kept, too, and what is pushed to one is not', async () => {
  const { server, channels } = stage()
  const rooms = channels.topic('other:*', { history: {} })
  listen(rooms, 'join', ({ channel, accept }) => {
    accept()
    listen(channel.messages, 'say', ({ payload }) => channel.broadcast('said', payload))
    void channel.push('hello', {})
  })
  const ann = await (await Raw.enter(server)).join('other:1')
  ann.say(['1', '2', 'other:1', 'say', { body: 'hi', $position: 'forged:1' }])
  await ann.heard()
  const bob = await Raw.enter(server)
  const heard = (await bob.ask(['1', '1', 'other:1', 'phx_join', { $seen: {} }])) as Five[]
  assert.deepEqual(
    heard.map(([, , , event]) => event),
    ['phx_reply', 'said', 'hello'],
  )
  assert.match(String(heard[1]?.[4].$position), /^[\w-]{12}:1$/)
})

test('a `$seen` that makes no sense is nothing seen, and harms nobody', async () => {
  const room = stage()
  const { client } = await join(room)
  room.say('one')
  await client.heard()
  const huge = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`s${n}`, n]))
  const wrong = [5, 'x', [], true, huge, { a: 'x' }, { a: -1 }, JSON.parse('{"__proto__":{"a":1}}')]
  for (const $seen of [...wrong, JSON.parse('{"__proto__":7}'), { constructor: 1 }] as unknown[]) {
    const { answer, bodies } = await join(room, $seen)
    assert.deepEqual(
      [answer.recovered, bodies],
      [false, ['one']],
      JSON.stringify($seen).slice(0, 50),
    )
  }
  assert.equal(Reflect.get({}, 'a'), undefined)
  room.say('two')
  assert.equal((await client.heard()).length, 1)
})

test('a schema and a listener see nothing of `$seen`', async () => {
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
  const [answer] = (await client.ask([
    ...['1', '1', 'strict:1', 'phx_join'],
    { name: 'ann', $seen: { a: 1 } },
  ])) as Five[]
  const response = answer?.[4].response as Record<string, unknown>
  assert.deepEqual([response.hello, response.recovered, seen], ['ann', false, [{ name: 'ann' }]])
})

test('the answer to a join is encoded once, with a slow store, too', async () => {
  let kept: () => void = () => {}
  const reading = new Promise<void>((resolve) => (kept = resolve))
  const store: History = {
    keep: () => Promise.resolve(),
    read: () => reading.then(() => ({ entries: [], senders: [] })),
  }
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  let count = 0
  for (const [pattern, history] of [
    ['quick', {}],
    ['slow', { store }],
  ] as const) {
    listen(channels.topic(pattern, { history }), 'join', ({ accept }) => {
      const answer = {
        get n(): number {
          return ++count
        },
        said: { toJSON: () => ++count },
      }
      accept(answer)
    })
  }
  const client = await Raw.enter(server)
  const answers = await client.ask(
    ['1', '1', 'quick', 'phx_join', {}],
    ['2', '2', 'slow', 'phx_join', { $seen: {} }],
  )
  assert.deepEqual([answers.length, count], [1, 4])
  kept()
  await new Promise(setImmediate)
  for (const frame of [...answers, ...(await client.heard())] as Five[]) {
    const { n, said } = frame[4].response as Loose
    assert.deepEqual([n, said], frame[2] === 'quick' ? [1, 2] : [3, 4])
  }
  assert.equal(count, 4)
})

test('what is said has to be an object of plain JSON, and so has an answer', async () => {
  const { server, channels } = stage()
  const wrong: unknown[] = [new Uint8Array(1), [], null, 'x', 5, new Date(0), undefined]
  for (const payload of wrong) {
    assert.throws(() => channels.emit('room:1', 'said', payload), {
      name: 'TypeError',
      message: /^expected a payload on a topic with `history` to be an object of plain JSON, got /,
    })
  }
  channels.emit('room:1', 'said', { toJSON: () => ({ body: 'said so' }) })
  channels.emit('room:2', 'said', {})
  const rooms = channels.topic('answers', { history: {} })
  const texts: string[] = []
  listen(rooms, 'join', ({ accept }) => {
    for (const answer of ['x', [], null, new Uint8Array(1), { a: 5n }]) {
      try {
        accept(answer)
      } catch (error) {
        texts.push((error as Error).name)
      }
    }
    accept()
  })
  const client = await Raw.enter(server)
  await client.ask(['1', '1', 'answers', 'phx_join', {}])
  assert.deepEqual(
    texts,
    Array.from({ length: 5 }, () => 'TypeError'),
  )
  assert.deepEqual((await join({ server }, {})).bodies, ['said so'])
})

test('our own client does it by itself, and shows none of it', async () => {
  const { server, channels, say } = stage()
  const client = new ChannelClient({ reconnect: false })
  const room = client.channel<{ said: { body: string } }>('room:1', { name: 'ann' })
  const heard: unknown[] = []
  const answers: unknown[] = []
  listen(room.messages, 'said', ({ payload }) => void heard.push(payload))
  listen(room, 'join', (answer) => void answers.push(answer))
  const connect = async (): Promise<void> => {
    const joined = once(room, 'join')
    // A channel client opens as any client does, without a network, too.
    const [, here] = await link(
      server,
      client as unknown as Parameters<typeof link>[1],
      'ws://localhost/socket',
    )
    void room.join()
    await joined
    say('live')
    await here.ping()
    const closed = once(client, 'close')
    cut(here)
    await closed
    say('missed')
  }
  assert.ok(OPEN_BY in client)
  for (let turn = 0; turn < 3; turn++) await connect()
  const bodies = heard.map((payload) => (payload as { body: string }).body)
  assert.deepEqual(bodies, ['live', 'missed', 'live', 'missed', 'live'])
  assert.deepEqual(heard[0], { body: 'live' })
  assert.deepEqual(answers, [{}, { recovered: true }, { recovered: true }])
  assert.equal(channels instanceof ChannelServer, true)
})

test('who comes back to another node is given what that heard, and an honest answer', async () => {
  const backplane = memoryBackplane()
  const [one, other] = [stage({}, backplane), stage({}, backplane)]
  const { answer } = await join(one)
  await join(other)
  const early = await join(other, answer.$seen)
  assert.equal(early.answer.recovered, false, 'it has never heard of the first one')
  one.say('one')
  const { answer: there } = await join(other)
  one.say('two')
  other.say('three')
  const later = await join(other, there.$seen)
  assert.deepEqual([later.answer.recovered, later.bodies.sort()], [true, ['three', 'two']])
})

test('after the backplane was down nothing is vouched for', async () => {
  let tell: (state: 'up' | 'down') => void = () => {}
  const backplane: Backplane = { ...memoryBackplane(), listen: (heard) => (tell = heard) }
  const room = stage({}, backplane)
  const { answer } = await join(room)
  room.say('one')
  tell('down')
  room.say('two')
  const { answer: after, bodies } = await join(room, answer.$seen)
  assert.deepEqual([after.recovered, bodies], [false, ['two']])
  const again = await join(room, after.$seen)
  assert.equal(again.answer.recovered, true, 'from there on it is whole')
})

test('the topic that was used least recently goes', async () => {
  const { server, channels } = stage({ topics: 2 })
  for (const name of ['1', '2', '3']) channels.emit(`room:${name}`, 'said', { body: name })
  channels.emit('room:2', 'said', { body: 'again' })
  channels.emit('room:4', 'said', { body: '4' })
  const client = await Raw.enter(server)
  const heard = (await client.ask(['1', '1', 'room:2', 'phx_join', { $seen: {} }])) as Five[]
  assert.equal(heard.length, 3)
  assert.equal((await join({ server }, {})).bodies.length, 0)
})

test('what is too old goes, and with it a topic that nobody is a member of', async () => {
  mock.timers.enable({ apis: ['Date', 'setInterval'] })
  try {
    const room = stage({ age: 1_000 })
    const { answer, client } = await join(room)
    room.say('one')
    mock.timers.tick(1_600)
    const { answer: late, bodies } = await join(room, answer.$seen)
    assert.deepEqual([late.recovered, bodies], [false, []])
    const known = await join(room, late.$seen)
    assert.equal(known.answer.recovered, true, 'the topic has members: it is there')
    mock.timers.tick(60_000)
    assert.equal((await join(room, late.$seen)).answer.recovered, true)
    await room.server.close()
    assert.equal(client.here.isOpen, false)
    assert.equal((await join(room, late.$seen)).answer.recovered, false)
  } finally {
    mock.timers.reset()
  }
})

test('in Amber what is said has its position, and a join has no answer', async () => {
  const { server, say } = stage()
  const client = await Raw.enter(server, AMBER)
  client.say({ event: 'join', topic: 'room:1' })
  await client.heard()
  say('one')
  const [message] = (await client.heard()) as [{ payload: { body: string; $position: string } }]
  assert.match(message.payload.$position, /^[\w-]{12}:1$/)
})

/** A store that answers when it is told to. */
function slowStore(): { store: History; reads: Deferred<HistoryRecord>[] } {
  const reads: Deferred<HistoryRecord>[] = []
  const store: History = {
    keep: () => Promise.resolve(),
    read: () => {
      const read = deferred<HistoryRecord>()
      reads.push(read)
      return read.promise
    },
  }
  return { store, reads }
}

const NOTHING: HistoryRecord = { entries: [], senders: [] }

test('what is said while the store is read is neither lost nor doubled', async () => {
  const { store, reads } = slowStore()
  const room = stage({ store })
  room.say('one')
  reads.shift()?.resolve(NOTHING)
  const client = await Raw.enter(room.server)
  assert.deepEqual(await client.ask(['1', '1', 'room:1', 'phx_join', { $seen: {} }]), [])
  room.say('two')
  reads.shift()?.resolve(NOTHING)
  await once(client.here, 'message')
  room.say('three')
  const heard = ((await client.heard()) as Five[]).map(([, , , , payload]) => payload)
  assert.deepEqual(
    heard.map(({ body }) => body as unknown),
    [undefined, 'one', 'two', 'three'],
  )
})

test('what makes no sense in a store is left out', async () => {
  const { store, reads } = slowStore()
  const room = stage({ store })
  const client = await Raw.enter(room.server)
  client.say(['1', '1', 'room:1', 'phx_join', { $seen: { a: 0 } }])
  await client.here.ping()
  const entry = (text: string): HistoryRecord['entries'][number] => ({
    sender: 'a',
    n: 1,
    data: text,
  })
  const frame = (payload: unknown): string =>
    JSON.stringify([null, null, 'room:1', 'said', payload])
  const entries = [
    ...[entry('{'), entry(frame({})), entry(frame({ $position: 'a:2' }))],
    entry('[null,"1","room:1","phx_reply",{"status":"ok","response":{}}]'),
  ]
  for (const read of reads) read.resolve({ entries, senders: [{ sender: 'a', since: 0, head: 1 }] })
  await once(client.here, 'message')
  const heard = (await client.heard()) as Five[]
  assert.equal(heard.length, 1)
  assert.equal((heard[0]?.[4].response as { recovered: boolean }).recovered, false)
})

test('what the store has of others and this node has not comes in its order', async () => {
  const { store, reads } = slowStore()
  const backplane = memoryBackplane()
  const [room, other] = [stage({ store }, backplane), stage({}, backplane)]
  const member = await Raw.enter(room.server)
  member.say(['1', '1', 'room:1', 'phx_join', {}])
  await member.here.ping()
  reads.shift()?.resolve(NOTHING)
  await once(member.here, 'message')
  other.say('one')
  await once(member.here, 'message')
  const heard = (await member.heard()) as Five[]
  const [sender = ''] = String(heard[1]?.[4].$position).split(':')
  const client = await Raw.enter(room.server)
  await client.ask(['1', '1', 'room:1', 'phx_join', { $seen: { [sender]: 0 } }])
  const payload = { body: 'two', $position: `${sender}:2` }
  const data = JSON.stringify([null, null, 'room:1', 'said', payload])
  const senders = [{ sender, since: 0, head: 2 }]
  reads.shift()?.resolve({ entries: [{ sender, n: 2, data }], senders })
  await once(client.here, 'message')
  const [answer, ...missed] = (await client.heard()) as Five[]
  assert.equal((answer?.[4].response as Loose).recovered, true)
  assert.deepEqual(
    missed.map(([, , , , { body }]) => body as unknown),
    ['one', 'two'],
  )
})

test('a store that throws is told of, and refuses nobody', async () => {
  const broken = (): never => {
    throw new Error('broken')
  }
  const room = stage({ store: { keep: broken, read: broken } })
  const failed = once(room.server, 'error')
  room.say('one')
  assert.equal((await failed).message, 'the history failed')
  const client = await Raw.enter(room.server)
  client.say(['1', '1', 'room:1', 'phx_join', { $seen: {} }])
  await once(client.here, 'message')
  const heard = (await client.heard()) as Five[]
  assert.deepEqual([heard.length, heard[0]?.[4].status], [2, 'ok'])
})

test('a join that ends while the store is read is not let in, and has one `joined` and one `leave`', async () => {
  const { store, reads } = slowStore()
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
  const client = await Raw.enter(server)
  const asking = { $seen: {} }
  const said = async (peer: Raw, ...frames: unknown[]): Promise<unknown[]> =>
    ((await peer.ask(...frames)) as Five[]).map(([, ref, , event, payload]) => {
      return [ref, event, payload.status as unknown]
    })
  assert.deepEqual(
    await said(client, ['1', '1', 'slow', 'phx_join', asking], ['4', '4', 'slow', 'phx_join', {}]),
    [['1', 'phx_reply', 'error']],
  )
  const leaver = await Raw.enter(server)
  assert.deepEqual(
    await said(leaver, ['2', '2', 'slow', 'phx_join', asking], ['2', '3', 'slow', 'phx_leave', {}]),
    [
      ['3', 'phx_reply', 'ok'],
      ['2', 'phx_close', undefined],
    ],
  )
  const gone = await Raw.enter(server)
  await gone.ask(['1', '1', 'slow', 'phx_join', asking])
  await gone.here.close()
  assert.deepEqual(told, ['joined', 'replaced', 'joined', 'left', 'joined', 'closed'])
  for (const read of reads) read.resolve(NOTHING)
  const [, [, ref, , , { status, response }]] = [
    await once(client.here, 'message'),
    ((await client.heard()) as [Five])[0],
  ]
  assert.deepEqual(
    [ref, status, (response as object as { twice?: true }).twice],
    ['4', 'ok', undefined],
  )
  await client.here.close()
  assert.deepEqual(told.slice(6), ['joined', 'closed'])
  assert.deepEqual(accepted, [true, true, true, true])
})

test('a topic knows its history by type', () => {
  const { channels } = stage()
  const typed = channels.topic<{ say: { body: string } }, { said: { body: string } }>('typed:*', {
    history: { size: 5, age: 5, topics: 5, timeout: 5, store: undefined },
  })
  listen(typed, 'join', ({ channel, accept }) => {
    listen(channel.messages, 'say', ({ payload }) => channel.broadcast('said', payload))
    // @ts-expect-error: `body` is missing
    assert.throws(() => channel.broadcast('said', { text: 'hi' }))
    accept()
  })
  const refused = [
    // @ts-expect-error: size
    () => channels.topic('a', { history: { sise: 5 } }),
    // @ts-expect-error: milliseconds
    () => channels.topic('b', { history: { age: '5m' } }),
    // @ts-expect-error: options
    () => channels.topic('c', { history: true }),
    // @ts-expect-error: history
    () => channels.topic('d', { histroy: {} }),
    // @ts-expect-error: read is missing
    () => channels.topic('e', { history: { store: { keep: () => Promise.resolve() } } }),
  ]
  for (const slip of refused) assert.throws(slip, TypeError)
})

test('metas that cannot be JSON are refused where they are tracked, and end no process', async () => {
  const { store, reads } = slowStore()
  const { server, channels } = stage()
  const rooms = channels.topic('slow', { history: { store } })
  const presence = new Presence<object>(rooms)
  const thrown: unknown[] = []
  listen(rooms, 'join', ({ channel, accept }) => {
    for (const meta of [{ id: 7n }, { toJSON: () => 'text' }]) {
      assert.throws(() => presence.track(channel, 'ann', meta), TypeError)
    }
    const meta: { at: unknown } = { at: 'home' }
    presence.track(channel, 'ann', meta)
    meta.at = 7n // what is told is what was known when it was tracked
    accept()
  })
  listen(server, 'error', (error) => thrown.push(error))
  const client = await Raw.enter(server)
  await client.ask(['1', '1', 'slow', 'phx_join', { $seen: {} }])
  for (const read of reads) read.resolve(NOTHING)
  await once(client.here, 'message')
  assert.deepEqual(thrown, [])
  assert.equal(presence.get('ann').length, 1)
  assert.match(JSON.stringify(presence.get('ann')), /"at":"home"/)
})

test('a join that fails once its store has answered is refused, and the failure is told', async () => {
  const { store, reads } = slowStore()
  const encode: Serializer['server']['encode'] = (frame) => {
    if (frame.kind === 'reply' && frame.status === 'ok') throw new Error('no words')
    return phoenix.server.encode(frame)
  }
  const speechless: Serializer = { ...phoenix, server: { ...phoenix.server, encode } }
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server, { serializers: [speechless] })
  const rooms = channels.topic('slow', { history: { store } })
  listen(rooms, 'join', ({ accept }) => accept())
  const failed = once(channels, 'error')
  const client = await Raw.enter(server)
  await client.ask(['1', '1', 'slow', 'phx_join', { $seen: {} }])
  for (const read of reads) read.resolve(NOTHING)
  assert.match((await failed).message, /no words/)
  const [answer] = (await client.heard()) as Five[]
  assert.deepEqual(answer?.[4], { status: 'error', response: { reason: 'join crashed' } })
})

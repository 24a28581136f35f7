import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { listen, memoryBackplane, WebsocketServer } from 'simplewebsockets'
import {
  type HistoryError,
  ChannelServer,
  type HistoryOptions,
  type HistoryPage,
  type HistoryPosition,
  type HistoryStore,
  type HistorySubscriber,
  type AnyEvents,
} from 'simplewebsockets/channels'
import { deferred, type Deferred } from '../../../lib/promises.ts'
import {
  FaultyHistory,
  NO_FAULTS,
  turn,
  type NodeHistory,
} from '../../support/channels/faultyhistory.ts'
import { Random } from '../../support/channels/random.ts'
import { Raw } from '../../support/channels/raw.ts'

type Five = [string | null, string | null, string, string, AnyEvents]

interface Stage {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  readonly errors: string[]
  readonly say: (body: unknown) => Promise<void>
}

function stage(history: HistoryOptions): Stage {
  const server = new WebsocketServer({ path: '/socket', backplane: memoryBackplane() })
  const errors: string[] = []
  listen(server, 'error', ({ message }) => void errors.push(message))
  const channels = new ChannelServer(server)
  channels.topic('room:*', { open: true, history })
  return { server, channels, errors, say: (body) => channels.emit('room:1', 'said', { body }) }
}

/** A member with stock words. */
class Member {
  readonly #raw: Raw
  frames: Five[] = []

  constructor(raw: Raw) {
    this.#raw = raw
  }

  static async enter(server: WebsocketServer, $since?: unknown): Promise<Member> {
    const member = new Member(await Raw.enter(server))
    member.#raw.say(['1', '1', 'room:1', 'phx_join', { $since }])
    await member.hear()
    return member
  }

  /** Takes what came meanwhile. */
  async hear(): Promise<this> {
    this.frames.push(...((await this.#raw.heard()) as Five[]))
    return this
  }

  get answer(): AnyEvents | undefined {
    return this.frames.find(([, , , event]) => event === 'phx_reply')?.[4]
  }

  get position(): HistoryPosition {
    return this.answer?.response.$history as HistoryPosition
  }

  /** The bodies of the messages that came; for an error, its reason. */
  get bodies(): unknown[] {
    return this.frames
      .filter(([, , , event]) => event !== 'phx_reply')
      .map(([, , , , { body, reason }]) => (body ?? reason) as unknown)
  }

  /** The offset of what came last. */
  get offset(): number {
    return this.frames.at(-1)?.[4].$offset as number
  }

  leave(): Promise<unknown> {
    return this.#raw.here.close()
  }
}

/** A store of many nodes that does what the spec says, each step when it says so. */
class ManualStore implements HistoryStore {
  readonly appends: Deferred<HistoryPosition>[] = []
  readonly reads: (Deferred<HistoryPage> & { readonly since: number | undefined })[] = []
  readonly data: string[] = []
  subscriber: HistorySubscriber | undefined
  unsubscribed = 0

  append(_topic: string, data: string): Promise<HistoryPosition> {
    const append = deferred<HistoryPosition>()
    this.appends.push(append)
    this.data.push(data)
    return append.promise
  }

  read(_topic: string, since: number | undefined): Promise<HistoryPage> {
    const read = deferred<HistoryPage>()
    this.reads.push({ ...read, since })
    return read.promise
  }

  subscribe(_topic: string, subscriber: HistorySubscriber): Promise<() => void> {
    this.subscriber = subscriber
    return Promise.resolve(() => {
      this.unsubscribed++
    })
  }

  /** Answers the oldest read. */
  async answer(epoch: string, offset: number, ...bodies: number[]): Promise<void> {
    this.reads.shift()?.resolve({ epoch, offset, entries: bodies.map((body) => entry(body)) })
    await turn()
  }

  receive(epoch: string, ...bodies: number[]): void {
    for (const body of bodies) this.subscriber?.receive({ ...entry(body), epoch })
  }
}

/** A recorded message, whose body is its offset. */
function entry(offset: number): { offset: number; data: string } {
  const frame = JSON.stringify([null, null, 'room:1', 'said', { body: offset }])
  return { offset, data: `someone\n${frame}` }
}

async function manual(
  options: HistoryOptions = {},
): Promise<Stage & { store: ManualStore; member: Member }> {
  const store = new ManualStore()
  const room = stage({ ...options, store })
  const member = await Member.enter(room.server)
  await store.answer('a', 5)
  await member.hear()
  return { ...room, store, member }
}

test('a member begins at the offset that the store tells, without reading any message', async () => {
  const store = new ManualStore()
  const { server } = stage({ store })
  const member = await Member.enter(server)
  assert.deepEqual(member.frames, [], 'the store has not answered')
  assert.deepEqual(
    store.reads.map(({ since }) => since),
    [undefined],
  )
  await store.answer('a', 5)
  await member.hear()
  assert.deepEqual(member.answer, {
    ...{ status: 'ok', response: { $history: { epoch: 'a', offset: 5 } } },
  })
  const next = await Member.enter(server)
  assert.deepEqual([next.position, store.reads.length], [{ epoch: 'a', offset: 5 }, 0])
})

test('messages are delivered in the order of the store, each once', async () => {
  const { store, member } = await manual()
  store.receive('a', 4, 5, 6, 6, 7, 6, 7, 8)
  assert.deepEqual((await member.hear()).bodies, [6, 7, 8])
  assert.equal(member.offset, 8)
})

test('where a message is missing the store is read before anything more is delivered', async () => {
  const { store, member } = await manual()
  store.receive('a', 6, 8, 9)
  assert.deepEqual((await member.hear()).bodies, [6])
  assert.equal(store.reads[0]?.since, 6)
  store.receive('a', 10)
  await store.answer('a', 9, 7, 8, 9)
  assert.deepEqual((await member.hear()).bodies, [6, 7, 8, 9, 10])
  assert.equal(store.reads.length, 0)
})

test('a hole in what the store has ends the memberships, and their clients rejoin', async () => {
  const { server, store, channels, member } = await manual()
  const reasons: string[] = []
  listen(channels.topic('other'), 'join', () => {})
  store.receive('a', 8)
  await store.answer('a', 8, 8)
  assert.deepEqual((await member.hear()).bodies, ['history lost'])
  const [[joinRef, , , event]] = member.frames.slice(-1) as [Five]
  assert.deepEqual([joinRef, event], ['1', 'phx_error'])
  const again = await Member.enter(server, { epoch: 'a', offset: 5 })
  await store.answer('a', 8, 8)
  assert.equal((await again.hear()).answer?.response.recovered, false)
  assert.deepEqual([again.bodies, again.position.offset, reasons], [[], 8, []])
})

test('a read that fails ends the memberships of a log that is behind', async () => {
  const { server, store, member, errors } = await manual()
  const rooms = new Set<string>()
  store.receive('a', 7)
  store.reads.shift()?.reject(new Error('down'))
  await turn()
  assert.deepEqual((await member.hear()).bodies, ['history lost'])
  assert.deepEqual([errors, rooms.size], [['the history failed'], 0])
  const again = await Member.enter(server)
  store.reads.shift()?.reject(new Error('down'))
  await again.hear()
  assert.deepEqual(again.answer, { status: 'error', response: { reason: 'history unavailable' } })
})

test('an interruption makes the store be read, one during a read once more', async () => {
  const { store, member } = await manual()
  store.subscriber?.interrupted()
  assert.equal(store.reads[0]?.since, 5)
  store.subscriber?.interrupted()
  assert.equal(store.reads.length, 1)
  await store.answer('a', 6, 6)
  assert.deepEqual((await member.hear()).bodies, [6])
  assert.equal(
    store.reads[0]?.since,
    6,
    'what came before the second one may not be in the first answer',
  )
  store.receive('a', 8)
  await store.answer('a', 7, 7)
  assert.deepEqual((await member.hear()).bodies, [6, 7, 8])
})

test('another epoch ends the memberships where something had been delivered', async () => {
  const { store, member } = await manual()
  store.receive('b', 1)
  await store.answer('b', 1, 1)
  assert.deepEqual((await member.hear()).bodies, ['history lost'])
})

test('another epoch is taken where nothing was recorded in the first one', async () => {
  const store = new ManualStore()
  const { server } = stage({ store })
  const member = await Member.enter(server)
  await store.answer('a', 0)
  store.receive('b', 1)
  await store.answer('b', 1, 1)
  store.receive('b', 2)
  assert.deepEqual((await member.hear()).bodies, [1, 2])
  const [first, second] = member.frames.slice(1).map(([, , , , payload]) => payload)
  assert.deepEqual(first, { body: 1, $offset: 1, $epoch: 'b' }, 'it tells of its epoch')
  assert.deepEqual(second, { body: 2, $offset: 2 })
})

test('another epoch is not taken after an interruption, as the first one may have had messages', async () => {
  const store = new ManualStore()
  const { server } = stage({ store })
  const member = await Member.enter(server)
  await store.answer('a', 0)
  store.subscriber?.interrupted()
  await store.answer('b', 1, 1)
  assert.deepEqual((await member.hear()).bodies, ['history lost'])
})

test('a message of an epoch that is over is dropped', async () => {
  const { store, member } = await manual()
  store.receive('z', 3)
  await store.answer('a', 5)
  store.receive('a', 6)
  assert.deepEqual((await member.hear()).bodies, [6])
  assert.equal(store.reads.length, 0)
})

test('what waits for a read is bounded, and read instead', async () => {
  const { store, member } = await manual()
  store.receive('a', 7)
  const frame = JSON.stringify([null, null, 'room:1', 'said', { body: 'x'.repeat(600_000) }])
  for (const offset of [8, 9]) {
    store.subscriber?.receive({ epoch: 'a', offset, data: `someone\n${frame}` })
  }
  await store.answer('a', 7, 6, 7)
  assert.equal(store.reads[0]?.since, 7)
  await store.answer('a', 9, 8, 9)
  assert.deepEqual((await member.hear()).bodies, [6, 7, 8, 9])
})

test('what makes no sense in a store is dropped and counted, and is no hole', async () => {
  const { server, store, member } = await manual()
  const wrong = [
    '',
    'x',
    'x\n{',
    'x\n[null,null,"room:1","phx_close",{}]',
    'x\n[null,null,"a","b",[]]',
  ]
  for (const [index, data] of wrong.entries()) {
    store.subscriber?.receive({ epoch: 'a', offset: 6 + index, data })
  }
  store.receive('a', 11)
  assert.deepEqual((await member.hear()).bodies, [11])
  assert.equal(server.stats().drops.history, 5)
})

test('a message is delivered when it comes back, and its promise waits for the store', async () => {
  const { store, member, say } = await manual()
  let isDone = false
  const said = say('hi').then(() => (isDone = true))
  await turn()
  assert.deepEqual([isDone, (await member.hear()).bodies], [false, []])
  store.subscriber?.receive({ epoch: 'a', offset: 6, data: store.data[0] ?? '' })
  assert.deepEqual((await member.hear()).bodies, ['hi'])
  store.appends[0]?.resolve({ epoch: 'a', offset: 6 })
  await said
})

test('a refused message is delivered to no member, counted, and told once until it works again', async () => {
  const { server, store, member, say, errors } = await manual()
  const refused: Promise<void>[] = []
  for (const body of [1, 2]) {
    refused.push(say(body))
    store.appends.shift()?.reject(new Error('OOM'))
  }
  for (const each of refused) {
    await assert.rejects(each, (error: HistoryError) => {
      assert.equal(error.name, 'HistoryError')
      assert.deepEqual([error.topic, (error.cause as Error).message], ['room:1', 'OOM'])
      return true
    })
  }
  assert.deepEqual([(await member.hear()).bodies, errors], [[], ['the history failed']])
  assert.equal(server.stats().drops.history, 2)
  const works = say(3)
  store.appends.shift()?.resolve({ epoch: 'a', offset: 6 })
  await works
  const fails = say(4)
  store.appends.shift()?.reject(new Error('OOM'))
  await assert.rejects(fails)
  assert.equal(errors.length, 2)
})

test('a message that no code awaits and that fails ends no process', async () => {
  const { store, say } = await manual()
  void say(1)
  store.appends.shift()?.reject(new Error('OOM'))
  await turn()
})

test('a message that comes too late is refused, and delivered where it turns up', async () => {
  const { store, member, say } = await manual({ timeout: 10 })
  await assert.rejects(say('late'), (error: HistoryError) => {
    return (error.cause as Error).message === 'no answer within 10 ms'
  })
  store.subscriber?.receive({ epoch: 'a', offset: 6, data: store.data[0] ?? '' })
  assert.deepEqual((await member.hear()).bodies, ['late'])
})

test('more messages than may wait for a store are refused', async () => {
  const { store, say } = await manual()
  const long = 'x'.repeat(1024 * 1024)
  for (let count = 0; count < 15; count++) void say(long)
  await assert.rejects(say(long), (error: HistoryError) => {
    return /^\d+ messages wait for it$/.test((error.cause as Error).message)
  })
  for (const append of store.appends) append.resolve({ epoch: 'a', offset: 6 })
  await turn()
  void say('again')
  assert.equal(store.appends.length, 16)
})

test('joins that come while the store is read share the next read, from the least of their offsets', async () => {
  const { server, store } = await manual()
  store.receive('a', 6, 7, 8)
  const first = await Member.enter(server, { epoch: 'a', offset: 7 })
  const others = await Promise.all(
    [6, 5, 7].map((offset) => Member.enter(server, { epoch: 'a', offset })),
  )
  assert.deepEqual(
    store.reads.map(({ since }) => since),
    [7],
  )
  await store.answer('a', 8, 8)
  assert.deepEqual(
    store.reads.map(({ since }) => since),
    [5],
  )
  await store.answer('a', 8, 6, 7, 8)
  const heard: unknown[] = []
  for (const member of [first, ...others]) {
    await member.hear()
    assert.equal(member.answer?.response.recovered, true)
    heard.push(member.bodies)
  }
  assert.deepEqual(heard, [[8], [7, 8], [6, 7, 8], [8]])
})

test('a member that has missed nothing is let in without a read', async () => {
  const { server, store } = await manual()
  const member = await Member.enter(server, { epoch: 'a', offset: 5 })
  assert.deepEqual([member.answer?.response.recovered, store.reads.length], [true, 0])
})

test('an epoch that is not this one is answered without a read', async () => {
  const { server, store } = await manual()
  const member = await Member.enter(server, { epoch: 'of old', offset: 5 })
  assert.deepEqual([member.answer?.response.recovered, store.reads.length], [false, 0])
})

test('what is delivered while the store is read is neither missing nor double for a join', async () => {
  const { server, store } = await manual()
  store.receive('a', 6)
  const member = await Member.enter(server, { epoch: 'a', offset: 5 })
  store.receive('a', 7, 8)
  await store.answer('a', 7, 6, 7)
  store.receive('a', 8, 9)
  assert.deepEqual((await member.hear()).bodies, [6, 7, 8, 9])
  assert.equal(member.position.offset, 8)
})

test('what a join reads that was not received yet is delivered to all at once', async () => {
  const { server, store, member } = await manual()
  const ahead = await Member.enter(server, { epoch: 'a', offset: 4 })
  await store.answer('a', 7, 5, 6, 7)
  assert.deepEqual((await ahead.hear()).bodies, [5, 6, 7])
  assert.deepEqual((await member.hear()).bodies, [6, 7])
  store.receive('a', 6, 7, 8)
  assert.deepEqual(
    [(await ahead.hear()).bodies, (await member.hear()).bodies],
    [
      [5, 6, 7, 8],
      [6, 7, 8],
    ],
  )
})

test('a position ahead of the store, and one that is no longer kept, are not recovered', async () => {
  const { server, store } = await manual()
  for (const offset of [9, 2]) {
    const member = await Member.enter(server, { epoch: 'a', offset })
    await store.answer('a', 5, 4, 5)
    await member.hear()
    assert.deepEqual([member.answer?.response.recovered, member.bodies], [false, []])
  }
})

test('where the read of a join fails it is let in without what it missed', async () => {
  const { server, store, errors } = await manual({ timeout: 10 })
  store.receive('a', 6)
  const member = await Member.enter(server, { epoch: 'a', offset: 5 })
  store.reads.shift()?.reject(new Error('down'))
  await turn()
  assert.equal((await member.hear()).answer?.response.recovered, false)
  assert.deepEqual([member.position.offset, member.bodies, errors.length], [6, [], 1])
  const late = await Member.enter(server, { epoch: 'a', offset: 5 })
  while (!late.answer) await turn().then(() => late.hear())
  assert.equal(late.answer.response.recovered, false, 'no answer is a failure, too')
})

test('a read is not made when all members that wait for it have left', async () => {
  const store = new ManualStore()
  const room = stage({ store })
  const busy = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const raw = await Raw.enter(room.server)
      await raw.ask(['1', '1', `room:${index + 2}`, 'phx_join', {}])
    }),
  )
  const member = await Member.enter(room.server)
  const stays = await Raw.enter(room.server)
  await stays.ask(['1', '1', 'room:20', 'phx_join', {}])
  assert.deepEqual([busy.length, store.reads.length], [8, 8], 'so many are under way at a time')
  await member.leave()
  await turn()
  for (const read of [...store.reads]) read.resolve({ epoch: 'a', offset: 0, entries: [] })
  await turn()
  await turn()
  assert.equal(store.reads.length, 9, 'that of the one that stays')
})

test('a log is subscribed while it has members, and some seconds longer', async () => {
  const { store, member, server } = await manual()
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    await member.leave()
    mock.timers.tick(4_000)
    const next = await Member.enter(server)
    assert.deepEqual([next.position.offset, store.reads.length], [5, 0], 'it is still there')
    mock.timers.tick(4_000)
    assert.equal(store.unsubscribed, 0)
    await next.leave()
    mock.timers.tick(5_000)
    assert.equal(store.unsubscribed, 1)
  } finally {
    mock.timers.reset()
  }
})

test('a subscription that fails or takes too long refuses the joins, and is tried again with the next', async () => {
  const store = new ManualStore()
  const subscribe = store.subscribe.bind(store)
  const { server, errors } = stage({ store, timeout: 10 })
  store.subscribe = () => Promise.reject(new Error('no'))
  const refused = await Member.enter(server)
  await turn()
  assert.equal((await refused.hear()).answer?.response.reason, 'history unavailable')
  const late = deferred<() => void>()
  store.subscribe = () => late.promise
  const other = await Member.enter(server)
  while (!other.answer) await turn().then(() => other.hear())
  assert.equal(other.answer.response.reason, 'history unavailable')
  late.resolve(() => {
    store.unsubscribed++
  })
  await turn()
  assert.deepEqual([store.unsubscribed, errors.length], [1, 1])
  store.subscribe = subscribe
  const member = await Member.enter(server)
  await store.answer('a', 5)
  assert.equal((await member.hear()).position.offset, 5)
})

test('a server that closes ends its subscriptions', async () => {
  const { server, store } = await manual()
  await server.close()
  assert.equal(store.unsubscribed, 1)
  store.receive('a', 6)
})

/** Two nodes over one store that takes its turns. */
function twoNodes(): {
  store: FaultyHistory
  nodes: [Stage, Stage]
  views: [NodeHistory, NodeHistory]
} {
  const store = new FaultyHistory(new Random(1))
  const views: [NodeHistory, NodeHistory] = [store.node(), store.node()]
  const [one, other] = views
  return { store, views, nodes: [stage({ store: one }), stage({ store: other })] }
}

async function joined(store: FaultyHistory, { server }: Stage, $since?: unknown): Promise<Member> {
  const member = await Member.enter(server, $since)
  await store.settle()
  return member.hear()
}

test('an old way: a node cut off from the broker that speaks and returns', async () => {
  const { store, nodes, views } = twoNodes()
  const [one, other] = nodes
  const [ann, bob] = [await joined(store, one), await joined(store, other)]
  views[0].cutOff()
  await assert.rejects(one.say('alone'), { name: 'HistoryError' })
  await other.say('two')
  await store.settle()
  assert.deepEqual([(await ann.hear()).bodies, (await bob.hear()).bodies], [[], ['two']])
  await bob.leave()
  views[0].reconnect()
  await store.settle()
  assert.deepEqual((await ann.hear()).bodies, ['two'], 'what it missed, and not what it said alone')
  await one.say('three')
  const again = await joined(store, one, { epoch: bob.position.epoch, offset: bob.offset })
  assert.deepEqual([again.answer?.response.recovered, again.bodies], [true, ['three']])
})

test('an old way: a topic first used while the broker is down', async () => {
  const { store, nodes } = twoNodes()
  const [one, other] = nodes
  store.goDown()
  const early = await joined(store, one)
  assert.deepEqual(early.answer?.response, { reason: 'history unavailable' })
  await assert.rejects(one.say('early'), { name: 'HistoryError' })
  store.comeBack(0, true)
  await other.say('one')
  const ann = await joined(store, one)
  assert.equal(ann.position.offset, 1, 'what it was not there for is not given as seen')
  const bob = await joined(store, one, { epoch: ann.position.epoch, offset: 0 })
  assert.deepEqual([bob.answer?.response.recovered, bob.bodies], [true, ['one']])
})

test('an old way: a subscription that takes a round trip', async () => {
  const { store, nodes, views } = twoNodes()
  const [one, other] = nodes
  const ann = await joined(store, one)
  const subscribe = views[1].subscribe?.bind(views[1])
  views[1].subscribe = async (topic, subscriber) => {
    await one.say('during')
    const unsubscribe = await (subscribe ?? assert.fail())(topic, subscriber)
    await one.say('after')
    return unsubscribe
  }
  const since = ann.position
  const bob = await joined(store, other, since)
  assert.deepEqual([bob.answer?.response.recovered, bob.bodies], [true, ['during', 'after']])
  await one.say('live')
  await store.settle()
  assert.deepEqual((await bob.hear()).bodies, ['during', 'after', 'live'])
})

test('an old way: one publish that returned false', async () => {
  const { store, nodes } = twoNodes()
  const [one, other] = nodes
  const [ann, bob] = [await joined(store, one), await joined(store, other)]
  await one.say('one')
  store.faults = { ...NO_FAULTS, lost: 100 }
  await one.say('lost on the way')
  store.faults = NO_FAULTS
  await store.settle()
  const carl = await joined(store, other, bob.position)
  assert.equal(carl.answer?.response.recovered, true)
  await one.say('three')
  await store.settle()
  for (const member of [ann, bob, carl]) {
    assert.deepEqual((await member.hear()).bodies, ['one', 'lost on the way', 'three'])
  }
})

test('an old way: a log evicted while the store is read', async () => {
  const { server, store, member } = await manual()
  store.receive('a', 6)
  mock.timers.enable({ apis: ['setTimeout'] })
  const waits = await Member.enter(server, { epoch: 'a', offset: 5 })
  await member.leave()
  mock.timers.tick(900)
  mock.timers.reset()
  store.receive('a', 7)
  await store.answer('a', 6, 6)
  store.receive('a', 8)
  assert.deepEqual((await waits.hear()).bodies, [6, 7, 8])
  assert.deepEqual([waits.answer?.response.recovered, store.unsubscribed], [true, 0])
})

test('one thousand messages of a topic in use need no read', async () => {
  const { store, nodes } = twoNodes()
  const [one, other] = nodes
  await joined(store, one)
  const bob = await joined(store, other)
  const before = store.reads
  for (let count = 0; count < 1_000; count++) void one.say(count)
  await store.settle()
  assert.equal(store.reads, before)
  assert.equal((await bob.hear()).bodies.length, 1_000)
})

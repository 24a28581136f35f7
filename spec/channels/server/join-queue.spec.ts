import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { listen, WebsocketServer } from 'simplewebsockets'
import {
  ChannelServer,
  type ChannelServerOptions,
  type JoinRequest,
} from 'simplewebsockets/channels'
import { cut } from 'simplewebsockets/testing'
import { turn } from '../../support/scene.ts'
import { Raw, reply } from '../../support/channels/raw.ts'

interface Stage {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  readonly client: Raw
  /** The joins that listeners were asked about. */
  readonly asked: JoinRequest[]
  /** The ends of memberships. */
  readonly left: string[]
  /** Lets a second go by. */
  readonly second: () => void
}

/** Rooms that a client enters, whose joins wait in `asked` for an answer. */
async function stage(t: TestContext, options: ChannelServerOptions): Promise<Stage> {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const server = new WebsocketServer({ keepaliveTimeout: false })
  const channels = new ChannelServer(server, { joinTimeout: 60_000, ...options })
  const asked: JoinRequest[] = []
  listen(channels.topic('room:*'), 'join', (request) => void asked.push(request))
  const open = channels.topic('open:*')
  listen(open, 'join', ({ channel, accept }) => {
    listen(channel, 'message', async ({ event, reply: answer }) => {
      if (event === 'crash') await turn().then(() => assert.fail('as asked'))
      answer(event)
    })
    accept()
  })
  const left: string[] = []
  listen(open, 'leave', ({ channel, reason }) => void left.push(`${channel.topic} ${reason}`))
  listen(channels, 'error', () => {})
  const client = await Raw.enter(server)
  return { server, channels, client, asked, left, second: () => t.mock.timers.tick(1_000) }
}

const join = (ref: number, topic: string): unknown[] => [`${ref}`, `${ref}`, topic, 'phx_join', {}]
const topics = (asked: readonly JoinRequest[]): string[] =>
  asked.map(({ channel }) => channel.topic)
const ok = (ref: number, topic: string): unknown[] => reply([`${ref}`, `${ref}`], topic, 'ok')
const replaced = (ref: number, topic: string): unknown[] =>
  reply([`${ref}`, `${ref}`], topic, 'error', { reason: 'replaced' })

/** The rate of most tests here: the clock of the machine fills in next to nothing meanwhile. */
const joinRate = { burst: 2, perSecond: 1 }

test('past the burst joins wait for their turn in order, and none is refused', async (t) => {
  const { client, second } = await stage(t, { joinRate })
  const all = [1, 2, 3, 4, 5]
  const answers = await client.ask(...all.map((ref) => join(ref, `open:${ref}`)))
  assert.deepEqual(answers, [ok(1, 'open:1'), ok(2, 'open:2')])
  for (const ref of [3, 4, 5]) {
    second()
    assert.deepEqual(await client.heard(), [ok(ref, `open:${ref}`)])
  }
})

test('while joins wait, heartbeats, pushes, leaves and refusals do not', async (t) => {
  const { client } = await stage(t, { joinRate, maxChannels: 3 })
  await client.ask(join(1, 'open:1'), join(2, 'open:2'), join(3, 'open:3'))
  assert.deepEqual(
    await client.ask(
      [null, '4', 'phoenix', 'heartbeat', {}],
      ['1', '5', 'open:1', 'evt', {}],
      join(6, 'nowhere'),
      join(7, 'open:7'),
      ['2', '8', 'open:2', 'phx_leave', {}],
    ),
    [
      reply([null, '4'], 'phoenix', 'ok'),
      reply(['1', '5'], 'open:1', 'ok', 'evt'),
      reply([null, '6'], 'nowhere', 'error', { reason: 'unmatched topic' }),
      reply(['7', '7'], 'open:7', 'error', { reason: 'too many channels joined' }),
      reply(['2', '8'], 'open:2', 'ok'),
      ['2', '2', 'open:2', 'phx_close', {}],
    ],
  )
})

test('what is pushed to a join that waits is handled after its answer', async (t) => {
  const { client, second } = await stage(t, { joinRate })
  await client.ask(join(1, 'open:1'), join(2, 'open:2'), join(3, 'open:3'))
  const pushed = await client.ask(['3', '4', 'open:3', 'one', {}], [null, '5', 'open:3', 'two', {}])
  assert.deepEqual(pushed, [])
  second()
  assert.deepEqual(await client.heard(), [
    ok(3, 'open:3'),
    reply(['3', '4'], 'open:3', 'ok', 'one'),
    reply(['3', '5'], 'open:3', 'ok', 'two'),
  ])
})

test('a leave gives up a join that waits: no listener is asked, and the next one has its turn', async (t) => {
  const { client, asked, second } = await stage(t, { joinRate })
  await client.ask(...[1, 2, 3, 4].map((ref) => join(ref, `room:${ref}`)))
  const left = await client.ask(
    ['3', '5', 'room:3', 'phx_leave', {}],
    [null, '6', 'room:3', 'e', {}],
  )
  assert.deepEqual(left, [
    reply(['3', '5'], 'room:3', 'ok'),
    ['3', '3', 'room:3', 'phx_close', {}],
    reply([null, '6'], 'room:3', 'error', { reason: 'unmatched topic' }),
  ])
  second()
  assert.deepEqual(topics(asked), ['room:1', 'room:2', 'room:4'])
})

test('a second join takes the place of the one that waits, which is answered `replaced`', async (t) => {
  const { client, second } = await stage(t, { joinRate })
  await client.ask(...[1, 2, 3, 4].map((ref) => join(ref, `open:${ref}`)))
  assert.deepEqual(await client.ask(join(5, 'open:3'), ['3', '6', 'open:3', 'stale', {}]), [
    replaced(3, 'open:3'),
  ])
  second()
  assert.deepEqual(await client.heard(), [ok(5, 'open:3')])
  second()
  assert.deepEqual(await client.heard(), [ok(4, 'open:4')])
})

test('a member that joins anew stays until its join has its turn, and hears nothing meanwhile', async (t) => {
  const { channels, client, left, second } = await stage(t, { joinRate })
  await client.ask(join(1, 'open:1'), join(2, 'open:2'))
  assert.deepEqual(await client.ask(join(3, 'open:1'), ['1', '4', 'open:1', 'stale', {}]), [])
  assert.deepEqual(await client.ask(join(5, 'open:1')), [replaced(3, 'open:1')])
  channels.emit('open:1', 'evt', {})
  assert.deepEqual(await client.heard(), [])
  assert.deepEqual(left, [])
  second()
  assert.deepEqual(await client.heard(), [ok(5, 'open:1'), ['1', '1', 'open:1', 'phx_close', {}]])
  assert.deepEqual(left, ['open:1 replaced'])
  channels.emit('open:1', 'evt', {})
  assert.deepEqual(await client.heard(), [[null, null, 'open:1', 'evt', {}]])
})

test('a client that leaves while it joins anew is no member any more', async (t) => {
  const { client, left, second } = await stage(t, { joinRate })
  await client.ask(join(1, 'open:1'), join(2, 'open:2'), join(3, 'open:1'))
  assert.deepEqual(await client.ask(['3', '4', 'open:1', 'phx_leave', {}]), [
    reply(['3', '4'], 'open:1', 'ok'),
    ['3', '3', 'open:1', 'phx_close', {}],
    ['1', '1', 'open:1', 'phx_close', {}],
  ])
  second()
  assert.deepEqual(left, ['open:1 replaced'])
})

test('a membership ends with its connection, also where a join anew waits', async (t) => {
  const { client, left } = await stage(t, { joinRate })
  await client.ask(join(1, 'open:1'), join(2, 'open:2'), join(3, 'open:1'))
  await client.here.close()
  await turn()
  assert.deepEqual(left, ['open:1 closed', 'open:2 closed'])
})

test('a membership that crashes while a join anew waits ends once', async (t) => {
  const { client, left, second } = await stage(t, { joinRate })
  await client.ask(join(1, 'open:1'), join(2, 'open:2'))
  await client.ask(['1', '3', 'open:1', 'crash', {}], join(4, 'open:1'))
  await turn()
  assert.deepEqual(await client.heard(), [
    ['1', '1', 'open:1', 'phx_error', { reason: 'channel_crash' }],
  ])
  second()
  assert.deepEqual(await client.heard(), [ok(4, 'open:1')])
  assert.deepEqual(left, ['open:1 crashed'])
})

const endings: [how: string, end: (request: JoinRequest, stage: Stage) => unknown][] = [
  ['is accepted', ({ accept }) => assert.equal(accept(), false)],
  ['is refused', ({ reject }) => reject()],
  ['is sent out', ({ channel }) => channel.leave()],
  ['has timed out', (_, { second }) => second()],
]

for (const [how, end] of endings) {
  for (const [what, frame] of [
    ['replaced', join(2, 'room:1')],
    ['left', ['1', '2', 'room:1', 'phx_leave', {}]],
  ] as const) {
    test(`of one topic one join is under way: behind one that was ${what} the next waits until that ${how}`, async (t) => {
      const scene = await stage(t, { joinTimeout: 1_000 })
      const { client, asked } = scene
      await client.ask(join(1, 'room:1'), frame)
      await client.ask(join(3, 'room:1'), join(4, 'room:1'), join(5, 'room:2'))
      assert.deepEqual(topics(asked), ['room:1', 'room:2'])
      const [first] = asked
      assert.ok(first)
      await end(first, scene)
      await turn()
      assert.deepEqual(topics(asked), ['room:1', 'room:2', 'room:1'])
      await client.heard()
      asked[2]?.accept()
      assert.deepEqual(await client.heard(), [ok(4, 'room:1')])
    })
  }
}

for (const [what, fail] of [
  ['throws', (): never => assert.fail('as asked')],
  ['rejects', (): Promise<never> => Promise.reject(new Error('as asked'))],
] as const) {
  test(`a join whose listener ${what} lets the next one of its topic have its turn`, async () => {
    const server = new WebsocketServer({ keepaliveTimeout: false })
    const channels = new ChannelServer(server)
    listen(channels, 'error', () => {})
    let goOn = (): void => {}
    const asked: unknown[] = []
    listen(channels.topic('room:*'), 'join', async ({ payload }) => {
      asked.push(payload)
      await new Promise<void>((resolve) => (goOn = resolve))
      return fail()
    })
    const client = await Raw.enter(server)
    await client.ask(join(1, 'room:1'), join(2, 'room:1'))
    assert.equal(asked.length, 1)
    goOn()
    await turn()
    assert.equal(asked.length, 2)
  })
}

test('no more joins are under way than `maxChannels`, whatever was left meanwhile', async (t) => {
  const { client, asked } = await stage(t, { maxChannels: 2, joinRate: false })
  for (const ref of [1, 2, 3, 4]) {
    await client.ask(join(ref, `room:${ref}`), [`${ref}`, '9', `room:${ref}`, 'phx_leave', {}])
  }
  await client.ask(join(5, 'room:5'))
  assert.deepEqual(topics(asked), ['room:1', 'room:2'])
  asked[0]?.reject()
  await turn()
  assert.deepEqual(topics(asked), ['room:1', 'room:2', 'room:5'])
})

test('joins that wait go with their connection', async (t) => {
  const { client, asked, second } = await stage(t, { joinRate })
  await client.ask(...[1, 2, 3].map((ref) => join(ref, `room:${ref}`)), join(4, 'room:1'))
  const closed = client.closed()
  cut(client.there)
  await closed
  asked[0]?.accept()
  second()
  await turn()
  assert.equal(asked.length, 2)
})

test('at 1,000 joins that wait reading pauses, and none of them is ended for it', async (t) => {
  const { client, asked, second } = await stage(t, { joinRate, maxChannels: false })
  for (let ref = 0; ref < 1_500; ref++) {
    client.say(join(ref, `room:${ref}`))
    if (ref % 100 === 0) await turn()
  }
  for (let count = 0; count < 5; count++) await turn()
  assert.ok(client.here.bufferedAmount > 0)
  for (let count = 1; count <= 20; count++) second()
  assert.equal(asked.length, 22)
  assert.deepEqual(await Promise.race([client.closed(), turn()]), undefined)
})

test('without a rate no join waits, and by default 100 do not', async (t) => {
  for (const [joinRate, count] of [
    [false, 300],
    [undefined, 100],
    [{ burst: 150 }, 150],
    [{ perSecond: 1 }, 100],
  ] as const) {
    const { client, asked } = await stage(t, { joinRate, maxChannels: false })
    for (let ref = 0; ref < 300; ref++) client.say(join(ref, `room:${ref}`))
    await client.heard()
    assert.ok(asked.length >= count && asked.length < count + 50, `${asked.length} were asked`)
    t.mock.timers.reset()
  }
})

test('a client may join all its channels at once, however many those are', async (t) => {
  const { client, asked } = await stage(t, { maxChannels: 500, joinRate: { perSecond: 1 } })
  for (let ref = 0; ref < 500; ref++) client.say(join(ref, `room:${ref}`))
  await client.heard()
  assert.equal(asked.length, 500)
})

for (const wrong of [true, 5, null, [], { burst: 0 }, { perSecond: 0.5 }, { burst: '9' }]) {
  test(`a joinRate of ${JSON.stringify(wrong)} is refused`, () => {
    const options = { joinRate: wrong } as unknown as ChannelServerOptions
    assert.throws(() => new ChannelServer(new WebsocketServer(), options), {
      name: 'TypeError',
      message: /expected `joinRate` to be false, or \{ burst, perSecond \}/,
    })
  })
}

test('a joinRate with a name that is unknown is refused with the nearest one', () => {
  const options = { joinRate: { brust: 5 } } as ChannelServerOptions
  assert.throws(() => new ChannelServer(new WebsocketServer(), options), /joinRate\.burst/)
})

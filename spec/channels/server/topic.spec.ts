import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { CallbackError, listen, once, WebsocketServer, type WebsocketError } from 'simplewebsockets'
import {
  ChannelServer,
  type Channel,
  type ChannelServerOptions,
  type LeaveReason,
  type Topic,
} from 'simplewebsockets/channels'
import { cut } from 'simplewebsockets/testing'
import { AMBER, PHOENIX, PHOENIX_1, Raw, reply } from '../../support/channels/raw.ts'

function serve(options?: ChannelServerOptions): {
  server: WebsocketServer
  channels: ChannelServer
} {
  const server = new WebsocketServer()
  const channels = new ChannelServer(server, options)
  return { server, channels }
}

/** Passes any value. */
const pass = (value: unknown): { value: unknown } => ({ value })

/** Resolves with the next value of a loop that goes on. */
async function next<Value>(loop: AsyncIterator<Value, unknown>): Promise<Value> {
  const step = await loop.next()
  return step.done === true ? assert.fail('it has ended') : step.value
}

const patterns: [pattern: string, topic: string, fits: boolean][] = [
  ['lobby', 'lobby', true],
  ['lobby', 'lobby2', false],
  ['room:*', 'room:1', true],
  ['room:*', 'room:', true],
  ['room:*', 'room', false],
  ['*', 'anything', true],
  ['__proto__', '__proto__', true],
]

for (const [pattern, topic, fits] of patterns) {
  test(`${topic} is ${fits ? '' : 'not '}a topic of ${pattern}`, async () => {
    const { server, channels } = serve()
    channels.topic(pattern, { open: true })
    const answer = fits
      ? reply(['3', '3'], topic, 'ok')
      : reply([null, '3'], topic, 'error', { reason: 'unmatched topic' })
    const client = await Raw.enter(server)
    assert.deepEqual(await client.ask(['3', '3', topic, 'phx_join', {}]), [answer])
  })
}

const refused = (ref: string): unknown[] =>
  reply([ref, ref], 'a', 'error', { reason: 'no join listener' })

test('a topic without a `join` listener refuses, and the server prints the cure once', async (t) => {
  const printed = mock.method(console, 'error', () => {})
  t.after(() => mock.restoreAll())
  const { server, channels } = serve()
  const topic = channels.topic('a')
  const client = await Raw.enter(server)
  const join = (ref: string): Promise<unknown[]> => client.ask([ref, ref, 'a', 'phx_join', {}])
  assert.deepEqual(await join('1'), [refused('1')], 'before there is a listener')

  const stop = new AbortController()
  listen(topic, 'join', ({ accept }) => accept(), { signal: stop.signal })
  assert.deepEqual(await join('2'), [reply(['2', '2'], 'a', 'ok')])
  stop.abort()
  await client.ask([null, '3', 'a', 'phx_leave', {}])
  assert.deepEqual(await join('4'), [refused('4')], 'after its signal')

  const loop = (async () => {
    for await (const { accept } of listen(topic, 'join')) {
      accept('by a loop')
      break
    }
  })()
  assert.deepEqual(await join('5'), [reply(['5', '5'], 'a', 'ok', 'by a loop')])
  await loop
  await client.ask([null, '6', 'a', 'phx_leave', {}])
  assert.deepEqual(await join('7'), [refused('7')], 'after its loop has ended')

  const asked = once(topic, 'join')
  client.say(['8', '8', 'a', 'phx_join', {}])
  ;(await asked).accept()
  await client.ask([null, '9', 'a', 'phx_leave', {}])
  assert.deepEqual(await join('10'), [refused('10')], 'after a `once`')

  assert.equal(printed.mock.callCount(), 1)
  const [text] = printed.mock.calls[0]?.arguments as [string]
  assert.match(
    text,
    /the topic `a` has no `join` listener.* listen .* or declare .* `{ open: true }`/,
  )
})

test('a schema for joins lets no member in by itself', async (t) => {
  t.after(() => mock.restoreAll())
  mock.method(console, 'error', () => {})
  const { server, channels } = serve()
  const anything = { '~standard': { version: 1, vendor: 'spec', validate: pass } } as const
  channels.topic('a', { join: anything })
  channels.topic('b', { open: true, join: anything })
  const client = await Raw.enter(server)
  assert.deepEqual(
    await client.ask(['1', '1', 'a', 'phx_join', {}], ['2', '2', 'b', 'phx_join', {}]),
    [refused('1'), reply(['2', '2'], 'b', 'ok')],
  )
})

test('on a topic that is declared open a listener, once there is one, decides', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('a', { open: true })
  const client = await Raw.enter(server)
  assert.deepEqual(await client.ask(['1', '1', 'a', 'phx_join', {}]), [
    reply(['1', '1'], 'a', 'ok'),
  ])
  await client.ask([null, '2', 'a', 'phx_leave', {}])
  listen(topic, 'join', ({ reject }) => reject({ reason: 'no' }))
  assert.deepEqual(await client.ask(['3', '3', 'a', 'phx_join', {}]), [
    reply(['3', '3'], 'a', 'error', { reason: 'no' }),
  ])
})

test('of several patterns that fit, the first declared counts', async () => {
  const { server, channels } = serve()
  const [first, second] = [channels.topic('room:*'), channels.topic('room:1')]
  listen(first, 'join', ({ accept }) => accept('first'))
  listen(second, 'join', ({ accept }) => accept('second'))
  const client = await Raw.enter(server)
  assert.deepEqual(await client.ask(['3', '3', 'room:1', 'phx_join', {}]), [
    reply(['3', '3'], 'room:1', 'ok', 'first'),
  ])
})

test('a listener sees what comes with a join, and answers what it likes', async () => {
  const { server, channels } = serve()
  listen(channels.topic('*'), 'join', ({ channel, payload, accept, reject }) => {
    assert.equal(channel.state, 'joining')
    if (payload === 'in') accept({ hello: channel.topic })
    else reject({ got: payload })
    assert.equal(channel.state, payload === 'in' ? 'joined' : 'closed')
  })
  const client = await Raw.enter(server)
  const answers = await client.ask(
    ['1', '1', 'a', 'phx_join', 'in'],
    ['2', '2', 'b', 'phx_join', [null]],
    ['3', '3', 'c', 'phx_join', null],
  )
  assert.deepEqual(answers, [
    reply(['1', '1'], 'a', 'ok', { hello: 'a' }),
    reply(['2', '2'], 'b', 'error', { got: [null] }),
    reply(['3', '3'], 'c', 'error', { got: null }),
  ])
})

test('only the first answer counts, and a refused join leaves nothing behind', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('*')
  listen(topic, 'leave', () => assert.fail('nobody was in'))
  listen(topic, 'join', ({ channel, accept, reject }) => {
    reject()
    accept()
    reject({ again: true })
    assert.equal(channel.state, 'closed')
  })
  const client = await Raw.enter(server)
  assert.deepEqual(await client.ask(['1', '1', 'a', 'phx_join', {}]), [
    reply(['1', '1'], 'a', 'error'),
  ])
  channels.emit('a', 'evt', {})
  assert.deepEqual(await client.ask(['1', '2', 'a', 'evt', {}]), [
    reply([null, '2'], 'a', 'error', { reason: 'unmatched topic' }),
  ])
})

test("the join's answer is the first frame of a membership, and what was pushed comes after it", async () => {
  const { server, channels } = serve()
  listen(channels.topic('*'), 'join', ({ channel, accept }) => {
    void channel.push('before', {})
    channels.emit('a', 'nobody', {})
    accept()
    void channel.push('after', {})
  })
  const client = await Raw.enter(server)
  assert.deepEqual(await client.ask(['1', '1', 'a', 'phx_join', {}]), [
    reply(['1', '1'], 'a', 'ok'),
    ['1', null, 'a', 'before', {}],
    ['1', null, 'a', 'after', {}],
  ])
})

test('a join that no listener answers is refused after joinTimeout', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const { server, channels } = serve({ joinTimeout: 700 })
  const asked = once(channels.topic('*'), 'join')
  const client = await Raw.enter(server)
  assert.deepEqual(
    await client.ask(['1', '1', 'a', 'phx_join', {}], [null, '2', 'a', 'evt', {}]),
    [],
  )
  mock.timers.tick(700)
  assert.deepEqual(await client.heard(), [
    reply(['1', '1'], 'a', 'error', { reason: 'join timed out' }),
    reply([null, '2'], 'a', 'error', { reason: 'unmatched topic' }),
  ])
  const { accept, channel } = await asked
  accept()
  assert.equal(channel.state, 'closed')
  assert.deepEqual(await client.heard(), [])
})

for (const [what, fail] of [
  ['throws', () => assert.fail('no')],
  ['rejects', () => Promise.reject(new Error('no'))],
  ['answers what cannot be JSON', ({ accept }: { accept: (reply: unknown) => void }) => accept(5n)],
] as const) {
  test(`a join whose listener ${what} is refused, and the failure told`, async () => {
    const { server, channels } = serve()
    const errors: WebsocketError[] = []
    listen(channels, 'error', (error) => errors.push(error))
    listen(channels.topic('*'), 'join', fail)
    const client = await Raw.enter(server)
    assert.deepEqual(await client.ask(['1', '1', 'a', 'phx_join', {}]), [
      reply(['1', '1'], 'a', 'error', { reason: 'join crashed' }),
    ])
    const [error] = errors
    assert.ok(error instanceof CallbackError && error.event === 'join' && errors.length === 1)
    assert.ok(client.here.isOpen)
  })
}

test('a listener of joins that fails after it accepted ends the membership', async () => {
  const { server, channels } = serve()
  const failure = once(channels, 'error')
  listen(channels.topic('*'), 'join', ({ accept }) => {
    accept()
    throw new Error('too late')
  })
  const client = await Raw.enter(server)
  assert.deepEqual(await client.ask(['1', '1', 'a', 'phx_join', {}]), [
    reply(['1', '1'], 'a', 'ok'),
    ['1', '1', 'a', 'phx_error', { reason: 'channel_crash' }],
  ])
  assert.equal((await failure).message, 'too late')
})

test('a join that takes long holds up nothing but itself', async () => {
  const { server, channels } = serve()
  const slow = once(channels.topic('slow'), 'join')
  channels.topic('fast', { open: true })
  const client = await Raw.enter(server)
  const answers = await client.ask(
    ['1', '1', 'slow', 'phx_join', {}],
    ['2', '2', 'fast', 'phx_join', {}],
    [null, '3', 'phoenix', 'heartbeat', {}],
  )
  assert.deepEqual(answers, [reply(['2', '2'], 'fast', 'ok'), reply([null, '3'], 'phoenix', 'ok')])
  ;(await slow).accept()
  assert.deepEqual(await client.heard(), [reply(['1', '1'], 'slow', 'ok')])
})

test('events wait for the join that is under way', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('*')
  const asked = once(topic, 'join')
  const client = await Raw.enter(server)
  await client.ask(
    ['1', '1', 'a', 'phx_join', {}],
    ['1', '2', 'a', 'one', {}],
    [null, '3', 'a', 'two', {}],
  )
  const { channel, accept } = await asked
  listen(channel, 'message', ({ event, reply: answer }) => answer(event))
  assert.deepEqual(await client.heard(), [])
  accept()
  assert.deepEqual(await client.heard(), [
    reply(['1', '1'], 'a', 'ok'),
    reply(['1', '2'], 'a', 'ok', 'one'),
    reply(['1', '3'], 'a', 'ok', 'two'),
  ])
})

test('past maxChannels a join is refused, and one that leaves makes room', async () => {
  const { server, channels } = serve({ maxChannels: 2 })
  channels.topic('*', { open: true })
  const client = await Raw.enter(server)
  for (const topic of ['a', 'b']) await client.join(topic)
  const tooMany = { reason: 'too many channels joined' }
  assert.deepEqual(await client.ask(['3', '3', 'c', 'phx_join', {}]), [
    reply(['3', '3'], 'c', 'error', tooMany),
  ])
  assert.deepEqual((await client.ask(['4', '4', 'a', 'phx_join', {}])).length, 2) // anew is no more
  await client.ask([null, '5', 'b', 'phx_leave', {}])
  assert.deepEqual(await client.ask(['6', '6', 'c', 'phx_join', {}]), [
    reply(['6', '6'], 'c', 'ok'),
  ])
})

test('a second join: its answer goes out first, then the end of the old membership', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('*', { open: true })
  const left: [string, LeaveReason][] = []
  listen(topic, 'leave', ({ channel, reason }) => left.push([channel.topic, reason]))
  const client = await (await Raw.enter(server)).join('a', '3')
  assert.deepEqual(
    await client.ask(['5', '5', 'a', 'phx_join', {}], ['3', '6', 'a', 'stale', {}]),
    [reply(['5', '5'], 'a', 'ok'), ['3', '3', 'a', 'phx_close', {}]],
  )
  assert.deepEqual(left, [['a', 'replaced']])
  channels.emit('a', 'evt', {})
  assert.deepEqual(await client.heard(), [[null, null, 'a', 'evt', {}]])
})

test('a second join while the first is under way refuses the first', async () => {
  const { server, channels } = serve()
  const requests = listen(channels.topic('*'), 'join')
  const client = await (await Raw.enter(server)).join('a', '1')
  const first = await next(requests)
  first.accept()
  await client.ask(['2', '2', 'a', 'phx_join', {}])
  const second = await next(requests)
  assert.deepEqual(await client.ask(['3', '3', 'a', 'phx_join', {}]), [
    reply(['2', '2'], 'a', 'error', { reason: 'replaced' }),
  ])
  assert.equal(second.accept(), false)
  const third = await next(requests)
  third.accept()
  assert.deepEqual(await client.heard(), [
    reply(['3', '3'], 'a', 'ok'),
    ['1', '1', 'a', 'phx_close', {}],
  ])
  assert.deepEqual(
    [first, second, third].map(({ channel }) => channel.state),
    ['closed', 'closed', 'joined'],
  )
})

test('a leave while the join is under way gives it up', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('*')
  listen(topic, 'leave', () => assert.fail('nobody was in'))
  const asked = once(topic, 'join')
  const client = await Raw.enter(server)
  const answers = await client.ask(
    ['1', '1', 'a', 'phx_join', {}],
    ['1', '2', 'a', 'phx_leave', {}],
  )
  assert.deepEqual(answers, [reply(['1', '2'], 'a', 'ok'), ['1', '1', 'a', 'phx_close', {}]])
  const { accept, channel } = await asked
  accept()
  assert.equal(channel.state, 'closed')
  assert.deepEqual(await client.heard(), [])
})

/** Records everything that a topic tells of the beginnings and ends of memberships. */
function diary(topic: Topic): string[] {
  const told: string[] = []
  listen(topic, 'joined', ({ channel }) => told.push(`joined ${channel.topic}`))
  listen(topic, 'leave', ({ channel, reason }) => told.push(`leave ${channel.topic} ${reason}`))
  return told
}

test('`accept` returns whether the member is in, and `joined` comes right after its answer', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('*')
  const told = diary(topic)
  const answers: boolean[] = []
  listen(topic, 'joined', ({ channel }) => void channel.push('welcome', {}))
  listen(topic, 'join', ({ channel, accept, reject }) => {
    if (channel.topic === 'no') reject()
    answers.push(accept())
    answers.push(accept({ again: true }))
  })
  const client = await Raw.enter(server)
  assert.deepEqual(
    await client.ask(['1', '1', 'yes', 'phx_join', {}], ['2', '2', 'no', 'phx_join', {}]),
    [
      reply(['1', '1'], 'yes', 'ok'),
      ['1', null, 'yes', 'welcome', {}],
      reply(['2', '2'], 'no', 'error'),
    ],
  )
  assert.deepEqual(answers, [true, true, false, false])
  assert.deepEqual(told, ['joined yes'])
})

test('a member that a listener of `joined` sends out has one `joined`, and then one `leave`', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('*')
  const told = diary(topic)
  listen(topic, 'joined', ({ channel }) => channel.leave())
  const accepted: boolean[] = []
  listen(topic, 'join', ({ channel, accept }) => {
    listen(channel, 'join', () => assert.fail('it has ended'))
    listen(channel, 'message', () => assert.fail('it was sent out'))
    accepted.push(accept())
  })
  const client = await Raw.enter(server)
  assert.deepEqual(await client.ask(['1', '1', 'a', 'phx_join', {}], ['1', '2', 'a', 'evt', {}]), [
    reply(['1', '1'], 'a', 'ok'),
    ['1', '1', 'a', 'phx_close', {}],
    reply([null, '2'], 'a', 'error', { reason: 'unmatched topic' }),
  ])
  assert.deepEqual([told, accepted], [['joined a', 'leave a ended'], [false]])
})

test('a member whose connection closes before it is accepted has neither `joined` nor `leave`', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('*')
  const told = diary(topic)
  const asked = once(topic, 'join')
  const client = await Raw.enter(server)
  client.say(['1', '1', 'a', 'phx_join', {}])
  const { accept } = await asked
  cut(client.here)
  await once(client.there, 'close')
  assert.equal(accept(), false)
  assert.deepEqual(told, [])
})

/** Ways in which a membership ends by no doing of its peer; each speaks and pushes before it. */
const silencing: [how: string, end: (channel: Channel) => unknown][] = [
  ['is sent out', (channel) => channel.leave()],
  ['crashes', () => assert.fail('as asked')],
]

for (const [how, end] of silencing) {
  test(`a member that ${how} handles and broadcasts nothing more`, async () => {
    const { server, channels } = serve()
    listen(channels, 'error', () => {})
    const topic = channels.topic('*')
    const handled: unknown[] = []
    let go: () => void = () => {}
    listen(topic, 'join', ({ channel, payload, accept }) => {
      accept()
      if (payload !== 'bad') return
      listen(channel.messages, 'say', async ({ payload: text }) => {
        handled.push(text)
        await new Promise<void>((resolve) => (go = resolve))
        channel.broadcast('said', { text })
      })
      listen(channel.messages, 'end', () => end(channel))
    })
    const other = await (await Raw.enter(server)).join('a', '7')
    const bad = await (await Raw.enter(server)).join('a', '1', 'bad')
    const { dropped } = server.stats()
    const push = (event: string, payload: unknown): unknown[] => ['1', null, 'a', event, payload]
    await bad.ask(push('say', 1), push('say', 2), push('say', 3), push('end', {}))
    go()
    await bad.heard()
    assert.deepEqual(handled, [1])
    assert.deepEqual(await other.heard(), [])
    assert.equal(server.stats().dropped - dropped, 3, 'two that waited, and a broadcast')
  })
}

test('a member that was never let in broadcasts nothing, and one that has left still does', async () => {
  const { server, channels } = serve()
  const errors: string[] = []
  listen(channels, 'error', ({ message }) => errors.push(message))
  const topic = channels.topic('*')
  listen(topic, 'join', ({ channel, payload, accept, reject }) => {
    if (payload === 'early') channel.broadcast('evt', {})
    if (payload === 'refused') {
      reject()
      channel.broadcast('evt', {})
      return
    }
    listen(channel.messages, 'say', async () => {
      await once(channel, 'close')
      channel.broadcast('bye', {})
    })
    accept()
  })
  const other = await (await Raw.enter(server)).join('a', '7')
  const client = await Raw.enter(server)
  const { dropped } = server.stats()
  const answers = await client.ask(
    ['1', '1', 'a', 'phx_join', 'early'],
    ['2', '2', 'a', 'phx_join', 'refused'],
  )
  assert.deepEqual(answers, [
    reply(['1', '1'], 'a', 'error', { reason: 'join crashed' }),
    reply(['2', '2'], 'a', 'error'),
  ])
  assert.deepEqual(errors, ['`evt` was broadcast before `a` was joined: accept first'])
  assert.equal(server.stats().dropped - dropped, 1)
  await client.join('a', '3')
  await client.ask(['3', null, 'a', 'say', {}], ['3', '4', 'a', 'phx_leave', {}])
  assert.deepEqual(await other.heard(), [[null, null, 'a', 'bye', {}]])
})

for (const event of ['presence_state', 'presence_diff', 'phx_close']) {
  test(`an application that relays any event can't be made to say ${event}`, async () => {
    const { server, channels } = serve()
    const topic = channels.topic('*')
    const errors: string[] = []
    listen(topic, 'join', ({ channel, accept }) => {
      listen(channel, 'error', ({ message }) => errors.push(message))
      listen(channel, 'message', ({ payload: named }) => channel.broadcast(named, {}))
      accept()
    })
    const other = await (await Raw.enter(server)).join('a', '7')
    const client = await (await Raw.enter(server)).join('a')
    await client.ask(['1', null, 'a', 'relay', event])
    const text = `expected an event of your own, got \`${event}\`, which is one of Phoenix's`
    assert.deepEqual(errors, [text])
    assert.throws(() => channels.emit('a', event, {}), { name: 'TypeError', message: text })
    assert.deepEqual(await other.heard(), [])
  })
}

const join = (url: string, topic: string): unknown => {
  if (url === AMBER) return { event: 'join', topic }
  if (url === PHOENIX) return ['1', '1', topic, 'phx_join', {}]
  return { topic, event: 'phx_join', payload: {}, ref: '1', join_ref: '1' }
}
const leave = (url: string, topic: string): unknown => {
  if (url === AMBER) return { event: 'leave', topic }
  if (url === PHOENIX) return ['1', '2', topic, 'phx_leave', {}]
  return { topic, event: 'phx_leave', payload: {}, ref: '2', join_ref: '1' }
}

const endings: [LeaveReason, (client: Raw, url: string) => unknown][] = [
  ['left', (client, url) => client.say(leave(url, 'a'))],
  ['closed', ({ here }) => here.close()],
  ['closed', ({ here }) => cut(here)],
  ['closed', ({ there }) => there.close()],
  ['replaced', (client, url) => client.say(join(url, 'a'))],
]

for (const [name, url] of [
  ['Phoenix 2', PHOENIX],
  ['Phoenix 1', PHOENIX_1],
  ['Amber', AMBER],
] as const) {
  for (const [index, [reason, how]] of endings.entries()) {
    test(`${name}: a membership that ends (way ${index + 1}) is told once: ${reason}`, async () => {
      const { server, channels } = serve()
      const topic = channels.topic('*', { open: true })
      const left: unknown[] = []
      listen(topic, 'leave', (leaving) => {
        if (leaving.channel === channel) left.push(leaving.reason)
      })
      const asked = once(topic, 'join')
      const target = url === AMBER ? 'ws://localhost/chat' : url
      const client = await Raw.enter(server, target)
      client.say(join(url, 'a'))
      const { channel, accept } = await asked
      accept()
      await client.heard()
      const ended = once(channel, 'close')
      how(client, url)
      await ended
      assert.deepEqual(left, [reason])
      assert.equal(channel.state, 'closed')
      cut(client.here)
      await once(client.there, 'close')
      assert.deepEqual(left, [reason])
    })
  }
}

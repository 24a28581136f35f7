import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { CallbackError, listen, once, WebsocketServer, type WebsocketError } from 'simplewebsockets'
import {
  ChannelServer,
  type ChannelServerOptions,
  type LeaveReason,
} from 'simplewebsockets/channels'
import { cut } from 'simplewebsockets/testing'
import { AMBER, PHOENIX, PHOENIX_1, Raw, reply } from './raw.ts'

function serve(options?: ChannelServerOptions): {
  server: WebsocketServer
  channels: ChannelServer
} {
  const server = new WebsocketServer()
  const channels = new ChannelServer(server, options)
  return { server, channels }
}

/** Is the next value of a loop that goes on. */
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
    channels.topic(pattern)
    const answer = fits
      ? reply(['3', '3'], topic, 'ok')
      : reply([null, '3'], topic, 'error', { reason: 'unmatched topic' })
    const client = await Raw.enter(server)
    assert.deepEqual(await client.ask(['3', '3', topic, 'phx_join', {}]), [answer])
  })
}

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

test('a join that nobody answers is refused after joinTimeout', async (t) => {
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
  channels.topic('fast')
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
  channels.topic('*')
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
  const topic = channels.topic('*')
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
  const third = await next(requests)
  third.accept()
  second.accept()
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
      const topic = channels.topic('*')
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

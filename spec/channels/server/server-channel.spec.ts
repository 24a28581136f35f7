import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { mock, test } from 'node:test'
import {
  CallbackError,
  ClosedError,
  listen,
  once,
  WebsocketServer,
  type ServerOptions,
} from 'simplewebsockets'
import {
  ChannelClient,
  ChannelServer,
  type Channel,
  type JoinRequest,
  type Message,
  type Topic,
} from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import { EMITTER } from '../../../lib/internal.ts'
import { errorLog } from '../../../lib/error-log.ts'
import { printedBy } from '../../support/printed.ts'
import { AMBER, Raw, reply } from '../../support/channels/raw.ts'

interface Scene {
  readonly server: WebsocketServer
  readonly channels: ChannelServer
  readonly topic: Topic
  readonly client: Raw
  readonly channel: Channel
}

/**
 * A member of `a`, whose join_ref is 1, with nothing listening to its channel yet: the work of its
 * `join` listener is never done.
 */
async function joined(options: ServerOptions = {}): Promise<Scene> {
  const server = new WebsocketServer(options)
  const channels = new ChannelServer(server)
  const topic = channels.topic('*')
  const asked = once(topic, 'join')
  listen(topic, 'join', ({ accept }) => {
    accept()
    return new Promise(() => {})
  })
  const client = await (await Raw.enter(server)).join('a')
  const { channel } = await asked
  return { server, channels, topic, client, channel }
}

const push = (ref: string | null, event: string, payload: unknown = {}): unknown[] => [
  '1',
  ref,
  'a',
  event,
  payload,
]
const answer = (ref: string, status: string, response: unknown = {}): unknown[] =>
  reply(['1', ref], 'a', status, response)

test('a message is answered with ok, with error, or with a status of your own', async () => {
  const { client, channel } = await joined()
  listen(channel.messages, 'one', (message) => message.reply())
  listen(channel.messages, 'two', ({ refuse }) => refuse({ reason: 'no' }))
  listen(channel.messages, 'three', ({ reply }) => reply([1], 'later'))
  listen(channel.messages, 'bytes', ({ payload, reply }) => reply(payload))
  const bytes = Uint8Array.of(0, 1, 1, 1, 5, ...Buffer.from('15abytes'), 7)
  assert.deepEqual(
    await client.ask(push('2', 'one'), push('3', 'two'), push('4', 'three'), bytes),
    [
      answer('2', 'ok'),
      answer('3', 'error', { reason: 'no' }),
      answer('4', 'later', [1]),
      `0101010102${Buffer.from('15aok').toString('hex')}07`,
    ],
  )
})

test('messages wait for their listener, however late it comes', async () => {
  const { client, channel } = await joined()
  await client.ask(push('2', 'a'), push('3', 'b'), push('4', 'a'), push('5', 'c'))
  const seen: unknown[] = []
  listen(channel.messages, 'a', ({ event, reply }) => {
    seen.push(event)
    reply()
  })
  assert.deepEqual(await client.heard(), [answer('2', 'ok'), answer('4', 'ok')])
  listen(channel, 'message', ({ event, reply }) => {
    seen.push(event)
    reply()
  })
  assert.deepEqual(await client.heard(), [answer('3', 'ok'), answer('5', 'ok')])
  assert.deepEqual(seen, ['a', 'a', 'b', 'c'])
})

const unhandled = (ref: string): unknown[] => answer(ref, 'error', { reason: 'unhandled event' })

test('an event that never had a listener is refused once the join listener is done, and counted', async () => {
  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('*')
  const preparing: (() => void)[] = []
  listen(topic, 'join', async ({ channel, accept }) => {
    accept()
    await new Promise<void>((resolve) => preparing.push(resolve))
    listen(channel.messages, 'late', ({ reply }) => reply('heard'))
  })
  listen(topic, 'join', () => new Promise<void>((resolve) => preparing.push(resolve)))
  const client = await (await Raw.enter(server)).join('a')
  const { dropped } = server.stats()
  assert.deepEqual(await client.ask(push('2', 'late'), push('3', 'none'), push(null, 'none')), [])
  preparing[0]?.()
  assert.deepEqual(await client.heard(), [answer('2', 'ok', 'heard')])
  preparing[1]?.()
  assert.deepEqual(await client.heard(), [unhandled('3')])
  assert.equal(server.stats().dropped - dropped, 2)
  assert.deepEqual(await client.ask(push('4', 'none'), push(null, 'none'), push('5', 'late')), [
    unhandled('4'),
    answer('5', 'ok', 'heard'),
  ])
  assert.equal(server.stats().dropped - dropped, 4)
})

test('in a loop over joins `accept` settles it, with the listeners of the same turn', async () => {
  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('*')
  const joins = listen(topic, 'join')
  const client = await Raw.enter(server)
  client.say(['1', '1', 'a', 'phx_join', {}], push('2', 'heard'), push('3', 'none'))
  await client.heard()
  const { channel, accept } = ((await joins.next()) as { value: JoinRequest }).value
  accept()
  listen(channel.messages, 'heard', ({ reply }) => reply())
  assert.deepEqual(await client.heard(), [answer('1', 'ok'), unhandled('3'), answer('2', 'ok')])
  assert.deepEqual(await client.ask(push('4', 'none')), [unhandled('4')])
})

test('on an open topic the listeners that `joined` adds hear everything', async () => {
  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('*', { open: true })
  listen(topic, 'joined', ({ channel }) => {
    listen(channel.messages, 'heard', ({ reply }) => reply())
  })
  const client = await (await Raw.enter(server)).join('a')
  assert.deepEqual(await client.ask(push('2', 'heard'), push('3', 'none')), [
    answer('2', 'ok'),
    unhandled('3'),
  ])
})

test('an event that once had a listener waits for the next one, by its name or by `message`', async () => {
  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('*')
  const channels: Channel[] = []
  listen(topic, 'join', ({ channel, accept }) => {
    channels.push(channel)
    const heard = channel.topic === 'a' ? once(channel.messages, 'evt') : once(channel, 'message')
    void heard.then(({ reply }) => reply('first'))
    accept()
  })
  const client = await (await (await Raw.enter(server)).join('a')).join('b')
  const pushTo = (topic: string, ref: string): unknown[] => ['1', ref, topic, 'evt', {}]
  for (const [index, topic] of ['a', 'b'].entries()) {
    assert.deepEqual(await client.ask(pushTo(topic, '2'), pushTo(topic, '3')), [
      reply(['1', '2'], topic, 'ok', 'first'),
    ])
    const channel = channels[index]
    assert.ok(channel)
    const next = await (topic === 'a' ? once(channel.messages, 'evt') : once(channel, 'message'))
    next.reply('second')
    assert.deepEqual(await client.heard(), [reply(['1', '3'], topic, 'ok', 'second')])
  }
})

test('a listener that fails late gets nothing of what waited for it', async () => {
  const { client, channel } = await joined()
  const seen: unknown[] = []
  let fail: () => void = () => {}
  listen(channel, 'error', ({ message }) => seen.push(message))
  listen(channel.messages, 'a', ({ payload }) => {
    seen.push(payload)
    return new Promise((_, reject) => (fail = () => reject(new Error('as asked'))))
  })
  await client.ask(push(null, 'a', 1), push(null, 'a', 2), push(null, 'a', 3))
  fail()
  await client.heard()
  assert.deepEqual(seen, [1, 'as asked'])
})

test('two `once` in a row lose nothing, of one event or of all', async () => {
  const { client, channel } = await joined()
  await client.ask(push(null, 'a', 1), push(null, 'b', 2), push(null, 'a', 3), push(null, 'b', 4))
  assert.equal((await once(channel.messages, 'b')).payload, 2)
  assert.equal((await once(channel, 'message')).payload, 1)
  assert.equal((await once(channel.messages, 'b')).payload, 4)
  assert.equal((await once(channel, 'message')).payload, 3)
})

test('`message` has every event, after the listeners by its name', async () => {
  const { client, channel } = await joined()
  const seen: string[] = []
  listen(channel, 'message', ({ event }) => seen.push(`every ${event}`))
  listen(channel.messages, 'close', () => seen.push('close'))
  listen(channel.messages, 'error', () => seen.push('error'))
  listen(channel, 'close', () => seen.push('forged'))
  listen(channel, 'error', () => seen.push('forged'))
  await client.ask(push(null, 'close'), push(null, 'error'), push(null, '__proto__'))
  assert.deepEqual(seen, ['close', 'every close', 'error', 'every error', 'every __proto__'])
})

test('a listener gets one message at a time, and a slow one delays no other', async () => {
  const { client, channel } = await joined()
  const slow: (() => void)[] = []
  const seen: unknown[] = []
  listen(channel.messages, 'a', ({ payload }) => {
    seen.push(`slow ${payload}`)
    return new Promise<void>((resolve) => slow.push(resolve))
  })
  listen(channel.messages, 'a', ({ payload }) => seen.push(`fast ${payload}`))
  listen(channel.messages, 'b', () => seen.push('b'))
  await client.ask(push(null, 'a', 1), push(null, 'a', 2), push(null, 'b'))
  assert.deepEqual(seen, ['slow 1', 'fast 1', 'fast 2', 'b'])
  slow.shift()?.()
  await client.heard()
  assert.deepEqual(seen.slice(4), ['slow 2'])
})

test('reading pauses while too much waits for a slow listener, and goes on', async () => {
  const { client, channel } = await joined()
  const held: (() => void)[] = []
  let count = 0
  listen(channel.messages, 'a', () => {
    count += 1
    return count > 1 ? undefined : new Promise<void>((resolve) => held.push(resolve))
  })
  for (let index = 0; index < 40; index++) client.say(push(null, 'a', index))
  client.say([null, '9', 'phoenix', 'heartbeat', {}])
  await new Promise(setImmediate)
  assert.equal(count, 1)
  held[0]?.()
  assert.deepEqual(await client.heard(), [reply([null, '9'], 'phoenix', 'ok')])
  assert.equal(count, 40)
})

test('the own broadcast comes before the reply that follows it, and reaches the others once', async () => {
  const { server, channels, client, channel } = await joined()
  const other = await (await Raw.enter(server)).join('a', '7')
  listen(channel.messages, 'say', ({ payload, reply }) => {
    channel.broadcast('said', payload)
    channels.emit('a', 'all', payload)
    reply()
  })
  assert.deepEqual(await client.ask(push('2', 'say')), [
    [null, null, 'a', 'all', {}],
    answer('2', 'ok'),
  ])
  assert.deepEqual(await other.heard(), [
    [null, null, 'a', 'said', {}],
    [null, null, 'a', 'all', {}],
  ])
})

test('emit and broadcast skip members that you hold invalid', async () => {
  const { channels, client, channel } = await joined()
  assert.ok(channel.connection)
  channel.connection.valid = false
  channels.emit('a', 'all', {})
  await channel.push('to you', {})
  assert.deepEqual(await client.heard(), [['1', null, 'a', 'to you', {}]])
})

test('a second answer fails, and an answer that cannot be said leaves it unanswered', async () => {
  const { client, channel } = await joined()
  const messages = listen(channel.messages, 'a')
  await client.ask(push('2', 'a'))
  const message = (await messages.next()).value as Message
  const cycle: unknown[] = []
  cycle.push(cycle)
  const thrower = {
    toJSON: () => {
      throw new Error('no')
    },
  }
  for (const value of [5n, cycle, thrower]) assert.throws(() => message.reply(value), TypeError)
  message.reply()
  assert.throws(() => message.refuse(), { name: 'TypeError', message: /answered already/ })
  assert.deepEqual(await client.heard(), [answer('2', 'ok')])
})

test('an answer to what has no ref, in Amber, or after leaving, does nothing and is counted', async () => {
  const { server, topic, client, channel } = await joined()
  const messages = listen(channel, 'message')
  await client.ask(push(null, 'a'), push('2', 'a'), ['1', '3', 'a', 'phx_leave', {}])
  const before = server.stats().dropped
  for await (const { reply } of messages) reply()
  assert.equal(server.stats().dropped, before + 2)

  const amber = await Raw.enter(server, AMBER)
  const asked = once(topic, 'join')
  amber.say({ event: 'join', topic: 'a' })
  const { channel: theirs } = await asked
  listen(theirs, 'message', ({ reply }) => reply({ to: 'nobody' }))
  const message = { event: 'message', topic: 'a', subject: 'x', payload: {} }
  assert.deepEqual(await amber.ask(message), [])
  assert.ok(server.stats().dropped > before + 2)
})

test('a listener that fails ends its membership, and nothing else', async () => {
  const { server, channels, client, channel } = await joined()
  await client.join('b', '7')
  const failures: unknown[] = []
  listen(channel, 'error', (error) => failures.push(error))
  listen(channels, 'error', () => assert.fail('it was heard of already'))
  listen(server, 'error', () => assert.fail('it was heard of already'))
  listen(channel.messages, 'boom', () => {
    throw new Error('boom')
  })
  const { dropped } = server.stats()
  assert.deepEqual(await client.ask(push('2', 'boom'), push('3', 'boom')), [
    ['1', '1', 'a', 'phx_error', { reason: 'channel_crash' }],
    reply([null, '3'], 'a', 'error', { reason: 'unmatched topic' }),
  ])
  const [failure] = failures
  assert.ok(failure instanceof CallbackError && failure.message === 'boom')
  assert.equal(failure.event, 'boom')
  assert.equal(server.stats().dropped, dropped)
  channels.emit('b', 'evt', {})
  assert.deepEqual(await client.ask(['9', '9', 'a', 'phx_join', {}]), [
    [null, null, 'b', 'evt', {}],
    reply(['9', '9'], 'a', 'ok'),
  ])
})

for (const step of ['channels', 'server', 'none'] as const) {
  const place = { channels: 'the channel server', server: 'the server', none: 'no other' }[step]
  test(`a failure that a channel doesn't hear goes to ${place}`, async () => {
    const heard: string[] = []
    const printed = await printedBy(async () => {
      const { server, channels, client, channel } = await joined()
      listen(channel.messages, 'error', () => Promise.reject(new Error(step)))
      if (step === 'channels') listen(channels, 'error', ({ message }) => heard.push(message))
      if (step !== 'none') listen(server, 'error', ({ message }) => heard.push(message))
      const closed = once(channel, 'close')
      client.say(push('2', 'error'))
      await closed
      const crash = ['1', '1', 'a', 'phx_error', { reason: 'channel_crash' }]
      assert.deepEqual(await client.heard(), [crash])
      assert.equal(channel.state, 'closed')
    })
    assert.deepEqual(heard, step === 'none' ? [] : [step])
    assert.equal(printed.length, step === 'none' ? 1 : 0)
  })
}

test('listeners that fail on many channels of one connection are printed once', async () => {
  const { topic, client, channel } = await joined()
  const members = [channel]
  listen(topic, 'join', (request) => {
    members.push(request.channel)
    request.accept()
  })
  for (let count = 0; count < 50; count++) await client.join(`b${count}`, `b${count}`)
  const printed = await printedBy(async () => {
    for (const member of members) {
      listen(member.messages, 'evt', () => Promise.reject(new Error('boom')))
      const closed = once(member, 'close')
      client.say([null, null, member.topic, 'evt', {}])
      await closed
    }
    errorLog.flush()
  })
  const lines = printed.filter((line) => typeof line === 'string')
  assert.equal(printed.length - lines.length, 1)
  assert.equal(
    lines.reduce((all, line) => all + Number(/^… and (\d+) more /.exec(line)?.[1]), 0),
    50,
  )
})

test('a join listener that fails for every join of one connection is printed once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] }) // the second doesn't end
  const { topic, client } = await joined()
  listen(topic, 'join', () => {
    throw new Error('no database')
  })
  const printed = await printedBy(async () => {
    for (let count = 0; count < 99; count++) {
      client.say([`${count}`, `${count}`, 'c', 'phx_join', {}])
    }
    await client.heard()
    errorLog.flush()
  })
  assert.equal(printed.length, 2)
  assert.match(String(printed[1]), /^… and 98 more like it .*: `join` of a topic failed/)
})

test('an error listener of a channel that fails is printed, and the membership goes on', async () => {
  const { client, channel } = await joined()
  const printed = await printedBy(async () => {
    listen(channel, 'error', () => {
      throw new Error('twice')
    })
    channel[EMITTER].reportError(new CallbackError('once'))
    await client.heard()
  })
  assert.equal(printed.length, 1)
  assert.equal(channel.state, 'joined')
})

test('a listener may await what comes next, and its own push', async () => {
  const { client, channel } = await joined()
  listen(channel.messages, 'ask', async ({ reply }) => {
    await channel.push('question', {})
    const { payload } = await once(channel.messages, 'answer')
    reply({ payload })
  })
  assert.deepEqual(await client.ask(push('2', 'ask')), [['1', null, 'a', 'question', {}]])
  assert.deepEqual(await client.ask(push(null, 'answer', 42)), [answer('2', 'ok', { payload: 42 })])
})

const unexpected = ({ message }: Error): void => assert.fail(message)
for (const isHeard of [false, true]) {
  const manner = isHeard ? 'tells `error` nothing' : 'prints nothing'
  test(`a connection that closes while a listener waits for it ${manner}`, async () => {
    const { server, channels, topic, client, channel } = await joined()
    if (isHeard) {
      listen(channel, 'error', unexpected)
      listen(channels, 'error', unexpected)
      listen(server, 'error', unexpected)
    }
    const { connection } = channel
    assert.ok(connection)
    listen(topic, 'join', () => once(connection, 'pong'))
    listen(topic, 'leave', () => once(connection, 'pong'))
    listen(channel, 'message', () => once(connection, 'pong'))
    const printed = await printedBy(async () => {
      await client.ask(push('2', 'evt'), ['3', '3', 'b', 'phx_join', {}])
      await client.here.close()
      await new Promise((resolve) => setImmediate(resolve))
    })
    assert.deepEqual(printed, [])
  })
}

test('a member that leaves while a listener waits for it is no failure', async (t) => {
  const printed = mock.method(console, 'error', () => {})
  t.after(() => mock.restoreAll())
  for (const how of ['leave', 'close'] as const) {
    const { client, channel } = await joined()
    listen(channel.messages, 'ask', async () => {
      await once(channel.messages, 'answer')
    })
    await client.ask(push('2', 'ask'))
    const closed = once(channel, 'close')
    if (how === 'leave') client.say(['1', '3', 'a', 'phx_leave', {}])
    else void client.here.close()
    await closed
    assert.equal(printed.mock.callCount(), 0)
  }
})

test('leave on a server sends the member out, which is not to come again', async () => {
  const { channels, client, channel } = await joined()
  const ended = once(channel, 'close')
  await channel.leave()
  assert.deepEqual(await ended, { code: 1000, description: 'sent out' })
  channels.emit('a', 'evt', {})
  assert.deepEqual(await client.heard(), [['1', '1', 'a', 'phx_close', {}]])
  await channel.leave()
  await assert.rejects(channel.push('evt', {}), ClosedError)
  assert.deepEqual(await client.heard(), [])
})

test('the messages before the end of a membership are heard, then its close', async () => {
  const { client, channel } = await joined()
  const seen: unknown[] = []
  let go: () => void = () => {}
  listen(channel.messages, 'a', ({ payload }) => {
    seen.push(payload)
    return payload === 1 ? new Promise<void>((resolve) => (go = resolve)) : undefined
  })
  listen(channel, 'close', () => seen.push('close'))
  await client.ask(push(null, 'a', 1), push(null, 'a', 2), ['1', '3', 'a', 'phx_leave', {}])
  assert.deepEqual(seen, [1])
  go()
  await client.heard()
  assert.deepEqual(seen, [1, 2, 'close'])
})

test('a listener that returns what a push or a broadcast returns holds nothing up', async () => {
  const { client, channel } = await joined()
  const order: unknown[] = []
  listen(channel.messages, 'a', ({ payload }) => {
    order.push(payload)
    queueMicrotask(() => order.push('later'))
    return payload === 1 ? channel.broadcast('b', {}) : channel.push('c', {})
  })
  await client.ask(push(null, 'a', 1), push(null, 'a', 2), push(null, 'a', 3))
  assert.deepEqual(order, [1, 2, 3, 'later', 'later', 'later'])
})

test('close does not wait for a listener for ever', async (t) => {
  const { client, channel } = await joined({ closeTimeout: 300 })
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  listen(channel.messages, 'a', () => new Promise(() => {}))
  const closed = once(channel, 'close')
  await client.ask(push(null, 'a', 1), push(null, 'a', 2), ['1', '3', 'a', 'phx_leave', {}])
  mock.timers.tick(300)
  assert.equal((await closed).code, 1000)
})

test('an ended channel: loops take what is left, waits reject, and its close sticks', async () => {
  const { client, channel } = await joined()
  await client.ask(push(null, 'a', 1), ['1', '3', 'a', 'phx_leave', {}])
  const left: unknown[] = []
  for await (const { payload } of listen(channel.messages, 'a')) left.push(payload)
  assert.deepEqual(left, [1])
  assert.equal((await once(channel, 'close')).description, 'left')
  await assert.rejects(once(channel.messages, 'a'), ClosedError)
  await assert.rejects(once(channel, 'join'), ClosedError)
  assert.throws(() => channel.join(), /a client joins/)
})

test('a stale ref is dropped without an answer; null is the membership there is', async () => {
  const { client, channel } = await joined()
  listen(channel, 'message', ({ event, reply }) => reply(event))
  const answers = await client.ask(
    ['0', '2', 'a', 'stale', {}],
    ['', '3', 'a', 'stale', {}],
    [null, '4', 'a', 'fresh', {}],
    ['0', '5', 'a', 'phx_leave', {}],
  )
  assert.deepEqual(answers, [answer('4', 'ok', 'fresh')])
  assert.equal(channel.state, 'joined')
})

test('a leave of what is not joined is ok, and closes nothing', async () => {
  const { client } = await joined()
  assert.deepEqual(await client.ask(['9', '9', 'b', 'phx_leave', {}]), [
    reply(['9', '9'], 'b', 'ok'),
  ])
})

test('slips on a channel are told', async () => {
  const { channel } = await joined()
  // @ts-expect-error: close
  assert.throws(() => listen(channel, 'closed', () => {}), /did you mean `close`/)
  assert.throws(() => channel.push('x', {}, { timeOut: 5 } as object), /did you mean `timeout`/)
  assert.throws(() => channel.push('phx_close', {}), /an event of your own/)
  assert.throws(() => channel.push('x', {}, { signal: {} as AbortSignal }), /`signal`/)
  await assert.rejects(channel.push('x', {}, { signal: AbortSignal.abort('stop') }), /^stop$/)
  // @ts-expect-error: no name
  assert.throws(() => channel.push({ a: 1 }), /^TypeError: expected the name of an event$/)
})

test('a signal keeps no listener of a channel that has ended, on either side', async () => {
  const { signal } = new AbortController()
  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('room:*')
  const hear = (channel: Channel): void => {
    listen(channel.messages, 'evt', () => {}, { signal })
    listen(channel, 'message', () => {}, { signal })
    listen(channel, 'close', () => {}, { signal })
  }
  listen(topic, 'join', ({ channel, accept }) => {
    hear(channel)
    accept()
  })
  const client = new ChannelClient()
  await link(server, client)
  const room = client.channel('room:1')
  hear(room)
  const left = once(topic, 'leave')
  await room.join()
  assert.equal(getEventListeners(signal, 'abort').length, 6)
  await room.leave()
  const { channel } = await left
  await Promise.all([once(room, 'close'), once(channel, 'close')])
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  await client.close()
})

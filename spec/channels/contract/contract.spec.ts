import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { type } from 'arktype'
import { listen, once, WebsocketServer } from 'simplewebsockets'
import {
  ChannelClient,
  ChannelServer,
  type Channel,
  type Contract,
  type Message,
  type StandardSchema,
} from 'simplewebsockets/channels'
import { cut } from 'simplewebsockets/testing'
import * as v from 'valibot'
import { z } from 'zod'
import { exactly } from '../../support/exactly.ts'
import { Raw, reply } from '../../support/channels/raw.ts'

const schemas: [library: string, message: StandardSchema<{ body: string }>][] = [
  ['zod', z.object({ body: z.string() })],
  ['valibot', v.object({ body: v.string() })],
  ['arktype', type({ body: 'string' })],
]

/** Returns a schema with a validator of its own. */
function judging(validate: StandardSchema['~standard']['validate']): StandardSchema {
  return { '~standard': { version: 1, vendor: 'none', validate } }
}

/** A member of a topic with a contract, with a listener that replies with what it got. */
async function joined(contract: Contract): Promise<Raw> {
  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('*', contract)
  listen(topic, 'join', ({ channel, accept }) => {
    listen(channel, 'message', ({ payload, reply: answer }: Message) => answer(payload))
    accept()
  })
  return (await Raw.enter(server)).join('a')
}

for (const [library, schema] of schemas) {
  test(`${library}: what arrives is checked before a listener sees it`, async () => {
    const client = await joined({ in: { new_msg: schema } })
    const [passed, refused] = await client.ask(
      ['1', '2', 'a', 'new_msg', { body: 'hi' }],
      ['1', '3', 'a', 'new_msg', { body: 5 }],
    )
    assert.deepEqual(passed, reply(['1', '2'], 'a', 'ok', { body: 'hi' }))
    const [, , , , answer] = refused as [0, 0, 0, 0, { status: string; response: unknown }]
    const { reason, issues } = answer.response as { reason: string; issues: [{ message: string }] }
    assert.deepEqual([answer.status, reason, issues.length], ['error', 'invalid payload', 1])
    assert.deepEqual(issues, [{ message: issues[0].message, path: ['body'] }])
    assert.equal(typeof issues[0].message, 'string')
  })

  test(`${library}: what comes with a join is checked, too`, async () => {
    const server = new WebsocketServer()
    const topic = new ChannelServer(server).topic('*', { join: schema })
    listen(topic, 'join', ({ payload, accept }) => {
      exactly<{ body: string }>()(payload)
      accept(payload.body)
    })
    const client = await Raw.enter(server)
    const [passed, refused] = await client.ask(
      ['1', '1', 'a', 'phx_join', { body: 'hi' }],
      ['2', '2', 'b', 'phx_join', {}],
    )
    assert.deepEqual(passed, reply(['1', '1'], 'a', 'ok', 'hi'))
    assert.match(
      JSON.stringify(refused),
      /"status":"error","response":\{"reason":"invalid payload"/,
    )
  })
}

test('what a schema makes of a payload is what a listener gets', async () => {
  const client = await joined({ in: { n: z.string().transform(Number) } })
  assert.deepEqual(await client.ask(['1', '2', 'a', 'n', '42']), [reply(['1', '2'], 'a', 'ok', 42)])
})

test('an event that is not in the contract is refused', async () => {
  const client = await joined({ in: { n: z.number() } })
  for (const event of ['m', 'toString', '__proto__']) {
    assert.deepEqual(await client.ask(['1', '2', 'a', event, {}]), [
      reply(['1', '2'], 'a', 'error', { reason: 'unknown event', issues: [] }),
    ])
  }
})

test('a contract without `in` lets every event pass', async () => {
  const client = await joined({ join: z.object({}) })
  assert.deepEqual(await client.ask(['1', '2', 'a', 'x', 1]), [reply(['1', '2'], 'a', 'ok', 1)])
})

test('schemas that take their time keep the order', async () => {
  const slow: (() => void)[] = []
  const late = judging((value) => new Promise((resolve) => slow.push(() => resolve({ value }))))
  const client = await joined({ in: { late, soon: z.string() } })
  const frames = ['late', 'soon', 'late', 'soon', 'unknown'].map((event, index) => [
    ...['1', `${index + 2}`, 'a', event, `${event} ${index}`],
  ])
  assert.deepEqual(await client.ask(...frames), [])
  slow[1]?.()
  assert.deepEqual(await client.heard(), [])
  slow[0]?.()
  await new Promise(setImmediate)
  assert.deepEqual(
    (await client.heard()).map((frame) => (frame as unknown[])[1]),
    ['2', '3', '4', '5', '6'],
  )
})

/** A member whose payloads are checked only when told, and what its listener and the server see. */
async function checkedLater(): Promise<{
  client: Raw
  channel: Channel
  story: unknown[]
  check: () => Promise<void>
}> {
  const waiting: (() => void)[] = []
  const late = judging((value) => new Promise((resolve) => waiting.push(() => resolve({ value }))))
  const server = new WebsocketServer()
  const contract: Contract = { in: { late } }
  const topic = new ChannelServer(server).topic('*', contract)
  const story: unknown[] = []
  const joining = once(topic, 'join')
  const client = await Raw.enter(server)
  client.say(['1', '1', 'a', 'phx_join', {}])
  const { channel, accept } = await joining
  listen(channel.messages, 'late', ({ payload }) => story.push(payload))
  listen(channel, 'close', () => story.push('close'))
  accept()
  await client.heard()
  const check = async (): Promise<void> => {
    for (const go of waiting.splice(0)) go()
    await new Promise(setImmediate)
  }
  return { client, channel, story, check }
}

const said = [
  ['1', '2', 'a', 'late', 'one'],
  ['1', '3', 'a', 'late', 'two'],
]

test('what was pushed before a leave is heard, though it is still being checked', async () => {
  const { client, channel, story, check } = await checkedLater()
  await client.ask(...said, ['1', '4', 'a', 'phx_leave', {}])
  assert.equal(channel.state, 'closed')
  assert.deepEqual(story, [])
  await check()
  assert.deepEqual(story, ['one', 'two', 'close'])
  assert.deepEqual(await client.heard(), [])
})

test('what was pushed before the connection closed is heard, though it is still being checked', async () => {
  const { client, channel, story, check } = await checkedLater()
  await client.ask(...said)
  const closed = once(client.there, 'close')
  cut(client.here)
  await closed
  assert.equal(channel.state, 'closed')
  await check()
  assert.deepEqual(story, ['one', 'two', 'close'])
})

test('a message still being checked when its member is sent out reaches no listener', async () => {
  const { client, channel, story, check } = await checkedLater()
  await client.ask(...said)
  await channel.leave()
  assert.deepEqual(story, ['close'])
  await check()
  assert.deepEqual(story, ['close'])
})

test('a schema that never settles holds up the close of its channel for `closeTimeout` at most', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const { client, story, check } = await checkedLater()
  await client.ask(...said, ['1', '4', 'a', 'phx_leave', {}])
  mock.timers.tick(4_999)
  assert.deepEqual(story, [])
  mock.timers.tick(1)
  assert.deepEqual(story, ['close'])
  await check()
  assert.deepEqual(story, ['close'])
})

test('a schema that fails ends the membership, as a listener that fails does', async () => {
  const thrower = judging(() => {
    throw new Error('schema')
  })
  const rejecter = judging(() => Promise.reject(new Error('schema')))
  for (const schema of [thrower, rejecter]) {
    const server = new WebsocketServer()
    const channels = new ChannelServer(server)
    channels.topic('in', { in: { x: schema }, open: true })
    channels.topic('join', { join: schema, open: true })
    const client = await (await Raw.enter(server)).join('in')
    const failures = listen(channels, 'error')
    client.say(['1', '2', 'in', 'x', {}], ['3', '3', 'join', 'phx_join', {}])
    assert.equal((await failures.next()).value.message, 'schema')
    assert.equal((await failures.next()).value.message, 'schema')
    await new Promise(setImmediate)
    assert.deepEqual((await client.heard()).sort(), [
      ['1', '1', 'in', 'phx_error', { reason: 'channel_crash' }],
      reply(['3', '3'], 'join', 'error', { reason: 'join crashed' }),
    ])
  }
})

test('what is wrong is told in at most 20 issues, of text and path alone', async () => {
  const client = await joined({ in: { list: z.array(z.number()) } })
  const [answer] = await client.ask(['1', '2', 'a', 'list', Array(500).fill('x')])
  const { issues } = (answer as [0, 0, 0, 0, { response: { issues: object[] } }])[4].response
  assert.equal(issues.length, 20)
  assert.deepEqual(Object.keys(issues[0] ?? {}), ['message', 'path'])
})

interface Chat {
  new_msg: { body: string }
  typing: boolean
}

test('the types of a topic are those it is declared with', () => {
  const channels = new ChannelServer(
    new WebsocketServer({ authorize: () => ({ name: 'ann'.trim() }) }),
  )
  const topic = channels.topic<Chat, { joined: { who: string } }>('room:*')
  listen(topic, 'join', ({ channel }) => {
    exactly<Channel<Chat, { joined: { who: string } }, { name: string }>>()(channel)
    exactly<string | undefined>()(channel.connection?.context.name)
    listen(channel.messages, 'new_msg', ({ payload }) => exactly<{ body: string }>()(payload))
    listen(channel.messages, 'typing', ({ payload }) => exactly<boolean>()(payload))
    // @ts-expect-error: no such event
    listen(channel.messages, 'typo', () => {})
    void channel.push('joined', { who: 'ann' })
    // @ts-expect-error: no such event
    void channel.push('joint', { who: 'ann' })
    // @ts-expect-error: another payload
    channel.broadcast('joined', { name: 'ann' })
  })
  listen(topic, 'leave', ({ channel, reason }) => {
    exactly<'left' | 'closed' | 'crashed' | 'tooSlow' | 'ended' | 'replaced' | 'historyLost'>()(
      reason,
    )
    exactly<string>()(channel.topic)
  })
})

test('the types of a topic with a contract are what its schemas say', () => {
  const channels = new ChannelServer(new WebsocketServer())
  const topic = channels.topic('room:*', {
    in: { new_msg: z.object({ at: z.string().transform(Number) }), typing: v.boolean() },
    out: { joined: z.object({ at: z.string().transform(Number) }) },
    join: type({ name: 'string' }),
  })
  listen(topic, 'join', ({ channel, payload }) => {
    exactly<{ name: string }>()(payload)
    listen(channel.messages, 'new_msg', (message) => exactly<{ at: number }>()(message.payload))
    listen(channel.messages, 'typing', (message) => exactly<boolean>()(message.payload))
    // @ts-expect-error: not in the contract
    listen(channel.messages, 'else', () => {})
    void channel.push('joined', { at: '5' })
    // @ts-expect-error: another payload
    void channel.push('joined', { at: 5 })
  })
  // @ts-expect-error: a schema
  assert.throws(() => channels.topic('x', { in: { a: 5 } }), TypeError)
})

test('a schema that is none is refused on either side, by its name', () => {
  const channels = new ChannelServer(new WebsocketServer())
  const broken = 5 as unknown as StandardSchema
  const slips: [contract: Contract, text: RegExp][] = [
    [{ in: { said: broken }, out: { said: z.string() } }, /`in\.said` .*Standard Schema, got 5/],
    [{ in: { said: z.string() }, out: { said: broken } }, /`out\.said` .*Standard Schema, got 5/],
    [{ join: broken }, /`join` .*Standard Schema, got 5/],
    [{ in: 5 as never }, /`in` to be an object of schemas/],
    [{ out: [z.string()] as never }, /`out` to be an object of schemas/],
  ]
  for (const [contract, message] of slips) {
    assert.throws(() => channels.topic('x', contract), { name: 'TypeError', message })
    assert.throws(() => new ChannelClient().channel('x', {}, contract), { message })
  }
})

test('a topic without types takes anything', () => {
  const channels = new ChannelServer(new WebsocketServer())
  const topic = channels.topic('*')
  listen(topic, 'join', ({ channel, payload, accept }) => {
    listen(channel.messages, 'anything', ({ payload: { deep } }) => channel.push('x', deep.down))
    accept(payload.any)
  })
  void once(channels, 'error').catch(() => {})
  // @ts-expect-error: join
  assert.throws(() => listen(topic, 'joins', () => {}), TypeError)
})

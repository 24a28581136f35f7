import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { type } from 'arktype'
import { listen, once, WebsocketServer } from 'simplewebsockets'
import {
  type ChannelError,
  ChannelClient,
  ChannelServer,
  Presence,
  type Channel,
  type Contract,
  type Message,
  type StandardSchema,
} from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import * as v from 'valibot'
import { z } from 'zod'
import { exactly } from '../../support/exactly.ts'

const timed = z.object({ at: z.string().transform(Number) })

/** The contract of both ends. */
const chat = {
  in: { new_msg: v.object({ body: v.string() }) },
  out: { told: timed, typing: type('boolean') },
  join: type({ name: 'string' }),
}

interface Scene {
  readonly client: ChannelClient
  readonly channels: ChannelServer
}

/** Both ends, where the server says what it is told to, without a contract of its own. */
async function scene(t: TestContext): Promise<Scene> {
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
    listen(channel.messages, 'say', ({ payload, reply }) => {
      for (const [event, said] of payload) void channel.push(event, said)
      reply()
    })
    accept()
  })
  const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
  t.after(() => client.close())
  await link(server, client, 'ws://localhost/socket')
  return { client, channels }
}

/** A channel with a contract, and what came of what the server said. */
async function told(
  t: TestContext,
  contract: Contract,
  said: readonly (readonly [event: string, payload: unknown])[],
): Promise<{ heard: unknown[]; errors: ChannelError[]; room: Channel }> {
  const { client } = await scene(t)
  const room: Channel = client.channel('room:1', {}, contract)
  const heard: unknown[] = []
  const errors: ChannelError[] = []
  listen(room, 'message', ({ event, payload }: Message) => heard.push([event, payload]))
  listen(room, 'error', (error) => errors.push(error as ChannelError))
  await room.join()
  await room.push('say', said)
  await new Promise((resolve) => setImmediate(resolve))
  return { heard, errors, room }
}

test('what a server says is checked before a listener sees it, and what breaks the contract is an error', async (t) => {
  const { heard, errors, room } = await told(t, chat, [
    ['told', { at: '5' }],
    ['told', { at: 5 }],
    ['typing', true],
    ['typing', 'x'],
    ['never heard of', {}],
    ['typing', false],
  ])
  assert.deepEqual(heard, [
    ['told', { at: 5 }],
    ['typing', true],
    ['typing', false],
  ])
  assert.deepEqual(
    errors.map(({ message, topic }) => [topic, message.replace(/:1` breaks.*/, '')]),
    [
      ['room:1', '`told` on `room'],
      ['room:1', '`typing` on `room'],
      ['room:1', '`never heard of` on `room'],
    ],
  )
  assert.match(String(errors[0]?.message), /breaks the contract: invalid payload/)
  const { issues } = errors[0]?.reply as { issues: { path: string[] }[] }
  assert.deepEqual(issues[0]?.path, ['at'])
  assert.equal(room.state, 'joined')
})

test('schemas may take their time: the order stays', async (t) => {
  const slow: StandardSchema = {
    '~standard': {
      version: 1,
      vendor: 'none',
      validate: (value) => new Promise((resolve) => setImmediate(() => resolve({ value }))),
    },
  }
  const { heard } = await told(t, { out: { slow, fast: type('number') } }, [
    ['slow', 1],
    ['fast', 2],
    ['slow', 3],
  ])
  while (heard.length < 3) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(heard, [
    ['slow', 1],
    ['fast', 2],
    ['slow', 3],
  ])
})

test('what a server said before it ended the membership is heard, though it is still being checked', async (t) => {
  const { client, channels } = await scene(t)
  const checks: (() => void)[] = []
  const late: StandardSchema = {
    '~standard': {
      version: 1,
      vendor: 'none',
      validate: (value) => new Promise((resolve) => checks.push(() => resolve({ value }))),
    },
  }
  listen(channels.topic('last:*'), 'join', ({ channel, accept }) => {
    accept()
    void channel.push('bye', 1)
    void channel.push('bye', 2)
    void channel.leave()
  })
  const contract: Contract = { out: { bye: late } }
  const room: Channel = client.channel('last:1', {}, contract)
  const story: unknown[] = []
  listen(room.messages, 'bye', ({ payload }) => story.push(payload))
  const closed = new Promise((resolve) => listen(room, 'close', () => resolve(story.push('close'))))
  await room.join()
  while (room.state !== 'closed') await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(story, [])
  for (const check of checks) check()
  await closed
  assert.deepEqual(story, [1, 2, 'close'])
})

test('a schema that fails is an error of the channel, with its cause', async (t) => {
  const cause = new Error('boom')
  const broken: StandardSchema = {
    '~standard': { version: 1, vendor: 'none', validate: () => Promise.reject(cause) },
  }
  const { heard, errors } = await told(t, { out: { evt: broken } }, [['evt', 1]])
  while (errors.length === 0) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(heard, [])
  assert.equal(errors[0]?.cause, cause)
})

test('without `out` every event passes', async (t) => {
  const { heard } = await told(t, { in: {} }, [['anything', { at: 5 }]])
  assert.deepEqual(heard, [['anything', { at: 5 }]])
})

test('a contract does not check the presence', async (t) => {
  const server = new WebsocketServer({ path: '/socket' })
  const rooms = new ChannelServer(server).topic('room:*', chat)
  const here = new Presence(rooms)
  listen(rooms, 'join', ({ channel, payload, accept }) => {
    here.track(channel, payload.name, {})
    accept()
  })
  const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
  t.after(() => client.close())
  await link(server, client, 'ws://localhost/socket')
  const room = client.channel('room:1', { name: 'ann' }, chat)
  const who = new Presence(room)
  const joined = once(who, 'join')
  await room.join()
  assert.equal((await joined).key, 'ann')
})

test('one contract types both ends', async (t) => {
  const server = new WebsocketServer({ path: '/socket' })
  const rooms = new ChannelServer(server).topic('room:*', chat)
  listen(rooms, 'join', ({ channel, payload, accept }) => {
    listen(channel.messages, 'new_msg', (message) => {
      exactly<{ body: string }>()(message.payload)
      void channel.push('told', { at: '7' })
    })
    accept(payload.name)
  })
  const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
  t.after(() => client.close())
  await link(server, client, 'ws://localhost/socket')
  const room = client.channel('room:1', { name: 'ann' }, chat)
  assert.equal(await room.join(), 'ann')
  const heard = once(room.messages, 'told')
  void room.push('new_msg', { body: 'hi' })
  const { payload } = await heard
  exactly<{ at: number }>()(payload)
  assert.deepEqual(payload, { at: 7 })
})

test('the compiler refuses what the contract does not have', () => {
  const client = new ChannelClient()
  const room = client.channel('room:1', () => ({ name: 'ann' }), chat)
  exactly<Channel<{ told: { at: number }; typing: boolean }, { new_msg: { body: string } }>>()(room)
  listen(room.messages, 'typing', ({ payload }) => exactly<boolean>()(payload))
  // @ts-expect-error: no such event
  listen(room.messages, 'new_msg', () => {})
  // @ts-expect-error: another payload
  assert.throws(() => room.push('new_msg', { body: 5 }), TypeError)
  // @ts-expect-error: no such event
  assert.throws(() => room.push('told', { at: 5 }), TypeError)
  // @ts-expect-error: another payload
  client.channel('room:1', { nobody: 'ann' }, chat)
  // @ts-expect-error: no schema
  assert.throws(() => client.channel('room:1', {}, { out: { told: 5 } }), TypeError)
  const typed = client.channel<{ news: { n: number } }, { ask: string }>('room:2')
  listen(typed.messages, 'news', ({ payload }) => exactly<{ n: number }>()(payload))
  // @ts-expect-error: another payload
  assert.throws(() => typed.push('ask', 5), TypeError)
})

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type RateLimit,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { RateLimiter } from '../../lib/connection/rate-limiter.ts'
import { frame, RawPeer } from '../support/rawpeer.ts'

/** Runs with a clock that a spec moves. */
function clocked(t: { after: (end: () => void) => void }): (milliseconds: number) => void {
  let now = 1_000
  const clock = mock.method(performance, 'now', () => now)
  t.after(() => clock.mock.restore())
  return (milliseconds) => {
    now += milliseconds
  }
}

/** How many of some messages may come. */
const passed = (allowance: RateLimiter, count: number, size = 1): number =>
  Array.from({ length: count }, () => allowance.tryConsume(size)).filter((text) => !text).length

test('as many messages may come as a period has, and then those for which time has passed', (t) => {
  const pass = clocked(t)
  const allowance = new RateLimiter({ messages: 10, per: 100, policy: 'drop' })
  assert.equal(passed(allowance, 20), 10)
  pass(10)
  assert.equal(passed(allowance, 20), 1)
  pass(55)
  assert.equal(passed(allowance, 20), 5)
  pass(5) // and what was left over
  assert.equal(passed(allowance, 20), 1)
})

test('what was not used is not saved beyond a period', (t) => {
  const pass = clocked(t)
  const allowance = new RateLimiter({ messages: 3, policy: 'drop' })
  pass(3_600_000)
  assert.equal(passed(allowance, 10), 3)
})

test('bytes are counted beside messages, and what is refused costs nothing', (t) => {
  const pass = clocked(t)
  const allowance = new RateLimiter({ messages: 3, bytes: 100, policy: 'drop' })
  assert.equal(allowance.tryConsume(60), undefined)
  assert.equal(allowance.tryConsume(60), 'more than 100 bytes in 1000 ms')
  assert.equal(allowance.tryConsume(40), undefined)
  assert.equal(allowance.tryConsume(0), undefined)
  assert.equal(allowance.tryConsume(0), 'more than 3 messages in 1000 ms')
  pass(500)
  assert.equal(allowance.tryConsume(50), undefined)
})

test('with policy close nothing may come after what was too much', (t) => {
  const pass = clocked(t)
  const allowance = new RateLimiter({ messages: 2, bytes: 100 })
  assert.equal(allowance.tryConsume(101), 'more than 100 bytes in 1000 ms')
  pass(3_600_000)
  assert.equal(allowance.tryConsume(1), 'more than 100 bytes in 1000 ms')
})

test('an empty message is a message', (t) => {
  clocked(t)
  assert.equal(passed(new RateLimiter({ messages: 2 }), 5, 0), 2)
  assert.equal(passed(new RateLimiter({ bytes: 2 }), 5, 0), 5)
})

async function served(rateLimit: RateLimit): Promise<{
  server: WebsocketServer
  there: WebsocketConnection
  here: WebsocketConnection
  heard: unknown[]
}> {
  const server = new WebsocketServer({ rateLimit })
  const [there, here] = await link(server, new WebsocketClient())
  const heard: unknown[] = []
  listen(there, 'message', (message) => void heard.push(message))
  return { server, there, here, heard }
}

test('a peer that sends too much is closed with 1008, which says so on both ends', async () => {
  const { server, there, here, heard } = await served({ messages: 3, per: 60_000 })
  const error = once(there, 'error')
  const closed = once(here, 'close')
  for (const word of ['one', 'two', 'three', 'four', 'five']) here.send(word)
  const reason = { code: 1008, description: 'more than 3 messages in 60000 ms' }
  assert.deepEqual(await closed, reason)
  assert.equal((await error).message, reason.description)
  assert.deepEqual(heard, ['one', 'two', 'three'])
  assert.equal(server.stats().dropped, 2)
  await server.close()
})

test('with policy drop what is too much is dropped and counted, and the connection goes on', async () => {
  const { server, there, here, heard } = await served({ bytes: 30, per: 60_000, policy: 'drop' }) // each frame has 6 more
  const [, neighbour] = await link(server, new WebsocketClient())
  const last = once(there, 'message', { where: (message) => message === '' })
  for (const word of ['one', 'two', 'three times ten', '']) here.send(word)
  neighbour.send('three')
  await last
  assert.deepEqual(heard, ['one', 'two', ''])
  assert.equal(server.stats().dropped, 1)
  assert.ok(here.isOpen && neighbour.isOpen)
  await server.close()
})

for (const [what, sent] of [
  ['pongs', Array<Buffer>(50_000).fill(frame(10))],
  ['pings', Array<Buffer>(50_000).fill(frame(9))],
  [
    'fragments of one message',
    [frame(1, 'x', { fin: false }), ...Array<Buffer>(50_000).fill(frame(0, 'x', { fin: false }))],
  ],
  ['messages', Array<Buffer>(50_000).fill(frame(1, 'x'))],
] as const) {
  test(`50,000 ${what} are too many where 10 messages may come`, async () => {
    await using server = new WebsocketServer({ rateLimit: { messages: 10 }, closeTimeout: 100 })
    const { port } = await server.serve(0)
    const entered = once(server, 'client')
    const peer = await RawPeer.enter(port)
    const there = await entered
    const closed = once(there, 'close')
    let heard = 0
    for (const event of ['message', 'ping', 'pong'] as const)
      listen(there, event, () => {
        heard++
      })
    peer.write(Buffer.concat(sent))
    const { code, description } = await closed
    assert.deepEqual([code, description], [1008, 'more than 10 messages in 1000 ms'])
    assert.ok(heard <= 10)
    peer.tcp.destroy()
  })
}

test('with policy drop a message is skipped whole for one of its fragments', async () => {
  const rateLimit: RateLimit = { bytes: 60, per: 60_000, policy: 'drop' }
  await using server = new WebsocketServer({ rateLimit })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const peer = await RawPeer.enter(port)
  const there = await entered
  const heard: unknown[] = []
  listen(there, 'message', (message) => void heard.push(message))
  const last = once(there, 'message', { where: (message) => message === 'last' })
  for (const chunk of [
    frame(1, 'one '),
    frame(1, 'two, ', { fin: false }),
    frame(0, 'x'.repeat(50), { fin: false }),
    frame(0, 'end'),
    frame(9, 'p'.repeat(60)),
    frame(1, 'last'),
  ]) {
    for (const byte of chunk) peer.write(Buffer.of(byte))
  }
  await last
  assert.deepEqual(heard, ['one ', 'last'])
  assert.equal(server.stats().drops.rateLimit, 2)
  peer.tcp.destroy()
})

test('pings count as messages', async () => {
  const { server, there, here } = await served({ messages: 2, per: 60_000, policy: 'drop' })
  const pings: unknown[] = []
  listen(there, 'ping', (payload) => void pings.push(payload))
  const answered = ['a', 'b'].map((payload) => here.ping(payload))
  void here.ping('c').catch(() => {})
  await Promise.all(answered)
  assert.deepEqual(pings, ['a', 'b'])
  assert.equal(server.stats().drops.rateLimit, 1)
  await server.close()
})

const senseless: unknown[] = [
  true,
  {},
  { messages: 0 },
  { messages: false, bytes: false },
  { messages: 10, per: 0 },
  { messages: 10, per: '1s' },
  { messages: 10, policy: 'ban' },
  { bytes: 1.5 },
  [10],
]

for (const rateLimit of senseless) {
  test(`a rateLimit of ${JSON.stringify(rateLimit)} makes no sense`, () => {
    assert.throws(
      () => new WebsocketServer(JSON.parse(JSON.stringify({ rateLimit })) as ServerOptions),
      {
        name: 'TypeError',
        message: /^expected `rateLimit` to be false, or \{ messages, bytes, per, policy/,
      },
    )
  })
}

test('a misspelt part of it is told with the nearest name', () => {
  const options = { rateLimit: { message: 10 } } as ServerOptions
  assert.throws(
    () => new WebsocketServer(options),
    /unknown option `rateLimit\.message`: did you mean `rateLimit\.messages`/,
  )
})

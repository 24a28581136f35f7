import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import { listen, once, WebsocketServer, type CloseReason } from 'simplewebsockets'
import { MessageTimer } from '../../../lib/transport/tcp/message-timer.ts'
import { frame, RawPeer } from '../../support/rawpeer.ts'

/** Makes a timer whose time a spec moves. */
function timed(t: TestContext): {
  timer: MessageTimer
  pass: (milliseconds: number) => void
  expired: () => number
} {
  let now = 0
  let count = 0
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const clock = mock.method(performance, 'now', () => now)
  t.after(() => clock.mock.restore())
  const timer = new MessageTimer(1_000, () => {
    count++
  })
  const pass = (milliseconds: number): void => {
    for (let passed = 0; passed < milliseconds; passed += 10) {
      now += 10
      t.mock.timers.tick(10)
    }
  }
  return { timer, pass, expired: () => count }
}

test('a message that has not ended after its time expires, once', (t) => {
  const { timer, pass, expired } = timed(t)
  timer.update(0, 10)
  pass(990)
  timer.update(0, 11)
  assert.equal(expired(), 0)
  pass(5_000)
  assert.equal(expired(), 1)
})

test('each 16 KiB of it give a second more', (t) => {
  const { timer, pass, expired } = timed(t)
  timer.update(0, 10)
  timer.update(0, 10 + 64 * 1024)
  pass(4_990)
  assert.equal(expired(), 0)
  pass(100)
  assert.equal(expired(), 1)
})

test('the next message has a time of its own', (t) => {
  const { timer, pass, expired } = timed(t)
  for (let number = 0; number < 10; number++) {
    timer.update(number, number * 10)
    pass(900)
  }
  assert.equal(expired(), 0)
  timer.stop()
  pass(5_000)
  assert.equal(expired(), 0)
})

test('the clock stands still while reading is paused', (t) => {
  const { timer, pass, expired } = timed(t)
  timer.update(0, 10)
  pass(500)
  timer.pause()
  pass(60_000)
  timer.resume()
  pass(490)
  assert.equal(expired(), 0)
  pass(1_100)
  assert.equal(expired(), 1)
})

const TOO_SLOW = { code: 1008, description: 'a message took more than 50 ms' }

/** Resolves with why a server closes a connection whose peer sends this, and then nothing more. */
async function closeAfter(...chunks: readonly Buffer[]): Promise<CloseReason> {
  await using server = new WebsocketServer({ messageTimeout: 50, closeTimeout: 50 })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const peer = await RawPeer.enter(port)
  const there = await entered
  listen(there, 'message', () => {})
  const closed = once(there, 'close')
  for (const chunk of chunks) peer.write(chunk)
  const reason = await closed
  peer.tcp.destroy()
  return reason
}

for (const [what, bytes] of [
  ['half a header', frame(1, 'x').subarray(0, 1)],
  ['half a frame', frame(1, 'hello').subarray(0, 8)],
  ['half a message', frame(1, 'hello', { fin: false })],
] as const) {
  test(`a peer that sends ${what}, and then only pings, is closed with 1008`, async () => {
    const pings = what === 'half a message' ? Array<Buffer>(9).fill(frame(9)) : []
    assert.deepEqual(await closeAfter(frame(1, 'whole'), bytes, ...pings), TOO_SLOW)
  })
}

test('pings between the fragments of a message give it no more time', async () => {
  const pings = Array<Buffer>(4_000).fill(frame(9, Buffer.alloc(100)))
  const close = await closeAfter(frame(1, 'x', { fin: false }), Buffer.concat(pings))
  assert.deepEqual(close, TOO_SLOW)
})

import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { EMITTER } from '../../lib/internal.ts'
import { ClosingHandshake, UnreadMessages } from '../../lib/connection/closing-handshake.ts'
import type { ConnectionEvents } from '../../lib/connection/connection.ts'
import { Emitter } from '../../lib/events/emitter.ts'
import type { Listenable } from '../../lib/events/listenable.ts'
import { listen } from '../../lib/events/listen.ts'
import { once } from '../../lib/events/once.ts'

const REASON = { code: 4000, description: 'enough' }
const TIMEOUT = 1_000

const targetOf = (emitter: Emitter<ConnectionEvents>): Listenable<ConnectionEvents> => ({
  [EMITTER]: emitter,
})

/** An emitter whose transport has ended, with this many messages that wait. */
function setUp(
  t: TestContext,
  { count, isLocal = false }: { count: number; isLocal?: boolean },
): { emitter: Emitter<ConnectionEvents>; unread: UnreadMessages; closes: () => number } {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let closes = 0
  const emitter = new Emitter<ConnectionEvents>({
    kind: 'connection',
    events: ['message', 'close'],
    queuedEvent: 'message',
    terminalEvent: 'close',
  })
  for (let number = 0; number < count; number++) emitter.enqueue(`m${number}`, 1)
  const onDone = (): void => {
    closes++
  }
  const unread = new UnreadMessages(emitter, { isLocal, timeout: TIMEOUT, onDone })
  return { emitter, unread, closes: () => closes }
}

test('every wait for the end of a close gets its reason, before it and after it', async () => {
  const closing = new ClosingHandshake(REASON)
  const early = closing.completion
  closing.complete()
  assert.deepEqual(await Promise.all([early, closing.completion]), [REASON, REASON])
})

test('the timer of a close calls back once its time is over, unless it is stopped', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let calls = 0
  for (const isStopped of [false, true]) {
    const closing = new ClosingHandshake(REASON)
    closing.startTimer(TIMEOUT, () => calls++)
    if (isStopped) closing.stopTimer()
    t.mock.timers.tick(TIMEOUT)
  }
  assert.equal(calls, 1)
})

test('where nothing waits, the close comes at once, and only once', (t) => {
  const { unread, closes } = setUp(t, { count: 0 })
  unread.update()
  unread.update()
  assert.equal(closes(), 1)
})

test('what this side has closed waits for no listener that may still come', (t) => {
  const { unread, closes } = setUp(t, { count: 2, isLocal: true })
  unread.update()
  assert.equal(closes(), 1)
})

test('a program that waits for the close alone reads no messages', (t) => {
  const { emitter, unread, closes } = setUp(t, { count: 2 })
  unread.update()
  assert.equal(closes(), 0)
  void once(targetOf(emitter), 'close')
  unread.update()
  assert.equal(closes(), 1)
})

test('each message that is taken gives the rest the whole time again', async (t) => {
  const { emitter, unread, closes } = setUp(t, { count: 3 })
  const loop = listen(targetOf(emitter), 'message')
  unread.update()
  for (let taken = 0; taken < 2; taken++) {
    t.mock.timers.tick(TIMEOUT - 1)
    await loop.next()
    unread.update()
  }
  t.mock.timers.tick(TIMEOUT - 1)
  assert.equal(closes(), 0)
  t.mock.timers.tick(1)
  assert.equal(closes(), 1)
})

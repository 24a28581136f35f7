import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import { ChannelError } from '../../../lib/channels/errors.ts'
import { ClosedError } from '../../../lib/errors.ts'
import {
  PendingPushes,
  errorFromReply,
  type PushRequest,
  type PushTerms,
} from '../../../lib/channels/client/pending-pushes.ts'

const atOnce = (timeout: number): PushTerms => ({
  reply: true,
  timeout,
  signal: undefined,
  sendsNow: true,
})
const later = (timeout: number): PushTerms => ({ ...atOnce(timeout), sendsNow: false })

interface Scene {
  readonly pushes: PendingPushes
  readonly sent: string[]
  readonly errors: ChannelError[]
  /** Of each error, whether its caller hears of it. */
  readonly handled: boolean[]
  readonly waits: () => number
}

/** Pushes without a real channel, on a virtual clock; `ref` makes their refs. */
function scene(t: TestContext, ref: (count: number) => string | undefined = String): Scene {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const sent: string[] = []
  const errors: ChannelError[] = []
  const handled: boolean[] = []
  let waits = 0
  const channel = {
    topic: 'room:1',
    sendPush: ({ event }: PushRequest) => ref(sent.push(event)),
    reportError: (error: ChannelError, isHandled = false) => {
      errors.push(error)
      handled.push(isHandled)
    },
  }
  const socket = {
    isAlive: true,
    pinReading: (step: 1 | -1) => {
      waits += step
    },
  }
  const pushes = new PendingPushes(channel, socket)
  return { pushes, sent, errors, handled, waits: () => waits }
}

test('a push is settled by the reply of its ref, once', async (t) => {
  const { pushes, waits } = scene(t)
  const pushed = pushes.add({ event: 'a', payload: {} }, atOnce(100))
  assert.equal(waits(), 1)
  assert.equal(pushes.answer('2', 'ok', 'another'), false)
  assert.equal(pushes.answer('1', 'ok', 'mine'), true)
  assert.equal(pushes.answer('1', 'error', 'again'), false)
  assert.equal(await pushed, 'mine')
  assert.equal(waits(), 0)
})

test('with `reply: false` a push is done when it is sent, and counts against nothing', async (t) => {
  const { pushes, sent, errors, waits } = scene(t)
  const silent = { ...atOnce(100), reply: false }
  for (let count = 0; count < 10_001; count++) {
    assert.equal(await pushes.add({ event: 'a', payload: {} }, silent), undefined)
  }
  assert.deepEqual([sent.length, waits()], [10_001, 0])
  assert.equal(pushes.answer('1', 'error', 'late'), false)
  const waiting = pushes.add({ event: 'b', payload: {} }, { ...silent, sendsNow: false })
  const late = pushes.add({ event: 'c', payload: {} }, { ...silent, sendsNow: false, timeout: 50 })
  mock.timers.tick(50)
  await assert.rejects(late, {
    status: 'timeout',
    message: '`c` on `room:1` was not sent within 50 ms',
  })
  pushes.flush()
  assert.equal(await waiting, undefined)
  assert.equal(errors.length, 1)
})

test('a signal gives a push up: one that waits is never sent, and a later reply is nothing', async (t) => {
  const { pushes, sent, errors, waits } = scene(t)
  const stop = new AbortController()
  const { signal } = stop
  const asked = pushes.add({ event: 'a', payload: {} }, { ...atOnce(100), signal })
  const waiting = pushes.add({ event: 'b', payload: {} }, { ...later(100), signal })
  const answered = pushes.add({ event: 'c', payload: {} }, { ...atOnce(100), signal })
  pushes.answer('2', 'ok', 'in time')
  const reason = new Error('not wanted any more')
  stop.abort(reason)
  for (const push of [asked, waiting]) await assert.rejects(push, reason)
  assert.equal(await answered, 'in time')
  assert.equal(pushes.answer('1', 'ok', 'late'), false)
  pushes.flush()
  const never = pushes.add({ event: 'd', payload: {} }, { ...atOnce(100), signal })
  await assert.rejects(never, reason)
  assert.deepEqual([sent, errors, waits()], [['a', 'c'], [], 0])
})

test('a refusal that the caller catches is told to nothing else', async (t) => {
  const { pushes, handled } = scene(t)
  const refuse = (ref: string): unknown => pushes.answer(ref, 'error', {})
  void pushes.add({ event: 'left alone', payload: {} }, atOnce(100))
  void pushes.add({ event: 'caught', payload: {} }, atOnce(100)).catch(() => {})
  const awaited = (async () => pushes.add({ event: 'awaited', payload: {} }, atOnce(100)))()
  const all = Promise.allSettled([pushes.add({ event: 'one of all', payload: {} }, atOnce(100))])
  await Promise.resolve()
  for (const ref of ['1', '2', '3', '4']) refuse(ref)
  await assert.rejects(awaited, ChannelError)
  await all
  assert.deepEqual(handled, [false, true, true, true])
})

test('a status other than ok rejects with it, and with the reply', async (t) => {
  const { pushes, errors } = scene(t)
  const pushed = pushes.add({ event: 'a', payload: {} }, atOnce(100))
  pushes.answer('1', 'later', { in: 5 })
  const error: unknown = await pushed.catch((cause: unknown) => cause)
  assert.ok(error instanceof ChannelError)
  assert.deepEqual([error.status, error.reply, error.topic], ['later', { in: 5 }, 'room:1'])
  assert.deepEqual(errors, [error])
})

test('what waits goes out in order, and its time has run meanwhile', async (t) => {
  const { pushes, sent, waits } = scene(t)
  const first = pushes.add({ event: 'a', payload: {} }, later(100))
  const second = pushes.add({ event: 'b', payload: {} }, later(50))
  const third = pushes.add({ event: 'c', payload: {} }, later(100))
  mock.timers.tick(60)
  await assert.rejects(second, { status: 'timeout', message: /`b` on `room:1` within 50 ms/ })
  pushes.flush()
  assert.deepEqual(sent, ['a', 'c'])
  pushes.answer('1', 'ok', 1)
  assert.equal(await first, 1)
  mock.timers.tick(40)
  await assert.rejects(third, { status: 'timeout' })
  assert.equal(waits(), 0)
})

test('without replies a push is done when it is sent', async (t) => {
  const { pushes } = scene(t, () => undefined)
  const waiting = pushes.add({ event: 'a', payload: {} }, later(100))
  assert.equal(await pushes.add({ event: 'b', payload: {} }, atOnce(100)), undefined)
  pushes.flush()
  assert.equal(await waiting, undefined)
})

test('those that were sent and those that were not fail apart', async (t) => {
  const { pushes, waits } = scene(t)
  const sent = pushes.add({ event: 'a', payload: {} }, atOnce(100))
  const waiting = pushes.add({ event: 'b', payload: {} }, later(100))
  pushes.failSent(new ClosedError('gone'))
  await assert.rejects(sent, ClosedError)
  assert.equal(waits(), 0)
  pushes.failWaiting(new ClosedError('over'))
  await assert.rejects(waiting, /over/)
})

test('no more than 10,000 wait', async (t) => {
  const { pushes } = scene(t)
  for (let count = 0; count < 10_000; count++)
    void pushes.add({ event: 'a', payload: {} }, later(9))
  await assert.rejects(pushes.add({ event: 'a', payload: {} }, later(9)), ChannelError)
})

test('one that can no longer be said is rejected, and the others go out', async (t) => {
  const { pushes, sent } = scene(t, (count) => {
    if (count === 1) throw new TypeError('it has changed')
    return String(count)
  })
  const wrong = pushes.add({ event: 'a', payload: {} }, later(100))
  const right = pushes.add({ event: 'b', payload: {} }, later(100))
  pushes.flush()
  await assert.rejects(wrong, /changed/)
  pushes.answer('2', 'ok', 'yes')
  assert.equal(await right, 'yes')
  assert.deepEqual(sent, ['a', 'b'])
})

test('what a server says is cut in a message for humans', () => {
  const error = errorFromReply('a join', { topic: 'a', status: 'error', reply: 'x'.repeat(10_000) })
  assert.ok(error.message.length < 300)
})

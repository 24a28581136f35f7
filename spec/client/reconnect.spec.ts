import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import type { CloseReason, ReconnectOptions } from 'simplewebsockets'
import { ConnectError } from '../../lib/errors.ts'
import { ReconnectSchedule } from '../../lib/client/reconnect.ts'

const LOST: CloseReason = { code: 1006, description: '' }
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Makes pauses on a clock that a test moves; `failures` has what the policy's functions threw. */
function made(
  t: TestContext,
  policy: boolean | ReconnectOptions,
): { retries: ReconnectSchedule; failures: unknown[] } {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  t.mock.method(performance, 'now', () => Date.now())
  const failures: unknown[] = []
  return { retries: new ReconnectSchedule(policy, (cause) => void failures.push(cause)), failures }
}

/** Tells how far a wait has come. */
function follow(waiting: Promise<void>): { over: boolean } {
  const state = { over: false }
  void waiting.then(() => (state.over = true))
  return state
}

test('without a policy there is no other attempt', (t) => {
  assert.equal(made(t, false).retries.next(LOST), undefined)
})

test('attempts are counted, bounded, and begin anew after a stable connection', (t) => {
  const { retries } = made(t, { attempts: 2 })
  const attempt = (): number | undefined => retries.next(LOST)?.attempt
  assert.deepEqual([attempt(), attempt(), attempt()], [1, 2, undefined])
  retries.connected()
  t.mock.timers.tick(9_999)
  retries.lost()
  assert.equal(attempt(), undefined)
  retries.connected()
  t.mock.timers.tick(10_000)
  retries.lost()
  assert.deepEqual([attempt(), attempt(), attempt()], [1, 2, undefined])
})

test('a delay of yours is asked for with the number of the attempt', (t) => {
  const { retries } = made(t, { delay: (attempt) => attempt * 10 })
  assert.deepEqual(retries.next(LOST), { attempt: 1, delay: 10, cause: LOST })
  assert.equal(retries.next(LOST)?.delay, 20)
})

test('what the server asks for comes before the delay', (t) => {
  const { retries } = made(t, { delay: () => 10 })
  assert.equal(retries.next({ code: 1012, description: 'retry=5000' })?.delay, 5_010)
  assert.equal(retries.next(LOST)?.delay, 10)
})

test('a delay that no timer takes is the longest it does', (t) => {
  assert.equal(made(t, { delay: () => 1e300 }).retries.next(LOST)?.delay, 2 ** 31 - 1)
})

test('`when` decides alone, and is not asked once the attempts are used up', (t) => {
  const asked: unknown[] = []
  const when = (cause: unknown): boolean => asked.push(cause) > 0
  const { retries } = made(t, { attempts: 1, when })
  const normal = { code: 1000, description: '' }
  assert.equal(retries.next(normal)?.attempt, 1)
  assert.equal(retries.next(normal), undefined)
  assert.deepEqual(asked, [normal])
})

for (const [cause, usual] of [
  [LOST, true],
  [{ code: 1000, description: '' }, false],
  [{ code: 4001, description: '' }, true],
  [new ConnectError('no'), true],
  [new ConnectError('no', { status: 403 }), false],
  [new ConnectError('no', { status: 503 }), true],
] as const) {
  const what = cause instanceof ConnectError ? `status ${cause.status}` : `code ${cause.code}`
  test(`\`when\` is told what is usual after ${what}: ${usual}`, (t) => {
    const asked: unknown[] = []
    const when = (...given: unknown[]): boolean => {
      asked.push(...given)
      return false
    }
    assert.equal(made(t, { when }).retries.next(cause), undefined)
    assert.deepEqual(asked, [cause, usual])
  })
}

test('a server that wants to be left alone delays no other one that a function names', (t) => {
  const { retries } = made(t, { delay: () => 10 })
  const [one, other] = [new URL('ws://one.test/a'), new URL('ws://other.test/a')]
  const asking: CloseReason = { code: 1012, description: 'retry=5000' }
  retries.begin()
  assert.equal(retries.remaining(one), 0)
  assert.deepEqual(retries.next(asking), { attempt: 1, delay: 10, cause: asking })
  t.mock.timers.tick(10)
  retries.begin()
  assert.equal(retries.remaining(other), 0)
  assert.equal(retries.next(LOST)?.delay, 10)
  t.mock.timers.tick(10)
  retries.begin()
  assert.equal(retries.remaining(new URL('ws://one.test/b')), 4_980)
  assert.deepEqual(retries.postpone(4_980), { attempt: 2, delay: 4_990, cause: LOST })
  t.mock.timers.tick(4_980)
  retries.begin()
  assert.equal(retries.remaining(one), 0)
})

test('a wake brings no attempt on with a server that wants to be left alone', async (t) => {
  const { retries } = made(t, { delay: () => 10 })
  retries.begin()
  retries.remaining(new URL('ws://one.test'))
  retries.next({ code: 1012, description: 'retry=5000' })
  const state = follow(retries.wait(retries.postpone(5_000), new AbortController().signal))
  retries.wake()
  t.mock.timers.tick(4_999)
  await turn()
  assert.equal(state.over, false)
  t.mock.timers.tick(11)
  await turn()
  assert.equal(state.over, true)
})

test('`when` may refuse what is tried again by default', (t) => {
  assert.equal(made(t, { when: () => false }).retries.next(LOST), undefined)
})

for (const [name, junk, shown] of [
  ['when', () => 'yes', 'true or false, got "yes"'],
  ['when', () => Promise.resolve(false), 'true or false, got an instance of Promise'],
  ['when', () => undefined, 'true or false, got undefined'],
  ['delay', () => -1, 'milliseconds from 0 up, got -1'],
  ['delay', () => NaN, 'milliseconds from 0 up, got NaN'],
  ['delay', () => '5', 'milliseconds from 0 up, got "5"'],
  ['delay', () => Infinity, 'milliseconds from 0 up, got Infinity'],
] as const) {
  test(`a ${name} that answers so is told of, and the usual holds: ${shown}`, (t) => {
    const { retries, failures } = made(t, { [name]: junk })
    const retry = retries.next(LOST)
    assert.ok(retry && retry.delay >= 0 && retry.delay <= 1_000)
    const message = `expected the answer of \`reconnect.${name}\` to be ${shown}`
    assert.deepEqual(
      failures.map((failure) => String(failure)),
      [`TypeError: ${message}`],
    )
  })
}

for (const name of ['when', 'delay'] as const) {
  test(`a ${name} that throws is told of, and the usual holds`, (t) => {
    const thrown = new Error('oops')
    const { retries, failures } = made(t, {
      [name]: () => {
        throw thrown
      },
    })
    assert.equal(retries.next(LOST)?.attempt, 1)
    assert.deepEqual(failures, [thrown])
    assert.equal(retries.next({ code: 1000, description: '' }), undefined)
  })
}

test('a wait is over when its time is', async (t) => {
  const { retries } = made(t, { delay: () => 500 })
  const retry = retries.next(LOST)
  assert.ok(retry)
  const state = follow(retries.wait(retry, new AbortController().signal))
  t.mock.timers.tick(499)
  await turn()
  assert.equal(state.over, false)
  t.mock.timers.tick(1)
  await turn()
  assert.equal(state.over, true)
})

for (const when of ['before', 'while'] as const) {
  test(`a wait is over at once when it is called off ${when} it waits, and leaves no timer`, async (t) => {
    const { retries } = made(t, { delay: () => 500 })
    const stop = new AbortController()
    const cleared = mock.method(globalThis, 'clearTimeout')
    t.after(() => cleared.mock.restore())
    if (when === 'before') stop.abort()
    const retry = retries.next(LOST)
    assert.ok(retry)
    const state = follow(retries.wait(retry, stop.signal))
    stop.abort()
    await turn()
    assert.deepEqual([state.over, cleared.mock.callCount()], [true, 1])
  })
}

for (const [what, since, asked, expected] of [
  ['at once, long after the last attempt', 60_000, 0, 0],
  ['a second after the last attempt', 300, 0, 700],
  ['not before the server wants it', 60_000, 4_000, 4_000],
] as const) {
  test(`a wake brings the attempt on, however often it comes: ${what}`, async (t) => {
    const { retries } = made(t, { delay: () => 20_000 })
    retries.begin()
    t.mock.timers.tick(since)
    const retry = retries.next({ code: 1012, description: `retry=${asked}` })
    assert.ok(retry)
    const state = follow(retries.wait(retry, new AbortController().signal))
    for (let count = 0; count < 100; count++) retries.wake()
    t.mock.timers.tick(Math.max(0, expected - 1))
    await turn()
    if (expected > 0) assert.equal(state.over, false)
    t.mock.timers.tick(1)
    await turn()
    assert.equal(state.over, true)
  })
}

test('a wake never puts an attempt off, and without a wait does nothing', async (t) => {
  const { retries } = made(t, { delay: () => 100 })
  retries.wake()
  retries.begin()
  const retry = retries.next(LOST)
  assert.ok(retry)
  const state = follow(retries.wait(retry, new AbortController().signal))
  retries.wake()
  t.mock.timers.tick(100)
  await turn()
  assert.equal(state.over, true)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ChannelError } from '../../../lib/channels/errors.ts'
import { closeReason } from '../../../lib/connection/close-codes.ts'
import { ConnectError } from '../../../lib/errors.ts'
import type { ReconnectOptions } from '../../../lib/options/client.ts'
import type { RejoinOptions } from '../../../lib/channels/client/options.ts'
import { rejoinDelay, resolveReconnect } from '../../../lib/channels/client/retry-policy.ts'

const LOST = closeReason(1006)
const REFUSED = new ChannelError('no', { topic: 'a', status: 'error' })

const unauthorized = (): ConnectError => new ConnectError('no', { status: 401 })

function delayAfter(
  policy: boolean | RejoinOptions,
  attempt: number,
  failures: unknown[] = [],
): number | undefined {
  return rejoinDelay(policy, REFUSED, attempt, (failure) => failures.push(failure))
}

function reconnection(given: true | ReconnectOptions, mayChange = false): ReconnectOptions {
  const policy = resolveReconnect(given, { mayChange })
  assert.ok(typeof policy === 'object')
  return policy
}

test('a channel joins again at once on a new connection, and after a delay on the same', () => {
  assert.equal(
    rejoinDelay(true, LOST, 1, () => {}),
    0,
  )
  for (const [attempt, most] of [1_000, 2_000, 5_000, 10_000, 10_000].entries()) {
    const delay = delayAfter(true, attempt + 1) ?? NaN
    assert.ok(delay >= most / 2 && delay <= most, `${delay} of ${most}`)
  }
})

test('without `rejoin` no channel joins again, and otherwise `when` decides', () => {
  assert.equal(
    rejoinDelay(false, LOST, 1, () => {}),
    undefined,
  )
  assert.equal(delayAfter({ when: () => false }, 1), undefined)
  assert.equal(delayAfter({ when: (error) => error === REFUSED, delay: (count) => count }, 7), 7)
})

test('a delay is no longer than a timer, and what is none is told', () => {
  assert.equal(delayAfter({ delay: () => 1e12 }, 1), 2 ** 31 - 1)
  for (const wrong of [-1, NaN, Infinity]) {
    const failures: unknown[] = []
    const delay = delayAfter({ delay: () => wrong }, 1, failures) ?? NaN
    assert.ok(delay >= 500 && delay <= 1_000)
    assert.match(String(failures[0]), /the answer of `rejoin.delay`/)
  }
})

test('no close code is final, and of statuses those are that no credential changes', () => {
  for (const mayChange of [false, true]) {
    const { when, delay } = reconnection(true, mayChange)
    assert.equal(when?.(closeReason(1000), false), true)
    assert.equal(when?.(new ConnectError('no', { status: 404 }), false), false)
    assert.ok((delay?.(1) ?? NaN) <= 10)
    assert.equal(when?.(unauthorized(), false), mayChange)
    assert.ok((delay?.(1) ?? NaN) >= 2_500)
  }
})

test('the `when` of a policy hears what the default would say', () => {
  const answers: boolean[] = []
  const when = (_: unknown, answer: boolean): boolean => answers.push(answer) > 0
  const policy = reconnection({ when, attempts: 3, delay: undefined })
  assert.equal(policy.when?.(closeReason(1000), false), true)
  assert.deepEqual(answers, [true])
  assert.equal(policy.attempts, 3)
  assert.equal(typeof policy.delay, 'function')
})

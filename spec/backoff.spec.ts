import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serverRequestedDelay, backoff, isRetryable } from '../lib/backoff.ts'
import { ConnectError } from '../lib/errors.ts'

const NOW = Date.parse('2026-01-01T00:00:00Z')
const HOUR = 3_600_000

for (const [attempt, most] of [
  [1, 1_000],
  [2, 2_000],
  [3, 4_000],
  [4, 8_000],
  [5, 16_000],
  [6, 30_000],
  [7, 30_000],
  [5_000, 30_000],
] as const) {
  test(`before attempt ${attempt} is any time up to ${most} ms`, () => {
    for (const part of [0, 0.25, 0.5, 1])
      assert.equal(
        backoff(attempt, () => part),
        most * part,
      )
  })
}

test('the time is drawn anew at every attempt, from nothing to the most, evenly', () => {
  const drawn = Array.from({ length: 10_000 }, () => backoff(4))
  const mean = drawn.reduce((sum, delay) => sum + delay) / drawn.length
  assert.ok(Math.min(...drawn) < 80 && Math.max(...drawn) > 7_920, 'the ends are reached')
  assert.ok(mean > 3_800 && mean < 4_200, `a mean of ${mean}`)
  assert.ok(drawn.every((delay) => Number.isInteger(delay) && delay >= 0 && delay <= 8_000))
})

for (const [code, again] of [
  [1000, false],
  [1001, true],
  [1002, false],
  [1003, true],
  [1005, true],
  [1006, true],
  [1007, true],
  [1008, false],
  [1009, true],
  [1011, true],
  [1012, true],
  [1013, true],
  [4000, true],
] as const) {
  test(`a close ${code} is ${again ? '' : 'not '}worth another attempt`, () => {
    assert.equal(isRetryable({ code, description: '' }), again)
  })
}

for (const [status, again] of [
  [undefined, true],
  [200, true],
  [302, true],
  [399, true],
  [400, false],
  [401, false],
  [403, false],
  [404, false],
  [408, true],
  [425, true],
  [426, false],
  [429, true],
  [499, false],
  [500, true],
  [503, true],
] as const) {
  test(`an answer of ${status} is ${again ? '' : 'not '}worth another attempt`, () => {
    assert.equal(isRetryable(new ConnectError('no', { status })), again)
  })
}

for (const [code, description, asked] of [
  [1012, 'retry=5000', 5_000],
  [1013, 'retry=5000', 5_000],
  [1012, 'Service restart; retry=250', 250],
  [1012, 'retry=0', 0],
  [1012, `retry=${'9'.repeat(100)}`, HOUR],
  [1012, 'retry=-5', 0],
  [1012, 'retry=soon', 0],
  [1012, 'noretry=5000', 0],
  [1012, 'retry = 5000', 0],
  [1012, 'retry=5000ms', 0],
  [1012, '', 0],
  [1001, 'retry=5000', 0],
  [1011, 'retry=5000', 0],
] as const) {
  test(`a close ${code} "${description.slice(0, 40)}" asks for ${asked} ms`, () => {
    assert.equal(serverRequestedDelay({ code, description }, NOW), asked)
  })
}

for (const [status, after, asked] of [
  [503, '120', 120_000],
  [429, '1', 1_000],
  [503, ' 2 ', 2_000],
  [503, '0', 0],
  [503, '9'.repeat(400), HOUR],
  [503, '1.5', 0],
  [503, '-5', 0],
  [503, 'soon', 0],
  [503, '', 0],
  [503, 'Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
  [503, 'Thursday, 01-Jan-26 00:00:30 GMT', 30_000],
  [503, 'Wed, 31 Dec 2025 23:00:00 GMT', 0],
  [503, 'Fri, 01 Jan 2100 00:00:00 GMT', HOUR],
  [503, '2026-01-01T00:00:30Z', 0],
  [500, '120', 0],
  [401, '120', 0],
  [undefined, '120', 0],
] as const) {
  test(`an answer of ${status} with Retry-After "${after.slice(0, 40)}" asks for ${asked} ms`, () => {
    const headers = { 'retry-after': after }
    assert.equal(serverRequestedDelay(new ConnectError('no', { status, headers }), NOW), asked)
  })
}

test("a date is read by the server's own clock, where it tells its time", () => {
  const headers = {
    'retry-after': 'Thu, 01 Jan 2026 05:00:10 GMT',
    date: 'Thu, 01 Jan 2026 05:00:00 GMT',
  }
  assert.equal(serverRequestedDelay(new ConnectError('no', { status: 503, headers }), NOW), 10_000)
})

test('an answer without headers asks for nothing', () => {
  assert.equal(serverRequestedDelay(new ConnectError('no', { status: 503 })), 0)
})

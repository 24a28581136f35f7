import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { ReplyTimer } from '../../../lib/channels/client/reply-timer.ts'

test('reading is pinned once, until the reply or the end', () => {
  const steps: number[] = []
  const timer = new ReplyTimer({
    timeout: 1_000,
    isAlive: true,
    pinReading: (step) => steps.push(step),
  })
  timer.pinReading(true)
  timer.pinReading(true)
  timer.stop()
  timer.stop()
  assert.deepEqual(steps, [1, -1])
})

test('a timer that starts again calls back once, and one that was stopped never', (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const calls: string[] = []
  const timer = new ReplyTimer({ timeout: 1_000, isAlive: true, pinReading: () => {} })
  timer.start(() => calls.push('first'))
  mock.timers.tick(999)
  timer.start(() => calls.push('second'))
  mock.timers.tick(999)
  assert.equal(calls.length, 0)
  mock.timers.tick(1)
  assert.equal(calls.join(), 'second')
  timer.start(() => calls.push('third'))
  timer.stop()
  mock.timers.tick(1_000)
  assert.equal(calls.join(), 'second')
})

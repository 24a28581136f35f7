import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ReadQueue } from '../../../lib/channels/history/read-queue.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const urgent = { timeout: 1_000, isUrgent: true }
const patient = { timeout: 1_000, isUrgent: false }

test('eight reads run at a time, and urgent ones run next', async () => {
  const queue = new ReadQueue()
  const began: string[] = []
  const ends: (() => void)[] = []
  const read = (name: string) => (): Promise<string> => {
    began.push(name)
    return new Promise((resolve) => ends.push(() => resolve(name)))
  }
  for (let n = 1; n <= 8; n++) void queue.run(read(`m${n}`), patient)
  const later = queue.run(read('later'), patient)
  const sooner = queue.run(read('sooner'), urgent)
  await turn()
  assert.equal(began.length, 8)
  ends[0]?.()
  await turn()
  assert.deepEqual(began.slice(8), ['sooner'])
  ends[8]?.()
  assert.equal(await sooner, 'sooner')
  await turn()
  assert.deepEqual(began.slice(9), ['later'])
  ends[9]?.()
  assert.equal(await later, 'later')
})

test('a read that returns at once, throws or fails frees its place', async () => {
  const queue = new ReadQueue()
  for (let n = 0; n < 10; n++) {
    assert.equal(
      queue.run(() => n, patient),
      n,
    )
    assert.throws(() => queue.run(() => assert.fail('thrown'), patient), /thrown/)
    const failing = queue.run(() => Promise.reject(new Error('failed')), patient)
    await assert.rejects(Promise.resolve(failing), /failed/)
  }
  assert.equal(
    queue.run(() => 'still', patient),
    'still',
  )
})

test('a read that takes too long gives its place to the next one', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const queue = new ReadQueue()
  const hanging = Array.from({ length: 8 }, () => queue.run(() => new Promise(() => {}), patient))
  const next = queue.run(() => 'next', patient)
  t.mock.timers.tick(1_000)
  await Promise.allSettled(hanging)
  assert.equal(await next, 'next')
})

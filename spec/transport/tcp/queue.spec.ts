import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Queue } from '../../../lib/transport/tcp/queue.ts'
import { seeded } from '../../support/random.ts'

test('random pushes and shifts give the items in their order, as an array does', () => {
  const random = seeded(7)
  const queue = new Queue<number>()
  const oracle: number[] = []
  for (let step = 0; step < 20_000; step++) {
    // Long phases of growing and of shrinking, to the end.
    if (random() < (step % 2_000 < 1_000 ? 0.8 : 0.2)) {
      queue.push(step)
      oracle.push(step)
    } else assert.equal(queue.shift(), oracle.shift())
    assert.equal(queue.length, oracle.length)
  }
})

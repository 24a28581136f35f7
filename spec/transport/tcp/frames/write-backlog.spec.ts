import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WriteBacklog } from '../../../../lib/transport/tcp/frames/write-backlog.ts'
import { below, noise, pick, seeded } from '../../../support/random.ts'

test('everything comes out once, in its order, as it was when it was added', () => {
  const random = seeded(7)
  for (let life = 0; life < 50; life++) {
    const backlog = new WriteBacklog()
    const expected: Buffer[] = []
    for (let count = below(random, 400); count > 0; count--) {
      const size = random() < 0.1 ? below(random, 20_000) : below(random, 60)
      const slab = new Uint8Array(
        noise(random, size + below(random, pick(random, [1, 100, 200_000]))),
      )
      const piece = slab.subarray(0, size)
      expected.push(Buffer.from(piece))
      backlog.add(piece)
      if (size < slab.length) piece.fill(0)
    }
    assert.ok(Buffer.concat(backlog.take()).equals(Buffer.concat(expected)))
  }
})

test('what many peers share waits as it is', () => {
  const shared = new Uint8Array(10_000)
  const backlog = new WriteBacklog()
  backlog.add(Uint8Array.of(1))
  backlog.add(shared)
  assert.equal(backlog.take()[1], shared)
})

test('small pieces take little more than their bytes', () => {
  const backlog = new WriteBacklog()
  for (let count = 0; count < 100_000; count++) backlog.add(new Uint8Array(12))
  const blocks = backlog.take()
  const taken = blocks.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
  assert.ok(blocks.length < 50, `${blocks.length} blocks`)
  assert.ok(taken < 1.2 * 100_000 * 12, `${taken} bytes`)
})

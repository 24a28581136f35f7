import assert from 'node:assert/strict'
import { test } from 'node:test'
import { transportContract } from '../support/transport/contract.ts'
import { memoryEnds } from '../support/transport/memory.ts'

transportContract('memory', () =>
  Promise.resolve({ ends: memoryEnds(), release: () => Promise.resolve() }),
)

test('memory: both ends know the subprotocol', () => {
  assert.deepEqual(
    memoryEnds('chat').map(({ protocol }) => protocol),
    ['chat', 'chat'],
  )
})

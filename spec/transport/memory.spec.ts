import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinInMemory } from '../../lib/transport/memory.ts'
import { transportContract } from './contract.ts'

transportContract('memory', () =>
  Promise.resolve({ ends: joinInMemory(), release: () => Promise.resolve() }),
)

test('memory: both ends know the subprotocol', () => {
  assert.deepEqual(
    joinInMemory('chat').map(({ protocol }) => protocol),
    ['chat', 'chat'],
  )
})

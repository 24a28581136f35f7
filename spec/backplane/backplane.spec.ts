import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memoryBackplane } from '../../lib/backplane/backplane.ts'
import { backplaneContract } from '../../lib/testing/backplane-contract.ts'

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const contract = backplaneContract(() => {
  const both = memoryBackplane()
  return { nodes: [both, both], release: () => {} }
})
for (const { name, run } of contract) test(`memory: ${name}`, run)

test('memory: a message comes in a later turn, never inside publish', async () => {
  const backplane = memoryBackplane()
  const got: number[] = []
  void backplane.subscribe('news', (message) => void got.push(...message))
  void backplane.publish('news', Uint8Array.of(1))
  assert.deepEqual(got, [])
  await turn()
  assert.deepEqual(got, [1])
})

test('memory: a subscriber that stops before a message has come does not get it', async () => {
  const backplane = memoryBackplane()
  const stop = await backplane.subscribe('news', () => assert.fail('it has stopped'))
  void backplane.publish('news', Uint8Array.of(1))
  await stop()
  await turn()
})

test('memory: a subscriber that comes after a message was published does not get it', async () => {
  const backplane = memoryBackplane()
  const got: number[] = []
  void backplane.subscribe('news', () => {})
  void backplane.publish('news', Uint8Array.of(1))
  void backplane.subscribe('news', (message) => void got.push(...message))
  await turn()
  assert.deepEqual(got, [])
})

test('memory: two backplanes have nothing to do with each other', async () => {
  const [one, other] = [memoryBackplane(), memoryBackplane()]
  void one.subscribe('news', () => assert.fail('it was published elsewhere'))
  void other.publish('news', Uint8Array.of(1))
  await turn()
})

test('memory: a closed one has no subscribers, and stopping late stops no other one', async () => {
  const backplane = memoryBackplane()
  const stop = await backplane.subscribe('news', () => assert.fail('it has closed'))
  await backplane.close()
  void backplane.publish('news', Uint8Array.of(1))
  await turn()
  const got: number[] = []
  void backplane.subscribe('news', (message) => void got.push(...message))
  await stop()
  void backplane.publish('news', Uint8Array.of(2))
  await turn()
  assert.deepEqual(got, [2])
})

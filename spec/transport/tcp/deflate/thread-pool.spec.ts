import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  runInThreadPool,
  type PoolUser,
} from '../../../../lib/transport/tcp/deflate/thread-pool.ts'

test('four are under way at once, the others wait their turn, in their order', async () => {
  const user = { latestTurn: 0 }
  const started: number[] = []
  const done: ((error: Error | null, result: number) => void)[] = []
  const results = Array.from({ length: 10 }, (_, index) =>
    runInThreadPool<number>(user, (finish) => {
      started.push(index)
      done.push(finish)
    }),
  )
  assert.deepEqual(started, [0, 1, 2, 3])
  done[2]?.(null, 2)
  assert.deepEqual(started, [0, 1, 2, 3, 4])
  const failed = assert.rejects(results[0] ?? Promise.resolve(), /out of memory/)
  done[0]?.(new Error('out of memory'), 0)
  await failed
  assert.deepEqual(started, [0, 1, 2, 3, 4, 5])
  for (const index of [1, 3, 4, 5, 6, 7, 8, 9]) done[index]?.(null, index)
  assert.deepEqual(await Promise.all(results.slice(1)), [1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('a user with much work keeps no other waiting for all of it', () => {
  const started: string[] = []
  const done: ((error: Error | null, result: undefined) => void)[] = []
  const ask = (name: string, user: PoolUser): void => {
    void runInThreadPool(user, (finish) => {
      started.push(name)
      done.push(finish)
    })
  }
  const [greedy, honest] = [{ latestTurn: 0 }, { latestTurn: 0 }]
  for (let count = 0; count < 20; count++) ask('greedy', greedy)
  ask('honest', honest)
  done[0]?.(null, undefined)
  assert.deepEqual(started, ['greedy', 'greedy', 'greedy', 'greedy', 'honest'])
  for (let index = 1; index < 21; index++) done[index]?.(null, undefined)
  assert.equal(started.length, 21)
})

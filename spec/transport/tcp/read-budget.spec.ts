import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runInNextTurn, spendTurn } from '../../../lib/transport/tcp/read-budget.ts'
import { turn } from '../../support/scene.ts'

const BYTES = 100 * 1024

/** Keeps the event loop busy until reading has had its share of this turn. */
function spendWholeTurn(): void {
  spendTurn(BYTES)
  while (!spendTurn(0));
}

test('a turn has its share of reading, and each turn has one anew', async () => {
  assert.equal(spendTurn(BYTES), false)
  spendWholeTurn()
  assert.equal(spendTurn(1), true)
  await turn()
  await turn()
  assert.equal(spendTurn(1), false)
})

test('a turn in which little was read is never spent, however long it takes', async (t) => {
  await turn()
  let now = performance.now()
  t.mock.method(performance, 'now', () => (now += 1_000))
  for (let count = 0; count < 100; count++) assert.equal(spendTurn(100), false)
})

test('what waits for the next turn goes on in its order, a turn for each that takes a whole one', async () => {
  const order: string[] = []
  let turns = 0
  const count = (): void => {
    turns += 1
    if (order.length < 3) setImmediate(count)
  }
  setImmediate(count)
  await new Promise<void>((resolve) => {
    spendTurn(0)
    for (const name of ['one', 'two', 'three']) {
      runInNextTurn(() => {
        order.push(name)
        spendWholeTurn()
        if (name === 'three') resolve()
      })
    }
  })
  assert.deepEqual(order, ['one', 'two', 'three'])
  assert.ok(turns >= 2, `${turns} turns`)
})

test('where something else takes much of each turn, reading has its part: up to 100 ms', async (t) => {
  const SLICE = 9 // ms that each callback reads
  await turn()
  let now = performance.now()
  t.mock.method(performance, 'now', () => now)
  let count = 0
  let isOver = false
  const read = (): void => {
    count += 1
    spendTurn(BYTES)
    now += SLICE
    if (!isOver) runInNextTurn(read)
  }
  spendTurn(0)
  for (let connections = 0; connections < 20; connections++) runInNextTurn(read)
  const readIn = async (others: number): Promise<number> => {
    now += others
    count = 0
    await turn()
    return count * SLICE
  }
  const reading = []
  for (const others of [0, 0, 1, 10, 500, 0]) reading.push(await readIn(others))
  isOver = true
  await turn()
  assert.deepEqual(reading, [27, 27, 27, 45, 108, 27])
})

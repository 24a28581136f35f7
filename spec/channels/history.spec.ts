import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { broadcastOf, type Broadcast } from '../../lib/channels/broadcast.ts'
import { Log, recall, resolveHistory } from '../../lib/channels/history.ts'
import { phoenix } from '../../lib/channels/phoenix.ts'
import { MOST_SENDERS } from '../../lib/channels/position.ts'
import { DELIVER, Message } from '../../lib/message.ts'

function message(sender: string, n: number): Broadcast {
  const payload = { n, $position: `${sender}:${n}` }
  return broadcastOf(phoenix, { topic: 'a', event: 'said', payload })
}

/** A log, and what it tells of. */
function logOf({ size = 100, age = 1_000 } = {}): {
  log: Log
  said: number[]
  doubts: () => number
} {
  const said: number[] = []
  let count = 0
  const doubted = (): void => {
    count++
  }
  const log = new Log({ size, age }, { said: ({ n }) => void said.push(n), doubted })
  return { log, said, doubts: () => count }
}

const hear = (log: Log, sender: string, ...numbers: number[]): void => {
  for (const n of numbers) log[DELIVER](message(sender, n))
}
const numbers = (log: Log): number[] => log.kept.map(({ n }) => n)
const ask = (log: Log, seen: Record<string, number>): [boolean, ...string[]] => {
  const { recovered, missed } = recall(new Map(Object.entries(seen)), log.senders, log.kept)
  return [
    recovered,
    ...missed.map(({ sender, n }) => (sender === log.name ? `own:${n}` : `${sender}:${n}`)),
  ]
}

test('a log keeps what is said here, and tells of it, and what is heard of others', () => {
  const { log, said } = logOf()
  const { sender, n } = log.next
  assert.equal(n, 1)
  hear(log, sender, 1, 2)
  hear(log, 'b', 7)
  assert.deepEqual([numbers(log), said, log.next.n], [[1, 2, 7], [1, 2], 3])
})

test('a log keeps nothing twice, and nothing without a position', () => {
  const { log } = logOf()
  hear(log, 'b', 7, 7, 6)
  log[DELIVER](broadcastOf(phoenix, { topic: 'a', event: 'presence_diff', payload: {} }))
  log[DELIVER](new Message('text'))
  assert.deepEqual(numbers(log), [7])
  log.close()
})

test('a log is bounded by size and by age', () => {
  mock.timers.enable({ apis: ['Date'] })
  const { log } = logOf({ size: 3 })
  for (let n = 1; n <= 100; n++) hear(log, log.name, n)
  assert.deepEqual(numbers(log), [98, 99, 100])
  mock.timers.tick(600)
  hear(log, log.name, 101)
  mock.timers.tick(600)
  assert.deepEqual(numbers(log), [101])
  mock.timers.tick(600)
  assert.deepEqual(numbers(log), [])
  mock.timers.reset()
})

test('all that was missed is recalled, and nothing else', () => {
  const { log } = logOf()
  hear(log, log.name, 1, 2)
  hear(log, 'b', 1)
  hear(log, log.name, 3)
  hear(log, 'b', 2)
  assert.deepEqual(ask(log, { [log.name]: 1, b: 1 }), [true, 'own:2', 'own:3', 'b:2'])
  assert.deepEqual(ask(log, { [log.name]: 1 }), [true, 'own:2', 'b:1', 'own:3', 'b:2'])
  assert.deepEqual(ask(log, { [log.name]: 3, b: 2 }), [true])
})

test('nothing is vouched for that is too old, unknown, or not yet said', () => {
  const { log } = logOf({ size: 2 })
  assert.deepEqual(ask(log, { [log.name]: 0 }), [true])
  hear(log, log.name, 1, 2, 3)
  assert.deepEqual(ask(log, { [log.name]: 1 }), [true, 'own:2', 'own:3'])
  assert.deepEqual(ask(log, { [log.name]: 0 }), [false, 'own:2', 'own:3'])
  assert.deepEqual(ask(log, {}), [false, 'own:2', 'own:3'])
  assert.deepEqual(ask(log, { [log.name]: 4 }), [false])
  assert.deepEqual(ask(log, { [log.name]: 3, gone: 1 }), [false])
})

test('one that was heard of from the middle vouches for what came after', () => {
  const { log } = logOf()
  hear(log, 'b', 7, 8)
  assert.deepEqual(ask(log, { b: 6 }), [false, 'b:7', 'b:8'])
  assert.deepEqual(ask(log, { b: 7 }), [true, 'b:8'])
  assert.deepEqual(ask(log, { [log.name]: 0 }), [true, 'b:7', 'b:8'])
})

test('a hole takes away what was vouched for, and a new name begins', () => {
  const { log, doubts } = logOf()
  const name = log.name
  hear(log, name, 1)
  hear(log, 'b', 1, 2, 5)
  assert.notEqual(log.name, name)
  assert.equal(doubts(), 1)
  assert.deepEqual(log.next, { sender: log.name, n: 1 })
  assert.equal(ask(log, { [name]: 1, b: 2 })[0], false)
  assert.equal(ask(log, { [log.name]: 0, b: 4 })[0], true)
})

test('senders are bounded', () => {
  const { log, doubts } = logOf()
  for (let n = 0; n < 3 * MOST_SENDERS; n++) hear(log, `s${n}`, 1)
  assert.ok(log.senders.size <= MOST_SENDERS)
  assert.ok(doubts() > 1)
})

test('what is to be remembered lets nothing be lost that has not come yet', () => {
  const { log } = logOf()
  hear(log, log.name, 1, 2, 3)
  hear(log, 'b', 4, 5)
  const { seen } = recall(
    new Map([
      [log.name, 1],
      ['b', 5],
    ]),
    log.senders,
    log.kept,
  )
  assert.deepEqual(Object.fromEntries(seen), { [log.name]: 1, b: 5 })
})

test('options are checked, and have defaults', () => {
  assert.deepEqual(resolveHistory({}), {
    ...{ size: 100, age: 300_000, topics: 1_000 },
    ...{ store: undefined, timeout: 1_000 },
  })
  const wrong: unknown[] = [true, null, 5, []]
  for (const options of wrong) {
    assert.throws(() => resolveHistory(options as object), /expected .* to be an object/)
  }
  for (const [options, text] of [
    [{ size: 0 }, 'expected `size` to be a whole number from 1 up, got 0'],
    [{ age: '5m' }, 'expected `age` to be milliseconds from 1 up, got "5m"'],
    [{ topics: 1.5 }, 'expected `topics` to be a whole number from 1 up, got 1.5'],
    [{ timeout: 0 }, 'expected `timeout` to be milliseconds from 1 up, got 0'],
    [
      { store: {} },
      'expected `store` to be an object with `keep` and `read`, such as redisHistory(), got an object',
    ],
    [{ sise: 5 }, 'unknown option `sise`: did you mean `size`?'],
  ] as const) {
    assert.throws(() => resolveHistory(options as object), { name: 'TypeError', message: text })
  }
})

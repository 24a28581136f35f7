import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { historyContract } from 'simplewebsockets/testing'
import { MemoryHistory } from '../../../lib/channels/history/memory-history.ts'
import type { HistoryBounds } from '../../../lib/channels/history/store.ts'

const DAY = 86_400_000
const BOUNDS: HistoryBounds = { size: 100, ttl: 1_000, maxBytes: 1_000_000 }

function offsets(store: MemoryHistory, topic: string, since = 0, bounds = BOUNDS): number[] {
  return store.read(topic, since, bounds).entries.map(({ offset }) => offset)
}

function withClock(act: () => void): void {
  mock.timers.enable({ apis: ['Date', 'setInterval'] })
  try {
    act()
  } finally {
    mock.timers.reset()
  }
}

test('offsets count from 1, and an empty topic has the epoch of its first message', () => {
  const store = new MemoryHistory()
  const { epoch, offset, entries } = store.read('a', 0, BOUNDS)
  assert.deepEqual([offset, entries], [0, []])
  assert.deepEqual(store.append('a', 'one', BOUNDS), { epoch, offset: 1 })
  assert.deepEqual(store.append('a', 'two', BOUNDS), { epoch, offset: 2 })
  const page = store.read('a', 1, BOUNDS)
  assert.deepEqual([page.epoch, page.offset, page.entries[0]?.data], [epoch, 2, 'two'])
  assert.deepEqual(store.read('a', undefined, BOUNDS), { epoch, offset: 2, entries: [] })
  assert.deepEqual(
    [offsets(store, 'a'), offsets(store, 'a', 2), offsets(store, 'a', 9)],
    [[1, 2], [], []],
  )
  store.close()
})

test('two stores have no epoch in common', () => {
  const epochs = [new MemoryHistory(), new MemoryHistory()].map(
    (store) => store.read('a', 0, BOUNDS).epoch,
  )
  assert.notEqual(epochs[0], epochs[1])
})

test('a topic keeps so many messages, and so many bytes', () => {
  const store = new MemoryHistory()
  for (let count = 0; count < 10; count++) store.append('a', 'x'.repeat(10), { ...BOUNDS, size: 3 })
  assert.deepEqual(offsets(store, 'a'), [8, 9, 10])
  assert.deepEqual(offsets(store, 'a', 9), [10])
  store.append('a', 'x'.repeat(10), { ...BOUNDS, maxBytes: 25 })
  assert.deepEqual(offsets(store, 'a'), [10, 11])
  store.append('a', 'x'.repeat(30), { ...BOUNDS, maxBytes: 25 })
  assert.deepEqual(
    [offsets(store, 'a'), store.read('a', 0, BOUNDS).offset],
    [[], 12],
    'it is too big',
  )
  store.close()
})

test('messages expire; the position is known for a day longer, and then another life begins', () => {
  withClock(() => {
    const store = new MemoryHistory()
    const { epoch } = store.append('a', 'one', BOUNDS)
    mock.timers.tick(600)
    store.append('a', 'two', BOUNDS)
    mock.timers.tick(500)
    assert.deepEqual(offsets(store, 'a'), [2])
    mock.timers.tick(600)
    const { entries, ...position } = store.read('a', 0, BOUNDS)
    assert.deepEqual([entries, position], [[], { epoch, offset: 2 }])
    mock.timers.tick(DAY)
    const next = store.read('a', 0, BOUNDS)
    assert.equal(next.offset, 0)
    assert.notEqual(next.epoch, epoch)
    assert.deepEqual(store.append('a', 'three', BOUNDS), { epoch: next.epoch, offset: 1 })
    store.close()
  })
})

test('a topic in use keeps its position for as long as that', () => {
  withClock(() => {
    const store = new MemoryHistory()
    const [release, releaseToo] = [store.retain('a'), store.retain('a')]
    const { epoch } = store.append('a', 'one', BOUNDS)
    release()
    mock.timers.tick(5 * DAY)
    assert.deepEqual(store.read('a', undefined, BOUNDS), { epoch, offset: 1, entries: [] })
    releaseToo()
    mock.timers.tick(10_000)
    assert.equal(store.read('a', undefined, BOUNDS).offset, 0)
  })
})

test('the topic that was used least recently goes first, and comes again in another epoch', () => {
  const store = new MemoryHistory({ maxBytes: 3_000 })
  const data = 'x'.repeat(700) // 900 with what is counted for it and its topic
  const [a, b] = ['a', 'b', 'c'].map((topic) => store.append(topic, data, BOUNDS))
  store.append('a', '', BOUNDS)
  store.append('d', data, BOUNDS)
  assert.deepEqual(offsets(store, 'a'), [1, 2])
  const again = store.read('b', 0, BOUNDS)
  assert.equal(again.offset, 0)
  assert.notEqual(again.epoch, b?.epoch)
  assert.equal(store.read('a', 0, BOUNDS).epoch, a?.epoch)
  store.close()
})

test('a topic in use is not evicted for one that is not, whose own oldest messages go', () => {
  const store = new MemoryHistory({ maxBytes: 3_000 })
  const data = 'x'.repeat(700)
  const release = store.retain('a')
  store.append('a', data, BOUNDS)
  const { epoch } = store.append('a', data, BOUNDS)
  store.append('b', data, BOUNDS)
  store.append('b', data, BOUNDS)
  assert.deepEqual([offsets(store, 'a'), offsets(store, 'b')], [[1, 2], [2]])
  release()
  store.append('b', data, BOUNDS)
  assert.deepEqual(offsets(store, 'b'), [2, 3])
  assert.notEqual(store.read('a', 0, BOUNDS).epoch, epoch)
  store.close()
})

test('what is kept is bounded, whatever comes', () => {
  const store = new MemoryHistory({ maxBytes: 1_000_000 })
  const before = process.memoryUsage().heapUsed
  for (let count = 0; count < 20_000; count++) {
    store.append(`topic ${count % 5_000}`, `${count}`.repeat(200), { ...BOUNDS, size: 1_000 })
  }
  assert.ok(process.memoryUsage().heapUsed - before < 60_000_000)
  store.close()
})

test('nothing runs on when all is over: the sweep ends with the last topic', () => {
  withClock(() => {
    const store = new MemoryHistory()
    store.append('a', 'one', BOUNDS)
    mock.timers.tick(10_000)
    mock.timers.tick(2 * DAY)
    store.append('b', 'one', BOUNDS)
    store.close()
    assert.equal(store.read('b', 0, BOUNDS).offset, 0)
  })
})

for (const { name, run } of historyContract(() => new MemoryHistory(), { subscribes: false })) {
  test(`memory: ${name}`, run)
}

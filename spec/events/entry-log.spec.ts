import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Consumer } from '../../lib/events/consumer.ts'
import { EntryLog, type Entry } from '../../lib/events/entry-log.ts'

const consumer = (cursor: number): Consumer<string> => ({
  cursor,
  isBusy: false,
  deliver: () => undefined,
  onEnd: () => {},
})

const entry = (number: number, isTaken = false): Entry<string> => ({
  number,
  value: `v${number}`,
  size: 10,
  isTaken,
})

function logOf(...entries: Entry<string>[]): EntryLog<string> {
  const log = new EntryLog<string>()
  for (const each of entries) log.push(each)
  return log
}

test('an entry is found by its number, also where numbers are missing', () => {
  const log = logOf(entry(3), entry(4), entry(8))
  assert.deepEqual(
    [0, 3, 4, 5, 8, 9].map((number) => log.indexOf(number)),
    [0, 0, 1, 2, 2, 3],
  )
})

test('taken entries go up to the first that is not taken, or that a cursor has not passed', () => {
  const log = logOf(entry(1, true), entry(2, true), entry(3), entry(4, true))
  log.discardTaken(2)
  assert.deepEqual([log.length, log.bytes], [3, 30])
  log.discardTaken(Infinity)
  assert.deepEqual([log.length, log.bytes, log.at(0)?.number], [2, 20, 3])
})

test('a consumer passes by what another one has picked', () => {
  const [one, other] = [consumer(0), consumer(0)]
  const log = logOf({ ...entry(1, true), recipients: [other] }, entry(2))
  assert.equal(log.findNextFor(one)?.number, 2)
  assert.equal(log.findNextFor(other)?.number, 1)
  assert.equal(log.findNextFor(consumer(3)), undefined)
})

test('the first entry that is not taken is found behind a number', () => {
  const log = logOf(entry(1), entry(2, true), entry(3))
  assert.equal(log.findUntaken(2)?.number, 3)
  assert.equal(log.findUntaken(4), undefined)
})

test('a log that is cleared returns what is not taken, and counts no bytes', () => {
  const log = logOf(entry(1, true), entry(2), entry(3))
  log.discardTaken(Infinity)
  log.delete(1)
  assert.equal(log.bytes, 10)
  assert.deepEqual(log.clear(), ['v2'])
  assert.deepEqual([log.length, log.bytes], [0, 0])
  log.delete(0)
  assert.equal(log.bytes, 0)
})

test('thousands of entries come and go in their order', () => {
  const log = new EntryLog<string>()
  for (let number = 0; number < 5_000; number++) log.push(entry(number, true))
  for (let end = 1; end <= 5_000; end++) {
    log.discardTaken(end)
    assert.equal(log.at(0)?.number, end === 5_000 ? undefined : end)
  }
  assert.equal(log.bytes, 0)
})

import assert from 'node:assert/strict'
import type { HistoryPair, MakeHistory } from './history-contract.ts'
import type { HistoryBounds, HistoryPage, HistoryStore } from '../channels/history/store.ts'

/** A test of a history, with the histories of two nodes. */
type HistoryTest = (
  one: HistoryStore,
  other: HistoryStore,
  pair: HistoryPair,
  make: MakeHistory,
) => Promise<void>
/** Tests by their names. */
export type HistoryTests = Readonly<Record<string, HistoryTest>>

const TIMEOUT = 10_000 // milliseconds until a test fails because nothing has changed
/** Bounds that no test reaches by accident. */
export const BOUNDS: HistoryBounds = { size: 1_000, ttl: 60_000, maxBytes: 16 * 1024 * 1024 }

/** Creates a pair. A store that serves a single node stands for both nodes. */
export async function makePair(make: MakeHistory): Promise<HistoryPair> {
  const store = await make()
  return 'nodes' in store ? store : { nodes: [store, store], release: () => {} }
}

/** Returns the numbers from 1 up to `count`. */
export const numbers = (count: number): number[] =>
  Array.from({ length: count }, (_, index) => index + 1)

/** Appends `count` messages, one after the other. */
export async function fill(store: HistoryStore, count: number, bounds = BOUNDS): Promise<void> {
  for (const n of numbers(count)) await store.append('news', `m${n}`, bounds)
}

/** Reads a topic. Copies only the fields of the contract, because a store may return more. */
export async function readPage(
  store: HistoryStore,
  since: number | undefined,
  { topic = 'news', bounds = BOUNDS } = {},
): Promise<HistoryPage> {
  const { epoch, offset, entries } = await store.read(topic, since, bounds)
  return { epoch, offset, entries: entries.map(({ offset, data }) => ({ offset, data })) }
}

/** Reads the data of the messages after an offset. */
export async function readData(
  store: HistoryStore,
  since: number,
  bounds = BOUNDS,
): Promise<string[]> {
  const { entries } = await readPage(store, since, { bounds })
  return entries.map(({ data }) => data)
}

/** Waits until a condition holds that the store does not report. */
export async function poll(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + TIMEOUT
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `that took more than ${TIMEOUT / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

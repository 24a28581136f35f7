import assert from 'node:assert/strict'
import type { HistoryPosition, HistoryStore } from '../channels/history/store.ts'
import {
  BOUNDS,
  fill,
  makePair,
  numbers,
  poll,
  readData,
  readPage,
  type HistoryTests,
} from './history-test-steps.ts'

/** The tests of `append` and `read`, for every store. */
export const storageTests: HistoryTests = {
  async 'the messages of a topic have the offsets 1, 2, 3 … of one epoch'(one) {
    const positions: HistoryPosition[] = []
    for (const n of numbers(5)) positions.push(await one.append('news', `m${n}`, BOUNDS))
    const epoch = positions[0]?.epoch
    assert.ok(typeof epoch === 'string' && epoch !== '', 'an epoch is a text')
    const expected = numbers(5).map((offset) => ({ epoch, offset }))
    assert.deepEqual(
      positions.map(({ epoch, offset }) => ({ epoch, offset })),
      expected,
    )
  },

  async 'a topic without messages has the epoch of its first one, offset 0 and no entries'(one) {
    const before = await readPage(one, undefined)
    assert.deepEqual({ ...before, epoch: '' }, { epoch: '', offset: 0, entries: [] })
    assert.deepEqual(await readPage(one, 0), before)
    assert.deepEqual((await readPage(one, 7)).entries, [])
    const { epoch, offset } = await one.append('news', 'first', BOUNDS)
    assert.deepEqual({ epoch, offset }, { epoch: before.epoch, offset: 1 })
  },

  async 'what is behind an offset is read, oldest first, and it is still there then'(one) {
    await fill(one, 5)
    const { epoch } = await readPage(one, undefined)
    for (const since of [0, 3, 0, 4]) {
      const newer = numbers(5).filter((offset) => offset > since)
      const entries = newer.map((offset) => ({ offset, data: `m${offset}` }))
      assert.deepEqual(await readPage(one, since), { epoch, offset: 5, entries })
    }
    for (const since of [5, 6, undefined]) {
      assert.deepEqual(await readPage(one, since), { epoch, offset: 5, entries: [] })
    }
  },

  async 'what one node records is read on the other, and counted on'(one, other) {
    const first = await one.append('news', 'of one', BOUNDS)
    const second = await other.append('news', 'of the other', BOUNDS)
    assert.deepEqual([first.offset, second.offset], [1, 2])
    assert.equal(second.epoch, first.epoch)
    for (const node of [one, other]) {
      assert.deepEqual(await readData(node, 0), ['of one', 'of the other'])
    }
  },

  async 'at most `size` messages are kept, the latest'(one) {
    const bounds = { ...BOUNDS, size: 3 }
    await fill(one, 7, bounds)
    assert.deepEqual(await readData(one, 0, bounds), ['m5', 'm6', 'm7'])
    assert.deepEqual(await readData(one, 5, bounds), ['m6', 'm7'])
    assert.equal((await readPage(one, 0, { bounds })).offset, 7)
  },

  async 'at most `maxBytes` are kept, the latest, whatever the size of a message'(one) {
    const bounds = { ...BOUNDS, maxBytes: 100 }
    const length = async (): Promise<number> => (await readData(one, 0, bounds)).join('').length
    for (const size of [40, 40, 40, 1, 99, 100, 2, 2, 97, 2]) {
      await one.append('news', 'x'.repeat(size), bounds)
      assert.ok((await length()) <= 100, 'more is kept than `maxBytes`')
      assert.equal((await readData(one, 0, bounds)).at(-1)?.length, size)
    }
    await one.append('news', 'x'.repeat(101), bounds)
    assert.deepEqual(await readData(one, 0, bounds), [])
    const { offset } = await one.append('news', 'small', bounds)
    assert.equal(offset, 12)
    assert.deepEqual(await readData(one, 11, bounds), ['small'])
  },

  async 'messages are kept for `ttl` milliseconds, and the position for longer'(one) {
    const bounds = { ...BOUNDS, ttl: 1_000 }
    await fill(one, 2, bounds)
    const before = await readPage(one, undefined, { bounds })
    assert.deepEqual(await readData(one, 0, bounds), ['m1', 'm2'])
    await poll(async () => (await readData(one, 0, bounds)).length === 0)
    assert.deepEqual(await readPage(one, 0, { bounds }), before)
    const { epoch, offset } = await one.append('news', 'late', bounds)
    assert.deepEqual({ epoch, offset }, { epoch: before.epoch, offset: 3 })
    assert.deepEqual(await readData(one, 0, bounds), ['late'])
  },

  async 'an old message goes while later ones stay'(one) {
    const bounds = { ...BOUNDS, ttl: 300 }
    const begin = Date.now()
    let count = 0
    while (Date.now() < begin + 600) {
      await one.append('news', `m${++count}`, bounds)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const { offset, entries } = await readPage(one, 0, { bounds })
    assert.equal(offset, count)
    assert.notEqual(entries[0]?.offset, 1)
    const kept = entries.map((entry) => entry.offset)
    assert.deepEqual(kept, numbers(count).slice(count - kept.length))
  },

  async 'topics are apart, whatever they are called'(one, other) {
    const long = 'a'.repeat(200)
    const names = [
      'news',
      'News',
      'news:1',
      'news*',
      'news.entries',
      'news:entries',
      'news}',
      '{news}',
    ]
    names.push('', ' ', '.', '>', '=', '#', '$SYS', 'room:a b', '__proto__', 'größe', '\0', '\r\n')
    names.push(long, 'ä'.repeat(1_000), `${long.repeat(20)}b`, `${long.repeat(20)}c`)
    names.push('\ud800', '\udc00')
    for (const [index, topic] of names.entries()) await one.append(topic, `m${index}`, BOUNDS)
    for (const [index, topic] of names.entries()) {
      const { offset, entries } = await readPage(other, 0, { topic })
      assert.deepEqual(
        { offset, entries },
        { offset: 1, entries: [{ offset: 1, data: `m${index}` }] },
      )
    }
  },

  async 'data comes back as it was'(one, other) {
    const all = ['{"a":[1,"ä€😀"]}', 'a b\n\r\t\0"\'\\', ' ', '5', '1 2 3', 'x'.repeat(2_000_000)]
    for (const data of all) await one.append('news', data, BOUNDS)
    assert.deepEqual(await readData(other, 0), all)
  },

  async 'messages of several nodes at once get one offset each, and those of each keep their order'(
    one,
    other,
  ) {
    const append = async (store: HistoryStore, data: string): Promise<[number, string]> => {
      const { offset } = await store.append('news', data, BOUNDS)
      return [offset, data]
    }
    const all = numbers(200).flatMap((n) => [append(one, `one ${n}`), append(other, `other ${n}`)])
    const positions = (await Promise.all(all)).sort(([left], [right]) => left - right)
    assert.deepEqual(
      positions.map(([offset]) => offset),
      numbers(400),
    )
    const { entries } = await readPage(one, 0)
    assert.deepEqual(
      entries.map(({ offset, data }) => [offset, data]),
      positions,
    )
    for (const name of ['one', 'other']) {
      assert.deepEqual(
        positions.map(([, data]) => data).filter((data) => data.startsWith(`${name} `)),
        numbers(200).map((n) => `${name} ${n}`),
      )
    }
  },

  async 'two stores have no epoch in common'(one, _, __, make) {
    const second = await makePair(make)
    try {
      const [node] = second.nodes
      const local = await one.append('news', 'here', BOUNDS)
      const remote = await node.append('news', 'there', BOUNDS)
      assert.notEqual(local.epoch, remote.epoch)
    } finally {
      for (const node of second.nodes) await node.close?.()
      await second.release()
    }
  },

  async 'closing twice is harmless'(one, other) {
    await fill(one, 1)
    for (const node of [one, other, one, other]) await node.close?.()
  },
}

/** The tests of a store that may lose its data. */
export const lossTests: HistoryTests = {
  async 'a store that has lost all begins other epochs, from offset 1'(one, other, { lose }) {
    const epochs = new Set<string>()
    for (const [index, node] of [one, one, other, one].entries()) {
      const empty = await readPage(index % 2 === 0 ? node : other, 0)
      assert.deepEqual({ ...empty, epoch: '' }, { epoch: '', offset: 0, entries: [] })
      const { epoch, offset } = await node.append('news', `m${index}`, BOUNDS)
      assert.deepEqual({ epoch, offset }, { epoch: empty.epoch, offset: 1 })
      assert.deepEqual(await readData(other, 0), [`m${index}`])
      assert.ok(!epochs.has(epoch), 'no epoch comes again')
      epochs.add(epoch)
      await lose?.()
    }
  },
}

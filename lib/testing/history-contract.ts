import assert from 'node:assert/strict'
import type { ContractTest } from './backplane-contract.ts'
import type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
} from '../channels/history/store.ts'

/** The histories of two nodes over one store, with functions that make the store fail. */
export interface HistoryPair {
  /** The history of each node. */
  readonly nodes: readonly [HistoryStore, HistoryStore]
  /**
   * Breaks the subscriptions of both nodes, as a failing network does. The store restores them by
   * itself.
   */
  readonly interrupt?: () => unknown
  /** Deletes all data of the store, while both nodes continue to run. */
  readonly lose?: () => unknown
  /**
   * Releases the resources that were created for the pair. Called after both histories were closed.
   */
  release(): unknown
}

/** The optional parts of the contract. */
export interface HistoryContractOptions {
  /**
   * Whether the store has `subscribe`.
   *
   * @default true
   */
  subscribes?: boolean | undefined
  /**
   * Whether `make` gives `interrupt`.
   *
   * @default false
   */
  interrupts?: boolean | undefined
  /**
   * Whether `make` gives `lose`.
   *
   * @default false
   */
  loses?: boolean | undefined
}

/** A function that creates a store, or two that share their data, as two nodes do. */
export type MakeHistory = () => HistoryPair | HistoryStore | Promise<HistoryPair | HistoryStore>
type Test = (
  one: HistoryStore,
  other: HistoryStore,
  pair: HistoryPair,
  make: MakeHistory,
) => Promise<void>
type Tests = Readonly<Record<string, Test>>
type ReceivedEntry = HistoryEntry & { readonly epoch: string }

const TIMEOUT = 10_000 // milliseconds until a test fails because nothing has changed
const BOUNDS: HistoryBounds = { size: 1_000, ttl: 60_000, maxBytes: 16 * 1024 * 1024 }

/** A subscriber that records its messages and waits for given ones. */
class Receiver {
  readonly received: ReceivedEntry[] = []
  interruptions = 0
  readonly #wakes = new Set<() => void>()

  readonly subscriber = {
    receive: (message: ReceivedEntry): void => {
      this.received.push(message)
      this.#wake()
    },
    interrupted: (): void => {
      this.interruptions++
      this.#wake()
    },
  }

  /** The data of each message, without duplicates and messages that arrive too late. */
  get texts(): string[] {
    let latest = 0
    const fresh = this.received.filter(({ offset }) => {
      const isNew = offset > latest
      latest = Math.max(latest, offset)
      return isNew
    })
    return fresh.map(({ data }) => data)
  }

  async waitForData(data: string): Promise<void> {
    await this.waitUntil(`"${data}"`, () => this.received.some((message) => message.data === data))
  }

  async waitUntil(description: string, condition: () => boolean): Promise<void> {
    const deadline = Date.now() + TIMEOUT
    while (!condition()) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve, reject) => {
        this.#wakes.add(resolve)
        const timeoutError = new Error(`${description} did not come in ${TIMEOUT / 1_000} s`)
        timer = setTimeout(() => reject(timeoutError), deadline - Date.now())
      }).finally(() => clearTimeout(timer))
    }
  }

  #wake(): void {
    for (const wake of this.#wakes) wake()
    this.#wakes.clear()
  }
}

/** Creates a pair. A store that serves a single node stands for both nodes. */
async function makePair(make: MakeHistory): Promise<HistoryPair> {
  const store = await make()
  return 'nodes' in store ? store : { nodes: [store, store], release: () => {} }
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1)

/** Appends `count` messages, one after the other. */
async function fill(store: HistoryStore, count: number, bounds = BOUNDS): Promise<void> {
  for (const n of numbers(count)) await store.append('news', `m${n}`, bounds)
}

/** Reads a topic. Copies only the fields of the contract, because a store may return more. */
async function readPage(
  store: HistoryStore,
  since: number | undefined,
  { topic = 'news', bounds = BOUNDS } = {},
): Promise<HistoryPage> {
  const { epoch, offset, entries } = await store.read(topic, since, bounds)
  return { epoch, offset, entries: entries.map(({ offset, data }) => ({ offset, data })) }
}

async function readData(store: HistoryStore, since: number, bounds = BOUNDS): Promise<string[]> {
  const { entries } = await readPage(store, since, { bounds })
  return entries.map(({ data }) => data)
}

/** Waits until a condition holds that the store does not report. */
async function poll(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + TIMEOUT
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `that took more than ${TIMEOUT / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const tests: Tests = {
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

const subscribe = async (
  store: HistoryStore,
  { subscriber }: Receiver,
  topic = 'news',
): Promise<() => void> => {
  const unsubscribe = await store.subscribe?.(topic, subscriber)
  assert.ok(unsubscribe, 'the store has `subscribe`')
  return unsubscribe
}

const subscribing: Tests = {
  async 'a subscriber receives what any node records, with epoch and offset'(one, other) {
    const [local, remote] = [new Receiver(), new Receiver()]
    await subscribe(one, local)
    await subscribe(other, remote)
    const { epoch } = await one.append('news', 'of one', BOUNDS)
    await other.append('news', 'of the other', BOUNDS)
    for (const receiver of [local, remote]) {
      await receiver.waitForData('of the other')
      assert.deepEqual(receiver.texts, ['of one', 'of the other'])
      for (const message of receiver.received) assert.equal(message.epoch, epoch)
    }
  },

  async 'all subscribers receive the messages of several nodes in the order of the store'(
    one,
    other,
  ) {
    const receivers = [new Receiver(), new Receiver(), new Receiver()]
    for (const [index, receiver] of receivers.entries()) {
      await subscribe(index === 0 ? one : other, receiver)
    }
    await Promise.all(
      numbers(200).flatMap((n) => [
        Promise.resolve(one.append('news', `one ${n}`, BOUNDS)),
        Promise.resolve(other.append('news', `other ${n}`, BOUNDS)),
      ]),
    )
    await one.append('news', 'end', BOUNDS)
    const order = await readData(one, 0)
    for (const receiver of receivers) {
      await receiver.waitForData('end')
      assert.deepEqual(receiver.texts, order)
    }
  },

  async 'once `subscribe` has resolved, the next message is received'(one, other) {
    await Promise.all(
      numbers(100).map(async (n) => {
        const remote = new Receiver()
        await subscribe(other, remote, `news:${n}`)
        await one.append(`news:${n}`, `m${n}`, BOUNDS)
        await remote.waitForData(`m${n}`)
        assert.deepEqual(remote.texts, [`m${n}`])
      }),
    )
  },

  async 'data is received as it was recorded'(one, other) {
    const remote = new Receiver()
    await subscribe(other, remote)
    const all = ['{"a":[1,"ä€😀"]}', 'a b\n\r\t\0"\'\\', ' ', '5', '1 2 3', 'x'.repeat(2_000_000)]
    for (const data of [...all, 'end']) await one.append('news', data, BOUNDS)
    await remote.waitForData('end')
    assert.deepEqual(remote.texts, [...all, 'end'])
  },

  async 'a subscriber that stops receives nothing more, and others go on'(one, other) {
    const [stopped, remote] = [new Receiver(), new Receiver()]
    const unsubscribe = await subscribe(other, stopped)
    await subscribe(other, remote)
    await one.append('news', 'first', BOUNDS)
    await Promise.all([stopped.waitForData('first'), remote.waitForData('first')])
    unsubscribe()
    unsubscribe()
    await one.append('news', 'second', BOUNDS)
    await remote.waitForData('second')
    assert.deepEqual(stopped.texts, ['first'])
    const unsubscribeAgain = await subscribe(other, stopped)
    await one.append('news', 'third', BOUNDS)
    await stopped.waitForData('third')
    unsubscribe()
    await one.append('news', 'fourth', BOUNDS)
    await stopped.waitForData('fourth')
    unsubscribeAgain()
  },

  async 'who closes receives nothing more'(one, other) {
    const [closed, remote] = [new Receiver(), new Receiver()]
    await subscribe(one, closed)
    await subscribe(other, remote)
    await one.close?.()
    if (one === other) return
    await other.append('news', 'end', BOUNDS)
    await remote.waitForData('end')
    assert.deepEqual(closed.received, [])
  },
}

const interrupting: Tests = {
  async 'a broken subscription is told of once it stands again: what was missed can be read then'(
    one,
    other,
    { interrupt },
  ) {
    const remote = new Receiver()
    await subscribe(other, remote)
    for (const round of numbers(3)) {
      const { interruptions } = remote
      await one.append('news', `before ${round}`, BOUNDS)
      await remote.waitForData(`before ${round}`)
      await interrupt?.()
      // A store may be unreachable for a moment.
      await poll(async () => {
        try {
          await one.append('news', `meanwhile ${round}`, BOUNDS)
          return true
        } catch {
          return false
        }
      })
      await remote.waitUntil('`interrupted`', () => remote.interruptions > interruptions)
      const delivered = remote.received.at(-1)?.offset ?? 0
      const { offset, entries } = await readPage(other, delivered)
      assert.equal(entries.length, offset - delivered)
      await one.append('news', `after ${round}`, BOUNDS)
      await remote.waitForData(`after ${round}`)
    }
    assert.deepEqual(
      remote.texts.filter((text) => !text.startsWith('meanwhile')),
      numbers(3).flatMap((round) => [`before ${round}`, `after ${round}`]),
    )
  },
}

const losing: Tests = {
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

/**
 * Returns the tests that every history store has to pass. Pass each one to your test runner. `make`
 * creates the histories of two nodes over an empty store, or one that serves a single node; each
 * test calls it once.
 */
export function historyContract(
  make: MakeHistory,
  { subscribes = true, interrupts = false, loses = false }: HistoryContractOptions = {},
): readonly ContractTest[] {
  const all: Tests = {
    ...tests,
    ...(subscribes && subscribing),
    ...(interrupts && interrupting),
    ...(loses && losing),
  }
  return Object.entries(all).map(([name, test]) => ({
    name,
    async run() {
      const pair = await makePair(make)
      const [one, other] = pair.nodes
      try {
        await test(one, other, pair, make)
      } finally {
        await one.close?.()
        await other.close?.()
        await pair.release()
      }
    },
  }))
}

import assert from 'node:assert/strict'
import type { Proof } from '../../proof.ts'
import type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
} from './store.ts'

/** The histories of two nodes over one store, and what happens to that. */
export interface HistoryPair {
  /** One of each node. */
  readonly nodes: readonly [HistoryStore, HistoryStore]
  /** Breaks the subscriptions of both nodes, as a failing network does. They come back by themselves. */
  readonly interrupt?: () => unknown
  /** Loses all that the store has, while both nodes go on. */
  readonly lose?: () => unknown
  /** Ends what was made for them: both were closed already. */
  release(): unknown
}

/** The sentences that a store can't be held to. */
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

/** Makes a store, or two that share what they keep, as two nodes do. */
export type MakeHistory = () => HistoryPair | HistoryStore | Promise<HistoryPair | HistoryStore>
type Test = (
  one: HistoryStore,
  other: HistoryStore,
  pair: HistoryPair,
  make: MakeHistory,
) => Promise<void>
type Tests = Readonly<Record<string, Test>>
type Received = HistoryEntry & { readonly epoch: string }

const PATIENCE = 10_000 // milliseconds that anything may take
const BOUNDS: HistoryBounds = { size: 1_000, ttl: 60_000, maxBytes: 16 * 1024 * 1024 }

/** Subscribes, writes down what comes, and waits for it. */
class Receiver {
  readonly got: Received[] = []
  interruptions = 0
  readonly #wakes = new Set<() => void>()

  readonly subscriber = {
    receive: (message: Received): void => {
      this.got.push(message)
      this.#wake()
    },
    interrupted: (): void => {
      this.interruptions++
      this.#wake()
    },
  }

  /** The data of each message: a double, or one that comes too late, is left out. */
  get texts(): string[] {
    let latest = 0
    const news = this.got.filter(({ offset }) => {
      const isNews = offset > latest
      latest = Math.max(latest, offset)
      return isNews
    })
    return news.map(({ data }) => data)
  }

  async untilData(data: string): Promise<void> {
    await this.until(`"${data}"`, () => this.got.some((message) => message.data === data))
  }

  async until(what: string, isSo: () => boolean): Promise<void> {
    const end = Date.now() + PATIENCE
    while (!isSo()) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve, reject) => {
        this.#wakes.add(resolve)
        const late = new Error(`${what} did not come in ${PATIENCE / 1_000} s`)
        timer = setTimeout(() => reject(late), end - Date.now())
      }).finally(() => clearTimeout(timer))
    }
  }

  #wake(): void {
    for (const wake of this.#wakes) wake()
    this.#wakes.clear()
  }
}

/** Makes a pair, also of a store that serves one node. */
async function makePair(make: MakeHistory): Promise<HistoryPair> {
  const made = await make()
  return 'nodes' in made ? made : { nodes: [made, made], release: () => {} }
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1)

/** Appends one message after the other. */
async function fill(store: HistoryStore, count: number, bounds = BOUNDS): Promise<void> {
  for (const n of numbers(count)) await store.append('news', `m${n}`, bounds)
}

/** Reads a topic, and takes what is asked for of the answer: a store may tell more. */
async function readPage(
  store: HistoryStore,
  since: number | undefined,
  { topic = 'news', bounds = BOUNDS } = {},
): Promise<HistoryPage> {
  const { epoch, offset, entries } = await store.read(topic, since, bounds)
  return { epoch, offset, entries: entries.map(({ offset, data }) => ({ offset, data })) }
}

async function dataBehind(store: HistoryStore, since: number, bounds = BOUNDS): Promise<string[]> {
  const { entries } = await readPage(store, since, { bounds })
  return entries.map(({ data }) => data)
}

/** Waits until something is so, which the store doesn't tell. */
async function poll(isSo: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE
  while (!(await isSo())) {
    assert.ok(Date.now() < end, `that took more than ${PATIENCE / 1_000} s`)
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
      const behind = numbers(5).filter((offset) => offset > since)
      const entries = behind.map((offset) => ({ offset, data: `m${offset}` }))
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
      assert.deepEqual(await dataBehind(node, 0), ['of one', 'of the other'])
    }
  },

  async 'at most `size` messages are kept, the latest'(one) {
    const bounds = { ...BOUNDS, size: 3 }
    await fill(one, 7, bounds)
    assert.deepEqual(await dataBehind(one, 0, bounds), ['m5', 'm6', 'm7'])
    assert.deepEqual(await dataBehind(one, 5, bounds), ['m6', 'm7'])
    assert.equal((await readPage(one, 0, { bounds })).offset, 7)
  },

  async 'at most `maxBytes` are kept, the latest, whatever the size of a message'(one) {
    const bounds = { ...BOUNDS, maxBytes: 100 }
    const length = async (): Promise<number> => (await dataBehind(one, 0, bounds)).join('').length
    for (const size of [40, 40, 40, 1, 99, 100, 2, 2, 97, 2]) {
      await one.append('news', 'x'.repeat(size), bounds)
      assert.ok((await length()) <= 100, 'more is kept than `maxBytes`')
      assert.equal((await dataBehind(one, 0, bounds)).at(-1)?.length, size)
    }
    await one.append('news', 'x'.repeat(101), bounds)
    assert.deepEqual(await dataBehind(one, 0, bounds), [])
    const { offset } = await one.append('news', 'small', bounds)
    assert.equal(offset, 12)
    assert.deepEqual(await dataBehind(one, 11, bounds), ['small'])
  },

  async 'messages are kept for `ttl` milliseconds, and the position for longer'(one) {
    const bounds = { ...BOUNDS, ttl: 1_000 }
    await fill(one, 2, bounds)
    const before = await readPage(one, undefined, { bounds })
    assert.deepEqual(await dataBehind(one, 0, bounds), ['m1', 'm2'])
    await poll(async () => (await dataBehind(one, 0, bounds)).length === 0)
    assert.deepEqual(await readPage(one, 0, { bounds }), before)
    const { epoch, offset } = await one.append('news', 'late', bounds)
    assert.deepEqual({ epoch, offset }, { epoch: before.epoch, offset: 3 })
    assert.deepEqual(await dataBehind(one, 0, bounds), ['late'])
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
    assert.deepEqual(await dataBehind(other, 0), all)
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
      const here = await one.append('news', 'here', BOUNDS)
      const there = await node.append('news', 'there', BOUNDS)
      assert.notEqual(here.epoch, there.epoch)
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
  const stop = await store.subscribe?.(topic, subscriber)
  assert.ok(stop, 'the store has `subscribe`')
  return stop
}

const subscribing: Tests = {
  async 'a subscriber receives what any node records, with epoch and offset'(one, other) {
    const [here, there] = [new Receiver(), new Receiver()]
    await subscribe(one, here)
    await subscribe(other, there)
    const { epoch } = await one.append('news', 'of one', BOUNDS)
    await other.append('news', 'of the other', BOUNDS)
    for (const receiver of [here, there]) {
      await receiver.untilData('of the other')
      assert.deepEqual(receiver.texts, ['of one', 'of the other'])
      for (const message of receiver.got) assert.equal(message.epoch, epoch)
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
    const order = await dataBehind(one, 0)
    for (const receiver of receivers) {
      await receiver.untilData('end')
      assert.deepEqual(receiver.texts, order)
    }
  },

  async 'once `subscribe` has resolved, the next message is received'(one, other) {
    await Promise.all(
      numbers(100).map(async (n) => {
        const there = new Receiver()
        await subscribe(other, there, `news:${n}`)
        await one.append(`news:${n}`, `m${n}`, BOUNDS)
        await there.untilData(`m${n}`)
        assert.deepEqual(there.texts, [`m${n}`])
      }),
    )
  },

  async 'data is received as it was recorded'(one, other) {
    const there = new Receiver()
    await subscribe(other, there)
    const all = ['{"a":[1,"ä€😀"]}', 'a b\n\r\t\0"\'\\', ' ', '5', '1 2 3', 'x'.repeat(2_000_000)]
    for (const data of [...all, 'end']) await one.append('news', data, BOUNDS)
    await there.untilData('end')
    assert.deepEqual(there.texts, [...all, 'end'])
  },

  async 'a subscriber that stops receives nothing more, and others go on'(one, other) {
    const [stopped, there] = [new Receiver(), new Receiver()]
    const stop = await subscribe(other, stopped)
    await subscribe(other, there)
    await one.append('news', 'first', BOUNDS)
    await Promise.all([stopped.untilData('first'), there.untilData('first')])
    stop()
    stop()
    await one.append('news', 'second', BOUNDS)
    await there.untilData('second')
    assert.deepEqual(stopped.texts, ['first'])
    const stopAgain = await subscribe(other, stopped)
    await one.append('news', 'third', BOUNDS)
    await stopped.untilData('third')
    stop()
    await one.append('news', 'fourth', BOUNDS)
    await stopped.untilData('fourth')
    stopAgain()
  },

  async 'who closes receives nothing more'(one, other) {
    const [closed, there] = [new Receiver(), new Receiver()]
    await subscribe(one, closed)
    await subscribe(other, there)
    await one.close?.()
    if (one === other) return
    await other.append('news', 'end', BOUNDS)
    await there.untilData('end')
    assert.deepEqual(closed.got, [])
  },
}

const interrupting: Tests = {
  async 'a broken subscription is told of once it stands again: what was missed can be read then'(
    one,
    other,
    { interrupt },
  ) {
    const there = new Receiver()
    await subscribe(other, there)
    for (const round of numbers(3)) {
      const { interruptions } = there
      await one.append('news', `before ${round}`, BOUNDS)
      await there.untilData(`before ${round}`)
      await interrupt?.()
      // A store may be out of reach for a moment.
      await poll(async () => {
        try {
          await one.append('news', `meanwhile ${round}`, BOUNDS)
          return true
        } catch {
          return false
        }
      })
      await there.until('`interrupted`', () => there.interruptions > interruptions)
      const delivered = there.got.at(-1)?.offset ?? 0
      const { offset, entries } = await readPage(other, delivered)
      assert.equal(entries.length, offset - delivered)
      await one.append('news', `after ${round}`, BOUNDS)
      await there.untilData(`after ${round}`)
    }
    assert.deepEqual(
      there.texts.filter((text) => !text.startsWith('meanwhile')),
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
      assert.deepEqual(await dataBehind(other, 0), [`m${index}`])
      assert.ok(!epochs.has(epoch), 'no epoch comes again')
      epochs.add(epoch)
      await lose?.()
    }
  },
}

/**
 * Returns what every store of histories has to do: hand each sentence with its proof to your test runner.
 * `make` gives the histories of two nodes over an empty store, or one that serves a single node; each proof
 * asks for its own.
 */
export function historyContract(
  make: MakeHistory,
  { subscribes = true, interrupts = false, loses = false }: HistoryContractOptions = {},
): readonly Proof[] {
  const all: Tests = {
    ...tests,
    ...(subscribes && subscribing),
    ...(interrupts && interrupting),
    ...(loses && losing),
  }
  return Object.entries(all).map(([name, prove]) => ({
    name,
    async run() {
      const pair = await makePair(make)
      const [one, other] = pair.nodes
      try {
        await prove(one, other, pair, make)
      } finally {
        await one.close?.()
        await other.close?.()
        await pair.release()
      }
    },
  }))
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { historyContract } from 'simplewebsockets/testing'
import type { HistoryEntry, HistoryPage, HistoryStore } from '../../lib/channels/history/store.ts'

type Subscriber = Parameters<NonNullable<HistoryStore['subscribe']>>[1]
type Sound = Required<HistoryStore>

/** The log of one topic. */
interface Log {
  epoch: string
  offset: number
  entries: (HistoryEntry & { readonly at: number })[]
  readonly subscribers: Set<Subscriber>
}

/** A store of one process, which may be told to fail. */
function soundHistory(): Sound & { readonly interrupt: () => void; readonly lose: () => void } {
  const logs = new Map<string, Log>()
  const logOf = (topic: string): Log => {
    const fresh = {
      epoch: crypto.randomUUID(),
      offset: 0,
      entries: [],
      subscribers: new Set<never>(),
    }
    const log = logs.get(topic) ?? fresh
    logs.set(topic, log)
    return log
  }
  return {
    append(topic, data, { size, maxBytes }) {
      const log = logOf(topic)
      const { epoch } = log
      const offset = ++log.offset
      log.entries = [...log.entries, { offset, data, at: Date.now() }].slice(-size)
      while (log.entries.reduce((sum, entry) => sum + entry.data.length, 0) > maxBytes) {
        log.entries.shift()
      }
      for (const { receive } of log.subscribers) receive({ epoch, offset, data })
      return { epoch, offset }
    },
    read(topic, since, { ttl }): HistoryPage {
      const { epoch, offset, entries } = logOf(topic)
      const young = entries.filter(({ at }) => at > Date.now() - ttl)
      const wanted = young.filter((entry) => since !== undefined && entry.offset > since)
      return { epoch, offset, entries: wanted.map(({ offset, data }) => ({ offset, data })) }
    },
    subscribe(topic, subscriber) {
      const { subscribers } = logOf(topic)
      const own = { ...subscriber }
      subscribers.add(own)
      return Promise.resolve(() => void subscribers.delete(own))
    },
    interrupt() {
      for (const { subscribers } of logs.values()) {
        for (const { interrupted } of subscribers) queueMicrotask(interrupted)
      }
    },
    lose: () => logs.clear(),
    close() {
      for (const { subscribers } of logs.values()) subscribers.clear()
    },
  }
}

/** Returns the sentences that a store breaks. */
async function broken(spoil: (sound: Sound) => Partial<Sound>): Promise<string[]> {
  const names: string[] = []
  const contract = historyContract(
    () => {
      const sound = soundHistory()
      const { interrupt, lose } = sound
      const store = { ...sound, ...spoil(sound) }
      return { nodes: [store, store], interrupt, lose, release: () => {} }
    },
    { interrupts: true, loses: true },
  )
  for (const { name, run } of contract) await run().catch(() => names.push(name))
  return names
}

const spoilt: Record<string, readonly [spoil: (sound: Sound) => Partial<Sound>, sentence: RegExp]> =
  {
    'that begins at 0': [
      ({ append }) => ({
        append: async (...given) => {
          const { epoch, offset } = await append(...given)
          return { epoch, offset: offset - 1 }
        },
      }),
      /offsets 1, 2, 3/,
    ],
    'that has one epoch for all': [
      ({ append, read }) => ({
        append: async (...given) => ({ ...(await append(...given)), epoch: 'one' }),
        read: async (...given) => ({ ...(await read(...given)), epoch: 'one' }),
      }),
      /no epoch in common/,
    ],
    'that keeps all': [
      ({ append, read }) => {
        const all = { size: 1e6, ttl: 1e6, maxBytes: 1e9 }
        return {
          append: (topic, data) => append(topic, data, all),
          read: (topic, since) => read(topic, since, all),
        }
      },
      /at most `size`/,
    ],
    'that reads the latest first': [
      ({ read }) => ({
        read: async (...given) => {
          const page = await read(...given)
          return { ...page, entries: [...page.entries].reverse() }
        },
      }),
      /oldest first/,
    ],
    'that receives in another order': [
      ({ subscribe }) => ({
        subscribe: (topic, { receive, interrupted }) => {
          const waiting: Parameters<typeof receive>[0][] = []
          const swap = (message: Parameters<typeof receive>[0]): void => {
            waiting.push(message)
            setImmediate(() => {
              for (const late of waiting.splice(0).reverse()) receive(late)
            })
          }
          return subscribe(topic, { receive: swap, interrupted })
        },
      }),
      /in the order of the store/,
    ],
    'that takes topics for one': [
      ({ append, read }) => ({
        append: (topic, ...rest) => append(topic.slice(0, 200), ...rest),
        read: (topic, ...rest) => read(topic.slice(0, 200), ...rest),
      }),
      /topics are apart/,
    ],
    'that goes on after stop': [
      ({ subscribe }) => ({
        subscribe: async (...given) => {
          await subscribe(...given)
          return () => {}
        },
      }),
      /stops receives nothing more/,
    ],
  }

test('a sound store breaks no sentence, and one that receives twice neither', async () => {
  assert.deepEqual(await broken(() => ({})), [])
  const twice = await broken(({ subscribe }) => ({
    subscribe: (topic, { receive, interrupted }) => {
      const again = (message: Parameters<typeof receive>[0]): void => {
        receive(message)
        receive(message)
      }
      return subscribe(topic, { receive: again, interrupted })
    },
  }))
  assert.deepEqual(twice, [])
})

for (const [what, [spoil, sentence]] of Object.entries(spoilt)) {
  test(`a store ${what} is found out`, async () => {
    const names = await broken(spoil)
    assert.ok(
      names.some((name) => sentence.test(name)),
      names.join('\n'),
    )
  })
}

test('a store for one node is held to nothing about subscriptions', async () => {
  const contract = historyContract(
    () => {
      const { append, read } = soundHistory()
      return { append, read }
    },
    { subscribes: false },
  )
  assert.ok(contract.length > 10)
  for (const { run } of contract) await run()
})

import assert from 'node:assert/strict'
import type { HistoryEntry, HistoryStore } from '../channels/history/store.ts'
import {
  BOUNDS,
  numbers,
  poll,
  readData,
  readPage,
  type HistoryTests,
} from './history-test-steps.ts'
import { Receiver } from './receiver.ts'

type ReceivedEntry = HistoryEntry & { readonly epoch: string }

/** A subscriber that records its messages and interruptions. */
class HistoryReceiver extends Receiver<ReceivedEntry> {
  interruptions = 0

  readonly subscriber = {
    receive: (message: ReceivedEntry): void => this.add(message),
    interrupted: (): void => {
      this.interruptions++
      this.wake()
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
}

const subscribe = async (
  store: HistoryStore,
  { subscriber }: HistoryReceiver,
  topic = 'news',
): Promise<() => void> => {
  const unsubscribe = await store.subscribe?.(topic, subscriber)
  assert.ok(unsubscribe, 'the store has `subscribe`')
  return unsubscribe
}

/** The tests of `subscribe`. */
export const subscriptionTests: HistoryTests = {
  async 'a subscriber receives what any node records, with epoch and offset'(one, other) {
    const [local, remote] = [new HistoryReceiver(), new HistoryReceiver()]
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
    const receivers = [new HistoryReceiver(), new HistoryReceiver(), new HistoryReceiver()]
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
        const remote = new HistoryReceiver()
        await subscribe(other, remote, `news:${n}`)
        await one.append(`news:${n}`, `m${n}`, BOUNDS)
        await remote.waitForData(`m${n}`)
        assert.deepEqual(remote.texts, [`m${n}`])
      }),
    )
  },

  async 'data is received as it was recorded'(one, other) {
    const remote = new HistoryReceiver()
    await subscribe(other, remote)
    const all = ['{"a":[1,"ä€😀"]}', 'a b\n\r\t\0"\'\\', ' ', '5', '1 2 3', 'x'.repeat(2_000_000)]
    for (const data of [...all, 'end']) await one.append('news', data, BOUNDS)
    await remote.waitForData('end')
    assert.deepEqual(remote.texts, [...all, 'end'])
  },

  async 'a subscriber that stops receives nothing more, and others go on'(one, other) {
    const [stopped, remote] = [new HistoryReceiver(), new HistoryReceiver()]
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
    const [closed, remote] = [new HistoryReceiver(), new HistoryReceiver()]
    await subscribe(one, closed)
    await subscribe(other, remote)
    await one.close?.()
    if (one === other) return
    await other.append('news', 'end', BOUNDS)
    await remote.waitForData('end')
    assert.deepEqual(closed.received, [])
  },
}

/** The tests of a store whose subscriptions may break. */
export const interruptionTests: HistoryTests = {
  async 'a broken subscription is told of once it stands again: what was missed can be read then'(
    one,
    other,
    { interrupt },
  ) {
    const remote = new HistoryReceiver()
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

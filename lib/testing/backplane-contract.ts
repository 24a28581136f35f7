import assert from 'node:assert/strict'
import type { Backplane } from '../backplane/backplane.ts'
import { Receiver } from './receiver.ts'

/** The backplanes of two nodes in one network, with a function that releases it. */
export interface BackplanePair {
  /** The backplane of each node. */
  readonly nodes: readonly [Backplane, Backplane]
  /**
   * Releases the resources that were created for the pair. Called after both backplanes were
   * closed.
   */
  release(): unknown
}

/** A test of a contract: one requirement, and a function that checks it. */
export interface ContractTest {
  /** The requirement, as a sentence. */
  readonly name: string
  /** Runs the test. Rejects when the requirement isn't met. */
  readonly run: () => Promise<void>
}

/** A subscriber that records its messages as text, one character for each byte. */
class BackplaneReceiver extends Receiver<string> {
  readonly receive = (message: Uint8Array): void =>
    this.add(Buffer.from(message).toString('latin1'))

  async waitFor(text: string): Promise<void> {
    const description = text.length > 40 ? `${text.length} bytes` : `"${text}"`
    await this.waitUntil(description, () => this.received.includes(text))
  }
}

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))

const tests: Readonly<Record<string, (one: Backplane, other: Backplane) => Promise<void>>> = {
  async 'a subscriber gets what any node publishes, its own node included'(one, other) {
    const [local, remote] = [new BackplaneReceiver(), new BackplaneReceiver()]
    await one.subscribe('news', local.receive)
    await other.subscribe('news', remote.receive)
    await one.publish('news', bytes('from one'))
    await Promise.all([local.waitFor('from one'), remote.waitFor('from one')])
    await other.publish('news', bytes('from other'))
    await Promise.all([local.waitFor('from other'), remote.waitFor('from other')])
    assert.deepEqual(local.received, ['from one', 'from other'])
    assert.deepEqual(remote.received, ['from one', 'from other'])
  },

  async 'messages of one publisher arrive once each, in order'(one, other) {
    const remote = new BackplaneReceiver()
    await other.subscribe('news', remote.receive)
    const numbers = Array.from({ length: 200 }, (_, index) => String(index))
    for (const number of numbers) void one.publish('news', bytes(number))
    await one.publish('news', bytes('end'))
    await remote.waitFor('end')
    assert.deepEqual(remote.received, [...numbers, 'end'])
  },

  async 'messages of several publishers arrive in the order of each'(one, other) {
    const remote = new BackplaneReceiver()
    await other.subscribe('news', remote.receive)
    for (let number = 0; number < 100; number++) {
      void one.publish('news', bytes(`one ${number}`))
      void other.publish('news', bytes(`other ${number}`))
    }
    await Promise.all([remote.waitFor('one 99'), remote.waitFor('other 99')])
    for (const name of ['one', 'other']) {
      const received = remote.received.filter((text) => text.startsWith(`${name} `))
      assert.deepEqual(
        received,
        Array.from({ length: 100 }, (_, index) => `${name} ${index}`),
      )
    }
  },

  async 'a message comes in a later turn, never inside publish'(one) {
    const local = new BackplaneReceiver()
    await one.subscribe('news', local.receive)
    const published = one.publish('news', bytes('end'))
    assert.deepEqual(local.received, [])
    await published
    await local.waitFor('end')
  },

  async 'every byte arrives as it was, none at all included'(one, other) {
    const remote = new BackplaneReceiver()
    await other.subscribe('news', remote.receive)
    const allBytes = Uint8Array.from({ length: 256 }, (_, index) => index)
    await one.publish('news', allBytes)
    await one.publish('news', allBytes.subarray(250, 256))
    await one.publish('news', new Uint8Array())
    await one.publish('news', bytes('end'))
    await remote.waitFor('end')
    const text = String.fromCharCode(...allBytes)
    assert.deepEqual(remote.received, [text, text.slice(250), '', 'end'])
  },

  async 'a big message arrives whole'(one, other) {
    const remote = new BackplaneReceiver()
    await other.subscribe('news', remote.receive)
    for (const size of [1_000_000, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 64, 5_000_000]) {
      const big = `${size} ${'x'.repeat(size - String(size).length - 1)}`
      await one.publish('news', bytes(big))
      await remote.waitFor(big)
    }
    assert.equal(remote.received.length, 5)
  },

  async 'big messages of two nodes at once arrive whole'(one, other) {
    const remote = new BackplaneReceiver()
    await other.subscribe('news', remote.receive)
    const [left, right] = ['l'.repeat(3_000_000), 'r'.repeat(3_000_000)]
    await Promise.all([one.publish('news', bytes(left)), other.publish('news', bytes(right))])
    await Promise.all([remote.waitFor(left), remote.waitFor(right)])
    assert.equal(remote.received.length, 2)
  },

  async 'topics are apart, whatever they are called'(one, other) {
    const long = 'a'.repeat(200)
    const names = ['news', 'News', 'news:1', 'news*', 'news.*', 'news.>', '>', '$SYS', 'room:a b']
    names.push('__proto__', 'größe', '=', '#', '', long, 'ä'.repeat(1_000), `${long.repeat(20)}b`)
    names.push(`${long.repeat(20)}c`, '\0', '\r\n', '\ud800', '\udc00')
    const receivers = new Map(names.map((topic) => [topic, new BackplaneReceiver()]))
    for (const [topic, { receive }] of receivers) await other.subscribe(topic, receive)
    for (const [index, topic] of names.entries()) await one.publish(topic, bytes(String(index)))
    for (const [index, topic] of names.entries()) {
      const receiver = receivers.get(topic) ?? new BackplaneReceiver()
      await receiver.waitFor(String(index))
      assert.deepEqual(receiver.received, [String(index)], topic)
    }
  },

  async 'a thousand topics are heard'(one, other) {
    const remote = new BackplaneReceiver()
    const names = Array.from({ length: 1_000 }, (_, index) => `room:${index}`)
    const unsubscribes = await Promise.all(
      names.map(async (name) => other.subscribe(name, remote.receive)),
    )
    for (const name of names) void one.publish(name, bytes(name))
    for (const name of names) await remote.waitFor(name)
    assert.equal(remote.received.length, names.length)
    for (const unsubscribe of unsubscribes) await unsubscribe()
  },

  async 'several subscribers of one node get a message each'(one, other) {
    const receivers = [new BackplaneReceiver(), new BackplaneReceiver(), new BackplaneReceiver()]
    for (const { receive } of receivers) await other.subscribe('news', receive)
    await one.publish('news', bytes('end'))
    for (const receiver of receivers) {
      await receiver.waitFor('end')
      assert.deepEqual(receiver.received, ['end'])
    }
  },

  async 'who stops receives nothing more, and the others go on'(one, other) {
    const [stopped, remote] = [new BackplaneReceiver(), new BackplaneReceiver()]
    const unsubscribe = await other.subscribe('news', stopped.receive)
    await other.subscribe('news', remote.receive)
    await one.publish('news', bytes('one'))
    await Promise.all([stopped.waitFor('one'), remote.waitFor('one')])
    await unsubscribe()
    await one.publish('news', bytes('two'))
    await remote.waitFor('two')
    assert.deepEqual(stopped.received, ['one'])
  },

  async 'stopping twice is harmless, also when others subscribed since'(one, other) {
    const remote = new BackplaneReceiver()
    const unsubscribe = await other.subscribe('news', () => assert.fail('it has stopped'))
    await unsubscribe()
    await other.subscribe('news', remote.receive)
    await unsubscribe()
    await one.publish('news', bytes('end'))
    await remote.waitFor('end')
    assert.deepEqual(remote.received, ['end'])
  },

  async 'the same receiver may stop and begin again, without doubles'(one, other) {
    const remote = new BackplaneReceiver()
    for (let times = 0; times < 5; times++) {
      const unsubscribe = await other.subscribe('news', remote.receive)
      await unsubscribe()
    }
    await other.subscribe('news', remote.receive)
    await one.publish('news', bytes('end'))
    await remote.waitFor('end')
    assert.deepEqual(remote.received, ['end'])
  },

  async 'who stops and begins without waiting for either is heard in the end'(one, other) {
    const remote = new BackplaneReceiver()
    for (let times = 0; times < 50; times++) {
      void Promise.resolve(other.subscribe('news', () => {})).then((unsubscribe) => unsubscribe())
    }
    await other.subscribe('news', remote.receive)
    await one.publish('news', bytes('end'))
    await remote.waitFor('end')
    assert.deepEqual(remote.received, ['end'])
  },

  async 'a message without subscribers is dropped, and the next ones arrive'(one, other) {
    const remote = new BackplaneReceiver()
    await one.publish('unheard', bytes('lost'))
    await other.subscribe('news', remote.receive)
    await one.publish('news', bytes('end'))
    await remote.waitFor('end')
    assert.deepEqual(remote.received, ['end'])
  },

  async 'closing twice is harmless, and so is what comes after it'(one, other) {
    const unsubscribe = await one.subscribe('news', () => assert.fail('it has closed'))
    await one.close()
    await one.close()
    await unsubscribe()
    await one.publish('news', bytes('from the closed one'))
    await (
      await one.subscribe('news', () => assert.fail('it has closed'))
    )()
    await other.publish('news', bytes('to the closed one'))
    await other.close()
  },
}

/**
 * Returns the tests that every backplane has to pass. Pass each one to your test runner. `make`
 * creates the connected backplanes of two nodes; each test calls it once.
 */
export function backplaneContract(
  make: () => BackplanePair | Promise<BackplanePair>,
): readonly ContractTest[] {
  return Object.entries(tests).map(([name, test]) => ({
    name,
    async run() {
      const pair = await make()
      const { nodes } = pair
      try {
        await test(...nodes)
      } finally {
        await nodes[0].close()
        await nodes[1].close()
        await pair.release()
      }
    },
  }))
}

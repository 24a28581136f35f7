import assert from 'node:assert/strict'
import type { Backplane } from './backplane.ts'

/** Is the backplanes of two nodes with one network between them, and what takes that down. */
export interface Joint {
  /** One of each node. */
  readonly nodes: readonly [Backplane, Backplane]
  /** Takes down what was made for them: both were closed already. */
  release(): unknown
}

/** Is one sentence of a contract, and its proof. */
export interface Proof {
  /** What it says. */
  readonly name: string
  /** Rejects where that isn't so. */
  readonly run: () => Promise<void>
}

const PATIENCE = 10_000 // milliseconds that anything may take

/** Writes down what comes, and waits for so much of it. */
class Receiver {
  readonly got: string[] = []
  readonly #wakes = new Set<() => void>()

  readonly receive = (message: Uint8Array): void => {
    this.got.push(Buffer.from(message).toString('latin1'))
    for (const wake of this.#wakes) wake()
    this.#wakes.clear()
  }

  async until(text: string): Promise<void> {
    const shown = text.length > 40 ? `${text.length} bytes` : `"${text}"`
    const late = new Error(`${shown} did not come in ${PATIENCE / 1_000} s`)
    const end = Date.now() + PATIENCE
    while (!this.got.includes(text)) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve, reject) => {
        this.#wakes.add(resolve)
        timer = setTimeout(() => reject(late), end - Date.now())
      }).finally(() => clearTimeout(timer))
    }
  }
}

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))

const sentences: Readonly<Record<string, (one: Backplane, other: Backplane) => Promise<void>>> = {
  async 'whoever subscribed gets what any node publishes, its own included'(one, other) {
    const [here, there] = [new Receiver(), new Receiver()]
    await one.subscribe('news', here.receive)
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('from one'))
    await Promise.all([here.until('from one'), there.until('from one')])
    await other.publish('news', bytes('from other'))
    await Promise.all([here.until('from other'), there.until('from other')])
    assert.deepEqual(here.got, ['from one', 'from other'])
    assert.deepEqual(there.got, ['from one', 'from other'])
  },

  async 'messages of one publisher arrive once each, in order'(one, other) {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    const numbers = Array.from({ length: 200 }, (_, index) => String(index))
    for (const number of numbers) void one.publish('news', bytes(number))
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, [...numbers, 'end'])
  },

  async 'messages of several publishers arrive in the order of each'(one, other) {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    for (let number = 0; number < 100; number++) {
      void one.publish('news', bytes(`one ${number}`))
      void other.publish('news', bytes(`other ${number}`))
    }
    await Promise.all([there.until('one 99'), there.until('other 99')])
    for (const name of ['one', 'other']) {
      const own = there.got.filter((text) => text.startsWith(`${name} `))
      assert.deepEqual(
        own,
        Array.from({ length: 100 }, (_, index) => `${name} ${index}`),
      )
    }
  },

  async 'a message comes in a later turn, never inside publish'(one) {
    const here = new Receiver()
    await one.subscribe('news', here.receive)
    const published = one.publish('news', bytes('end'))
    assert.deepEqual(here.got, [])
    await published
    await here.until('end')
  },

  async 'every byte arrives as it was, none at all included'(one, other) {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    const all = Uint8Array.from({ length: 256 }, (_, index) => index)
    await one.publish('news', all)
    await one.publish('news', all.subarray(250, 256))
    await one.publish('news', new Uint8Array())
    await one.publish('news', bytes('end'))
    await there.until('end')
    const text = String.fromCharCode(...all)
    assert.deepEqual(there.got, [text, text.slice(250), '', 'end'])
  },

  async 'a big message arrives whole'(one, other) {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    for (const size of [1_000_000, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 64, 5_000_000]) {
      const big = `${size} ${'x'.repeat(size - String(size).length - 1)}`
      await one.publish('news', bytes(big))
      await there.until(big)
    }
    assert.equal(there.got.length, 5)
  },

  async 'big messages of two nodes at once arrive whole'(one, other) {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    const [left, right] = ['l'.repeat(3_000_000), 'r'.repeat(3_000_000)]
    await Promise.all([one.publish('news', bytes(left)), other.publish('news', bytes(right))])
    await Promise.all([there.until(left), there.until(right)])
    assert.equal(there.got.length, 2)
  },

  async 'topics are apart, whatever they are called'(one, other) {
    const long = 'a'.repeat(200)
    const names = ['news', 'News', 'news:1', 'news*', 'news.*', 'news.>', '>', '$SYS', 'room:a b']
    names.push('__proto__', 'größe', '=', '#', '', long, 'ä'.repeat(1_000), `${long.repeat(20)}b`)
    names.push(`${long.repeat(20)}c`, '\0', '\r\n', '\ud800', '\udc00')
    const receivers = new Map(names.map((topic) => [topic, new Receiver()]))
    for (const [topic, { receive }] of receivers) await other.subscribe(topic, receive)
    for (const [index, topic] of names.entries()) await one.publish(topic, bytes(String(index)))
    for (const [index, topic] of names.entries()) {
      const receiver = receivers.get(topic) ?? new Receiver()
      await receiver.until(String(index))
      assert.deepEqual(receiver.got, [String(index)], topic)
    }
  },

  async 'a thousand topics are heard'(one, other) {
    const there = new Receiver()
    const names = Array.from({ length: 1_000 }, (_, index) => `room:${index}`)
    const stops = await Promise.all(names.map(async (name) => other.subscribe(name, there.receive)))
    for (const name of names) void one.publish(name, bytes(name))
    for (const name of names) await there.until(name)
    assert.equal(there.got.length, names.length)
    for (const stop of stops) await stop()
  },

  async 'several subscribers of one node get a message each'(one, other) {
    const receivers = [new Receiver(), new Receiver(), new Receiver()]
    for (const { receive } of receivers) await other.subscribe('news', receive)
    await one.publish('news', bytes('end'))
    for (const receiver of receivers) {
      await receiver.until('end')
      assert.deepEqual(receiver.got, ['end'])
    }
  },

  async 'who stops receives nothing more, and the others go on'(one, other) {
    const [stopped, there] = [new Receiver(), new Receiver()]
    const stop = await other.subscribe('news', stopped.receive)
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('one'))
    await Promise.all([stopped.until('one'), there.until('one')])
    await stop()
    await one.publish('news', bytes('two'))
    await there.until('two')
    assert.deepEqual(stopped.got, ['one'])
  },

  async 'stopping twice is harmless, also when others subscribed since'(one, other) {
    const there = new Receiver()
    const stop = await other.subscribe('news', () => assert.fail('it has stopped'))
    await stop()
    await other.subscribe('news', there.receive)
    await stop()
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, ['end'])
  },

  async 'the same receiver may stop and begin again, without doubles'(one, other) {
    const there = new Receiver()
    for (let times = 0; times < 5; times++) {
      const stop = await other.subscribe('news', there.receive)
      await stop()
    }
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, ['end'])
  },

  async 'who stops and begins without waiting for either is heard in the end'(one, other) {
    const there = new Receiver()
    for (let times = 0; times < 50; times++) {
      void Promise.resolve(other.subscribe('news', () => {})).then((stop) => stop())
    }
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, ['end'])
  },

  async 'publishing to nobody harms nobody'(one, other) {
    const there = new Receiver()
    await one.publish('nobody', bytes('lost'))
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, ['end'])
  },

  async 'closing twice is harmless, and so is what comes after it'(one, other) {
    const stop = await one.subscribe('news', () => assert.fail('it has closed'))
    await one.close()
    await one.close()
    await stop()
    await one.publish('news', bytes('from the closed one'))
    await (
      await one.subscribe('news', () => assert.fail('it has closed'))
    )()
    await other.publish('news', bytes('to the closed one'))
    await other.close()
  },
}

/**
 * Is what every backplane has to do, whatever carries it: hand each sentence with its proof to your
 * test runner. `make` gives the backplanes of two nodes, connected already; each proof asks for its own.
 */
export function backplaneContract(make: () => Joint | Promise<Joint>): readonly Proof[] {
  return Object.entries(sentences).map(([name, prove]) => ({
    name,
    async run() {
      const joint = await make()
      const { nodes } = joint
      try {
        await prove(...nodes)
      } finally {
        await nodes[0].close()
        await nodes[1].close()
        await joint.release()
      }
    },
  }))
}

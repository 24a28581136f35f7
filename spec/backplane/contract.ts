import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backplane } from '../../lib/backplane.ts'

/** Backplanes of two nodes with one network between them, and what takes that down. */
export interface Joint {
  readonly nodes: readonly [Backplane, Backplane]
  readonly release: () => Promise<void>
}

/** Writes down what comes, and lets a spec wait for so much of it. */
class Receiver {
  readonly got: string[] = []
  #wake = (): void => {}

  readonly receive = (message: Uint8Array): void => {
    this.got.push(Buffer.from(message).toString('latin1'))
    this.#wake()
  }

  async until(text: string): Promise<void> {
    while (!this.got.includes(text)) await new Promise<void>((resolve) => (this.#wake = resolve))
  }
}

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))

/** What every backplane does, whatever carries it. */
export function backplaneContract(name: string, make: () => Promise<Joint>): void {
  const each = (what: string, body: (one: Backplane, other: Backplane) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      const { nodes, release } = await make()
      await body(...nodes)
      await nodes[0].close()
      await nodes[1].close()
      await release()
    })
  }

  each('whoever subscribed gets what any node publishes, its own included', async (one, other) => {
    const [here, there] = [new Receiver(), new Receiver()]
    await one.subscribe('news', here.receive)
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('from one'))
    await Promise.all([here.until('from one'), there.until('from one')])
    await other.publish('news', bytes('from other'))
    await Promise.all([here.until('from other'), there.until('from other')])
    assert.deepEqual(here.got, ['from one', 'from other'])
    assert.deepEqual(there.got, ['from one', 'from other'])
  })

  each('messages of one publisher arrive once each, in order', async (one, other) => {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    const numbers = Array.from({ length: 200 }, (_, index) => String(index))
    for (const number of numbers) void one.publish('news', bytes(number))
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, [...numbers, 'end'])
  })

  each('every byte arrives as it was, none at all included', async (one, other) => {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    const all = Uint8Array.from({ length: 256 }, (_, index) => index)
    await one.publish('news', all)
    await one.publish('news', all.subarray(250, 256))
    await one.publish('news', new Uint8Array())
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, [
      String.fromCharCode(...all),
      String.fromCharCode(...all.subarray(250)),
      '',
      'end',
    ])
  })

  each('a big message arrives whole', async (one, other) => {
    const there = new Receiver()
    await other.subscribe('news', there.receive)
    const big = 'x'.repeat(1_000_000)
    await one.publish('news', bytes(big))
    await there.until(big)
    assert.equal(there.got.length, 1)
  })

  each('topics are apart, whatever they are called', async (one, other) => {
    const names = [
      'news',
      'News',
      'news:1',
      'news*',
      'room:a b',
      '__proto__',
      'größe',
      'a'.repeat(200),
    ]
    const receivers = new Map(names.map((topic) => [topic, new Receiver()]))
    for (const [topic, { receive }] of receivers) await other.subscribe(topic, receive)
    for (const topic of names) await one.publish(topic, bytes(topic))
    for (const [topic, receiver] of receivers) {
      const text = Buffer.from(bytes(topic)).toString('latin1')
      await receiver.until(text)
      assert.deepEqual(receiver.got, [text])
    }
  })

  each('several subscribers of one node get a message each', async (one, other) => {
    const receivers = [new Receiver(), new Receiver(), new Receiver()]
    for (const { receive } of receivers) await other.subscribe('news', receive)
    await one.publish('news', bytes('end'))
    for (const receiver of receivers) await receiver.until('end')
    assert.deepEqual(
      receivers.map(({ got }) => got),
      [['end'], ['end'], ['end']],
    )
  })

  each('who stops receives nothing more, and the others go on', async (one, other) => {
    const [stopped, there] = [new Receiver(), new Receiver()]
    const stop = await other.subscribe('news', stopped.receive)
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('one'))
    await Promise.all([stopped.until('one'), there.until('one')])
    await stop()
    await one.publish('news', bytes('two'))
    await there.until('two')
    assert.deepEqual(stopped.got, ['one'])
  })

  each('stopping twice is harmless, also when others subscribed since', async (one, other) => {
    const there = new Receiver()
    const stop = await other.subscribe('news', () => assert.fail('it has stopped'))
    await stop()
    await other.subscribe('news', there.receive)
    await stop()
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, ['end'])
  })

  each('the same receiver may stop and begin again, without doubles', async (one, other) => {
    const there = new Receiver()
    for (let times = 0; times < 5; times++) {
      const stop = await other.subscribe('news', there.receive)
      await stop()
    }
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, ['end'])
  })

  each('publishing to nobody harms nobody', async (one, other) => {
    const there = new Receiver()
    await one.publish('nobody', bytes('lost'))
    await other.subscribe('news', there.receive)
    await one.publish('news', bytes('end'))
    await there.until('end')
    assert.deepEqual(there.got, ['end'])
  })

  each('closing twice is harmless, and so is stopping after it', async (one, other) => {
    const stop = await one.subscribe('news', () => {})
    await one.close()
    await one.close()
    await stop()
    await other.close()
  })
}

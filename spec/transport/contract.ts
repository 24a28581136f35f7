import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CloseReason } from '../../lib/close.ts'
import { Message, type Data } from '../../lib/message.ts'
import type { Receiver, Transport } from '../../lib/transport/transport.ts'

/** Two joined transports, and what takes down what stands behind them. */
export interface Joined {
  readonly ends: readonly [Transport, Transport]
  readonly release: () => Promise<void>
}

type Told =
  | ['message', Data, number]
  | ['ping' | 'pong', string]
  | ['written']
  | ['closing' | 'invalid' | 'closed', number, string]

/** Writes down what a transport tells, and lets a spec wait for it. */
class Recorder implements Receiver {
  readonly told: Told[] = []
  #wake = (): void => {}

  message(data: Data, size: number): void {
    this.#note(['message', data, size])
  }
  ping(payload: Uint8Array): void {
    this.#note(['ping', Buffer.from(payload).toString()])
  }
  pong(payload: Uint8Array): void {
    this.#note(['pong', Buffer.from(payload).toString()])
  }
  written(): void {
    this.#note(['written'])
  }
  closing({ code, description }: CloseReason): void {
    this.#note(['closing', code, description])
  }
  invalid({ code, description }: CloseReason): void {
    this.#note(['invalid', code, description])
  }
  closed({ code, description }: CloseReason): void {
    this.#note(['closed', code, description])
  }

  /** Resolves with the first thing of this kind that was told, now or later. */
  async until(kind: Told[0]): Promise<Told> {
    for (;;) {
      const found = this.told.find(([told]) => told === kind)
      if (found) return found
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  #note(told: Told): void {
    this.told.push(told)
    this.#wake()
  }
}

/** What every transport does, whatever it is made of. */
export function transportContract(name: string, join: () => Promise<Joined>): void {
  const each = (
    what: string,
    body: (
      one: Transport,
      other: Transport,
      heard: { byOne: Recorder; byOther: Recorder },
    ) => Promise<void>,
  ): void => {
    test(`${name}: ${what}`, async () => {
      const { ends, release } = await join()
      const heard = { byOne: new Recorder(), byOther: new Recorder() }
      ends[0].start(heard.byOne)
      ends[1].start(heard.byOther)
      await body(ends[0], ends[1], heard)
      ends[0].cut()
      await heard.byOne.until('closed')
      await release()
    })
  }

  each('carries text as a string and binary as bytes, in order', async (one, _, { byOther }) => {
    one.send('grüße')
    one.send(Uint8Array.of(1, 2, 255))
    one.send('')
    one.send(new Uint8Array(0))
    one.ping(Buffer.from('end'))
    await byOther.until('ping')
    assert.deepEqual(byOther.told, [
      ['message', 'grüße', 7],
      ['message', Uint8Array.of(1, 2, 255), 3],
      ['message', '', 0],
      ['message', new Uint8Array(0), 0],
      ['ping', 'end'],
    ])
  })

  each('carries a prepared message like any other', async (one, _, { byOther }) => {
    one.send(new Message('text'))
    one.send(new Message(Uint8Array.of(7)))
    one.ping(Buffer.from('end'))
    await byOther.until('ping')
    assert.deepEqual(byOther.told.slice(0, 2), [
      ['message', 'text', 4],
      ['message', Uint8Array.of(7), 1],
    ])
  })

  each('delivers bytes that nobody else changes', async (one, _, { byOther }) => {
    one.send(Uint8Array.of(1, 2, 3))
    const [, bytes] = await byOther.until('message')
    assert.equal(Object.getPrototypeOf(bytes), Uint8Array.prototype)
  })

  each('answers pings by itself', async (one, _, { byOne, byOther }) => {
    one.ping(Buffer.from('a'))
    one.ping(Buffer.from('b'))
    await byOther.until('ping')
    await byOne.until('pong')
    one.ping(new Uint8Array(0))
    while (byOne.told.length < 3) await new Promise(setImmediate)
    assert.deepEqual(byOne.told, [
      ['pong', 'a'],
      ['pong', 'b'],
      ['pong', ''],
    ])
  })

  each('tells when a message was handed on', async (one, _, { byOne }) => {
    one.send('x')
    one.notify()
    await byOne.until('written')
    assert.equal(one.bufferedAmount, 0)
  })

  each('counts what it receives', async (one, other, { byOther }) => {
    const before = other.bytesReceived
    one.send('12345')
    await byOther.until('message')
    assert.ok(other.bytesReceived >= before + 5)
  })

  each('pauses, and goes on where it was', async (one, other, { byOther }) => {
    other.pause()
    const long = 'x'.repeat(1_000_000)
    for (let count = 0; count < 20; count++) one.send(long)
    await new Promise(setImmediate)
    assert.ok(one.bufferedAmount > 0)
    const before = byOther.told.length
    assert.ok(before < 20)
    other.resume()
    one.ping(Buffer.from('end'))
    await byOther.until('ping')
    assert.equal(byOther.told.length, 21)
    assert.ok(byOther.told.slice(0, 20).every(([, data]) => data === long))
  })

  each('closes with a handshake that both ends hear of', async (one, _, { byOne, byOther }) => {
    one.send('last')
    one.close({ code: 4000, description: 'enough' })
    await Promise.all([byOne.until('closed'), byOther.until('closed')])
    assert.deepEqual(byOther.told, [
      ['message', 'last', 4],
      ['closing', 4000, 'enough'],
      ['closed', 4000, 'enough'],
    ])
    assert.deepEqual(byOne.told, [
      ['closing', 4000, 'enough'],
      ['closed', 4000, 'enough'],
    ])
  })

  each('sends nothing after its close frame', async (one, _, { byOther }) => {
    one.close({ code: 1000, description: 'x' })
    one.send('late')
    one.ping(Buffer.from('late'))
    one.close({ code: 1001, description: 'y' })
    await byOther.until('closed')
    assert.deepEqual(
      byOther.told.map(([kind]) => kind),
      ['closing', 'closed'],
    )
  })

  each('lets both ends close at once', async (one, other, { byOne, byOther }) => {
    one.close({ code: 4001, description: 'one' })
    other.close({ code: 4002, description: 'other' })
    await Promise.all([byOne.until('closed'), byOther.until('closed')])
    assert.deepEqual(byOne.told.at(-1), ['closed', 4002, 'other'])
    assert.deepEqual(byOther.told.at(-1), ['closed', 4001, 'one'])
  })

  each('ends both ends at once when it is cut', async (one, _, { byOne, byOther }) => {
    one.cut()
    one.cut()
    await Promise.all([byOne.until('closed'), byOther.until('closed')])
    assert.deepEqual(
      [byOne.told, byOther.told].map((told) => told.map(([kind, code]) => [kind, code])),
      [[['closed', 1006]], [['closed', 1006]]],
    )
  })
}

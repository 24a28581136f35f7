import { PreparedMessage, type Data } from '../../../lib/connection/message.ts'
import type { CloseReason } from '../../../lib/connection/close-codes.ts'
import type { TransportReceiver, Transport } from '../../../lib/transport/transport.ts'

/** An event that a transport told. */
export type Told =
  | ['message', Data, number]
  | ['ping' | 'pong', string]
  | ['written']
  | ['closing' | 'invalid' | 'closed', number, string]

/** An ability that some transports lack: a case is left out where an end would need it. */
export type Ability = 'ping' | 'pause' | 'cut' | 'be told in the same turn'

/** The assertions of a case: Node's `assert`, or what stands for it in a page. */
export interface Assertions {
  deepEqual(actual: unknown, expected: unknown): void
  ok(value: unknown): void
}

/** Something that every transport does. */
export interface Case {
  readonly name: string
  /** The ability that the first end needs, and that of the other one. */
  readonly needs: { readonly one?: Ability; readonly other?: Ability }
  readonly run: (joined: Joint, assert: Assertions) => Promise<void>
}

/** Two ends, and what each was told. */
export interface Joint {
  readonly one: Transport
  readonly other: Transport
  readonly byOne: Recorder
  readonly byOther: Recorder
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const bytesOf = (text: string): Uint8Array => encoder.encode(text)

/** Writes down what a transport tells, and lets a spec wait for it. */
export class Recorder implements TransportReceiver {
  readonly told: Told[] = []
  #wake = (): void => {}

  onMessage(data: Data, size: number): void {
    this.#note(['message', data, size])
  }
  onPing(payload: Uint8Array): void {
    this.#note(['ping', decoder.decode(payload)])
  }
  onPong(payload: Uint8Array): void {
    this.#note(['pong', decoder.decode(payload)])
  }
  onFlushed(): void {
    this.#note(['written'])
  }
  onPeerClose({ code, description }: CloseReason): void {
    this.#note(['closing', code, description])
  }
  onInvalid({ code, description }: CloseReason): void {
    this.#note(['invalid', code, description])
  }
  onClosed({ code, description }: CloseReason): void {
    this.#note(['closed', code, description])
  }

  /** Resolves with the first thing of this kind that was told, now or later. */
  async until(kind: Told[0], count = 1): Promise<Told> {
    for (;;) {
      const found = this.told.filter(([told]) => told === kind)
      const last = found[count - 1]
      if (last) return last
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  #note(told: Told): void {
    this.told.push(told)
    this.#wake()
  }
}

/** Runs a case with two ends that are not started yet, and takes them down. */
export async function runCase(
  { run }: Case,
  [one, other]: readonly [Transport, Transport],
  assert: Assertions,
): Promise<void> {
  const [byOne, byOther] = [new Recorder(), new Recorder()]
  one.start(byOne)
  other.start(byOther)
  await run({ one, other, byOne, byOther }, assert)
  one.terminate()
  await byOne.until('closed')
}

/** The cases of every transport, whatever it is made of. */
export const cases: readonly Case[] = [
  {
    name: 'carries text as a string and binary as bytes, in order',
    needs: {},
    run: async ({ one, byOther }, assert) => {
      one.send('grüße')
      one.send(Uint8Array.of(1, 2, 255))
      one.send('')
      one.send(new Uint8Array(0))
      await byOther.until('message', 4)
      assert.deepEqual(byOther.told, [
        ['message', 'grüße', 7],
        ['message', Uint8Array.of(1, 2, 255), 3],
        ['message', '', 0],
        ['message', new Uint8Array(0), 0],
      ])
    },
  },
  {
    name: 'carries a prepared message like any other',
    needs: {},
    run: async ({ one, byOther }, assert) => {
      one.send(new PreparedMessage('text'))
      one.send(new PreparedMessage(Uint8Array.of(7)))
      await byOther.until('message', 2)
      assert.deepEqual(byOther.told, [
        ['message', 'text', 4],
        ['message', Uint8Array.of(7), 1],
      ])
    },
  },
  {
    name: 'carries a ping behind the messages before it',
    needs: { one: 'ping', other: 'ping' },
    run: async ({ one, byOther }, assert) => {
      one.send('first')
      one.ping(bytesOf('then'))
      await byOther.until('ping')
      assert.deepEqual(byOther.told, [
        ['message', 'first', 5],
        ['ping', 'then'],
      ])
    },
  },
  {
    name: 'takes bytes that change afterwards',
    needs: {},
    run: async ({ one, byOther }, assert) => {
      const bytes = Uint8Array.of(1, 2, 3)
      one.send(bytes)
      bytes.fill(0)
      assert.deepEqual(await byOther.until('message'), ['message', Uint8Array.of(1, 2, 3), 3])
    },
  },
  {
    name: 'delivers bytes that no other code changes',
    needs: {},
    run: async ({ one, byOther }, assert) => {
      one.send(Uint8Array.of(1, 2, 3))
      const [, bytes] = await byOther.until('message')
      assert.ok(Object.getPrototypeOf(bytes) === Uint8Array.prototype)
    },
  },
  {
    name: 'answers pings by itself',
    needs: { one: 'ping' },
    run: async ({ one, byOne }, assert) => {
      one.ping(bytesOf('a'))
      one.ping(bytesOf('b'))
      await byOne.until('pong', 2)
      one.ping(new Uint8Array(0))
      await byOne.until('pong', 3)
      assert.deepEqual(byOne.told, [
        ['pong', 'a'],
        ['pong', 'b'],
        ['pong', ''],
      ])
    },
  },
  {
    name: 'tells when a message was handed on',
    needs: {},
    run: async ({ one, byOne }, assert) => {
      one.send('x')
      one.notify()
      await byOne.until('written')
      assert.deepEqual(one.bufferedAmount, 0)
    },
  },
  {
    name: 'counts what it receives',
    needs: {},
    run: async ({ one, other, byOther }, assert) => {
      const before = other.bytesReceived
      one.send('12345')
      await byOther.until('message')
      assert.ok(other.bytesReceived >= before + 5)
    },
  },
  {
    name: 'pauses, and goes on where it was',
    needs: { other: 'pause' },
    run: async ({ one, other, byOther }, assert) => {
      other.pause()
      const long = 'x'.repeat(1_000_000)
      for (let count = 0; count < 20; count++) one.send(long)
      await new Promise((resolve) => setTimeout(resolve, 0))
      assert.ok(one.bufferedAmount > 0)
      assert.ok(byOther.told.length < 20)
      other.resume()
      await byOther.until('message', 20)
      assert.deepEqual(byOther.told.length, 20)
      assert.ok(byOther.told.every(([, data]) => data === long))
    },
  },
  {
    name: 'closes with a handshake that both ends hear of',
    needs: {},
    run: async ({ one, byOne, byOther }, assert) => {
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
    },
  },
  {
    name: 'sends nothing after its close frame',
    needs: {},
    run: async ({ one, byOther }, assert) => {
      one.close({ code: 1000, description: 'x' })
      one.send('late')
      one.close({ code: 4001, description: 'y' })
      await byOther.until('closed')
      assert.deepEqual(byOther.told, [
        ['closing', 1000, 'x'],
        ['closed', 1000, 'x'],
      ])
    },
  },
  {
    name: 'sends no ping after its close frame',
    needs: { one: 'ping' },
    run: async ({ one, byOther }, assert) => {
      one.close({ code: 1000, description: 'x' })
      one.ping(bytesOf('late'))
      await byOther.until('closed')
      assert.deepEqual(byOther.told, [
        ['closing', 1000, 'x'],
        ['closed', 1000, 'x'],
      ])
    },
  },
  {
    name: 'sends nothing, and does not throw, once it has closed',
    needs: {},
    run: async ({ one, byOne, byOther }, assert) => {
      one.close({ code: 1000, description: 'x' })
      await Promise.all([byOne.until('closed'), byOther.until('closed')])
      const told = byOther.told.length
      one.send('late')
      one.close({ code: 1000, description: 'x' })
      one.terminate()
      assert.deepEqual([byOther.told.length, byOne.told.length], [told, 2])
    },
  },
  {
    name: 'lets both ends close at once',
    needs: { one: 'be told in the same turn', other: 'be told in the same turn' },
    run: async ({ one, other, byOne, byOther }, assert) => {
      one.close({ code: 4001, description: 'one' })
      other.close({ code: 4002, description: 'other' })
      await Promise.all([byOne.until('closed'), byOther.until('closed')])
      assert.deepEqual(byOne.told.at(-1), ['closed', 4002, 'other'])
      assert.deepEqual(byOther.told.at(-1), ['closed', 4001, 'one'])
    },
  },
  {
    name: 'tells its own end at once, and once, when it is cut',
    needs: {},
    run: async ({ one, byOne }, assert) => {
      one.terminate()
      one.terminate()
      const [, code] = await byOne.until('closed')
      assert.deepEqual([code, byOne.told.length], [1006, 1])
    },
  },
  {
    name: 'ends both ends at once when it is cut',
    needs: { one: 'cut' },
    run: async ({ one, byOther }, assert) => {
      one.terminate()
      await byOther.until('closed')
      assert.deepEqual(
        byOther.told.map(([kind, code]) => [kind, code]),
        [['closed', 1006]],
      )
    },
  },
]

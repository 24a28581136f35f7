// Runs in a page: the cases of the contract, with the page's transport at one end, and at the other
// end one in Node, which is told by a second socket what to do, and tells what it hears.
import type { Data, PreparedMessage } from '../../../lib/connection/message.ts'
import { resolveClient } from '../../../lib/options/browser.ts'
import { dial } from '../../../lib/transport/websocket.ts'
import type { TransportReceiver, Transport } from '../../../lib/transport/transport.ts'
import { cases, runCase, type Ability, type Assertions } from './cases.ts'

/** An event of a transport in Node, and its state then; bytes are an array of numbers. */
export interface Heard {
  readonly event: keyof TransportReceiver
  readonly values: readonly unknown[]
  readonly bufferedAmount: number
  readonly bytesReceived: number
}

/** An order to a transport in Node. */
export interface Order {
  readonly verb: 'send' | 'notify' | 'ping' | 'close' | 'terminate' | 'pause' | 'resume'
  readonly value?: unknown
}

/** The outcome of a case: without an error it passed. */
export interface Outcome {
  readonly name: string
  readonly error?: string
}

declare const document: { readonly baseURI: string }

const UNABLE: readonly Ability[] = ['ping', 'pause', 'cut', 'be told in the same turn']
// The other end is farther away than a function call.
const UNABLE_THERE: readonly Ability[] = ['be told in the same turn']

/** Lists the cases that are left to others, as one of the ends can't do what they need. */
export function leftOut(pageFirst: boolean): string[] {
  return cases.filter((each) => !isPossible(each, pageFirst)).map(({ name }) => name)
}

/** Runs all others, with the page's end first or second. */
export async function runAll(pageFirst: boolean): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (const each of cases.filter((one) => isPossible(one, pageFirst))) {
    const { name } = each
    const [here, there] = await join()
    try {
      await within(5_000, runCase(each, pageFirst ? [here, there] : [there, here], checks))
      outcomes.push({ name })
    } catch (error) {
      outcomes.push({ name, error: String(error) })
    }
  }
  return outcomes
}

function isPossible({ needs }: (typeof cases)[number], pageFirst: boolean): boolean {
  const [here, there] = pageFirst ? [needs.one, needs.other] : [needs.other, needs.one]
  if (here !== undefined && UNABLE.includes(here)) return false
  return there === undefined || !UNABLE_THERE.includes(there)
}

async function join(): Promise<[here: Transport, there: Transport]> {
  const base = new URL(document.baseURI).origin.replace('http', 'ws')
  const control = new WebSocket(`${base}/control`)
  const name = await new Promise<string>((resolve) => {
    control.onmessage = ({ data }) => resolve(String(data))
  })
  const there = new There(control)
  const here = await new Promise<Transport>((resolve, reject) => {
    const url = new URL(`${base}/${name}`)
    const call = { url, protocols: [], headers: {}, settings: resolveClient() }
    dial(call, { onOpen: resolve, onError: reject })
  })
  return [here, there]
}

/** A transport in Node, by the socket that controls it. */
class There implements Transport {
  readonly protocol = ''
  bufferedAmount = 0
  bytesReceived = 0
  readonly #control: WebSocket
  readonly #early: Heard[] = []
  #receiver: TransportReceiver | undefined

  constructor(control: WebSocket) {
    this.#control = control
    control.onmessage = ({ data }) => this.#heard(JSON.parse(String(data)) as Heard)
  }

  start(receiver: TransportReceiver): void {
    this.#receiver = receiver
    for (const heard of this.#early.splice(0)) this.#heard(heard)
  }

  send(message: Data | PreparedMessage): void {
    this.#order({
      verb: 'send',
      value: message instanceof Uint8Array ? [...message] : plain(message),
    })
  }

  notify(): void {
    this.#order({ verb: 'notify' })
  }

  ping(payload: Uint8Array): void {
    this.#order({ verb: 'ping', value: [...payload] })
  }

  close(reason: object): void {
    this.#order({ verb: 'close', value: reason })
  }

  terminate(): void {
    this.#order({ verb: 'terminate' })
  }

  pause(): void {
    this.#order({ verb: 'pause' })
  }

  resume(): void {
    this.#order({ verb: 'resume' })
  }

  #order(order: Order): void {
    this.#control.send(JSON.stringify(order))
  }

  #heard(heard: Heard): void {
    const receiver = this.#receiver
    if (!receiver) {
      this.#early.push(heard)
      return
    }
    this.bufferedAmount = heard.bufferedAmount
    this.bytesReceived = heard.bytesReceived
    const values = heard.values.map((value) =>
      Array.isArray(value) ? Uint8Array.from(value as number[]) : value,
    )
    const tell = receiver[heard.event]?.bind(receiver) as (...values: unknown[]) => void
    tell(...values)
  }
}

function plain(message: string | PreparedMessage): unknown {
  if (typeof message === 'string') return message
  return message.data instanceof Uint8Array ? [...message.data] : message.data
}

/** The part of Node's `assert` that the cases need. */
const checks: Assertions = {
  deepEqual: (actual, expected) => {
    const [one, other] = [shown(actual), shown(expected)]
    if (one !== other) throw new Error(`expected ${other}, got ${one}`)
  },
  ok: (value) => {
    if (!value) throw new Error('expected what is true')
  },
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    part instanceof Uint8Array ? { bytes: [...part] } : part,
  )
}

function within<Value>(time: number, promise: Promise<Value>): Promise<Value> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`nothing within ${time} ms`)), time)
  })
  return Promise.race([promise, late])
}

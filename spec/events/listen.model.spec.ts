// Random lives of one connection: listeners that are fast, slow, loops, and chains of `once`, come and
// go while messages arrive. What each hears is compared with what docs/delivery.md promises. Replay one
// life with SEED=…, run more with SEQUENCES=….
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClosedError, listen, once, type WebsocketConnection } from 'simplewebsockets'
import { pair } from 'simplewebsockets/testing'
import { below, pick, seeded, type Random } from '../support/random.ts'

const STEPS = 60

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** One listener, and the numbers of the messages that it has heard. */
interface Hearer {
  readonly kind: 'fast' | 'slow' | 'loop' | 'chain' | 'picker'
  /** The first message that it may hear. */
  readonly start: number
  /** Whether a `once` of a chain may resolve in the turn in which it begins: it may go on behind that. */
  readonly isBesideChain: boolean
  /** The messages from there on that others had taken before it began. */
  readonly takenBefore: ReadonlySet<number>
  readonly heard: number[]
  /** Lets a slow one go on, or a loop ask for more. */
  goOn(): void
  stop(): void
}

class Life {
  readonly connection: WebsocketConnection
  readonly #peer: WebsocketConnection
  readonly #random: Random
  readonly #hearers: Hearer[] = []
  #past: Hearer[] = []
  readonly #taken = new Set<number>()
  /** The filters of pickers, by the messages that each picker has heard. */
  readonly #wanted = new Map<number[], (number: number) => boolean>()
  readonly #picked = new Set<number>()
  #sent = 0
  #hasClosed = false

  constructor(random: Random) {
    const [connection, peer] = pair()
    this.connection = connection
    this.#peer = peer
    this.#random = random
    listen(connection, 'close', () => {
      this.#hasClosed = true
    })
  }

  async run(): Promise<void> {
    for (let step = 0; step < STEPS; step++) {
      const action = pick(this.#random, ['send', 'send', 'add', 'go on', 'go on', 'stop'])
      if (action === 'send') for (let n = below(this.#random, 6); n >= 0; n--) this.#send()
      if (action === 'add') await this.#add()
      if (action === 'go on') this.#any()?.goOn()
      if (action === 'stop' && below(this.#random, 3) === 0) this.#stop(this.#any())
      if (below(this.#random, 2) === 0) await turn()
    }
    await this.#finish()
  }

  /** Lets all hear what they have still to hear, and closes at a time of its own choice. */
  async #finish(): Promise<void> {
    const closesEarly = below(this.#random, 2) === 0
    for (const hearer of [...this.#hearers]) {
      if (hearer.kind === 'chain' || hearer.kind === 'picker') this.#stop(hearer)
    }
    await turn()
    await turn()
    this.#listener('fast') // which takes what no other one does
    if (closesEarly) void this.#peer.close()
    for (let left = true; left;) {
      await turn()
      left = false
      for (const hearer of this.#hearers) {
        if (hearer.heard.at(-1) === this.#sent - 1) continue
        if (this.#expected(hearer).at(-1) === hearer.heard.at(-1)) continue
        left = true
        hearer.goOn()
      }
    }
    if (!closesEarly) void this.#peer.close()
    await once(this.connection, 'close')
    for (const hearer of [...this.#hearers, ...this.#past]) this.#check(hearer)
    for (let number = 0; number < this.#sent; number++) {
      assert.ok(this.#taken.has(number), `no listener heard ${number}`)
    }
    await assert.rejects(once(this.connection, 'message'), ClosedError)
  }

  #send(): void {
    this.#peer.send(this.#sent++)
  }

  #any(): Hearer | undefined {
    return this.#hearers[below(this.#random, this.#hearers.length)]
  }

  #stop(hearer: Hearer | undefined): void {
    if (!hearer) return
    hearer.stop()
    this.#hearers.splice(this.#hearers.indexOf(hearer), 1)
    this.#past.push(hearer)
  }

  /** Adds a listener, in a turn of its own: no `once` resolves in it, which it would go on behind. */
  async #add(): Promise<void> {
    await turn()
    await turn()
    const kind = pick(this.#random, ['fast', 'slow', 'slow', 'loop', 'chain', 'chain', 'picker'])
    if (kind === 'fast' || kind === 'slow') this.#listener(kind)
    if (kind === 'loop') this.#loop()
    if (kind === 'chain') this.#chain()
    if (kind === 'picker') this.#picker()
  }

  /** Registers a listener, and returns what it calls with each message that it hears. */
  #register(kind: Hearer['kind'], goOn: () => void, stop: () => void): (data: unknown) => number {
    let start = 0
    while (this.#taken.has(start)) start++
    const heard: number[] = []
    const isBesideChain = this.#hearers.some((other) => other.kind === 'chain')
    const takenBefore = new Set(this.#taken)
    this.#hearers.push({ kind, start, isBesideChain, takenBefore, heard, goOn, stop })
    return (data) => {
      const number = Number(data)
      heard.push(number)
      this.#taken.add(number)
      if (kind === 'picker') this.#picked.add(number)
      return number
    }
  }

  #listener(kind: 'fast' | 'slow'): void {
    let goOn = (): void => {}
    const hear = this.#register(
      kind,
      () => goOn(),
      () => unlisten(),
    )
    const unlisten = listen(this.connection, 'message', (data) => {
      assert.equal(this.#hasClosed, false, 'a message came after `close`')
      hear(data)
      if (kind === 'fast') return undefined
      return new Promise<void>((resolve) => {
        goOn = resolve
      })
    })
  }

  #loop(): void {
    const loop = listen(this.connection, 'message')
    let asked = false
    const ask = (): void => {
      if (asked) return
      asked = true
      void loop.next().then(({ done, value }) => {
        asked = false
        if (done !== true) hear(value)
      })
    }
    const hear = this.#register('loop', ask, () => void loop.return?.())
  }

  #chain(): void {
    const stopper = new AbortController()
    const hear = this.#register(
      'chain',
      () => {},
      () => stopper.abort(),
    )
    const go = async (): Promise<void> => {
      while (!stopper.signal.aborted) {
        hear(await once(this.connection, 'message', { signal: stopper.signal }))
        for (let hops = below(this.#random, 6); hops > 0; hops--) await Promise.resolve()
      }
    }
    go().catch(() => {}) // stopped, or closed
  }

  #picker(): void {
    const stopper = new AbortController()
    const [divisor, rest] = [2 + below(this.#random, 4), below(this.#random, 2)]
    const hear = this.#register(
      'picker',
      () => {},
      () => stopper.abort(),
    )
    const where = (data: unknown): boolean => Number(data) % divisor === rest
    once(this.connection, 'message', { where, signal: stopper.signal }).then(hear, () => {})
    const own = this.#hearers.at(-1)
    this.#wanted.set(own?.heard ?? [], (number) => number % divisor === rest)
  }

  /** Returns what a listener should hear if it hears all. */
  #expected({ kind, start, isBesideChain, takenBefore, heard }: Hearer): number[] {
    const isSingle = kind === 'chain' || kind === 'picker'
    const from = isSingle && isBesideChain ? Math.min(start, heard[0] ?? start) : start
    const all = Array.from({ length: this.#sent - from }, (_, index) => from + index)
    const own = all.filter((number) => number < start || !takenBefore.has(number))
    if (kind !== 'picker') return own
    return own.filter((number) => this.#wanted.get(heard)?.(number)).slice(0, 1)
  }

  #check(hearer: Hearer): void {
    const { kind, heard } = hearer
    let expected = this.#expected(hearer)
    // A message that was picked between two `once` of a chain is not for the second.
    if (kind === 'chain') {
      expected = expected.filter((number) => !this.#picked.has(number) || heard.includes(number))
    }
    assert.deepEqual(heard, expected.slice(0, heard.length), `a ${kind} from ${hearer.start} on`)
    if (this.#past.includes(hearer)) return
    assert.equal(heard.length, expected.length, `a ${kind} from ${hearer.start} on missed some`)
  }
}

test('random listeners hear what the rules of listening say', async (t) => {
  const first = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  const sequences = Number(process.env.SEQUENCES ?? 200)
  t.diagnostic(`SEED=${first} SEQUENCES=${sequences}`)
  for (let seed = first; seed < first + sequences; seed++) {
    try {
      await new Life(seeded(seed)).run()
    } catch (cause) {
      throw new Error(`SEED=${seed} SEQUENCES=1 replays this`, { cause })
    }
  }
})

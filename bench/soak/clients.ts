// The crowd of the soak, half of it in rooms and half in channels. Run by soak.ts:
// COUNT SEED ROOMS PORT…, two ports for each node.
import { below, pick, seeded, type Random } from '../../spec/support/random.ts'
import { ChannelGoer } from './channelgoer.ts'
import type { Findings, Goer } from './goer.ts'
import { RoomGoer } from './roomgoer.ts'
import type { CrowdOrder, CrowdReport } from './words.ts'

const [, , size, seed, rooms, ...ports] = process.argv
const PAUSE = 6_000 // ms between what one client does, at most
const FLOOD = 200 // messages at once
const MOST_ROOMS = 3
const findings: Findings = { counted: {}, codes: {}, violations: [] }
let acts = false

/** The deeds of clients, as often as the numbers say. */
const chances = [
  ...many(60, 'speak'),
  ...many(12, 'join'),
  ...many(9, 'leave'),
  ...many(6, 'freeze'),
  ...many(4, 'vanish'),
  ...many(3, 'move'),
  ...many(2, 'flood'),
  ...many(1, 'drown'),
] as const

type Act = (typeof chances)[number]

function many<Name extends string>(times: number, name: Name): Name[] {
  return Array.from({ length: times }, () => name)
}

const pause = (duration: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, duration))

/** One of the crowd, and the chance that drives it. */
class Actor {
  readonly goer: Goer
  readonly #random: Random
  readonly #floor: number
  readonly #prefix: string
  #busy = false

  constructor(index: number) {
    this.#floor = index % 2
    this.#prefix = this.#floor === 0 ? 'lounge:' : 'room:'
    this.#random = seeded(Number(seed) + index)
    const Kind = this.#floor === 0 ? RoomGoer : ChannelGoer
    this.goer = new Kind(`client${index}`, findings)
    this.goer.join(this.#room)
    void this.#live()
  }

  get #room(): string {
    return `${this.#prefix}${below(this.#random, Number(rooms))}`
  }

  get #port(): number {
    const nodes = ports.length / 2
    return Number(ports[below(this.#random, nodes) * 2 + this.#floor])
  }

  open(): void {
    this.goer.open(this.#port)
  }

  async #live(): Promise<never> {
    for (;;) {
      await pause(this.#random() * PAUSE)
      if (!acts || !this.goer.isSettled) continue
      this.#busy = true
      await this.#act(chances[below(this.#random, chances.length)] ?? 'speak')
      this.#busy = false
    }
  }

  /** Waits until it has done what it was at. */
  async rest(): Promise<void> {
    while (this.#busy) await pause(50)
  }

  async #act(act: Act): Promise<void> {
    const { goer } = this
    const [first, ...more] = goer.wanted
    const room = first === undefined ? undefined : pick(this.#random, [first, ...more])
    if (act === 'speak' && room !== undefined) goer.speak(room)
    if (act === 'leave' && room !== undefined) goer.leave(room)
    if (act === 'join') this.#join()
    if (act === 'vanish') goer.vanish()
    if (act === 'move') {
      await goer.close()
      this.open()
    }
    if (act === 'flood') {
      goer.flood(FLOOD)
      await pause(500)
      goer.vanish() // what it says in a flood may be dropped: it doesn't speak on that connection
    }
    if (act === 'freeze' || act === 'drown') {
      goer.freeze()
      if (act === 'drown') goer.drown()
      await pause(500 + this.#random() * 5_000)
      goer.thaw()
    }
  }

  #join(): void {
    const room = this.#room
    if (this.goer.wanted.size < MOST_ROOMS && !this.goer.wanted.has(room)) this.goer.join(room)
  }
}

const actors = Array.from({ length: Number(size) }, (_, index) => new Actor(index))

function present(): Record<string, string[]> {
  const found: Record<string, string[]> = {}
  for (const { goer } of actors) {
    for (const room of goer.wanted)
      if (room.startsWith('room:')) (found[room] ??= []).push(goer.who)
  }
  for (const names of Object.values(found)) names.sort()
  return found
}

function report(answers: CrowdOrder): void {
  const { counted, codes, violations } = findings
  process.send?.({
    answers,
    open: actors.filter(({ goer }) => goer.isOpen).length,
    unsettled: actors.filter(({ goer }) => !goer.isSettled).map(({ goer }) => goer.story),
    counted,
    codes,
    heap: process.memoryUsage().heapUsed,
    present: answers === 'rest' ? present() : undefined,
    violations: violations.splice(0),
  } satisfies CrowdReport)
}

const obey: Readonly<Record<CrowdOrder, () => unknown>> = {
  report: () => {},
  act: () => {
    acts = true
    for (const actor of actors) if (!actor.goer.isOpen) actor.open()
  },
  rest: () => {
    acts = false
    return Promise.all(actors.map((actor) => actor.rest()))
  },
  compare: () => Promise.all(actors.map(({ goer }) => goer.compare())),
  leave: () => Promise.all(actors.map(({ goer }) => goer.close())),
}

async function take(order: CrowdOrder): Promise<void> {
  await obey[order]()
  report(order)
}

process.on('message', (order: CrowdOrder) => void take(order))
process.on('disconnect', () => process.exit())
for (const cause of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(cause, (error: unknown) => {
    findings.violations.push(`${cause}: ${error instanceof Error ? error.stack : String(error)}`)
  })
}
report('report')

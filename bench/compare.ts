import type { Contestant } from './contestant.ts'
import { Generator, type Load } from './generator.ts'

/** What one server did in one round. */
export interface Round {
  readonly perSecond: number
  /** Microseconds of CPU that a message cost the server. */
  readonly cpu: number
  /** How much of a core the generator needed: near 1 it is the generator that is measured. */
  readonly generator: number
}

/** How long to measure. */
export interface Plan {
  readonly rounds: number
  /** Turns of 150 ms that each server has in a round. */
  readonly turns: number
}

/** One server, its generator, and what they have done in the round so far. */
interface Side {
  readonly contestant: Contestant
  readonly generator: Generator
  messages: number
  seconds: number
  cpu: number
  ownCpu: number
}

const TURN = 150 // milliseconds: short, so that whatever else the machine does meets both servers
const WARM_UP = 1_000 // milliseconds until the code is loaded, compiled and hot

/** Measures two servers under one load, in turn: what each did in each round. */
export async function compare(
  contestants: readonly [Contestant, Contestant],
  load: Load,
  { rounds, turns }: Plan,
): Promise<[Round, Round][]> {
  const [one, other] = contestants
  const sides: [Side, Side] = [await take(one, load), await take(other, load)]
  for (const { generator } of sides) await generator.run(WARM_UP)
  const pairs: [Round, Round][] = []
  while (pairs.length < rounds) {
    for (let turn = 0; turn < turns; turn++) {
      for (const side of turn % 2 === 0 ? sides : sides.toReversed()) await measure(side)
    }
    pairs.push([finish(sides[0]), finish(sides[1])])
  }
  for (const { generator } of sides) generator.close()
  return pairs
}

async function take(contestant: Contestant, load: Load): Promise<Side> {
  const generator = await Generator.connect(contestant.port, load)
  return { contestant, generator, messages: 0, seconds: 0, cpu: 0, ownCpu: 0 }
}

/** Gives a server one turn. */
async function measure(side: Side): Promise<void> {
  const { contestant, generator } = side
  const { replies } = generator
  const cpu = await contestant.cpu()
  const ownCpu = process.cpuUsage()
  const start = performance.now()
  await generator.run(TURN)
  side.seconds += (performance.now() - start) / 1_000
  const { user, system } = process.cpuUsage(ownCpu)
  side.ownCpu += user + system
  side.cpu += (await contestant.cpu()) - cpu
  side.messages += generator.replies - replies
}

/** Sums the turns of a round up, and begins anew. */
function finish(side: Side): Round {
  const { messages, seconds, cpu, ownCpu } = side
  Object.assign(side, { messages: 0, seconds: 0, cpu: 0, ownCpu: 0 })
  return {
    perSecond: messages / seconds,
    cpu: cpu / messages,
    generator: ownCpu / (seconds * 1_000_000),
  }
}

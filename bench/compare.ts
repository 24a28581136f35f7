import { toAbsence, type Absence } from './absence.ts'
import type { Contestant } from './contestant.ts'
import type { Load } from './loads/load.ts'

/** The result of one contestant in one round. */
export interface Round {
  readonly perSecond: number
  /** Microseconds of CPU that a message cost it. */
  readonly cpu: number
  /** How much of its core it needed. */
  readonly busy: number
  /** How much of a core the generator needed: near 1 it is the generator that is measured. */
  readonly generator: number
}

/** How long to measure. */
export interface Plan {
  readonly rounds: number
  /** Turns that each contestant has in a round, */
  readonly turns: number
  /** and the milliseconds of one: short, so that other work of the machine meets them all. */
  readonly turn: number
  /** Milliseconds until the code is loaded, compiled and hot. */
  readonly warmUp: number
}

/** How long a case is measured: long enough to tell, or quickly. */
export function plan(quick: boolean): Plan {
  return quick
    ? { rounds: 3, turns: 2, turn: 80, warmUp: 350 }
    : { rounds: 5, turns: 4, turn: 150, warmUp: 700 }
}

/** Whose CPU is measured: a process, or several. */
export type Measured = Pick<Contestant, 'name' | 'cpu'>

/** A contestant, and what keeps it busy. */
export interface Pairing<Subject extends Measured = Contestant> {
  readonly contestant: Subject
  readonly load: Load
}

/** The rounds of all contestants, and those contestants that could not be measured. */
export interface Comparison {
  readonly rounds: ReadonlyMap<string, readonly Round[]>
  readonly absent: readonly Absence[]
}

/** The work that a contestant has done so far in a round. */
interface Sum {
  done: number
  seconds: number
  cpu: number
  ownCpu: number
}

/** Measures contestants in turn: what each did in each round. Who fails is left out. */
export async function compare(
  pairings: readonly Pairing<Measured>[],
  { rounds, turns, turn, warmUp }: Plan,
): Promise<Comparison> {
  const absent: Absence[] = []
  const left = new Set(pairings)
  const results = new Map<string, Round[]>()
  const attempt = async (
    pairing: Pairing<Measured>,
    work: () => Promise<unknown>,
  ): Promise<void> => {
    try {
      if (left.has(pairing)) await work()
    } catch (error) {
      left.delete(pairing)
      results.delete(pairing.contestant.name)
      absent.push(toAbsence(pairing.contestant.name, error))
    }
  }
  for (const pairing of pairings) {
    results.set(pairing.contestant.name, [])
    await attempt(pairing, () => pairing.load.run(warmUp))
  }
  for (let round = 0; round < rounds; round++) {
    const sums = new Map(pairings.map((pairing) => [pairing, nothing()]))
    for (let taken = 0; taken < turns; taken++) {
      const order = [...sums]
      for (const [pairing, sum] of (round + taken) % 2 === 0 ? order : order.toReversed()) {
        await attempt(pairing, () => measure(pairing, turn, sum))
      }
    }
    for (const [{ contestant }, sum] of sums) results.get(contestant.name)?.push(finish(sum))
  }
  for (const { load } of pairings) load.close()
  return { rounds: results, absent }
}

/** Gives a contestant one turn. */
async function measure(
  { contestant, load }: Pairing<Measured>,
  turn: number,
  sum: Sum,
): Promise<void> {
  const { done } = load
  const cpu = await contestant.cpu()
  const ownCpu = process.cpuUsage()
  const start = performance.now()
  await load.run(turn)
  sum.seconds += (performance.now() - start) / 1_000
  const { user, system } = process.cpuUsage(ownCpu)
  sum.ownCpu += user + system
  sum.cpu += (await contestant.cpu()) - cpu
  sum.done += load.done - done
}

function nothing(): Sum {
  return { done: 0, seconds: 0, cpu: 0, ownCpu: 0 }
}

/** Sums the turns of a round up. */
function finish({ done, seconds, cpu, ownCpu }: Sum): Round {
  return {
    perSecond: done / seconds,
    cpu: cpu / done,
    busy: cpu / (seconds * 1_000_000),
    generator: ownCpu / (seconds * 1_000_000),
  }
}

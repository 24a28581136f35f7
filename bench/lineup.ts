import { existsSync } from 'node:fs'
import { toAbsence, type Absence } from './absence.ts'
import type { Pairing } from './compare.ts'
import { certificate } from './certificate.ts'
import { Contestant } from './contestant.ts'
import type { Entry } from './contestants.ts'
import type { Load } from './loads/load.ts'
import type { Way } from './wire/peer.ts'

/** The work of a server. */
export type Mode =
  | 'echo'
  | 'echo-deflate'
  | 'echo-tls'
  | 'echo-async'
  | 'echo-loop'
  | 'fanout'
  | 'fanout-deflate'
  | 'channels'

/** How it is measured. */
export interface Setting {
  readonly entries: readonly Entry[]
  /** Whether it must be over soon. */
  readonly quick: boolean
  /** Whether each contestant writes a profile to bench/profiles when it ends. */
  readonly profile: boolean
}

/** Starts the server of an entry. */
export function start(entry: Entry, mode: Mode, nodeOptions: string[]): Promise<Contestant> {
  const { name, needs, runtime = 'node' } = entry
  if (needs !== undefined && !existsSync(new URL(`./node_modules/${needs}`, import.meta.url))) {
    throw new Error(`${needs} is not installed: npm ci --prefix bench`)
  }
  const args = mode === 'echo-tls' ? [mode, ...certificate()] : [mode]
  return Contestant.start({ name, runtime, args, nodeOptions })
}

/** The servers under test, started in one mode. */
export class Lineup {
  readonly #absent: Absence[] = []
  readonly #present: { entry: Entry; contestant: Contestant }[] = []

  /** Starts them all. */
  static async start({ entries, profile }: Setting, mode: Mode): Promise<Lineup> {
    const lineup = new Lineup()
    for (const entry of entries) {
      const nodeOptions = profile ? profiling(`${entry.name}-${mode}`) : []
      await lineup.#try(entry.name, async () => {
        const contestant = await start(entry, mode, nodeOptions)
        lineup.#present.push({ entry, contestant })
      })
    }
    return lineup
  }

  /** Connects a load to each, and says who is missing. */
  async pair(
    connect: (way: Way) => Load | Promise<Load>,
  ): Promise<{ pairings: Pairing[]; absent: Absence[] }> {
    const pairings: Pairing[] = []
    const before = this.#absent.length
    for (const { entry, contestant } of this.#present) {
      const { dialect } = entry
      await this.#try(entry.name, async () => {
        pairings.push({ contestant, load: await connect({ port: contestant.port, dialect }) })
      })
    }
    const absent = [...this.#absent]
    this.#absent.length = before // a contestant that can't do this may do the next
    return { pairings, absent }
  }

  async stop(): Promise<void> {
    for (const { contestant } of this.#present) await contestant.stop()
  }

  async #try(name: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#absent.push(toAbsence(name, error))
    }
  }
}

/** Makes Node write profiles, one a thread: the one with `.0.` in its name is the server's. */
export function profiling(name: string): string[] {
  return ['--cpu-prof', `--cpu-prof-dir=bench/profiles/${name}`]
}

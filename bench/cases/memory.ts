// The cost of an idle connection.
import { toAbsence, type Absence } from '../absence.ts'
import type { Memory } from '../contestant.ts'
import { BASE, type Entry } from '../contestants.ts'
import { start, type Mode, type Setting } from '../lineup.ts'
import { median, show, table } from '../stats.ts'
import { Peer, type Way } from '../wire/peer.ts'
import { missing, spread, type Result } from './result.ts'

const CONNECTIONS = 10_000 // so many that each has a small share of the young generation
const WARM_UP = 250 // connections that come and go before, so that no code is counted as theirs
const SETTLE = 300 // milliseconds

export async function* memory({ entries, quick }: Setting): AsyncGenerator<Result> {
  const runs = quick ? 1 : 3
  const measured = new Map<string, Memory[]>()
  const absent = new Map<string, Absence>()
  for (let run = 0; run < runs; run++) {
    for (const entry of entries.filter(({ name }) => !absent.has(name))) {
      const { name } = entry
      try {
        measured.set(name, [...(measured.get(name) ?? []), await perConnection(entry, IDLE)])
      } catch (error) {
        measured.delete(name)
        absent.set(name, toAbsence(name, error))
      }
    }
  }
  const middle = (name: string, value: keyof Memory): number =>
    median((measured.get(name) ?? []).map((one) => one[value]))
  const rows = [['', 'RSS', 'to ws', 'spread', 'heap', 'external']]
  for (const [name, all] of measured) {
    rows.push([
      name,
      show(middle(name, 'rss')),
      show(middle(name, 'rss') / middle(BASE, 'rss'), 2),
      spread(
        all.map(({ rss }) => rss),
        0,
      ),
      show(middle(name, 'heap')),
      show(middle(name, 'external')),
    ])
  }
  yield {
    name: 'idle-memory',
    about: `bytes for each of ${show(CONNECTIONS)} idle connections, garbage collected; less is better`,
    ratio: middle('ours', 'rss') / middle(BASE, 'rss'),
    table: table(rows),
    notes: missing([...absent.values()]),
  }
}

/** How connections are made, and what they do before they are weighed. */
export interface Use {
  readonly mode: Mode
  readonly count: number
  readonly way?: Partial<Way>
  readonly act?: (peers: readonly Peer[]) => Promise<void>
}

const IDLE: Use = { mode: 'echo', count: CONNECTIONS }

/** Weighs what each of some connections costs a fresh server. */
export async function perConnection(
  entry: Entry,
  { mode, count, way: more, act }: Use,
): Promise<Memory> {
  const server = await start(entry, mode, ['--expose-gc'])
  try {
    const way = { port: server.port, dialect: entry.dialect, ...more }
    for (const peer of await Peer.openAll(WARM_UP, way)) peer.close()
    await pause()
    const before = await server.memory()
    const peers = await Peer.openAll(count, way)
    await act?.(peers)
    await pause()
    const after = await server.memory()
    for (const peer of peers) peer.close()
    return {
      rss: (after.rss - before.rss) / count,
      heap: (after.heap - before.heap) / count,
      external: (after.external - before.external) / count,
    }
  } finally {
    await server.stop()
  }
}

/** Lets what is done after a connection is made, or has gone, be done. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE))
}

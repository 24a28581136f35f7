// How fast compressed messages are echoed, and what a connection keeps of them.
import { toAbsence, type Absence } from '../absence.ts'
import { compare, plan } from '../compare.ts'
import { BASE } from '../contestants.ts'
import { Lineup, type Setting } from '../lineup.ts'
import { compressedFrame, connectDeflateEcho } from '../loads/deflate-echo.ts'
import { jsonOf } from '../loads/texts.ts'
import { median, show, table } from '../stats.ts'
import { perConnection } from './memory.ts'
import { missing, summarize, type Result } from './result.ts'

const BYTES = 1024
const IN_FLIGHT = 64
const connections = 16
const CROWDS = [1_000, 3_000]

const [whole = '', ...others] = Array.from({ length: IN_FLIGHT }, (_, index) =>
  jsonOf(BYTES, index),
)
const cases = [
  { name: 'echo-deflate-varied', what: 'different', texts: [whole, ...others] },
  { name: 'echo-deflate-identical', what: 'the same', texts: others.map(() => whole) },
]

export async function* deflate(setting: Setting): AsyncGenerator<Result> {
  const lineup = await Lineup.start(setting, 'echo-deflate')
  for (const { name, what, texts } of cases) {
    const shape = { texts, inFlight: texts.length, connections }
    const { pairings, absent } = await lineup.pair((way) => connectDeflateEcho(way, shape))
    const { rounds, absent: failed } = await compare(pairings, plan(setting.quick))
    const about =
      `1 KiB of JSON echoed to ${connections} connections, ${texts.length} in flight on each, ` +
      `${what} each time, compressed both ways, as each server does it by default`
    const words = { name, about, what: 'messages', each: 'message' }
    yield summarize(words, { rounds, absent: [...absent, ...failed] })
  }
  await lineup.stop()
  for (const count of CROWDS) yield await crowd(setting, count)
}

/** Each of many peers sends one message, all at once: what that takes, and what stays. */
async function crowd({ entries, quick }: Setting, count: number): Promise<Result> {
  const measured = new Map<string, { rss: number; milliseconds: number }[]>()
  const absent = new Map<string, Absence>()
  for (let run = 0; run < (quick ? 1 : 3); run++) {
    for (const entry of entries.filter(({ name }) => !absent.has(name))) {
      const { name } = entry
      try {
        let milliseconds = 0
        const { rss } = await perConnection(entry, {
          ...{ mode: 'echo-deflate', count, way: { deflate: 'as browsers' } },
          act: async (peers) => {
            const start = performance.now()
            for (const peer of peers) peer.write(compressedFrame(whole))
            for (const peer of peers) await peer.take()
            milliseconds = performance.now() - start
          },
        })
        measured.set(name, [...(measured.get(name) ?? []), { rss, milliseconds }])
      } catch (error) {
        measured.delete(name)
        absent.set(name, toAbsence(name, error))
      }
    }
  }
  const middle = (name: string, value: 'rss' | 'milliseconds'): number =>
    median((measured.get(name) ?? []).map((one) => one[value]))
  const rows = [...measured.keys()].map((name) => [
    name,
    show(middle(name, 'rss')),
    show(middle(name, 'rss') / middle(BASE, 'rss'), 2),
    show(middle(name, 'milliseconds')),
    show(middle(name, 'milliseconds') / middle(BASE, 'milliseconds'), 2),
  ])
  return {
    name: `deflate-crowd-${count}`,
    about:
      `${show(count)} connections that each send one compressed message of 1 KiB at once and get it ` +
      'echoed: bytes that each connection then takes, garbage collected, and how long it takes; ' +
      'less is better',
    ratio: middle('ours', 'rss') / middle(BASE, 'rss'),
    figures: {
      bytes: middle('ours', 'rss'),
      time: middle('ours', 'milliseconds') / middle(BASE, 'milliseconds'),
    },
    table: table([['', 'RSS', 'to ws', 'ms', 'to ws'], ...rows]),
    notes: missing([...absent.values()]),
  }
}

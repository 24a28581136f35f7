// The cost of `messages: json(…)`, beside the same check with zod written by hand.
import { compare, plan } from '../compare.ts'
import type { Entry } from '../contestants.ts'
import { Lineup, type Setting } from '../lineup.ts'
import { connectEcho } from '../loads/echo.ts'
import { plain, type Dialect } from '../wire/dialects.ts'
import { summarize, type Result } from './result.ts'

const dialect: Dialect = { ...plain, wrap: (text) => JSON.stringify({ type: 'say', text }) }
const entries: readonly Entry[] = [
  { name: 'json', dialect },
  { name: 'json-by-hand', dialect },
]

/** Measures an echo of JSON that zod checks. */
export async function* json(setting: Setting): AsyncGenerator<Result> {
  const lineup = await Lineup.start({ ...setting, entries }, 'echo')
  for (const bytes of [32, 1_024]) {
    const shape = { bytes, inFlight: 64, connections: 64 }
    const { pairings, absent } = await lineup.pair((way) => connectEcho(way, shape))
    const { rounds, absent: failed } = await compare(pairings, plan(setting.quick))
    const words = {
      name: `json-${bytes}`,
      about: `JSON with ${bytes} B of text, checked by zod and echoed to 64 connections, 64 in flight on each`,
      what: 'messages',
      each: 'message',
    }
    const comparison = { rounds, absent: [...absent, ...failed] }
    yield summarize(words, comparison, { own: 'json', base: 'json-by-hand' })
  }
  await lineup.stop()
}

// The cost of being told of every message, beside being told of nothing.
import { compare, plan } from '../compare.ts'
import type { Entry } from '../contestants.ts'
import { Lineup, type Setting } from '../lineup.ts'
import { connectEcho } from '../loads/echo.ts'
import { summarize, type Result } from './result.ts'

const entries: readonly Entry[] = [{ name: 'ours' }, { name: 'watched' }]

export async function* diagnostics(setting: Setting): AsyncGenerator<Result> {
  const lineup = await Lineup.start({ ...setting, entries }, 'echo')
  const shape = { bytes: 32, inFlight: 64, connections: 64 }
  const { pairings, absent } = await lineup.pair((way) => connectEcho(way, shape))
  const { rounds, absent: failed } = await compare(pairings, plan(setting.quick))
  const words = {
    name: 'diagnostics',
    about: '32 B echoed to 64 connections, with a subscriber of every channel and without any',
    what: 'messages',
    each: 'message',
  }
  const comparison = { rounds, absent: [...absent, ...failed] }
  yield summarize(words, comparison, { own: 'watched', base: 'ours' })
  await lineup.stop()
}

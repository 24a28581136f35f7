// How fast a client receives.
import { compare, plan, type Pairing } from '../compare.ts'
import { Contestant } from '../contestant.ts'
import { ownEntries } from '../contestants.ts'
import { profiling, type Setting } from '../lineup.ts'
import { FloodLoad } from '../loads/flood.ts'
import { summarize, type Result } from './result.ts'

const BYTES = 32

export async function* client({ quick, profile }: Setting): AsyncGenerator<Result> {
  const pairings: (Pairing & { load: FloodLoad })[] = []
  for (const { name } of ownEntries) {
    const load = await FloodLoad.listen(BYTES)
    const nodeOptions = profile ? profiling(`${name}-client`) : []
    const args = [String(load.port)]
    const contestant = await Contestant.start({ name, folder: 'clients', args, nodeOptions })
    pairings.push({ contestant, load })
  }
  const comparison = await compare(pairings, plan(quick))
  for (const { contestant, load } of pairings) {
    const count = await contestant.count()
    if (count !== load.done) throw new Error(`${contestant.name} heard ${count} of ${load.done}`)
    await contestant.stop()
  }
  const about = `a Node client receives ${BYTES} B of text flat out from a plain socket`
  const words = { name: `client-receive-${BYTES}`, about, what: 'messages', each: 'message' }
  yield summarize(words, comparison)
}

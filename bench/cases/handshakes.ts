// How fast visitors are let in and out.
import { compare, plan } from '../compare.ts'
import { Lineup, type Setting } from '../lineup.ts'
import { HandshakeLoad } from '../loads/handshakes.ts'
import { summarize, type Result } from './result.ts'

const AT_ONCE = 32

export async function* handshakes(setting: Setting): AsyncGenerator<Result> {
  const lineup = await Lineup.start(setting, 'echo')
  const { pairings, absent } = await lineup.pair((way) => new HandshakeLoad(way, AT_ONCE))
  const { rounds, absent: failed } = await compare(pairings, {
    ...plan(setting.quick),
    warmUp: 800,
  })
  const about = `connect, 101, end of the TCP connection; ${AT_ONCE} at once`
  const words = { name: 'handshakes', about, what: 'handshakes', each: 'handshake' }
  yield summarize(words, { rounds, absent: [...absent, ...failed] })
  await lineup.stop()
}

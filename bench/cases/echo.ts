// How fast messages are echoed.
import { compare, plan } from '../compare.ts'
import { Lineup, type Setting } from '../lineup.ts'
import { EchoLoad, type EchoShape } from '../loads/echo.ts'
import { summarize, type Result } from './result.ts'

const connections = 64
const shapes: readonly EchoShape[] = [
  { bytes: 32, inFlight: 64, connections },
  { bytes: 1024, inFlight: 64, connections },
  { bytes: 32, inFlight: 1, connections },
  { bytes: 1024, inFlight: 1, connections },
]

export async function* echo(setting: Setting): AsyncGenerator<Result> {
  const lineup = await Lineup.start(setting, 'echo')
  for (const shape of shapes) {
    const { bytes, inFlight } = shape
    const { pairings, absent } = await lineup.pair((way) => EchoLoad.connect(way, shape))
    const { rounds, absent: failed } = await compare(pairings, plan(setting.quick))
    const about = `${bytes} B of text echoed to ${connections} connections, ${inFlight} in flight on each`
    const words = { name: `echo-${bytes}x${inFlight}`, about, what: 'messages', each: 'message' }
    yield summarize(words, { rounds, absent: [...absent, ...failed] })
  }
  await lineup.stop()
}

// How fast one message goes to all members.
import { compare, plan } from '../compare.ts'
import { Lineup, type Setting } from '../lineup.ts'
import { FanoutLoad, type FanoutShape } from '../loads/fanout.ts'
import { jsonOf, textOf } from '../loads/texts.ts'
import { summarize, type Result } from './result.ts'

interface FanoutCase extends FanoutShape {
  readonly name: string
  readonly about: string
  readonly deflate: boolean
}

const connections = 1_000
const casesOf = (quick: boolean): readonly FanoutCase[] => [
  {
    name: 'fanout-64x8',
    about: `64 B of text broadcast to ${connections} connections, 8 broadcasts in flight`,
    text: textOf(64),
    inFlight: 8,
    connections,
    deflate: false,
  },
  {
    name: 'fanout-64x1',
    about: `64 B of text broadcast to ${connections} connections, one broadcast at a time`,
    text: textOf(64),
    inFlight: 1,
    connections,
    deflate: false,
  },
  {
    name: 'fanout-2048-deflate',
    about: `2 KiB of JSON broadcast compressed to ${connections} connections, 8 broadcasts in flight`,
    text: jsonOf(2048),
    inFlight: 8,
    connections: quick ? 250 : connections, // each takes a quarter of a megabyte with ws
    deflate: true,
  },
]

export async function* fanout(setting: Setting): AsyncGenerator<Result> {
  for (const deflate of [false, true]) {
    const lineup = await Lineup.start(setting, deflate ? 'fanout-deflate' : 'fanout')
    for (const shape of casesOf(setting.quick).filter((one) => one.deflate === deflate)) {
      const { pairings, absent } = await lineup.pair((way) =>
        FanoutLoad.connect({ ...way, deflate: deflate ? 'no takeover' : undefined }, shape),
      )
      const { rounds, absent: failed } = await compare(pairings, plan(setting.quick))
      const { name, about } = shape
      const words = { name, about, what: 'deliveries', each: 'delivery' }
      yield summarize(words, { rounds, absent: [...absent, ...failed] })
    }
    await lineup.stop()
  }
}

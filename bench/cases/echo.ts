// How fast messages are echoed.
import { compare, plan } from '../compare.ts'
import { Lineup, type Mode, type Setting } from '../lineup.ts'
import { connectEcho, type EchoShape } from '../loads/echo.ts'
import { summarize, type Result } from './result.ts'

/** A kind of echo: what is said of it stands behind its shape. */
interface EchoCase extends EchoShape {
  readonly name: string
  readonly how: string
}

const KIB = 1024
const connections = 64
const few = 16 // of those with long messages

const plainCases: readonly EchoCase[] = [
  shape(32, 64),
  shape(KIB, 64),
  shape(32, 1),
  shape(KIB, 1),
  { ...shape(64 * KIB, 4), connections: few },
  {
    ...{ name: 'echo-1MiB-fragments', how: ', sent in fragments of 4 KiB' },
    ...{ bytes: KIB * KIB, inFlight: 1, connections: few, fragments: 4 * KIB },
  },
]

const cases: readonly (readonly [mode: Mode, cases: readonly EchoCase[]])[] = [
  ['echo', plainCases],
  ['echo-tls', [32, KIB].map((bytes) => shape(bytes, 64, 'echo-tls', ', over TLS'))],
  ['echo-async', [shape(32, 64, 'echo-async', ', ours with an async listener')]],
  ['echo-loop', [shape(32, 64, 'echo-loop', ', ours with `for await`')]],
]

function shape(bytes: number, inFlight: number, kind = 'echo', how = ''): EchoCase {
  return { name: `${kind}-${bytes}x${inFlight}`, how, bytes, inFlight, connections }
}

export async function* echo(setting: Setting): AsyncGenerator<Result> {
  for (const [mode, shapes] of cases) {
    const lineup = await Lineup.start(setting, mode)
    const tls = mode === 'echo-tls'
    for (const each of shapes) {
      const { name, bytes, inFlight, how } = each
      const { pairings, absent } = await lineup.pair((way) => connectEcho({ ...way, tls }, each))
      const { rounds, absent: failed } = await compare(pairings, plan(setting.quick))
      const about =
        `${bytes} B of text echoed to ${each.connections} connections, ` +
        `${inFlight} in flight on each${how}`
      const words = { name, about, what: 'messages', each: 'message' }
      yield summarize(words, { rounds, absent: [...absent, ...failed] })
    }
    await lineup.stop()
  }
}

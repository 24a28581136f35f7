// The cost for others of a client that stops reading: how long broadcasts take to reach them.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { toAbsence } from '../absence.ts'
import { Contestant } from '../contestant.ts'
import type { Setting } from '../lineup.ts'
import { textOf } from '../loads/texts.ts'
import { median, show, table } from '../stats.ts'
import { maskedFrame, TEXT } from '../wire/frames.ts'
import { request } from '../wire/handshake.ts'
import { Peer } from '../wire/peer.ts'
import { missing, spread, type Result } from './result.ts'

const BROADCASTS = 10_000 // 1 KiB each: more than both kernels and `maxBufferedAmount` hold
const WARM_UP = 2_000
const NEIGHBOURS = 10
const policies = ['close', 'drop'] as const

export async function* slow({ quick }: Setting): AsyncGenerator<Result> {
  for (const policy of policies) yield await beside(policy, quick ? 3 : 7)
}

async function beside(policy: string, rounds: number): Promise<Result> {
  const words = {
    name: `slow-${policy}`,
    about:
      `how long 99 of 100 broadcasts of 1 KiB take to reach ${NEIGHBOURS} neighbours of one who ` +
      `stopped reading, where slowConsumer is '${policy}', to without that one: less is better`,
  }
  try {
    const server = await Contestant.start({ name: 'slow', args: [policy] })
    const neighbours = await Peer.openAll(NEIGHBOURS, { port: server.port })
    const broadcasts = new Broadcasts(neighbours)
    await broadcasts.p99(WARM_UP)
    const alone: number[] = []
    const together: number[] = []
    for (let round = 0; round < rounds; round++) {
      alone.push(await broadcasts.p99(BROADCASTS))
      const before = await server.count()
      const sleeper = await enter(server.port)
      together.push(await broadcasts.p99(BROADCASTS))
      sleeper.destroy()
      if ((await server.count()) === before) throw new Error('the slow one was never in the way')
    }
    for (const neighbour of neighbours) neighbour.close()
    await server.stop()
    const ratios = together.map((time, round) => time / (alone[round] ?? NaN))
    const rows = [
      ['', 'p99 µs', 'to without', 'spread'],
      ['without', show(median(alone)), show(1, 2), ''],
      ['beside', show(median(together)), show(median(ratios), 2), spread(ratios, 2)],
    ]
    const figures = { 'p99 µs': median(together), 'p99 µs without': median(alone) }
    return { ...words, ratio: median(ratios), figures, table: table(rows), notes: [] }
  } catch (error) {
    return { ...words, ratio: NaN, table: '', notes: missing([toAbsence('ours', error)]) }
  }
}

/** Broadcasts one after the other, each when all neighbours have the one before. */
class Broadcasts {
  readonly #caller: Peer
  readonly #call = maskedFrame(TEXT, Buffer.from(textOf(1_024)))
  #waiting = 0
  #all: () => void = () => {}
  #failed: (error: Error) => void = () => {}

  constructor(neighbours: readonly Peer[]) {
    const [caller] = neighbours
    if (!caller) throw new Error('there are no neighbours')
    this.#caller = caller
    for (const neighbour of neighbours) {
      neighbour.count()
      neighbour.heard = (messages) => {
        this.#waiting -= messages
        if (this.#waiting === 0) this.#all()
      }
      neighbour.lost = (error) => this.#failed(error)
    }
  }

  /** Resolves with the microseconds within which 99 of 100 broadcasts have reached all members. */
  async p99(count: number): Promise<number> {
    const times = new Float64Array(count)
    for (let number = 0; number < count; number++) {
      const start = performance.now()
      await new Promise<void>((resolve, reject) => {
        this.#waiting = NEIGHBOURS
        this.#all = resolve
        this.#failed = reject
        this.#caller.write(this.#call)
      })
      times[number] = performance.now() - start
    }
    return (times.sort()[Math.floor(count * 0.99)] ?? NaN) * 1_000
  }
}

/** Connects a client that is let in, and then reads nothing. */
async function enter(port: number): Promise<Socket> {
  const tcp = connect({ port, host: '127.0.0.1' })
  tcp.on('error', () => {})
  tcp.write(request(port, '/'))
  await once(tcp, 'data')
  return tcp.pause()
}

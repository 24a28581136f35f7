// The cost of channels: pushes that are answered, broadcasts to their members, and memory.
import { toAbsence } from '../absence.ts'
import { compare, plan, type Comparison } from '../compare.ts'
import type { Entry } from '../contestants.ts'
import { Lineup, start, type Setting } from '../lineup.ts'
import { connectEcho, type EchoShape } from '../loads/echo.ts'
import { FanoutLoad, type FanoutShape } from '../loads/fanout.ts'
import type { Load } from '../loads/load.ts'
import { textOf } from '../loads/texts.ts'
import { median, show, table } from '../stats.ts'
import {
  broadcastBytes,
  joinOf,
  phoenixBroadcasts,
  phoenixReplies,
  socketIo,
  socketIoAcks,
} from '../wire/dialects.ts'
import { maskedFrame, TEXT } from '../wire/frames.ts'
import { Peer, type Way } from '../wire/peer.ts'
import { pause } from './memory.ts'
import { missing, ratiosOf, summarize, type Result } from './result.ts'

const own = 'channels'
const base = 'socket.io'
const needs = 'socket.io'
const connections = 64
const pushes: readonly EchoShape[] = [
  { bytes: 32, inFlight: 64, connections },
  { bytes: 32, inFlight: 1, connections },
]
const fanouts: readonly FanoutShape[] = [
  { text: textOf(64), inFlight: 8, connections: 100 },
  { text: textOf(64), inFlight: 8, connections: 1_000 },
]
const answerers: readonly Entry[] = [
  { name: own, dialect: phoenixReplies },
  { name: base, needs, dialect: socketIoAcks },
]
/** `ours` is the server alone, which emits the very bytes that channels do. */
const broadcasters: readonly Entry[] = [
  { name: own, dialect: phoenixBroadcasts },
  { name: 'ours', dialect: broadcastBytes },
  { name: base, needs, dialect: socketIo },
]

export async function* channels(setting: Setting): AsyncGenerator<Result> {
  yield* answers({ ...setting, entries: answerers })
  yield* broadcasts({ ...setting, entries: broadcasters })
  yield await memoryOfJoins(setting)
}

async function* answers(setting: Setting): AsyncGenerator<Result> {
  const lineup = await Lineup.start(setting, 'channels')
  for (const shape of pushes) {
    const comparison = await measured(lineup, setting, (way) => connectEcho(way, shape))
    const { bytes, inFlight } = shape
    const about =
      `a push of ${bytes} B of text answered, to ${connections} connections, ${inFlight} in flight ` +
      'on each; socket.io acknowledges an event'
    const words = { name: `channels-push-${bytes}x${inFlight}`, about, what: 'answers' }
    yield summarize({ ...words, each: 'answer' }, comparison, { own, base })
  }
  await lineup.stop()
}

async function* broadcasts(setting: Setting): AsyncGenerator<Result> {
  const lineup = await Lineup.start(setting, 'channels')
  for (const shape of fanouts) {
    const comparison = await measured(lineup, setting, (way) => FanoutLoad.connect(way, shape))
    const { rounds } = comparison
    const members = shape.connections
    const about =
      `64 B of text broadcast to ${members} members of a channel, 8 in flight; of a room of ` +
      "socket.io's; and, as the same bytes, to all clients of ours without channels"
    const words = { name: `channels-fanout-${members}`, about, what: 'deliveries' }
    const result = summarize({ ...words, each: 'delivery' }, comparison, { own, base })
    const toOurs = median(ratiosOf(rounds.get(own) ?? [], rounds.get('ours') ?? []))
    yield { ...result, figures: { ...result.figures, 'to ours': toOurs } }
  }
  await lineup.stop()
}

async function measured(
  lineup: Lineup,
  { quick }: Setting,
  connect: (way: Way) => Promise<Load>,
): Promise<Comparison> {
  const { pairings, absent } = await lineup.pair(connect)
  const { rounds, absent: failed } = await compare(pairings, plan(quick))
  return { rounds, absent: [...absent, ...failed] }
}

const MEMBERS = 500
const JOINS = 10 // of each, beside the first

async function memoryOfJoins({ quick }: Setting): Promise<Result> {
  const runs = quick ? 1 : 3
  const words = {
    name: 'channels-memory',
    about:
      `bytes of the heap for each channel that one of ${MEMBERS} connections joins, with two ` +
      'listeners, over the connection itself; garbage collected',
  }
  try {
    const heaps: number[] = []
    for (let run = 0; run < runs; run++) heaps.push(await heapPerJoin())
    const heap = median(heaps)
    const rows = [
      ['', 'heap', 'of 2,048'],
      [own, show(heap), show(heap / 2_048, 2)],
    ]
    return { ...words, ratio: heap / 2_048, figures: { heap }, table: table(rows), notes: [] }
  } catch (error) {
    const notes = missing([toAbsence(own, error)])
    return { ...words, ratio: NaN, table: '', notes }
  }
}

async function heapPerJoin(): Promise<number> {
  const server = await start({ name: own }, 'channels', ['--expose-gc'])
  try {
    const peers = await Peer.openAll(MEMBERS, { port: server.port, dialect: phoenixReplies })
    await joinAll(peers.splice(0, 50)) // so that no code is counted
    await pause()
    const before = await server.memory()
    await joinAll(peers)
    await pause()
    const after = await server.memory()
    for (const peer of peers) peer.close()
    return (after.heap - before.heap) / (peers.length * JOINS)
  } finally {
    await server.stop()
  }
}

async function joinAll(peers: readonly Peer[]): Promise<void> {
  for (const peer of peers) {
    for (let join = 1; join <= JOINS; join++) {
      peer.write(maskedFrame(TEXT, Buffer.from(joinOf(`room:${join + 1}`, `${join + 1}`))))
      await peer.take()
    }
  }
}

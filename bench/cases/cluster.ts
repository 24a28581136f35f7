// The cost of reaching the members of another node, through Redis and through NATS.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toAbsence, type Absence } from '../absence.ts'
import { compare, plan, type Pairing } from '../compare.ts'
import { Contestant } from '../contestant.ts'
import type { Setting } from '../lineup.ts'
import { FanoutLoad, type FanoutShape } from '../loads/fanout.ts'
import { textOf } from '../loads/texts.ts'
import { median, show, table } from '../stats.ts'
import { plain, socketIo, type Dialect } from '../wire/dialects.ts'
import { missing, spread, type Result } from './result.ts'

interface Way {
  readonly name: string
  readonly engine: 'redis' | 'nats'
  readonly dialect?: Dialect
  /** The contestant that does the same without a server above it. */
  readonly bare: string
}

const base = 'socket.io'
const ways: readonly Way[] = [
  { name: 'node-redis', engine: 'redis', bare: 'bare node-redis' },
  { name: 'ioredis', engine: 'redis', bare: 'bare ioredis' },
  { name: 'nats', engine: 'nats', bare: 'bare nats' },
  { name: base, engine: 'redis', dialect: socketIo, bare: 'bare node-redis' },
]
const shapes: readonly FanoutShape[] = [
  { text: textOf(64), inFlight: 8, connections: 1 },
  { text: textOf(64), inFlight: 8, connections: 100 },
]

export async function* cluster({ quick }: Setting): AsyncGenerator<Result> {
  const engines = { redis: await startRedis(), nats: await startNats() }
  try {
    for (const shape of shapes) yield await deliveries(engines, shape, quick)
    yield await latencies(engines, quick)
  } finally {
    for (const engine of Object.values(engines)) engine.stop()
  }
}

type Engines = Readonly<Record<Way['engine'], Engine>>

/** Two nodes, and all the CPU that both need. */
class Two {
  readonly name: string
  readonly nodes: readonly [Contestant, Contestant]

  private constructor(name: string, nodes: readonly [Contestant, Contestant]) {
    this.name = name
    this.nodes = nodes
  }

  static async start(name: string, url: string): Promise<Two> {
    const start = (): Promise<Contestant> =>
      Contestant.start({ name: 'cluster', args: [name, url] })
    return new Two(name, [await start(), await start()])
  }

  async cpu(): Promise<number> {
    const [one, other] = this.nodes
    return (await one.cpu()) + (await other.cpu())
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) await node.stop()
  }
}

async function deliveries(engines: Engines, shape: FanoutShape, quick: boolean): Promise<Result> {
  const absent: Absence[] = []
  const pairings: Pairing<Two>[] = []
  const started: Two[] = []
  for (const { name, engine, dialect = plain } of ways) {
    try {
      const contestant = await Two.start(name, engines[engine].url)
      started.push(contestant)
      const [from, to] = contestant.nodes.map(({ port }) => ({ port, dialect }))
      if (!from || !to) throw new Error('there are two nodes')
      pairings.push({ contestant, load: await FanoutLoad.connect(to, shape, from) })
    } catch (error) {
      absent.push(toAbsence(name, error))
    }
  }
  const { rounds, absent: failed } = await compare(pairings, plan(quick))
  for (const two of started) await two.stop()
  const others = rounds.get(base) ?? []
  const ratios = (name: string): number[] =>
    (rounds.get(name) ?? []).map(({ cpu }, round) => (others[round]?.cpu ?? NaN) / cpu)
  const rows = [...rounds].map(([name, own]) => [
    name,
    show(median(own.map(({ perSecond }) => perSecond))),
    show(median(own.map(({ cpu }) => cpu)), 2),
    show(median(ratios(name)), 2),
    spread(ratios(name), 2),
  ])
  const members = shape.connections
  const head = ['', 'deliveries/s', 'µs/delivery', `${base}'s to its own`, 'spread']
  return {
    name: `cluster-fanout-${members}`,
    about:
      `64 B of text emitted on one node to ${members} client${members > 1 ? 's' : ''} of another, ` +
      '8 in flight; CPU of both nodes together, without the engine',
    ratio: median(ratios('node-redis')),
    figures: Object.fromEntries(
      ways.slice(0, -1).map(({ name }) => [name, median(ratios(name))] as const),
    ),
    table: table([head, ...rows]),
    notes: missing([...absent, ...failed]),
  }
}

const ROUNDS = 3

async function latencies(engines: Engines, quick: boolean): Promise<Result> {
  const absent: Absence[] = []
  const known = new Map<string, { p50: number; p99: number }[]>()
  const engineOf = new Map(
    ways.flatMap(({ name, bare, engine }) => [
      [name, engine],
      [bare, engine],
    ]),
  )
  for (let round = 0; round < (quick ? 1 : ROUNDS); round++) {
    for (const [name, engine] of engineOf) {
      try {
        const two = await Two.start(name, engines[engine].url)
        const [from, to] = two.nodes
        await from.publish() // until the code is hot
        await to.latencies()
        await from.publish()
        const sorted = (await to.latencies()).sort((one, other) => one - other)
        await two.stop()
        const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? NaN
        known.set(name, [...(known.get(name) ?? []), { p50: at(0.5), p99: at(0.99) }])
      } catch (error) {
        absent.push(toAbsence(name, error))
      }
    }
  }
  const middle = (name: string, part: 'p50' | 'p99'): number =>
    median((known.get(name) ?? []).map((one) => one[part]))
  const bareOf = new Map(ways.map(({ name, bare }) => [name, bare]))
  const toBare = (name: string): number =>
    middle(name, 'p50') / middle(bareOf.get(name) ?? name, 'p50')
  const rows = [...known.keys()].map((name) => [
    name,
    show(middle(name, 'p50')),
    show(middle(name, 'p99')),
    show(toBare(name), 2),
  ])
  return {
    name: 'cluster-latency',
    about:
      'microseconds from `emit` on one node until a client on another one has it (socket.io: until ' +
      'its adapter has it), 500 a second; and from a bare publish to its subscriber',
    ratio: toBare('node-redis'),
    figures: { 'p50 µs': middle('node-redis', 'p50') },
    table: table([['', 'p50', 'p99', 'p50 to bare'], ...rows]),
    notes: missing(absent),
  }
}

interface Engine {
  readonly url: string
  readonly stop: () => void
}

const startRedis = (): Promise<Engine> =>
  startEngine('redis', (port, folder) => [
    'redis-server',
    ...['--port', port, '--bind', '127.0.0.1', '--dir', folder, '--save', ''],
  ])

const startNats = (): Promise<Engine> =>
  startEngine('nats', (port) => ['nats-server', '--addr', '127.0.0.1', '--port', port])

async function startEngine(
  name: string,
  words: (port: string, folder: string) => string[],
): Promise<Engine> {
  const spare = createServer().listen(0, '127.0.0.1')
  await once(spare, 'listening')
  const { port } = spare.address() as AddressInfo
  spare.close()
  const folder = mkdtempSync(join(tmpdir(), `${name}-`))
  const [command = '', ...options] = words(String(port), folder)
  const child = spawn(command, options, { stdio: 'ignore' })
  child.on('error', () => {}) // a contestant that needs it is not measured
  await answers(child, port)
  const stop = (): void => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  return { url: `${name}://127.0.0.1:${port}`, stop }
}

async function answers(child: ChildProcess, port: number): Promise<void> {
  for (let attempt = 0; attempt < 100 && child.exitCode === null; attempt++) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50))
    } finally {
      socket.destroy()
    }
  }
}

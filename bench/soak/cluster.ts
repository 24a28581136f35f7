import { setTimeout as pause } from 'node:timers/promises'
import { RunningEngine } from '../../spec/support/engines.ts'
import { sparePort } from '../../spec/support/ports.ts'
import { Program } from './program.ts'
import { count, total, type NodeOrder, type NodeReport, type Tally } from './words.ts'

const WITHIN = 1_500 // ms over which a node closes
const MOST_CLOSING = 15_000 // ms until it has ended, its close timeout among them
const SETTLING = 1_000 // ms until what goes with a start has gone
const MOST_DOWN = 1_000 // ms that what was killed stays down

type NodeProgram = Program<NodeOrder, NodeReport>

/** A node, and the lives that it has had. */
interface Node {
  readonly name: string
  readonly ports: readonly [number, number]
  program: NodeProgram
  lives: number
  /** The report of its first start, when no client was there. */
  empty: NodeReport | undefined
}

/** Two nodes and a Redis between them, which die and come back. */
export class Cluster {
  readonly nodes: readonly Node[]
  readonly restarts: Record<string, number> = {}
  /** Bytes, at most, as far as was reported. */
  peak = 0
  readonly #engine: RunningEngine
  readonly #topics: number
  readonly #wrong: (text: string) => void
  /** The counts of each life of a node. */
  readonly #counted = new Map<string, Tally>()

  private constructor(
    engine: RunningEngine,
    topics: number,
    ports: readonly number[],
    wrong: (text: string) => void,
  ) {
    this.#engine = engine
    this.#topics = topics
    this.#wrong = wrong
    this.nodes = ['A', 'B'].map((name, index): Node => {
      const own = [ports[2 * index] ?? 0, ports[2 * index + 1] ?? 0] as const
      return { name, ports: own, lives: 1, empty: undefined, program: this.#program(name, 1, own) }
    })
  }

  /** Starts all of it. */
  static async start(
    after: (end: () => Promise<void>) => void,
    topics: number,
    wrong: (text: string) => void,
  ): Promise<Cluster> {
    const engine = await RunningEngine.start({ after }, 'redis')
    const ports = await Promise.all(Array.from({ length: 4 }, sparePort))
    const cluster = new Cluster(engine, topics, ports, wrong)
    after(() => cluster.kill())
    await Promise.all(cluster.nodes.map(({ program }) => program.answer('report')))
    await pause(SETTLING)
    const reports = await cluster.ask('weigh')
    cluster.nodes.forEach((node, index) => (node.empty = reports[index]))
    return cluster
  }

  /** The counts of all lives of all nodes. */
  get counted(): Record<string, number> {
    return total(this.#counted.values())
  }

  /** Gives an order to all nodes. */
  ask(order: NodeOrder): Promise<(NodeReport | undefined)[]> {
    return Promise.all(this.nodes.map(({ program }) => program.ask(order)))
  }

  /** Has them report, whenever they come to it. */
  watch(): void {
    for (const { program } of this.nodes) program.tell('report')
  }

  /** The faults that may happen, one after the other. */
  get faults(): (() => Promise<void>)[] {
    const [one, other] = this.nodes
    if (!one || !other) return []
    const redis = (): Promise<void> => this.#restartRedis()
    return [
      redis,
      () => this.#restart(one, 'SIGTERM'),
      () => this.#restart(other, 'SIGKILL'),
      redis,
      () => this.#restart(other, 'SIGTERM'),
      () => this.#restart(one, 'SIGKILL'),
    ]
  }

  /** Ends the nodes as they should end. */
  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => this.#end(node, 'SIGTERM')))
  }

  async kill(): Promise<void> {
    await Promise.all(this.nodes.map(({ program }) => program.end('SIGKILL')))
  }

  async #restartRedis(): Promise<void> {
    count(this.restarts, 'Redis')
    await this.#engine.kill()
    await pause(Math.random() * MOST_DOWN)
    await this.#engine.start()
  }

  async #restart(node: Node, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    count(this.restarts, signal)
    await this.#end(node, signal)
    if (signal === 'SIGKILL') await pause(Math.random() * MOST_DOWN)
    node.program = this.#program(node.name, ++node.lives, node.ports)
    if (!(await node.program.answer('report'))) this.#wrong(`node ${node.name} did not start`)
  }

  async #end({ name, program }: Node, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const exit = await program.end(signal, MOST_CLOSING)
    if (signal === 'SIGTERM' && exit !== '0') this.#wrong(`node ${name} ended with ${exit}`)
  }

  #program(name: string, life: number, ports: readonly number[]): NodeProgram {
    const args = [`${name}${life}`, ...ports, this.#engine.url, WITHIN, this.#topics]
    return new Program<NodeOrder, NodeReport>('./node.ts', args, (report) => {
      this.#counted.set(report.node, report.counted)
      this.peak = Math.max(this.peak, report.heap)
      for (const text of report.violations) this.#wrong(text)
    })
  }
}

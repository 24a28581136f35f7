// Two nodes, a Redis between them and a crowd of clients, where all that can happen happens, by chance:
// what was said must be heard once, in order and by all who were there, and nothing may be left over.
// Run: npm run soak -- --minutes N [--clients N] [--seed N] [--compression]
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { seeded } from '../../spec/support/random.ts'
import { Cluster } from './cluster.ts'
import { Program } from './program.ts'
import type { CrowdOrder, CrowdReport, NodeReport, Tally } from './words.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const MIB = 1024 * 1024
const MOST_SHOWN = 20 // of the violations that clients find
const PATIENCE = MINUTE // until all is as it should be
const PER_ROOM = 20 // clients, or so
const WARM_UP = 8 * SECOND // at most
const CALM = 1 / 4 // of the time, at its end: a node that lives long shows what it doesn't let go of

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    clients: { type: 'string', default: '2000' },
    compression: { type: 'boolean', default: false },
    seed: { type: 'string', default: String(1 + Math.floor(Math.random() * 2 ** 31)) },
  },
})
// The programs beside this one find it in their environment.
if (values.compression) process.env.SOAK_COMPRESSION = 'true'
const minutes = above('minutes', values.minutes)
const clients = above('clients', values.clients)
const seed = above('seed', values.seed)

function above(name: string, value: string): number {
  const number = Number(value)
  if (number > 0 && (name === 'minutes' || Number.isInteger(number))) return number
  const wanted = name === 'minutes' ? 'a number' : 'a whole number'
  console.error(`expected --${name} to be ${wanted} above 0, got ${value}`)
  process.exit(1)
}

const duration = minutes * MINUTE
const rooms = Math.max(2, Math.round(clients / PER_ROOM))
const random = seeded(seed)
const ends: (() => Promise<unknown>)[] = []
const violations: string[] = []
const said: Partial<CrowdReport> = {}
let peakCrowd = 0

function wrong(text: string): void {
  violations.push(text)
  console.log(`VIOLATION (seed ${seed}): ${text}`)
}

/** One fault is found by many: not all of them are shown. */
function found(text: string): void {
  if (violations.length < MOST_SHOWN) wrong(text)
  else violations.push(text)
}

const inTurn = async (): Promise<void> => {
  for (const end of ends.splice(0).reverse()) await end()
}

const whole = (value = 0): string => value.toLocaleString('en')
const mebibytes = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`
const listed = (tally: Tally): string =>
  Object.entries(tally)
    .filter(([, value]) => value > 0)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => `${name} ${whole(value)}`)
    .join(', ') || 'none'

function hear(report: CrowdReport): void {
  Object.assign(said, report)
  peakCrowd = Math.max(peakCrowd, report.heap)
  for (const text of report.violations) found(text)
}

/** Waits until a question is answered with nothing; what it is answered in the end is wrong. */
async function until(unlike: () => Promise<string | undefined>): Promise<void> {
  const end = Date.now() + PATIENCE
  for (;;) {
    const text = await unlike()
    if (text === undefined) return
    if (Date.now() > end) {
      wrong(text)
      return
    }
    await pause(200)
  }
}

/** Waits until all clients are where they want to be, and have heard all that was said there. */
async function compare(cluster: Cluster, crowd: Program<CrowdOrder, CrowdReport>): Promise<void> {
  const rested = await crowd.ask('rest')
  await until(async () => {
    const report = await crowd.ask('report')
    const { unsettled = ['the crowd does not answer'] } = report ?? {}
    if (unsettled.length === 0) return undefined
    const some = unsettled.slice(0, 3).join('; ')
    return `${unsettled.length} of ${clients} clients are not where they want to be: ${some}`
  })
  if (!(await crowd.ask('compare'))) wrong('not every client was told how far its rooms have come')
  const here = JSON.stringify(Object.entries(rested?.present ?? {}).sort())
  await until(async () => {
    for (const report of await cluster.ask('presence')) {
      const present = Object.entries(report?.present ?? {}).filter(([, who]) => who.length > 0)
      if (JSON.stringify(present.sort()) !== here) {
        return `${report?.node} knows ${present.flat(2).length} of those who are present otherwise`
      }
    }
    return undefined
  })
  await crowd.ask('report')
}

/** Waits until nodes hold nothing but what they held at their start, and weighs them. */
async function empty(cluster: Cluster, crowd: Program<CrowdOrder, CrowdReport>): Promise<Tally> {
  await crowd.ask('leave')
  await until(async () => {
    const reports = await cluster.ask('report')
    const left = cluster.nodes.map(({ empty, name }, index) => {
      const report = reports[index]
      if (!report || !empty) return `node ${name} doesn't answer`
      return leftOver(empty, report)
    })
    return left.find((text) => text !== undefined)
  })
  const weighed = await cluster.ask('weigh')
  return Object.fromEntries(cluster.nodes.map(({ name }, at) => [name, weighed[at]?.heap ?? 0]))
}

function leftOver({ held, handles }: NodeReport, now: NodeReport): string | undefined {
  const [before, after] = [held, handles].map(listed)
  const [heldNow, handlesNow] = [now.held, now.handles].map(listed)
  if (before !== heldNow) return `${now.node} held ${before} at its start, and holds ${heldNow}`
  if (after !== handlesNow) return `${now.node} had handles ${after}, and has ${handlesNow}`
  return undefined
}

/** Has faults happen in turn at random moments, until the time is over but for its calm end. */
async function storm(cluster: Cluster): Promise<void> {
  const end = Date.now() + duration
  const longest = Math.min(16 * SECOND, (duration * (1 - CALM)) / 4)
  for (let turn = 0; ; turn++) {
    const wait = random() * longest
    if (Date.now() + wait > end - duration * CALM) break
    await pause(wait)
    await cluster.faults[turn % cluster.faults.length]?.()
  }
  await pause(Math.max(0, end - Date.now()))
}

async function run(cluster: Cluster): Promise<void> {
  const ports = cluster.nodes.flatMap((node) => node.ports)
  const args = [clients, seed, rooms, ...ports]
  const crowd = new Program<CrowdOrder, CrowdReport>('./clients.ts', args, hear)
  ends.push(() => crowd.end('SIGKILL'))
  await crowd.answer('report')
  await crowd.ask('act')
  await pause(Math.min(WARM_UP, duration))
  await compare(cluster, crowd)
  const warm = await empty(cluster, crowd)
  console.log(`warmed up; heap of an empty node: ${Object.values(warm).map(mebibytes).join(', ')}`)
  const start = Date.now()
  const watch = setInterval(() => {
    cluster.watch()
    crowd.tell('report')
  }, SECOND)
  const tell = setInterval(() => progress(cluster, Date.now() - start), 10 * SECOND)
  await crowd.ask('act')
  await storm(cluster)
  clearInterval(watch)
  clearInterval(tell)
  await compare(cluster, crowd)
  const heaps = await empty(cluster, crowd)
  for (const [name, heap] of Object.entries(heaps)) {
    const most = (warm[name] ?? 0) * 1.2 + 5 * MIB
    const text = `node ${name} has ${mebibytes(heap)} when empty, ${mebibytes(warm[name] ?? 0)} once warm`
    if (heap > most) wrong(text)
    else console.log(text)
  }
  await cluster.close()
}

function progress(cluster: Cluster, elapsed: number): void {
  const { open = 0, counted = {} } = said
  console.log(
    `${Math.round(elapsed / SECOND)} s: ${whole(open)} open, ${whole(counted.said)} sent, ` +
      `${whole(counted.delivered)} delivered, restarts: ${listed(cluster.restarts)}, ` +
      `${violations.length} violations`,
  )
}

function summary(cluster: Cluster): [string, string][] {
  const { counted = {}, codes = {} } = said
  const nodes = cluster.counted
  const only = (word: string): string =>
    listed(
      Object.fromEntries(
        Object.entries(nodes)
          .filter(([name]) => name.startsWith(word))
          .map(([name, value]) => [name.slice(word.length), value]),
      ),
    )
  return [
    ['minutes', String(minutes)],
    ['seed', String(seed)],
    ['clients', whole(clients)],
    ['connections made', whole(counted.connected)],
    ['ends of connections, by code', listed(codes)],
    ['messages sent', whole(counted.said)],
    ['messages delivered', whole(counted.delivered)],
    ['of these, across nodes', whole(counted.across)],
    ['published to Redis', whole(nodes.published)],
    ['restarts', listed(cluster.restarts)],
    ['dropped', only('dropped: ')],
    ['refused', only('refused: ')],
    ['peak heap of a node, of the clients', [cluster.peak, peakCrowd].map(mebibytes).join(', ')],
    ['violations', whole(violations.length)],
  ]
}

console.log(`seed ${seed}: ${whole(clients)} clients in ${rooms} rooms and as many channels`)
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void inTurn().then(() => process.exit(1)))
}
try {
  const cluster = await Cluster.start((end) => void ends.push(end), rooms, wrong)
  await run(cluster)
  console.log('\n| | |\n|---|---|')
  for (const [name, value] of summary(cluster)) console.log(`| ${name} | ${value} |`)
} finally {
  await inTurn()
}
if (violations.length > 0) process.exitCode = 1

// Restarts a server under load, all at once and over a time: how many come back in a second at most.
// Run: npm run storm [-- CLIENTS SECONDS], 2000 clients over 10 seconds unless you say otherwise.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import type { Members } from './clients.ts'
import type { Met, Order } from './server.ts'

const SECOND = 1_000
const MOST = 120 * SECOND // the longest wait for the last client

const [count = 2_000, seconds = 10] = process.argv.slice(2).map(Number)

interface Storm {
  readonly within: number
  readonly closing: number
  readonly exit: unknown
  readonly refused: number
  readonly peak: number
  readonly all: number
  readonly members: Members
}

/** Starts a program beside this one. */
const start = (program: string, ...args: readonly (number | string)[]): ChildProcess =>
  fork(new URL(program, import.meta.url), args.map(String))

async function told<Answer>(child: ChildProcess): Promise<Answer> {
  const [answer] = (await once(child, 'message')) as [Answer]
  return answer
}

function asked(child: ChildProcess, order: Order): Promise<Met> {
  child.send(order)
  return told<Met>(child)
}

/** Asks the clients until all are members, or the time is over. */
async function gathered(clients: ChildProcess): Promise<Members> {
  for (const end = Date.now() + MOST; ;) {
    clients.send('members')
    const members = await told<Members>(clients)
    if (members.ours + members.phoenix === count || Date.now() > end) return members
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Returns the most of these times within one second. */
function peak(times: readonly number[]): number {
  const sorted = [...times].sort((one, other) => one - other)
  return Math.max(
    0,
    ...sorted.map((from, at) => sorted.slice(at).filter((time) => time < from + SECOND).length),
  )
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

async function restarted(within: number): Promise<Storm> {
  const port = await freePort()
  const old = start('./server.ts', port)
  await told(old)
  const clients = start('./clients.ts', port, count)
  await gathered(clients)
  const begun = Date.now()
  const { refused } = await asked(old, { within })
  const [exit] = (await once(old, 'exit')) as [unknown]
  const closing = Date.now() - begun
  const next = start('./server.ts', port)
  await told(next)
  const members = await gathered(clients)
  const { entered } = await asked(next, 'report')
  const all = Math.max(...entered) - begun
  for (const child of [clients, next]) child.kill('SIGKILL')
  return { within, closing, exit, refused: refused.length, peak: peak(entered), all, members }
}

console.log(`${count} clients, half of them ours and half phoenix.js, each a member of a topic.`)
console.log(
  '| closed | took | exit | refused meanwhile | came back in one second, at most | all back after | members then |',
)
console.log('|---|---|---|---|---|---|---|')
for (const within of [0, seconds * SECOND]) {
  const { closing, exit, refused, peak, all, members } = await restarted(within)
  const [took, back] = [closing, all].map((time) => `${(time / SECOND).toFixed(1)} s`)
  const { ours, phoenix } = members
  console.log(
    `| ${within === 0 ? 'at once' : `within ${within / SECOND} s`} | ${took} | ${String(exit)} | ` +
      `${refused} | ${peak} | ${back} | ${ours} + ${phoenix} |`,
  )
}

// How fast messages are echoed, beside bare `ws`: npm run bench [-- --quick] [-- --profile]
import { compare, type Round } from './compare.ts'
import { Contestant } from './contestant.ts'
import { moveToGeneratorCore } from './cores.ts'
import type { Load } from './generator.ts'
import { machine } from './machine.ts'
import { median, show, table } from './stats.ts'

const quick = process.argv.includes('--quick')
// A profile of each server is written to the working directory when it ends.
const nodeOptions = process.argv.includes('--profile') ? ['--cpu-prof'] : []
const plan = quick ? { rounds: 5, turns: 3 } : { rounds: 7, turns: 10 }
const connections = 64
const cases: Load[] = [32, 1024].flatMap((bytes) =>
  [1, 64].map((inFlight) => ({ bytes, inFlight, connections })),
)

moveToGeneratorCore()
const ours = await Contestant.start('ours', nodeOptions)
const ws = await Contestant.start('ws', nodeOptions)
const rows = [['case', 'ours/s', 'ws/s', 'ratio', 'spread', 'ours µs', 'ws µs', 'generator']]
const about = machine() // before the machine is busy with this

for (const load of cases) {
  const name = `echo-${load.bytes}x${load.inFlight}`
  const pairs = await compare([ours, ws], load, plan)
  const ratio = median(pairs.map(ratioOf))
  if (quick) console.log(JSON.stringify({ case: name, ratio: Number(ratio.toFixed(2)) }))
  else rows.push([name, ...row(pairs)])
}
await Promise.all([ours.stop(), ws.stop()])

if (!quick) {
  console.log(`${about}\n`)
  console.log(`${connections} connections; case: bytes of a message x messages under way on each`)
  console.log(`medians of ${plan.rounds} rounds; µs: CPU of the server for one message\n`)
  console.log(table(rows))
}

function ratioOf([ours, ws]: [ours: Round, ws: Round]): number {
  return ours.perSecond / ws.perSecond
}

function row(pairs: [ours: Round, ws: Round][]): string[] {
  const ratios = pairs.map(ratioOf)
  const middle = (side: 0 | 1, value: keyof Round): number =>
    median(pairs.map((pair) => pair[side][value]))
  return [
    show(middle(0, 'perSecond')),
    show(middle(1, 'perSecond')),
    show(median(ratios), 2),
    `${show(Math.min(...ratios), 2)}..${show(Math.max(...ratios), 2)}`,
    show(middle(0, 'cpu'), 2),
    show(middle(1, 'cpu'), 2),
    `${show(100 * Math.max(middle(0, 'generator'), middle(1, 'generator')))} %`,
  ]
}

// npm run bench [-- echo|fanout|deflate|memory|handshakes|client|channels|json|slow|diagnostics|cluster] [--quick] [--profile]
import { writeFileSync } from 'node:fs'
import { channels } from './cases/channels.ts'
import { client } from './cases/client.ts'
import { cluster } from './cases/cluster.ts'
import { deflate } from './cases/deflate.ts'
import { diagnostics } from './cases/diagnostics.ts'
import { echo } from './cases/echo.ts'
import { fanout } from './cases/fanout.ts'
import { handshakes } from './cases/handshakes.ts'
import { json } from './cases/json.ts'
import { memory } from './cases/memory.ts'
import type { Result } from './cases/result.ts'
import { slow } from './cases/slow.ts'
import { allEntries, ownEntries } from './contestants.ts'
import { moveToGeneratorCore } from './cores.ts'
import { installPeers } from './install.ts'
import type { Setting } from './lineup.ts'
import { machine } from './machine.ts'
import { document, section } from './results.ts'

const besideWs = { echo, fanout, deflate, memory, handshakes, client }
const parts = new Map(Object.entries({ ...besideWs, channels, json, slow, diagnostics, cluster }))
const flags = ['--quick', '--profile']

const words = process.argv.slice(2)
const unknown = words.find((word) => !parts.has(word) && !flags.includes(word))
if (unknown !== undefined) {
  console.error(`what is ${unknown}? There are ${[...parts.keys(), ...flags].join(', ')}.`)
  process.exit(1)
}
const quick = words.includes('--quick')
const chosen = [...parts].filter(([name]) => words.includes(name))
const profile = words.includes('--profile')
const setting: Setting = { entries: quick ? ownEntries : allEntries, quick, profile }

if (!quick) installPeers()
const about = machine(setting.entries) // before the machine is busy with this
moveToGeneratorCore()

const results: Result[] = []
const usual = quick ? Object.entries(besideWs) : parts
for (const [, part] of chosen.length > 0 ? chosen : usual) {
  for await (const result of part(setting)) {
    const { name, ratio, notes, figures = {} } = result
    if (!quick) console.log(`${section(result)}\n`)
    else if (Number.isFinite(ratio)) {
      const numbers = Object.entries({ ratio, ...figures })
      const shown = numbers.map(([what, number]) => [what, Number(number.toFixed(2))] as const)
      console.log(JSON.stringify({ case: name, ...Object.fromEntries(shown) }))
    } else console.error(`${name}: ${notes.join('; ')}`)
    results.push(result)
  }
}
if (!quick) console.log(about.join('\n'))
if (!quick && chosen.length === 0) {
  const file = new URL('./RESULTS.md', import.meta.url)
  writeFileSync(file, document(about, results))
  console.log('\nwritten to bench/RESULTS.md')
}

// npm run fuzz [-- --minutes N]: runs what draws by chance for so long, each round with another seed.
// A round is repeated by its seed: SEED=5 npm run fuzz.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '5' } } })
const minutes = Number(values.minutes)
if (!(minutes > 0)) {
  console.error(`expected --minutes to be a number from 0 up, got ${values.minutes}`)
  process.exit(1)
}

const { SEED } = process.env
const TIMES = 5 // as many runs as in `npm test`
const MOST_SEED = 2 ** 31 - 1
const files = readdirSync('spec/fuzz').filter((name) => name.endsWith('.spec.ts'))
const specs = [...files.map((name) => `spec/fuzz/${name}`), 'spec/transport/tcp/receivers.spec.ts']
const options = ['--conditions=source', '--import', 'tsx', '--test', '--test-reporter=tap']

const start = Date.now()
let rounds = 0
let drawn = 0
do {
  const seed = SEED ?? `${Math.floor(Math.random() * MOST_SEED)}`
  const env = { ...process.env, SEED: seed, TIMES: `${TIMES}`, MINUTES: '0.1' }
  const { stdout, status } = spawnSync(process.execPath, [...options, ...specs], {
    ...{ env, encoding: 'utf8', maxBuffer: 2 ** 26 },
  })
  const all = [...stdout.matchAll(/(\d+) (?:inputs drawn|streams)/g)]
  const count = all.reduce((sum, [, found]) => sum + Number(found), 0)
  rounds++
  drawn += count
  console.log(`seed ${seed}: ${count} inputs, ${status === 0 ? 'all well' : 'FAILED'}`)
  if (status !== 0) {
    console.log(`${stdout}\nrepeat it with SEED=${seed} npm run fuzz`)
    process.exit(1)
  }
} while (SEED === undefined && Date.now() - start < minutes * 60_000)
const seconds = Math.round((Date.now() - start) / 1_000)
console.log(`${drawn} inputs in ${rounds} rounds of ${specs.length} specs, ${seconds} s`)

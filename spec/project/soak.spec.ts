import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { without } from '../support/engines.ts'

test(
  'whatever happens, what is said is heard once and in order, and nothing is left over',
  { skip: without('redis'), timeout: 180_000 },
  async (t) => {
    const options = ['--conditions=source', '--import', 'tsx', 'bench/soak/soak.ts']
    const load = ['--minutes', '0.1', '--clients', '40']
    const soak = spawn(process.execPath, [...options, ...load], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => soak.kill('SIGINT'))
    const ended = once(soak, 'exit')
    const printed = await text(soak.stdout)
    const [code] = (await ended) as [unknown]
    assert.equal(code, 0, printed)
    assert.match(printed, /^\| messages delivered \| [\d,]*[1-9][\d,]* \|$/m)
    assert.match(printed, /^\| violations \| 0 \|$/m)
    t.diagnostic(printed.split('\n')[0] ?? '')
  },
)

test('an option that makes no sense is told of', async () => {
  const soak = spawn(
    process.execPath,
    ['--conditions=source', '--import', 'tsx', 'bench/soak/soak.ts', '--minutes', 'long'],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const ended = once(soak, 'exit')
  const printed = await text(soak.stderr)
  assert.deepEqual(await ended, [1, null])
  assert.match(printed, /expected --minutes to be a number above 0, got long/)
})

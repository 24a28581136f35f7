import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, suite, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { missing } from '../support/missing.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const installed = join(root, 'spec/runtimes/node_modules')
const CURE = 'not installed here: get it with `npm ci --prefix spec/runtimes` (0.7 GB)'

const commands = {
  'Node 20': [join(installed, 'node20/bin/node')],
  'Node 22': [join(installed, 'node22/bin/node')],
  'Node 24': [join(installed, 'node24/bin/node')],
  Bun: [join(installed, '.bin/bun')],
  Deno: [join(installed, '.bin/deno'), 'run', '-A', '--node-modules-dir=manual'],
} as const
type Runtime = keyof typeof commands

/** The differences for a client, as docs/runtimes.md says: everything else works. */
const differences: Partial<Record<Runtime, Record<string, string>>> = {
  Bun: { '`maxReceivedFrameSize`': '1011 instead of 1008' },
}

const pairs: [server: Runtime, client: Runtime][] = [
  ['Node 20', 'Node 20'],
  ...(['Node 22', 'Node 24', 'Bun', 'Deno'] as const).flatMap(
    (runtime): [server: Runtime, client: Runtime][] => [
      [runtime, 'Node 20'],
      ['Node 20', runtime],
      [runtime, runtime],
    ],
  ),
]

suite('the built package', { concurrency: 1 }, () => {
  let place = ''

  before(async () => {
    place = await mkdtemp(join(tmpdir(), 'runtimes-'))
    await install(place)
  })
  after(() => rm(place, { recursive: true }))

  for (const [server, client] of pairs) {
    test(`in ${server} serves a client in ${client}`, async (t) => {
      if (![server, client].every((runtime) => isThere(t, runtime))) return
      const port = await serve(t, place, server)
      const [program, ...options] = commands[client]
      const url = `ws://127.0.0.1:${port}`
      const { stdout } = await run(program, [...options, 'client.mjs', url], { cwd: place })
      const outcomes = Object.entries(JSON.parse(stdout) as Record<string, string>)
      const expected = differences[client] ?? {}
      assert.equal(outcomes.length, 21)
      assert.deepEqual(Object.fromEntries(outcomes.filter(([, how]) => how !== 'works')), expected)
    })
  }
})

/** Makes a package that has ours, built, as one from the registry. */
async function install(place: string): Promise<void> {
  const modules = join(place, 'node_modules')
  const own = join(modules, 'simplewebsockets')
  await mkdir(own, { recursive: true })
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  await run(process.execPath, [compiler, '-p', 'lib', '--outDir', join(own, 'dist')], { cwd: root })
  await cp(join(root, 'package.json'), join(own, 'package.json'))
  for (const name of ['ws', 'mitt', 'debug', 'ms']) {
    await cp(join(root, 'node_modules', name), join(modules, name), { recursive: true })
  }
  for (const name of ['server.mjs', 'client.mjs']) {
    await cp(join(root, 'spec/runtimes', name), join(place, name))
  }
  const dependencies = { simplewebsockets: '*' }
  await writeFile(join(place, 'package.json'), JSON.stringify({ type: 'module', dependencies }))
}

/** Skips a test where a runtime is missing, save in CI, where a skip would go unnoticed. */
function isThere(t: TestContext, runtime: Runtime): boolean {
  if (existsSync(commands[runtime][0])) return true
  t.skip(missing(`${runtime} is ${CURE}`))
  return false
}

/** Starts the server until the end of the test, and reads its port. */
async function serve(t: TestContext, place: string, runtime: Runtime): Promise<string> {
  const [program, ...options] = commands[runtime]
  const child = spawn(program, [...options, 'server.mjs'], {
    cwd: place,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(async () => {
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  })
  for await (const line of createInterface(child.stdout)) return line
  return assert.fail(`${runtime} ended without a word`)
}

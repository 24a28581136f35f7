import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { historyContract } from 'simplewebsockets/testing'
import { missing } from '../support/missing.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const node24 = join(root, 'spec/runtimes/node_modules/node24/bin/node')
const skip = existsSync(node24)
  ? false
  : missing('no Node 24 here: get it with `npm ci --prefix spec/runtimes` (0.7 GB)')

test('the store of the sample replay/sqlite keeps the contract', { skip }, async () => {
  const options = ['--conditions=source', '--import', 'tsx', '--test', 'samples/replay/sqlite.ts']
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined } // it would report to us
  const { stdout } = await promisify(execFile)(node24, options, { cwd: root, env })
  const contract = historyContract(() => assert.fail('none is run'), { subscribes: false })
  assert.match(stdout, new RegExp(`pass ${contract.length}\n`))
})

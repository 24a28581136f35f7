import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))

/** Installs the peers beside the bench where they are missing; the package itself needs none. */
export function installPeers(): void {
  if (existsSync(`${here}node_modules`)) return
  console.error('Installing what ours is measured beside, once, into bench/node_modules:')
  console.error('npm ci --prefix bench')
  const { status, error } = spawnSync('npm', ['ci', '--prefix', here], {
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  if (status !== 0) console.error(`that failed: ${error?.message ?? `npm ended with ${status}`}`)
}

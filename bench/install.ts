import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))

/** Installs the peers beside the bench where one is missing; the package itself needs none. */
export function installPeers(): void {
  const { dependencies } = JSON.parse(readFileSync(`${here}package.json`, 'utf8')) as {
    dependencies: Readonly<Record<string, string>>
  }
  const peers = Object.keys(dependencies)
  if (peers.every((peer) => existsSync(`${here}node_modules/${peer}`))) return
  console.error('Installing what ours is measured beside, once, into bench/node_modules:')
  console.error('npm ci --prefix bench')
  const { status, error } = spawnSync('npm', ['ci', '--prefix', here], {
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  if (status !== 0) console.error(`that failed: ${error?.message ?? `npm ended with ${status}`}`)
}

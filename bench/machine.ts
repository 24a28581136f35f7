import { readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release, type } from 'node:os'
import { createRequire } from 'node:module'
import { generatorCore, pinned, serverCore } from './cores.ts'
import { show } from './stats.ts'

const require = createRequire(import.meta.url)

/** Says on what, and with what, it was measured. */
export function machine(): string {
  const [cpu] = cpus()
  return [
    `${cpu?.model ?? 'an unknown CPU'}, ${cpus().length} cores; ${type()} ${release()} ${arch()}`,
    `node ${process.versions.node}, ${version('simplewebsockets')}, ${version('ws')}`,
    pinned
      ? `server on core ${String(serverCore)}, generator on core ${String(generatorCore)}`
      : 'not pinned: two cores and `taskset` are needed for that',
    `load before: ${show(loadavg()[0] ?? 0, 2)}`,
  ].join('\n')
}

function version(name: string): string {
  const manifest: unknown = JSON.parse(
    readFileSync(require.resolve(`${name}/package.json`), 'utf8'),
  )
  return `${name} ${(manifest as { version: string }).version}`
}

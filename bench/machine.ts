import { readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release, type } from 'node:os'
import type { Entry } from './contestants.ts'
import { generatorCore, pinned, serverCore } from './cores.ts'
import { show } from './stats.ts'

/** Says on what, and with what, it was measured. */
export function machine(entries: readonly Entry[]): string[] {
  const [cpu] = cpus()
  const peers = entries.flatMap(({ needs }) => (needs === undefined ? [] : [peer(needs)]))
  return [
    `${cpu?.model ?? 'an unknown CPU'}, ${cpus().length} cores; ${type()} ${release()} ${arch()}`,
    [
      `node ${process.versions.node}`,
      ours(),
      `ws ${version('../node_modules/ws/')}`,
      ...peers,
    ].join(', '),
    pinned
      ? `server on core ${String(serverCore)}, generator on core ${String(generatorCore)}`
      : 'not pinned: two cores and `taskset` are needed for that',
    `load before: ${show(loadavg()[0] ?? 0, 2)}`,
  ]
}

function ours(): string {
  return `simplewebsockets ${version('../')}`
}

function peer(name: string): string {
  try {
    return `${name} ${version(`./node_modules/${name}/`)}`
  } catch {
    return `no ${name}`
  }
}

function version(folder: string): string {
  const manifest: unknown = JSON.parse(
    readFileSync(new URL(`${folder}package.json`, import.meta.url), 'utf8'),
  )
  return (manifest as { version: string }).version
}

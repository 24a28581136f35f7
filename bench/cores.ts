import { spawnSync } from 'node:child_process'

/** The CPUs that this process may run on; none where `taskset` isn't there to tell. */
function allowed(): number[] {
  const { stdout } = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
  const [, list = ''] = /: ([\d,-]+)\s*$/.exec(stdout ?? '') ?? []
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    if (range === '' || first === undefined || last === undefined) return []
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}

const cores = allowed()

/** Whether there are two cores to keep apart. */
export const pinned = cores.length > 1

/** The core of the server under test, and the generator's: far apart, for neighbors may share one. */
export const [serverCore, generatorCore] = pinned ? [cores[0], cores.at(-1)] : []

/** A command that runs on the server's core, where it can be pinned. */
export function onServerCore(command: readonly string[]): string[] {
  return pinned ? ['taskset', '-c', String(serverCore), ...command] : [...command]
}

/** Moves this process, with all its threads, to the generator's core. */
export function moveToGeneratorCore(): void {
  if (pinned) spawnSync('taskset', ['-acp', String(generatorCore), String(process.pid)])
}

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')

/** Throws away what nobody needs any more, at once. */
export const collect = runInNewContext('gc') as () => void

/** Is the bytes that are in use, what nobody needs any more left out. */
export function inUse(): number {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

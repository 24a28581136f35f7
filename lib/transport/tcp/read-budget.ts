import { Queue } from './queue.ts'

// Milliseconds that all connections together may read in one turn of the event loop. Where the loop
// is busy with other work, the share grows to a multiple of the time which that work takes.
const MIN_SHARE = 20
const MAX_SHARE = 100
const SHARE_OF_OTHERS = 4
const MIN_BYTES = 64 * 1024 // if fewer bytes were read, other work took the time

const { setImmediate } = globalThis // kept, because specs may replace the global one
const waiting = new Queue<() => void>()
let share = MIN_SHARE
let startedAt: number | undefined
let bytesRead = 0
let stoppedAt: number | undefined // when the last turn stopped while connections still waited

/**
 * Counts bytes that are read or inflated in this turn of the event loop. Returns whether reading
 * has used up its share of the turn. If so, the caller reads on with `runInNextTurn`, so that timers
 * and other connections get their turn.
 */
export function spendTurn(bytes: number): boolean {
  bytesRead += bytes
  const now = performance.now()
  if (startedAt !== undefined) return now - startedAt > share && bytesRead > MIN_BYTES
  startedAt = now
  setImmediate(endTurn)
  return false
}

/** Calls back in a later turn. Callbacks run in order, as many in each turn as the share allows. */
export function runInNextTurn(callback: () => void): void {
  waiting.push(callback)
}

function endTurn(): void {
  // While connections wait, the loop is never idle, so all time since then went to other work.
  const otherWork = stoppedAt === undefined ? 0 : performance.now() - stoppedAt
  share = Math.min(Math.max(MIN_SHARE, SHARE_OF_OTHERS * otherWork), MAX_SHARE)
  startedAt = stoppedAt = undefined
  bytesRead = 0
  while (waiting.length > 0 && !spendTurn(0)) waiting.shift()?.()
  if (waiting.length > 0) stoppedAt = performance.now()
}

import { Queue } from './queue.ts'

const MIN_SHARE = 20 // milliseconds of reading in a turn of the event loop, over all connections,
const MAX_SHARE = 100 // and where the loop is busy with else, a multiple of what that takes
const SHARE_OF_OTHERS = 4
const MIN_BYTES = 64 * 1024 // where fewer were read, the time went elsewhere

const { setImmediate } = globalThis // as it is now: specs may replace it
const waiting = new Queue<() => void>()
let share = MIN_SHARE
let startedAt: number | undefined
let bytesRead = 0
let stoppedAt: number | undefined // reading in the turn before, where connections still waited

/**
 * Counts bytes that are read, or inflated, in this turn of the event loop. Returns whether reading has
 * had its share of the turn: then what comes further waits for `inNextTurn`, so that timers and other
 * connections have their turn.
 */
export function spendTurn(bytes: number): boolean {
  bytesRead += bytes
  const now = performance.now()
  if (startedAt !== undefined) return now - startedAt > share && bytesRead > MIN_BYTES
  startedAt = now
  setImmediate(endTurn)
  return false
}

/** Calls back in a later turn: one connection after the other, as long as each turn has time. */
export function inNextTurn(callback: () => void): void {
  waiting.push(callback)
}

function endTurn(): void {
  // While connections wait the loop is never idle: all that it did since was something else.
  const others = stoppedAt === undefined ? 0 : performance.now() - stoppedAt
  share = Math.min(Math.max(MIN_SHARE, SHARE_OF_OTHERS * others), MAX_SHARE)
  startedAt = stoppedAt = undefined
  bytesRead = 0
  while (waiting.length > 0 && !spendTurn(0)) waiting.shift()?.()
  if (waiting.length > 0) stoppedAt = performance.now()
}

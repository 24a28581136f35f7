import { Queue } from './queue.ts'

const MAX_TURN = 20 // milliseconds of reading in a turn of the event loop, over all connections,
const MIN_TURN = 64 * 1024 // unless fewer bytes were read: then the time went elsewhere

const { setImmediate } = globalThis // as it is now: specs may replace it
const waiting = new Queue<() => void>()
let startedAt: number | undefined
let bytesRead = 0

/**
 * Counts bytes that are read, or inflated, in this turn of the event loop. Returns whether reading has
 * had its share of the turn: then what comes further waits for `inNextTurn`, so that timers and other
 * connections have their turn.
 */
export function spendTurn(bytes: number): boolean {
  bytesRead += bytes
  const now = performance.now()
  if (startedAt !== undefined) return now - startedAt > MAX_TURN && bytesRead > MIN_TURN
  startedAt = now
  setImmediate(endTurn)
  return false
}

/** Calls back in a later turn: one connection after the other, as long as each turn has time. */
export function inNextTurn(callback: () => void): void {
  waiting.push(callback)
}

function endTurn(): void {
  startedAt = undefined
  bytesRead = 0
  while (waiting.length > 0 && !spendTurn(0)) waiting.shift()?.()
}

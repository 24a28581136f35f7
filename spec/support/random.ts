/** Draws numbers from 0 up to 1. */
export type Random = () => number

/** Returns a generator of numbers that are the same for the same seed (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Picks one of several. */
export function pick<Value>(random: Random, choice: readonly [Value, ...Value[]]): Value {
  return choice[Math.floor(random() * choice.length)] ?? choice[0]
}

/** Picks a whole number from 0 up to a bound, which is excluded. */
export function below(random: Random, bound: number): number {
  return Math.floor(random() * bound)
}

const WORD = 4 // bytes
const PERIOD = 512 // bytes, and one more: what is longer repeats itself, where no word begins

/** Returns so many bytes. */
export function noise(random: Random, length: number): Buffer {
  const bytes = Buffer.alloc(WORD * Math.ceil(Math.min(length, PERIOD + 1) / WORD))
  for (let at = 0; at < bytes.length; at += WORD) bytes.writeUInt32LE(below(random, 2 ** 32), at)
  return length <= PERIOD
    ? bytes.subarray(0, length)
    : Buffer.alloc(length, bytes.subarray(0, PERIOD + 1))
}

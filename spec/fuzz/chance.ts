import { after } from 'node:test'
import fc, { type Arbitrary } from 'fast-check'

/** The settings of a run: SEED repeats one, TIMES makes it longer. */
const { SEED = `${Date.now() % 2 ** 31}`, TIMES } = process.env

let drawn = 0
after(() => {
  if (TIMES !== undefined) console.log(`${drawn} inputs drawn`)
})

/** Returns the settings of so many runs in `npm test`, and a multiple of them in `npm run fuzz`. */
export function runs(most: number): { numRuns: number; seed: number } {
  const numRuns = most * Number(TIMES ?? 1)
  drawn += numRuns
  return { numRuns, seed: Number(SEED) }
}

/** Generates texts made of parts that mean something where they stand, and of others. */
export function textOf(...parts: [string, ...string[]]): Arbitrary<string> {
  const any = fc.oneof(
    { arbitrary: fc.constantFrom(...parts), weight: 4 },
    { arbitrary: fc.string({ unit: 'binary', maxLength: 3 }), weight: 1 },
  )
  return fc.array(any, { maxLength: 12 }).map((all) => all.join(''))
}

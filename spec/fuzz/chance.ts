import fc, { type Arbitrary } from 'fast-check'

/** What decides a run: SEED repeats one, TIMES makes it longer. */
const { SEED = `${Date.now() % 2 ** 31}`, TIMES = '1' } = process.env

/** Is so many runs in `npm test`, and a multiple of them in `npm run fuzz`. */
export function runs(numRuns: number): { numRuns: number; seed: number } {
  return { numRuns: numRuns * Number(TIMES), seed: Number(SEED) }
}

/** Is a text made of parts that mean something where they stand, and of others. */
export function textOf(...parts: [string, ...string[]]): Arbitrary<string> {
  const any = fc.oneof(
    { arbitrary: fc.constantFrom(...parts), weight: 4 },
    { arbitrary: fc.string({ unit: 'binary', maxLength: 3 }), weight: 1 },
  )
  return fc.array(any, { maxLength: 12 }).map((all) => all.join(''))
}

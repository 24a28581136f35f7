import type { Absence } from '../absence.ts'
import type { Comparison, Round } from '../compare.ts'
import { BASE } from '../contestants.ts'
import { median, show, table } from '../stats.ts'

/** The outcome of one case. */
export interface Result {
  readonly name: string
  /** The subject of the case, in a line. */
  readonly about: string
  /** The result of ours, where bare `ws`, or what ours is to be compared with, is 1. */
  readonly ratio: number
  /** More figures for the line. */
  readonly figures?: Readonly<Record<string, number>>
  /** The figures of all contestants, in Markdown. */
  readonly table: string
  /** Remarks on the figures. */
  readonly notes: readonly string[]
}

const FULL = 0.9 // of a core: from here on the generator may be what is measured

/** Sums a comparison up; `what` is done each second, and `each` is one of it. */
export function summarize(
  { name, about, what, each }: { name: string; about: string; what: string; each: string },
  { rounds, absent }: Comparison,
  { own: ours = 'ours', base: other = BASE } = {},
): Result {
  const base = rounds.get(other) ?? []
  const mine = rounds.get(ours) ?? []
  const rows = [['', `${what}/s`, `to ${other}`, 'spread', `µs/${each}`, 'busy', 'generator']]
  let marked = false
  for (const [contestant, own] of rounds) {
    const ratios = ratiosOf(own, base)
    const middle = (value: keyof Round): number => median(own.map((round) => round[value]))
    const full = middle('generator') >= FULL
    marked ||= full
    rows.push([
      full ? `${contestant} *` : contestant,
      show(middle('perSecond')),
      show(median(ratios), 2),
      spread(ratios, 2),
      show(middle('cpu'), 2),
      `${show(100 * middle('busy'))} %`,
      `${show(100 * middle('generator'))} %`,
    ])
  }
  return {
    name,
    about,
    ratio: median(ratiosOf(mine, base)),
    figures: { [`µs/${each}`]: median(mine.map(({ cpu }) => cpu)) },
    table: table(rows),
    notes: [
      ...(marked ? ['\\* The generator had no more to give: this one may be faster.'] : []),
      ...missing(absent),
    ],
  }
}

/** Says who was not measured, once for each reason. */
export function missing(absent: readonly Absence[]): string[] {
  return [...new Set(absent.map(({ name, why }) => `${name}: not measured: ${why}`))]
}

/** Returns the least and the most of some numbers. */
export function spread(numbers: readonly number[], digits: number): string {
  return `${show(Math.min(...numbers), digits)}..${show(Math.max(...numbers), digits)}`
}

/** Returns how much one contestant did in each round, where the other did 1. */
export function ratiosOf(own: readonly Round[], base: readonly Round[]): number[] {
  return own.map(({ perSecond }, round) => perSecond / (base[round]?.perSecond ?? NaN))
}

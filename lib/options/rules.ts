import { unexpected, unknownName } from '../errors.ts'

/** How one option is settled. */
export interface Rule<Value> {
  readonly fallback: Value
  readonly wanted: string
  readonly accepts: (value: unknown) => boolean
  readonly most?: number
}

/** What a set of rules settles. */
export type Settled<Rules> = {
  readonly [Name in keyof Rules]: Rules[Name] extends Rule<infer Value> ? Value : never
}

/** Milliseconds: a longer timer would fire at once. */
export const LONGEST_TIMER = 2 ** 31 - 1

/** Tells whether a value is a whole number from another one up. */
export const isWhole = (value: unknown, from: number): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= from

/** Tells whether a value is a function. */
export const isFunction = (value: unknown): value is () => unknown => typeof value === 'function'

/** Tells whether a value is an object. */
export const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null

/** A size. */
export const bytes = (fallback: number): Rule<number> => ({
  fallback,
  wanted: 'bytes, a whole number from 1 up',
  accepts: (value) => isWhole(value, 1),
})

/** A duration; 0 is none where it may be. */
export const milliseconds = (fallback: number, from: 0 | 1): Rule<number> => ({
  fallback,
  wanted: `milliseconds from ${from} up`,
  accepts: (value) => typeof value === 'number' && Number.isFinite(value) && value >= from,
  most: LONGEST_TIMER,
})

/** How many there may be. */
export const count = (): Rule<number> => ({
  fallback: 1,
  wanted: 'a whole number from 1 up',
  accepts: (value) => isWhole(value, 1),
})

/** What is on or off. */
export const flag = (): Rule<boolean> => ({
  fallback: false,
  wanted: 'true or false',
  accepts: (value) => typeof value === 'boolean',
})

/** The same, or false: there is no limit then. */
export function orFalse<Value>(rule: Rule<Value>, fallback: Value | false): Rule<Value | false> {
  return {
    ...rule,
    fallback,
    wanted: `${rule.wanted}, or false`,
    accepts: (value) => value === false || rule.accepts(value),
  }
}

/** What may be left out. */
export function optional<Value>(
  wanted: string,
  accepts: Rule<Value>['accepts'],
): Rule<Value | undefined> {
  return { fallback: undefined, wanted, accepts }
}

/** Tells whether a value is an array. */
export const isList = (value: unknown): value is unknown[] => Array.isArray(value)

/**
 * Checks a small bag of options, `inside` another one maybe, for names that nobody knows.
 *
 * @throws TypeError with the nearest name.
 */
export function checkNames(given: object, known: readonly string[], inside = ''): void {
  if (!isObject(given)) throw unexpected('the options', 'an object', given)
  const unknown = Object.keys(given).find((name) => !known.includes(name))
  if (unknown === undefined) return
  const names = known.map((name) => inside + name)
  throw unknownName('option', inside + unknown, names)
}

/**
 * Checks an option that may be an `AbortSignal`.
 *
 * @throws TypeError for anything else.
 */
export function checkSignal(signal: unknown): void {
  if (signal === undefined) return
  if (isObject(signal) && 'addEventListener' in signal && isFunction(signal.addEventListener))
    return
  throw unexpected('`signal`', 'an AbortSignal', signal)
}

/**
 * Settles options by their rules: `undefined` means the default.
 *
 * @throws TypeError for an unknown name, with the nearest one, and for a value that can't be.
 */
export function settle<Rules extends object>(rules: Rules, given: object = {}): Settled<Rules> {
  if (!isObject(given) || isList(given)) throw unexpected('the options', 'an object', given)
  const known = new Map<string, Rule<unknown>>(Object.entries(rules))
  const settled = new Map([...known].map(([name, rule]) => [name, rule.fallback]))
  for (const [name, value] of Object.entries(given) as [string, unknown][]) {
    const rule = known.get(name)
    if (!rule) throw unknownName('option', name, [...known.keys()])
    if (value === undefined) continue
    if (!rule.accepts(value)) throw unexpected(`\`${name}\``, rule.wanted, value)
    settled.set(name, typeof value === 'number' ? Math.min(value, rule.most ?? value) : value)
  }
  // Built from the rules' own names, which the type states one by one.
  return Object.fromEntries(settled) as Settled<Rules>
}

import { withCode } from './errors.ts'
import { describeValue } from './format.ts'

/** The default, the check and the limit of one option. */
export interface Rule<Value> {
  readonly fallback: Value
  readonly expected: string
  readonly isValid: (value: unknown) => boolean
  readonly max?: number
}

/** The resolved options of a set of rules. */
export type Resolved<Rules> = {
  readonly [Name in keyof Rules]: Rules[Name] extends Rule<infer Value> ? Value : never
}

/** The longest timer in milliseconds: Node fires a longer one at once. */
export const MAX_TIMER = 2 ** 31 - 1

/** Returns whether a value is a whole number that is at least `min`. */
export const isIntegerFrom = (value: unknown, min: number): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= min

export const isFunction = (value: unknown): value is () => unknown => typeof value === 'function'

export const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null

/** Returns a rule for a size in bytes. */
export const bytes = (fallback: number): Rule<number> => ({
  fallback,
  expected: 'bytes, a whole number from 1 up',
  isValid: (value) => isIntegerFrom(value, 1),
})

/** Returns a rule for a duration in milliseconds. Where 0 is allowed it means no delay. */
export const milliseconds = (fallback: number, min: 0 | 1): Rule<number> => ({
  fallback,
  expected: `milliseconds from ${min} up`,
  isValid: (value) => typeof value === 'number' && Number.isFinite(value) && value >= min,
  max: MAX_TIMER,
})

/** Returns a rule for a maximum count. */
export const count = (): Rule<number> => ({
  fallback: 1,
  expected: 'a whole number from 1 up',
  isValid: (value) => isIntegerFrom(value, 1),
})

/** Returns a rule for a boolean, false by default. */
export const flag = (): Rule<boolean> => ({
  fallback: false,
  expected: 'true or false',
  isValid: (value) => typeof value === 'boolean',
})

/** Returns a rule that also allows `false`, which means no limit. */
export function orFalse<Value>(rule: Rule<Value>, fallback: Value | false): Rule<Value | false> {
  return {
    ...rule,
    fallback,
    expected: `${rule.expected}, or false`,
    isValid: (value) => value === false || rule.isValid(value),
  }
}

/** Returns a rule for an option that has no default. */
export function optional<Value>(
  expected: string,
  isValid: Rule<Value>['isValid'],
): Rule<Value | undefined> {
  return { fallback: undefined, expected, isValid }
}

export const isArray = (value: unknown): value is unknown[] => Array.isArray(value)

/**
 * Checks an options object for unknown names. Where the object is itself an option of another one,
 * `prefix` is the path to it, such as `reconnect.`, which the error puts before the names.
 *
 * @throws TypeError for an unknown name, with the most similar known name.
 */
export function checkNames(given: object, known: readonly string[], prefix = ''): void {
  if (!isObject(given)) throw invalidValue('the options', 'an object', given)
  const unknown = Object.keys(given).find((name) => !known.includes(name))
  if (unknown === undefined) return
  const names = known.map((name) => prefix + name)
  throw unknownNameError('option', prefix + unknown, names)
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
  throw invalidValue('`signal`', 'an AbortSignal', signal)
}

/**
 * Resolves options by their rules; an `undefined` option gets its default.
 *
 * @throws TypeError for an unknown name, with the most similar known one, and for an invalid value.
 */
export function resolveOptions<Rules extends object>(
  rules: Rules,
  given: object = {},
): Resolved<Rules> {
  if (!isObject(given) || isArray(given)) throw invalidValue('the options', 'an object', given)
  const known = new Map<string, Rule<unknown>>(Object.entries(rules))
  const resolved = new Map([...known].map(([name, rule]) => [name, rule.fallback]))
  for (const [name, value] of Object.entries(given) as [string, unknown][]) {
    const rule = known.get(name)
    if (!rule) throw unknownNameError('option', name, [...known.keys()])
    if (value === undefined) continue
    if (!rule.isValid(value)) throw invalidValue(`\`${name}\``, rule.expected, value)
    resolved.set(name, typeof value === 'number' ? Math.min(value, rule.max ?? value) : value)
  }
  // The cast is safe: the map has exactly the names of the rules.
  return Object.fromEntries(resolved) as Resolved<Rules>
}

/** Returns the error of an unknown name. Its text suggests the most similar known name. */
export function unknownNameError(kind: string, name: string, known: readonly string[]): TypeError {
  const aliases = synonyms
    .map((words) => ({ words, knownName: words.find((word) => known.includes(word)) }))
    .flatMap(({ words, knownName }) =>
      knownName === undefined ? [] : words.map((word) => ({ word, knownName })),
    )
  const [nearest] = [...known.map((knownName) => ({ word: knownName, knownName })), ...aliases]
    .map(({ word, knownName }) => ({
      word,
      knownName,
      edits: editDistance(name.toLowerCase(), word.toLowerCase()),
    }))
    .filter(({ word, edits }) => edits <= Math.max(2, word.length / 3))
    .sort((one, two) => one.edits - two.edits)
  const cure = nearest ? `did you mean \`${nearest.knownName}\`?` : `there are ${known.join(', ')}`
  return withCode(new TypeError(`unknown ${kind} \`${name}\`: ${cure}`), 'ERR_UNKNOWN_NAME')
}

/** Names that other libraries use for the same thing. */
const synonyms: readonly (readonly string[])[] = [
  ['client', 'connect', 'open', 'connection', 'connected'],
  ['message', 'data'],
  ['close', 'closed', 'disconnect', 'disconnected', 'end'],
]

/** Returns the Levenshtein distance: how many letters to add, remove or change. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (const [rowIndex, letter] of [...from].entries()) {
    const next = [rowIndex + 1]
    for (const [column, other] of [...to].entries()) {
      const change = (row[column] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(change, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}

/** Returns the error of an argument that can't be used. */
export function invalidArgument(text: string, cause?: unknown): TypeError {
  return withCode(
    new TypeError(text, cause === undefined ? undefined : { cause }),
    'ERR_INVALID_ARGUMENT',
  )
}

/** Returns the error of an argument that is too big, or of a close code that may not be sent. */
export function outOfRange(text: string): RangeError {
  return withCode(new RangeError(text), 'ERR_INVALID_ARGUMENT')
}

/** Returns the error of a call that this object can't take, or can't take now. */
export function invalidCall(text: string): TypeError {
  return withCode(new TypeError(text), 'ERR_INVALID_CALL')
}

/** Returns the error of an invalid value: the text states the thing, the cure and the value. */
export function invalidValue(thing: string, expected: string, value: unknown): TypeError {
  return invalidArgument(`expected ${thing} to be ${expected}, got ${describeValue(value)}`)
}

import { escapeText } from './error-text.ts'

/** The key of the method that Node's `console.log` and `util.inspect` call. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom')

/** An object that can be described in one line. */
interface Tagged {
  readonly [Symbol.toStringTag]: string
}

/** Returns an object's tag and a text as one line. The text must hold no secrets and no payloads. */
export function inspectLine(object: Tagged, text: string): string {
  return escapeText(`${object[Symbol.toStringTag]} { ${text} }`)
}

/** Returns a number of things: `1 client`, `2 clients`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

import { isArray, isObject } from '../validation.ts'

/** A value, or a function that returns it and is called at every attempt to connect. */
export type ValueOrProvider<Value> = Value | (() => Value | Promise<Value>)

// RFC 6455 §4.1: a subprotocol has to be a token of RFC 9110 §5.6.2.
export const isProtocol = (value: unknown): boolean =>
  typeof value === 'string' && /^[!#$%&'*+\-.^_`|~\w]+$/.test(value)

/** Returns whether a value is an array of different subprotocols that a handshake may contain. */
export function areProtocols(value: unknown): value is readonly string[] {
  return isArray(value) && value.every(isProtocol) && new Set(value).size === value.length
}

/** Returns whether a value is a plain object of header names and their values. */
export function areHeaders(value: unknown): value is Readonly<Record<string, string>> {
  if (!isObject(value)) return false
  const isPlain = [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)
  return isPlain && Object.values(value).every((text) => typeof text === 'string')
}

import { isList, isObject } from './rules.ts'

/** A value, or a function asked for it at every attempt. */
export type Asked<Value> = Value | (() => Value | Promise<Value>)

// RFC 6455 §4.1 wants a subprotocol to be a token of RFC 9110 §5.6.2.
const isProtocol = (value: unknown): boolean =>
  typeof value === 'string' && /^[!#$%&'*+\-.^_`|~\w]+$/.test(value)

/** Tells whether a value is a list of subprotocols that may stand in a handshake. */
export function areProtocols(value: unknown): value is readonly string[] {
  return isList(value) && value.every(isProtocol) && new Set(value).size === value.length
}

/** Tells whether a value is a bag of header names and values. */
export function areHeaders(value: unknown): value is Readonly<Record<string, string>> {
  if (!isObject(value)) return false
  const plain = [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)
  return plain && Object.values(value).every((text) => typeof text === 'string')
}

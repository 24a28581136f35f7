/** A function that logs a message in the format of `console.debug`. */
type Log = (format: string, ...values: unknown[]) => void

/**
 * Creates a logger for browsers, with the interface of the package `debug` that is used in Node. It
 * logs to the console, at the level "verbose", when `localStorage.debug` begins with
 * `simplewebsockets` (or with `*`).
 */
export default function debug(namespace: string): Log {
  return isEnabled()
    ? (format, ...values) => console.debug(`${namespace} ${format}`, ...values)
    : noop
}

const noop: Log = () => {}

function isEnabled(): boolean {
  try {
    const { localStorage } = globalThis as { localStorage?: { debug?: string } }
    return /^(\*|simplewebsockets)/.test(localStorage?.debug ?? '')
  } catch {
    return false // access to the storage may be forbidden
  }
}

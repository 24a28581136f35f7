/** Says what happens, to whoever wants to know. */
type Log = (format: string, ...values: unknown[]) => void

/**
 * Makes what `debug` makes in Node, in a browser: it says what happens on the console, at its level
 * "verbose", where `localStorage.debug` begins with `simplewebsockets` (or with `*`).
 */
export default function debug(namespace: string): Log {
  return isWanted()
    ? (format, ...values) => console.debug(`${namespace} ${format}`, ...values)
    : mute
}

const mute: Log = () => {}

function isWanted(): boolean {
  try {
    const { localStorage } = globalThis as { localStorage?: { debug?: string } }
    return /^(\*|simplewebsockets)/.test(localStorage?.debug ?? '')
  } catch {
    return false // storage may be forbidden
  }
}

// Taken once, at the start: a program that mocks timers does not stop what waits for a turn to end.
const { setImmediate, setTimeout } = globalThis as {
  readonly setImmediate?: (callback: () => void) => unknown
  readonly setTimeout: (callback: () => void) => unknown
}

/**
 * Calls back once the current turn of the event loop is over, with all its microtasks. Where the
 * runtime has no `setImmediate`, as in a page, that is a timer without a delay.
 */
export function afterTurn(callback: () => void): void {
  if (setImmediate) setImmediate(callback)
  else setTimeout(callback)
}

// Read at start-up: if a program mocks the timers later, `afterTurn` still calls back.
const { setImmediate, setTimeout } = globalThis as {
  readonly setImmediate?: (callback: () => void) => unknown
  readonly setTimeout: (callback: () => void) => unknown
}

/**
 * Calls back once the current turn of the event loop is over, with all its microtasks. In a runtime
 * without `setImmediate`, such as a browser, it uses a timer without a delay.
 */
export function afterTurn(callback: () => void): void {
  if (setImmediate) setImmediate(callback)
  else setTimeout(callback)
}

import { mock } from 'node:test'
import { errorLog } from '../lib/error-log.ts'

/** Runs an action with console.error taken away, and returns what it would have printed. */
export async function printedBy(action: () => unknown): Promise<unknown[]> {
  const print = mock.method(console, 'error', () => {})
  errorLog.flush() // what another spec left within the same second
  print.mock.resetCalls()
  try {
    await action()
    return print.mock.calls.flatMap((call) => call.arguments as unknown[])
  } finally {
    print.mock.restore()
  }
}

import { mock } from 'node:test'
import { errorLog } from '../../lib/error-log.ts'

/** Runs an action with console.error taken away, and returns what it would have printed. */
export async function printedBy(action: () => unknown): Promise<unknown[]> {
  const print = mock.method(console, 'error', () => {})
  errorLog.flush() // what another spec left within the same second
  print.mock.resetCalls()
  try {
    await action()
    const printed = print.mock.calls.flatMap((call) => call.arguments as unknown[])
    return printed.filter((line) => !String(line).startsWith('(node:')) // warnings of Node's own
  } finally {
    print.mock.restore()
  }
}

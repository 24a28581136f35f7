import { formatUnescaped, describeValue } from './format.ts'
import type { WebsocketError } from './errors.ts'

const PERIOD = 1_000 // milliseconds in which only one error of a source is printed
const MAX_SHOWN = 200 // characters of the last message that is printed with a count

/**
 * A period that begins with an error that was printed or skipped. Further errors of the same source
 * are only counted until it ends.
 */
interface Period {
  readonly since: number
  readonly timer: NodeJS.Timeout
  skipped: number
  last: string
}

/**
 * A rate-limited printer of errors that no `error` listener handled. It prints one error for each
 * connection, and at most one per second for each source, such as "`message` of a connection".
 *
 * Other errors are counted, and the count is printed at the end of the second.
 */
export class ErrorLog {
  readonly #periods = new Map<string, Period>()
  readonly #printed = new WeakSet<object>()

  /** Prints an error, or counts it. `connection` is the object that the error is about, if any. */
  print(error: WebsocketError, source: string, connection?: unknown): void {
    const subject = typeof connection === 'object' && connection !== null ? connection : undefined
    const isRepeated = subject !== undefined && this.#printed.has(subject)
    const period = this.#periods.get(source)
    if (period || isRepeated) {
      skip(period ?? this.#begin(source), error)
      return
    }
    this.#begin(source)
    if (subject) this.#printed.add(subject)
    error.log()
  }

  /** Prints all counts now, and ends the current period of every source. */
  flush(): void {
    for (const source of [...this.#periods.keys()]) this.#end(source)
  }

  #begin(source: string): Period {
    const timer = setTimeout(() => this.#end(source), PERIOD)
    timer.unref?.() // in browsers a timer is a number
    const period = { since: performance.now(), timer, skipped: 0, last: '' }
    this.#periods.set(source, period)
    return period
  }

  #end(source: string): void {
    const period = this.#periods.get(source)
    if (!period) return
    this.#periods.delete(source)
    clearTimeout(period.timer)
    if (period.skipped === 0) return
    const seconds = Math.max(1, Math.round((performance.now() - period.since) / 1_000))
    const last = describeValue(period.last.slice(0, MAX_SHOWN))
    console.error(
      `… and ${period.skipped} more like it in the last ${seconds} s: ${source} failed, last with ${last}`,
    )
  }
}

function skip(period: Period, error: WebsocketError): void {
  period.skipped++
  period.last = formatUnescaped(error)
}

/** The log of the whole process: its limits hold across all connections and servers. */
export const errorLog = new ErrorLog()

import { safeTextOf, show } from './error-text.ts'
import type { WebsocketError } from './errors.ts'

const PERIOD = 1_000 // milliseconds in which one error of a place is printed
const MAX_SHOWN = 200 // characters of a message beside a count

/** The time after an error was printed or left out, in which others of its place are only counted. */
interface Period {
  readonly since: number
  readonly timer: NodeJS.Timeout
  leftOut: number
  last: string
}

/**
 * Prints errors that no `error` listener heard: one for each connection, and at most one a second
 * for each place, such as "`message` of a connection".
 *
 * What is left out is counted, and the count is printed when the second is over.
 */
export class ErrorLog {
  readonly #periods = new Map<string, Period>()
  readonly #printed = new WeakSet<object>()

  /** Prints an error, or counts it; `connection` is what the error is about, if anything. */
  print(error: WebsocketError, place: string, connection?: unknown): void {
    const about = typeof connection === 'object' && connection !== null ? connection : undefined
    const isRepeated = about !== undefined && this.#printed.has(about)
    const period = this.#periods.get(place)
    if (period || isRepeated) {
      leaveOut(period ?? this.#begin(place), error)
      return
    }
    this.#begin(place)
    if (about) this.#printed.add(about)
    error.log()
  }

  /** Prints what was left out so far, and begins anew at every place. */
  flush(): void {
    for (const place of [...this.#periods.keys()]) this.#end(place)
  }

  #begin(place: string): Period {
    const timer = setTimeout(() => this.#end(place), PERIOD)
    timer.unref?.() // a browser's is a number
    const period = { since: performance.now(), timer, leftOut: 0, last: '' }
    this.#periods.set(place, period)
    return period
  }

  #end(place: string): void {
    const period = this.#periods.get(place)
    if (!period) return
    this.#periods.delete(place)
    clearTimeout(period.timer)
    if (period.leftOut === 0) return
    const seconds = Math.max(1, Math.round((performance.now() - period.since) / 1_000))
    const last = show(period.last.slice(0, MAX_SHOWN))
    console.error(
      `… and ${period.leftOut} more like it in the last ${seconds} s: ${place} failed, last with ${last}`,
    )
  }
}

function leaveOut(period: Period, error: WebsocketError): void {
  period.leftOut++
  period.last = safeTextOf(error)
}

/** The log of this process: a flood over many connections and servers is one flood. */
export const errorLog = new ErrorLog()

import { cutText, MOST_TEXT, type CloseReason } from './close.ts'
import type { CloseSettings } from './options/close.ts'

const STEP = 100 // ms from one batch to the next, where the options don't say how large it is
const RETRY_CODES: readonly number[] = [1012, 1013] // codes in whose text clients read `retry=`

/** Closes a server's clients in batches over a time, so that they reconnect spread out. */
export class RollingClose {
  readonly #settings: CloseSettings
  readonly #start = performance.now()
  #reason: CloseReason
  #stopped = false
  #wake = (): void => {}

  constructor(settings: CloseSettings) {
    this.#settings = settings
    this.#reason = settings.reason
  }

  /** The reason for the clients that `run` left open. */
  get reason(): CloseReason {
    return this.#reason
  }

  /**
   * The seconds for which a refused peer has to stay away: until the end, and a random part of the
   * same time again.
   */
  get retryAfter(): number {
    const { within } = this.#settings
    const left = this.#stopped ? 0 : Math.max(0, this.#start + within - performance.now())
    return Math.max(1, Math.ceil((left + Math.random() * within) / 1_000))
  }

  /**
   * Closes the clients in their order, each with a reason that tells it when to reconnect. Resolves
   * after the last one, or after `stop`.
   */
  async run<Client>(
    clients: readonly Client[],
    close: (client: Client, reason: CloseReason) => void,
  ): Promise<void> {
    const { within, batch } = this.#settings
    const size = batch === false ? Math.ceil((clients.length * STEP) / within) : batch
    const interval = within / Math.ceil(clients.length / size)
    const start = performance.now()
    let closed = 0
    while (closed < clients.length && !this.#stopped) {
      // Goes by the clock: batches may follow each other faster than timers fire.
      const due = Math.floor((performance.now() - start) / interval) + 1
      const batches = clients.slice(closed, due * size)
      for (const client of batches) close(client, this.#reasonBefore(interval))
      closed += batches.length
      if (closed < clients.length) await this.#sleep(start + due * interval - performance.now())
    }
  }

  /** Ends `run` at once; the clients that it left open are to be closed for this reason. */
  stop(reason: CloseReason): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#reason = reason
    this.#wake()
  }

  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** The clients of one batch reconnect at random times before the next one. */
  #reasonBefore(interval: number): CloseReason {
    const { code, description } = this.#reason
    if (!RETRY_CODES.includes(code)) return this.#reason
    const asked = ` retry=${Math.round(Math.random() * interval)}`
    return { code, description: cutText(description, MOST_TEXT - asked.length) + asked }
  }
}

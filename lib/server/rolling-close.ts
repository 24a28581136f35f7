import { cutText, MAX_TEXT, type CloseReason } from '../connection/close-codes.ts'
import type { CloseSettings } from '../options/close.ts'
import type { Deferred } from '../promises.ts'

const STEP = 100 // ms from one batch to the next, where the options set no batch size
const RETRY_CODES: readonly number[] = [1012, 1013] // codes whose text clients search for `retry=`

/** A close of a server that has not completed. */
export interface PendingClose {
  readonly reason: CloseReason
  /** The schedule that closes the clients over a period; undefined closes all at once. */
  readonly rolling: RollingClose | undefined
  readonly completion: Deferred<void>
}

/**
 * A close of a server's clients in batches over `within` milliseconds, so that they also reconnect
 * spread out.
 */
export class RollingClose {
  readonly #settings: CloseSettings
  readonly #start = performance.now()
  #reason: CloseReason
  #isStopped = false
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
   * Seconds after which a rejected peer may connect again: what remains of the close, plus a random
   * part of `within`.
   */
  get retryAfter(): number {
    const { within } = this.#settings
    const remaining = this.#isStopped ? 0 : Math.max(0, this.#start + within - performance.now())
    return Math.max(1, Math.ceil((remaining + Math.random() * within) / 1_000))
  }

  /**
   * Closes the clients in order, each with a reason that tells it when to reconnect. Resolves after
   * the last client, or after `stop`.
   */
  async run<Client>(
    clients: readonly Client[],
    close: (client: Client, reason: CloseReason) => void,
  ): Promise<void> {
    const { within, batch } = this.#settings
    const size = batch === false ? Math.ceil((clients.length * STEP) / within) : batch
    const interval = within / Math.ceil(clients.length / size)
    const start = performance.now()
    let closedCount = 0
    while (closedCount < clients.length && !this.#isStopped) {
      // The clock decides which batches are due: batches may be due faster than timers fire.
      const dueBatches = Math.floor((performance.now() - start) / interval) + 1
      const dueClients = clients.slice(closedCount, dueBatches * size)
      for (const client of dueClients) close(client, this.#reasonWithRetry(interval))
      closedCount += dueClients.length
      if (closedCount < clients.length) {
        await this.#sleep(start + dueBatches * interval - performance.now())
      }
    }
  }

  /** Ends `run` at once. The caller closes the clients that are still open, with this reason. */
  stop(reason: CloseReason): void {
    if (this.#isStopped) return
    this.#isStopped = true
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

  /** Returns a reason that asks a client to reconnect at a random time before the next batch. */
  #reasonWithRetry(interval: number): CloseReason {
    const { code, description } = this.#reason
    if (!RETRY_CODES.includes(code)) return this.#reason
    const retryHint = ` retry=${Math.round(Math.random() * interval)}`
    return { code, description: cutText(description, MAX_TEXT - retryHint.length) + retryHint }
  }
}

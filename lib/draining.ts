import { cutText, MOST_TEXT, type CloseReason } from './close.ts'
import type { CloseSettings } from './options/close.ts'

const STEP = 100 // ms from one batch to the next, where nobody says how large it is
const COME_BACK: readonly number[] = [1012, 1013] // codes in whose text clients read `retry=`

/** Is how the clients of a server are closed over a time, so that they come back over a time, too. */
export class Draining {
  readonly #settings: CloseSettings
  readonly #end: number
  #interval = 0

  /** Begins. */
  constructor(settings: CloseSettings) {
    this.#settings = settings
    this.#end = performance.now() + settings.within
  }

  /**
   * Is for how many seconds somebody at the door is to stay away: until its end, and from there on
   * anything up to as long again.
   */
  get retryAfter(): number {
    const { within } = this.#settings
    const left = Math.max(0, this.#end - performance.now())
    return Math.max(1, Math.ceil((left + Math.random() * within) / 1_000))
  }

  /** Closes each in its turn, with a reason that tells when to come back; resolves after the last. */
  async over<Client>(
    clients: readonly Client[],
    close: (client: Client, reason: CloseReason) => void,
  ): Promise<void> {
    const { within, batch } = this.#settings
    const size = batch === false ? Math.ceil((clients.length * STEP) / within) : batch
    this.#interval = within / Math.ceil(clients.length / size)
    for (let at = 0; at < clients.length; at += size) {
      if (at > 0) await new Promise((resolve) => setTimeout(resolve, this.#interval))
      for (const client of clients.slice(at, at + size)) close(client, this.#reason())
    }
  }

  /** The clients of one batch come back somewhere between it and the next. */
  #reason(): CloseReason {
    const { reason } = this.#settings
    const { code, description } = reason
    if (!COME_BACK.includes(code)) return reason
    const asked = ` retry=${Math.round(Math.random() * this.#interval)}`
    return { code, description: cutText(description, MOST_TEXT - asked.length) + asked }
  }
}

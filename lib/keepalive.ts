/** What is kept alive; the two marks are the keepalive's own, kept here to spare a table. */
export interface Watched {
  /** How many bytes had come at the last beat. */
  heard: number
  /** Whether it was pinged at the last beat. */
  pinged: boolean
  /** Bytes received so far: any growth is a sign of life. */
  readonly bytesReceived: number
  /** Whether reading is paused here: then no byte comes by itself. */
  readonly paused: boolean
  /** Whether what came is worked on, and nothing read meanwhile. */
  readonly isBusy: boolean
  /** Pings it, and reads a little where reading is paused. */
  probe(): void
  /** Gives it up. */
  giveUp(): void
}

const TICKS = 4 // in a period

/**
 * Pings each peer that was silent for a period, and gives up one that then is silent for another: two
 * to three periods after its last byte. One timer serves all.
 *
 * A period is counted in ticks, and a tick that comes late is one tick all the same. So a process that
 * was stalled, for however long, still reads what its peers sent meanwhile, before it judges them.
 */
export class Keepalive {
  readonly #period: number
  readonly #watched = new Set<Watched>()
  #timer: NodeJS.Timeout | undefined
  #ticks = 0

  /** Makes one with a period in milliseconds. */
  constructor(period: number) {
    this.#period = period
  }

  /** Begins to watch. */
  add(watched: Watched): void {
    this.#watched.add(watched)
    watched.heard = -1 // its first beat is a sign of life
    if (this.#timer) return
    this.#ticks = 0
    this.#timer = setInterval(() => this.#tick(), this.#period / TICKS)
    this.#timer.unref?.()
  }

  /** Ceases to watch. */
  delete(watched: Watched): void {
    if (!this.#watched.delete(watched) || this.#watched.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    this.#ticks = (this.#ticks + 1) % TICKS
    if (this.#ticks === 0) this.#beat()
  }

  #beat(): void {
    for (const watched of this.#watched) {
      const { bytesReceived } = watched
      const isAlive = bytesReceived !== watched.heard
      const wasPinged = watched.pinged
      watched.heard = bytesReceived
      watched.pinged = !isAlive || watched.paused
      if (wasPinged && !isAlive && !watched.isBusy) watched.giveUp()
      else if (watched.pinged) watched.probe()
    }
  }
}

/**
 * A connection as the keepalive sees it. Only the keepalive writes `lastBytesReceived` and
 * `lastPinged`; they are stored here to avoid a Map.
 */
export interface KeepaliveTarget {
  /** The value of `bytesReceived` at the last check. */
  lastBytesReceived: number
  /** Whether the last check has pinged the peer. */
  lastPinged: boolean
  /** Bytes received so far. Any growth shows that the peer is alive. */
  readonly bytesReceived: number
  /** Whether reading is paused on this side: then no byte arrives without a probe. */
  readonly paused: boolean
  /** Whether received data is being processed, and nothing is read until that is done. */
  readonly isBusy: boolean
  /** Pings the peer, and reads a little if reading is paused. */
  probe(): void
  /** Ends the connection, because the peer doesn't answer. */
  giveUp(): void
}

const TICKS = 4 // ticks of the timer in one period

/**
 * Pings each peer that was silent for one period, and gives up a peer that is silent for one more:
 * two to three periods after its last byte. One timer serves all connections.
 *
 * A period is counted in ticks, and a late tick still counts as one. So a process that was stalled,
 * for any time, reads what its peers sent during the stall before it gives them up.
 */
export class Keepalive {
  readonly #period: number
  readonly #targets = new Set<KeepaliveTarget>()
  #timer: NodeJS.Timeout | undefined
  #ticks = 0

  /** Creates a keepalive with a period in milliseconds. */
  constructor(period: number) {
    this.#period = period
  }

  /** Adds a connection. The first one starts the timer. */
  add(target: KeepaliveTarget): void {
    this.#targets.add(target)
    target.lastBytesReceived = -1 // so that the first check finds the peer alive
    if (this.#timer) return
    this.#ticks = 0
    this.#timer = setInterval(() => this.#tick(), this.#period / TICKS)
    this.#timer.unref?.()
  }

  /** Removes a connection. The last one stops the timer. */
  delete(target: KeepaliveTarget): void {
    if (!this.#targets.delete(target) || this.#targets.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    this.#ticks = (this.#ticks + 1) % TICKS
    if (this.#ticks === 0) this.#check()
  }

  #check(): void {
    for (const target of this.#targets) {
      const { bytesReceived } = target
      const isAlive = bytesReceived !== target.lastBytesReceived
      const wasPinged = target.lastPinged
      target.lastBytesReceived = bytesReceived
      target.lastPinged = !isAlive || target.paused
      if (wasPinged && !isAlive && !target.isBusy) target.giveUp()
      else if (target.lastPinged) target.probe()
    }
  }
}

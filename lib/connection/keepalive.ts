import type { ConnectionCore } from './connection-core.ts'

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
  readonly #connections = new Set<ConnectionCore>()
  #timer: NodeJS.Timeout | undefined
  #ticks = 0

  /** Creates a keepalive with a period in milliseconds. */
  constructor(period: number) {
    this.#period = period
  }

  /** Adds a connection. The first one starts the timer. */
  add(connection: ConnectionCore): void {
    this.#connections.add(connection)
    connection.lastBytesReceived = -1 // so that the first check finds the peer alive
    if (this.#timer) return
    this.#ticks = 0
    this.#timer = setInterval(() => this.#tick(), this.#period / TICKS)
    this.#timer.unref?.()
  }

  /** Removes a connection. The last one stops the timer. */
  delete(connection: ConnectionCore): void {
    if (!this.#connections.delete(connection) || this.#connections.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    this.#ticks = (this.#ticks + 1) % TICKS
    if (this.#ticks === 0) this.#check()
  }

  #check(): void {
    for (const connection of this.#connections) {
      const { bytesReceived, isBusy } = connection.transport
      const isAlive = bytesReceived !== connection.lastBytesReceived
      const wasPinged = connection.lastPinged
      connection.lastBytesReceived = bytesReceived
      connection.lastPinged = !isAlive || connection.isPaused
      if (wasPinged && !isAlive && isBusy !== true) connection.onTimeout()
      else if (connection.lastPinged) connection.probe()
    }
  }
}

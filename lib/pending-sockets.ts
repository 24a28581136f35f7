import type { Server, Socket } from 'node:net'
import type { AddressLimit } from './address-limit.ts'
import { socketAddress } from './peer-address.ts'

const CHECKS = 10 // in the time that a handshake may take: none takes a tenth longer

/** A TCP socket whose peer has not sent a whole request. */
interface Pending {
  readonly raw: Socket
  /** Where an answer is written: the socket of TLS, once TLS is agreed on. */
  tcp: Socket
  readonly address: string
  readonly acceptedAt: number
  readonly closed: () => void
}

/** What pending sockets are bounded by. */
export interface PendingLimits {
  /** Milliseconds from when a socket is accepted, TLS included, until its peer is let in. */
  readonly handshakeTimeout: number
  /** Counts them by address; undefined where peers behind a proxy share one. */
  readonly addresses: AddressLimit | undefined
}

/** What becomes of sockets over a limit. */
export interface PendingEvents {
  /** There are too many of one address. */
  readonly tooMany: (tcp: Socket) => void
  /** Its peer took too long to send a request. */
  readonly late: (tcp: Socket) => void
}

/** The TCP sockets of an http server whose peers have not sent a whole request yet. */
export class PendingSockets {
  readonly #handshakeTimeout: number
  readonly #addresses: AddressLimit | undefined
  readonly #late: (tcp: Socket) => void
  readonly #byEndpoint = new Map<string, Pending>() // the oldest first
  #timer: NodeJS.Timeout | undefined

  constructor(
    http: Server,
    { handshakeTimeout, addresses }: PendingLimits,
    { tooMany, late }: PendingEvents,
  ) {
    this.#handshakeTimeout = handshakeTimeout
    this.#addresses = addresses
    this.#late = late
    http.on('connection', (tcp: Socket) => {
      if (!this.#accept(tcp)) tooMany(tcp)
    })
    http.on('secureConnection', (tcp: Socket) => {
      const pending = this.#byEndpoint.get(endpointOf(tcp))
      if (pending) pending.tcp = tcp
    })
    http.on('request', ({ socket }: { socket: Socket }) => this.requested(socket))
  }

  /**
   * Forgets a socket whose peer has sent a whole request. Returns the milliseconds that are left of
   * its handshake.
   */
  requested(tcp: Socket): number {
    const pending = this.#byEndpoint.get(endpointOf(tcp))
    if (!pending) return this.#handshakeTimeout
    this.#forget(pending)
    return Math.max(1, pending.acceptedAt + this.#handshakeTimeout - performance.now())
  }

  /** Destroys them all. */
  destroy(): void {
    for (const { tcp } of this.#byEndpoint.values()) tcp.destroy()
  }

  #accept(tcp: Socket): boolean {
    if (tcp.remoteAddress === undefined) return true // it has gone already
    const address = socketAddress(tcp)
    if (this.#addresses?.accept(address) === false) return false
    const pending: Pending = {
      raw: tcp,
      tcp,
      address,
      acceptedAt: performance.now(),
      closed: () => this.#forget(pending),
    }
    const endpoint = endpointOf(tcp)
    this.#byEndpoint.delete(endpoint) // one that is closing may have had the same port
    this.#byEndpoint.set(endpoint, pending)
    tcp.on('close', pending.closed)
    this.#timer ??= setInterval(() => this.#check(), this.#handshakeTimeout / CHECKS).unref()
    return true
  }

  #forget(pending: Pending): void {
    const { raw, address, closed } = pending
    const endpoint = endpointOf(raw)
    raw.off('close', closed)
    if (this.#byEndpoint.get(endpoint) === pending) this.#byEndpoint.delete(endpoint)
    this.#addresses?.release(address)
  }

  #check(): void {
    const due = performance.now() - this.#handshakeTimeout
    for (const pending of this.#byEndpoint.values()) {
      if (pending.acceptedAt > due) return
      this.#forget(pending)
      this.#late(pending.tcp)
    }
    clearInterval(this.#timer) // there is none left
    this.#timer = undefined
  }
}

/** Returns what names a socket: one under TLS has the same as the socket of TLS. */
function endpointOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}

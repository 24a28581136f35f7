import type { Server, Socket } from 'node:net'
import type { AddressLimit } from '../handshake/address-limit.ts'
import { socketAddress } from '../handshake/peer-address.ts'

const CHECKS = 10 // per `handshakeTimeout`: no handshake exceeds it by more than a tenth

/** A TCP socket whose peer has not sent a complete request. */
interface PendingSocket {
  /** The socket that the server accepted: with TLS, the one under the TLS socket. */
  readonly raw: Socket
  /** The socket that an answer is written to: the TLS socket once the TLS handshake is complete. */
  tcp: Socket
  readonly address: string
  readonly acceptedAt: number
  readonly onClose: () => void
}

/** The limits of pending sockets. */
export interface PendingLimits {
  /** Milliseconds from accepting a socket, TLS included, until its peer must have been accepted. */
  readonly handshakeTimeout: number
  /** The counter by address; undefined where peers behind a proxy share an address. */
  readonly addresses: AddressLimit | undefined
}

/** Callbacks for sockets that exceed a limit. */
export interface PendingEvents {
  /** Handles a new socket of an address that has too many sockets. */
  readonly onTooMany: (tcp: Socket) => void
  /** Handles a socket whose peer took too long to send a request. */
  readonly onTimeout: (tcp: Socket) => void
}

/** The TCP sockets of an HTTP server whose peers have not sent a complete request yet. */
export class PendingSockets {
  readonly #handshakeTimeout: number
  readonly #addresses: AddressLimit | undefined
  readonly #onTimeout: (tcp: Socket) => void
  readonly #byEndpoint = new Map<string, PendingSocket>() // oldest first
  #timer: NodeJS.Timeout | undefined

  constructor(
    http: Server,
    { handshakeTimeout, addresses }: PendingLimits,
    { onTooMany, onTimeout }: PendingEvents,
  ) {
    this.#handshakeTimeout = handshakeTimeout
    this.#addresses = addresses
    this.#onTimeout = onTimeout
    http.on('connection', (tcp: Socket) => {
      if (!this.#accept(tcp)) onTooMany(tcp)
    })
    http.on('secureConnection', (tcp: Socket) => {
      const pending = this.#byEndpoint.get(endpointOf(tcp))
      if (pending) pending.tcp = tcp
    })
    http.on('request', ({ socket }: { socket: Socket }) => this.onRequest(socket))
  }

  /**
   * Removes a socket whose peer has sent a complete request. Returns the milliseconds that are left
   * for its handshake.
   */
  onRequest(tcp: Socket): number {
    const pending = this.#byEndpoint.get(endpointOf(tcp))
    if (!pending) return this.#handshakeTimeout
    this.#remove(pending)
    return Math.max(1, pending.acceptedAt + this.#handshakeTimeout - performance.now())
  }

  /** Destroys all pending sockets. */
  destroy(): void {
    for (const { tcp } of this.#byEndpoint.values()) tcp.destroy()
  }

  #accept(tcp: Socket): boolean {
    if (tcp.remoteAddress === undefined) return true // the peer has disconnected already
    const address = socketAddress(tcp)
    if (this.#addresses?.accept(address) === false) return false
    const pending: PendingSocket = {
      raw: tcp,
      tcp,
      address,
      acceptedAt: performance.now(),
      onClose: () => this.#remove(pending),
    }
    const endpoint = endpointOf(tcp)
    this.#byEndpoint.delete(endpoint) // a socket that is closing may have had the same port
    this.#byEndpoint.set(endpoint, pending)
    tcp.on('close', pending.onClose)
    this.#timer ??= setInterval(() => this.#check(), this.#handshakeTimeout / CHECKS).unref()
    return true
  }

  #remove(pending: PendingSocket): void {
    const { raw, address, onClose } = pending
    const endpoint = endpointOf(raw)
    raw.off('close', onClose)
    if (this.#byEndpoint.get(endpoint) === pending) this.#byEndpoint.delete(endpoint)
    this.#addresses?.release(address)
  }

  #check(): void {
    const deadline = performance.now() - this.#handshakeTimeout
    for (const pending of this.#byEndpoint.values()) {
      if (pending.acceptedAt > deadline) return
      this.#remove(pending)
      this.#onTimeout(pending.tcp)
    }
    clearInterval(this.#timer) // no pending socket is left
    this.#timer = undefined
  }
}

/** Returns the key of a socket. A TLS socket has the same key as the TCP socket under it. */
function endpointOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}

import type { Socket } from 'node:net'
import type { AnyHttpServer } from './http.ts'
import { networkOf, socketAddress } from './peer-address.ts'

/**
 * Counts what peers have by their address: connections and handshakes, and on http servers that it
 * watches TCP sockets that have sent no whole request.
 */
export class AddressLimit {
  readonly #max: number | false
  readonly #entered = new Map<string, number>()
  readonly #silent = new Map<string, number>()
  /** What counts a silent socket no longer, by the socket's remote address and port. */
  readonly #releases = new Map<string, () => void>()

  /** Allows so many connections for each address; false: any number, and nothing is counted. */
  constructor(max: number | false) {
    this.#max = max
  }

  /** Returns how many connections, handshakes and silent sockets count for an address. */
  count(address: string): number {
    const network = networkOf(address)
    return (this.#entered.get(network) ?? 0) + (this.#silent.get(network) ?? 0)
  }

  /** Counts a connection or a handshake. */
  add(address: string): void {
    if (this.#max !== false) step(this.#entered, networkOf(address), 1)
  }

  /** Counts a connection or a handshake no longer. */
  delete(address: string): void {
    if (this.#max !== false) step(this.#entered, networkOf(address), -1)
  }

  /**
   * Counts sockets of an http server until each has sent a whole request or closed. Hands the sockets
   * that are too many to `refuse`.
   */
  watch(http: AnyHttpServer, refuse: (tcp: Socket) => void): void {
    if (this.#max === false) return
    http.on('connection', (tcp: Socket) => {
      if (!this.#accept(tcp)) refuse(tcp)
    })
    http.on('request', ({ socket }) => this.requested(socket))
  }

  /** Counts a socket no longer, as it has sent a whole request. */
  requested(tcp: Socket): void {
    this.#releases.get(endpointOf(tcp))?.()
  }

  #accept(tcp: Socket): boolean {
    if (tcp.remoteAddress === undefined) return true // it has gone already
    const network = networkOf(socketAddress(tcp))
    if ((this.#silent.get(network) ?? 0) >= Number(this.#max)) return false
    const endpoint = endpointOf(tcp)
    let isCounted = true
    const release = (): void => {
      if (!isCounted) return
      isCounted = false
      tcp.off('close', release)
      // Another socket may have the same port by now.
      if (this.#releases.get(endpoint) === release) this.#releases.delete(endpoint)
      step(this.#silent, network, -1)
    }
    this.#releases.set(endpoint, release)
    step(this.#silent, network, 1)
    tcp.on('close', release)
    return true
  }
}

/** A socket under TLS has the same one as the socket of TLS. */
function endpointOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}

function step(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + by
  if (count > 0) counts.set(key, count)
  else counts.delete(key)
}

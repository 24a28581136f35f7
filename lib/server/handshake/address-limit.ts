import { networkOf } from './peer-address.ts'

/** A counter, by address, of connections, handshakes, and sockets that have sent no request yet. */
export class AddressLimit {
  readonly #max: number | false
  readonly #accepted = new Map<string, number>()
  readonly #pending = new Map<string, number>()

  /** Allows `max` connections for each address; false allows any number, and counts nothing. */
  constructor(max: number | false) {
    this.#max = max
  }

  /** Returns the number of connections, handshakes and pending sockets of an address. */
  count(address: string): number {
    const network = networkOf(address)
    return (this.#accepted.get(network) ?? 0) + (this.#pending.get(network) ?? 0)
  }

  /** Adds a connection or a handshake. */
  add(address: string): void {
    if (this.#max !== false) addTo(this.#accepted, networkOf(address), 1)
  }

  /** Removes a connection or a handshake. */
  delete(address: string): void {
    if (this.#max !== false) addTo(this.#accepted, networkOf(address), -1)
  }

  /** Adds a pending socket. Returns false when its address already has `max` pending sockets. */
  accept(address: string): boolean {
    const network = networkOf(address)
    if (this.#max === false) return true
    if ((this.#pending.get(network) ?? 0) >= this.#max) return false
    addTo(this.#pending, network, 1)
    return true
  }

  /** Removes a pending socket. */
  release(address: string): void {
    if (this.#max !== false) addTo(this.#pending, networkOf(address), -1)
  }
}

function addTo(counts: Map<string, number>, key: string, change: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + change
  if (count > 0) counts.set(key, count)
  else counts.delete(key)
}

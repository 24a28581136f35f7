import { networkOf } from './peer-address.ts'

/** Counts by address what peers have: connections, handshakes, and sockets that sent no request yet. */
export class AddressLimit {
  readonly #max: number | false
  readonly #entered = new Map<string, number>()
  readonly #pending = new Map<string, number>()

  /** Allows so many connections for each address; false: any number, and nothing is counted. */
  constructor(max: number | false) {
    this.#max = max
  }

  /** Returns how many connections, handshakes and pending sockets count for an address. */
  count(address: string): number {
    const network = networkOf(address)
    return (this.#entered.get(network) ?? 0) + (this.#pending.get(network) ?? 0)
  }

  /** Counts a connection or a handshake. */
  add(address: string): void {
    if (this.#max !== false) step(this.#entered, networkOf(address), 1)
  }

  /** Counts a connection or a handshake no longer. */
  delete(address: string): void {
    if (this.#max !== false) step(this.#entered, networkOf(address), -1)
  }

  /** Counts a pending socket; returns false where its address has as many as it may. */
  accept(address: string): boolean {
    const network = networkOf(address)
    if (this.#max === false) return true
    if ((this.#pending.get(network) ?? 0) >= this.#max) return false
    step(this.#pending, network, 1)
    return true
  }

  /** Counts a pending socket no longer. */
  release(address: string): void {
    if (this.#max !== false) step(this.#pending, networkOf(address), -1)
  }
}

function step(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + by
  if (count > 0) counts.set(key, count)
  else counts.delete(key)
}

import type { Head, Said } from './words.ts'

/** The facts that a member knows of its room. */
interface Place {
  node: string
  /** The last that it heard of what was said on its own node, */
  last: number
  /** and where that stood each time when it came in, as far as nothing later was heard. */
  since: number[]
  /** The last number of each sender, whatever its node. */
  senders: Map<string, number>
  /** Whether it is about to join anew before it has left: what is meant for it alone reaches neither. */
  isRejoining: boolean
}

/** The messages that a client must hear, and has heard. It reports any twice, too late or never. */
export class Ledger {
  readonly #places = new Map<string, Place>()
  readonly #wrong: (text: string) => void

  constructor(wrong: (text: string) => void) {
    this.#wrong = wrong
  }

  /** It is a member, of a room that has come so far. */
  joined({ room, node, at }: Head): void {
    const before = this.#places.get(room)
    // Messages that the memberships before still held may follow: the count goes on where it was.
    const isSame = before?.node === node
    const last = isSame ? before.last : at
    const since = isSame ? [...before.since, at] : [at]
    this.#places.set(room, { node, last, since, senders: new Map(), isRejoining: false })
  }

  /** It joins anew, perhaps before it has left. */
  rejoining(room: string): void {
    const place = this.#places.get(room)
    if (place) place.isRejoining = true
  }

  /** It has heard that: what is said on its own node comes in one piece. */
  heard({ room, from, number, node, at }: Said): void {
    const place = this.#places.get(room)
    if (!place) {
      this.#wrong(`heard ${at} of ${room} on ${node}, where it isn't`)
      return
    }
    const before = place.senders.get(from) ?? 0
    if (number <= before) this.#wrong(`heard ${number} of ${from} in ${room} after ${before}`)
    place.senders.set(from, number)
    if (node !== place.node) return
    if (at <= place.last) this.#wrong(`heard ${at} of ${room} on ${node} after ${place.last}`)
    else if (at !== place.last + 1 && !place.since.includes(at - 1) && !place.isRejoining) {
      this.#lost(room, place, at)
    }
    place.last = Math.max(place.last, at)
    place.since = place.since.filter((start) => start >= at)
  }

  /** The room has come so far, and all of it was sent: it must have been heard. */
  reached({ room, node, at }: Head): void {
    const place = this.#places.get(room)
    if (place?.node !== node) return
    if (Math.max(place.last, ...place.since) < at) this.#lost(room, place, at + 1)
  }

  /** It is a member no more. */
  left(room: string): void {
    this.#places.delete(room)
  }

  #lost(room: string, { node, last, since }: Place, at: number): void {
    this.#wrong(`lost what is between ${last} and ${at} of ${room} on ${node}; in since ${since}`)
  }
}

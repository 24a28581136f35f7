import type { WebsocketConnection } from '../../lib/index.ts'
import { cut } from '../../lib/testing/index.ts'
import { Ledger } from './ledger.ts'
import { count, type Head, type Said } from './words.ts'

/** The counts and the findings of the clients of one program. */
export interface Findings {
  readonly counted: Record<string, number>
  readonly codes: Record<string, number>
  readonly violations: string[]
}

/** Its membership of a room on one node after the other, and how much it has said there. */
interface Membership {
  readonly from: string
  number: number
}

/** A client that goes from room to room: with channels or without. */
export abstract class Goer {
  readonly who: string
  /** Where it wants to be. */
  readonly wanted = new Set<string>()
  protected readonly findings: Findings
  protected readonly ledger: Ledger
  readonly #memberships = new Map<string, Membership>()
  #node = ''
  #epoch = 0
  #frozen: Frozen | undefined

  constructor(who: string, findings: Findings) {
    this.who = who
    this.findings = findings
    this.ledger = new Ledger((text) => findings.violations.push(`${who} ${text}`))
  }

  /** Whether it is connected, and in all rooms where it wants to be. */
  get isSettled(): boolean {
    return this.isOpen && [...this.wanted].every((room) => this.isIn(room))
  }

  /** The state of this client, for a human. */
  get story(): string {
    const rooms = [...this.wanted].map(
      (room) => `${room} ${this.isIn(room) ? 'entered' : this.stateOf(room)}`,
    )
    return `${this.who} ${this.isOpen ? 'open' : 'not open'}: ${rooms.join(', ')}`
  }

  /** Whether it is connected. */
  abstract get isOpen(): boolean
  /** Its connection, as far as it is known. */
  protected abstract get connection(): WebsocketConnection | undefined

  /** Begins to connect to a node, and to come back. */
  abstract open(port: number): void
  abstract close(): Promise<void>
  abstract join(room: string): void
  abstract leave(room: string): void
  /** Asks how far its rooms have come, and waits for the answers: it must have heard all of it. */
  abstract compare(): Promise<unknown>
  /** Has itself sent more than it reads. */
  abstract drown(): void
  /** Sends more than it may. */
  abstract flood(messages: number): void
  /** Returns how it stands with a room that it isn't in. */
  protected abstract stateOf(room: string): string
  protected abstract say(room: string, from: string, number: number): void

  /** Whether it is a member, and may speak. */
  isIn(room: string): boolean {
    return this.isOpen && this.#memberships.has(room)
  }

  /** Says something in a room, if it is there. */
  speak(room: string): void {
    const membership = this.isIn(room) ? this.#memberships.get(room) : undefined
    if (!membership) return
    membership.number++
    count(this.findings.counted, 'said')
    this.say(room, membership.from, membership.number)
  }

  /** Stops to read, until it is thawed. */
  freeze(): void {
    this.#frozen ??= frozen()
  }

  thaw(): void {
    this.#frozen?.thaw()
    this.#frozen = undefined
  }

  /** Breaks its connection, as a failing network would. */
  vanish(): void {
    this.#memberships.clear() // nothing more is said on a connection that is about to go
    if (this.connection) cut(this.connection)
  }

  /** Waits while it is frozen, at the end of a listener. */
  protected get held(): Promise<void> | undefined {
    return this.#frozen?.promise
  }

  protected connected(): void {
    this.#memberships.clear()
    count(this.findings.counted, 'connected')
  }

  protected ended(code: number): void {
    this.#memberships.clear()
    count(this.findings.codes, String(code))
  }

  protected joined(head: Head): void {
    this.#node = head.node
    this.ledger.joined(head)
    if (!this.wanted.has(head.room)) return // it is about to leave
    this.#memberships.set(head.room, { from: `${this.who}.${++this.#epoch}`, number: 0 })
  }

  /** It is about to leave. */
  protected leaving(room: string): void {
    this.wanted.delete(room)
    this.#memberships.delete(room)
  }

  protected heard(said: Said): void {
    count(this.findings.counted, 'delivered')
    if (said.node !== this.#node) count(this.findings.counted, 'across')
    this.ledger.heard(said)
  }
}

interface Frozen {
  readonly promise: Promise<void>
  readonly thaw: () => void
}

function frozen(): Frozen {
  let thaw = (): void => {}
  const promise = new Promise<void>((resolve) => (thaw = resolve))
  return { promise, thaw }
}

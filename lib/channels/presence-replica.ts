import { ChannelError } from '../errors.ts'
import { PRESENCE_DIFF, PRESENCE_STATE } from './phoenix.ts'
import { changesIn, diffIn, Roster, type Applied, type Change, type Diff } from './roster.ts'

/** What a replica needs of its channel. */
interface ReplicaOwner {
  readonly topic: string
  /** Receives an error that the server has made. */
  refused(error: ChannelError): void
}

/** Receives what changes. */
interface Follower {
  /** Whether each change is wanted, or only that there was one. */
  readonly wantsChanges: boolean
  /** Takes changes in their order; `isComplete`: no more of them belong to the same frame. */
  applied(changes: readonly Applied[] | undefined, isComplete: boolean): void
}

const MOST_WAITING = 10_000 // diffs that wait for a state,
const MOST_WAITING_BYTES = 8 * 1024 * 1024 // and the bytes of their frames
const MAX_METAS = 100_000 // of a topic,
const MAX_METAS_OF_KEY = 10_000 // since a change tells all other metas of its key
const TOO_MANY = `more than ${MAX_METAS} metas, or ${MAX_METAS_OF_KEY} of one key,`

/**
 * The presence of a topic, as its server tells it to one channel of a client. It is kept from the first
 * frame on, so that a `Presence` may be made at any time, and read as it comes, so that what belongs to
 * an older membership is never applied to a later one.
 */
export class PresenceReplica {
  readonly roster = new Roster()
  readonly #owner: ReplicaOwner
  readonly #followers = new Set<Follower>()
  /** The join_ref of the membership that told something last. */
  #membership: string | undefined
  /** The diffs that wait for the state of that membership; undefined once it has come. */
  #waiting: Diff[] | undefined = []
  #waitingBytes = 0
  #isKnown = false
  /** Whether that membership was told of too many metas, so that it isn't followed any more. */
  #hasOverflowed = false

  constructor(owner: ReplicaOwner) {
    this.#owner = owner
  }

  /** Whether a state has come. */
  get isKnown(): boolean {
    return this.#isKnown
  }

  /** Tells a follower of all that changes from now on. */
  follow(follower: Follower): void {
    this.#followers.add(follower)
    if (this.#hasOverflowed && this.#followers.size === 1) this.#refuse(TOO_MANY)
  }

  /** Takes what the server said to a membership; leaves out what isn't about presence. */
  hear(membership: string, event: string, payload: unknown, size: number): void {
    if (event !== PRESENCE_STATE && event !== PRESENCE_DIFF) return
    if (membership !== this.#membership) {
      this.#membership = membership
      this.#waiting = []
      this.#waitingBytes = 0
      this.#hasOverflowed = false
    }
    if (this.#hasOverflowed) return
    if (event === PRESENCE_STATE) this.#takeState(payload)
    else this.#takeDiff(payload, size)
  }

  #takeState(payload: unknown): void {
    const state = changesIn(payload)
    if (!state) {
      this.#refuse(`a \`${PRESENCE_STATE}\` that is none`)
      return
    }
    const waiting = this.#waiting ?? []
    this.#isKnown = true // also for a presence that a listener makes meanwhile
    this.#change((applied) => this.roster.become(state, applied), state, waiting.length === 0)
    // One by one, since the changes of each may have a list of all metas of a key.
    for (const [index, diff] of waiting.entries()) {
      if (this.#hasOverflowed) break
      this.#applyDiff(diff, index === waiting.length - 1)
    }
    this.#waiting = undefined
  }

  #takeDiff(payload: unknown, size: number): void {
    const diff = diffIn(payload)
    if (!diff) {
      this.#refuse(`a \`${PRESENCE_DIFF}\` that is none`)
    } else if (!this.#waiting) {
      this.#applyDiff(diff)
    } else if (this.#hasRoom(size)) {
      this.#waiting.push(diff)
      this.#waitingBytes += size
    } else {
      this.#refuse('too much before who is here')
    }
  }

  /** A single diff always fits. */
  #hasRoom(size: number): boolean {
    const count = this.#waiting?.length ?? 0
    return count < MOST_WAITING && (count === 0 || this.#waitingBytes + size <= MOST_WAITING_BYTES)
  }

  #applyDiff(diff: Diff, isComplete = true): void {
    this.#change((applied) => this.roster.apply(diff, applied), diff.joins, isComplete)
  }

  /** Makes a change, and tells the followers what it was where one of them wants to know. */
  #change(
    make: (applied: Applied[] | undefined) => void,
    joins: readonly Change[],
    isComplete = true,
  ): void {
    const isWanted = [...this.#followers].some(({ wantsChanges }) => wantsChanges)
    const applied: Applied[] | undefined = isWanted ? [] : undefined
    make(applied)
    const isTooMuch = !this.#hasOverflowed && this.#hasTooMany(joins)
    for (const follower of this.#followers) follower.applied(applied, isComplete && !isTooMuch)
    if (isTooMuch) this.#overflow()
  }

  #hasTooMany(joins: readonly Change[]): boolean {
    const { roster } = this
    return (
      roster.metaCount > MAX_METAS || joins.some(([key]) => roster.countOf(key) > MAX_METAS_OF_KEY)
    )
  }

  /** Forgets all metas, and what this membership says of them from now on. */
  #overflow(): void {
    this.#hasOverflowed = true
    this.#isKnown = false
    this.#waiting = undefined
    this.#change((applied) => this.roster.become([], applied), [])
    this.#refuse(TOO_MANY)
  }

  /** An error only where a presence is wanted: without one it is an event like any other. */
  #refuse(what: string): void {
    if (this.#followers.size === 0) return
    const { topic } = this.#owner
    this.#owner.refused(new ChannelError(`the server told ${what} on \`${topic}\``, { topic }))
  }
}

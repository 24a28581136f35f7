import { ChannelError } from '../errors.ts'
import { PRESENCE_DIFF, PRESENCE_STATE } from '../protocol/phoenix.ts'
import {
  parseState,
  parseDiff,
  PresenceState,
  type AppliedChange,
  type Change,
  type Diff,
} from './presence-state.ts'

/** The channel of a replica. */
interface ReplicaOwner {
  readonly topic: string
  /** Reports an error that the server caused. */
  reportError(error: ChannelError): void
}

/** A receiver of changes. */
interface Follower {
  /** Whether the follower needs each change, or only the notice that there was one. */
  readonly wantsChanges: boolean
  /**
   * Receives changes in order; `isComplete` is false while more changes of the same frame follow.
   */
  onChanges(changes: readonly AppliedChange[] | undefined, isComplete: boolean): void
}

const MAX_WAITING = 10_000 // diffs that wait for a state
const MAX_WAITING_BYTES = 8 * 1024 * 1024 // bytes of the frames of the diffs that wait
const MAX_METAS = 100_000 // metas of a topic
const MAX_METAS_OF_KEY = 10_000 // metas of a key, since each of its changes lists all others
const TOO_MANY = `more than ${MAX_METAS} metas, or ${MAX_METAS_OF_KEY} of one key,`

/**
 * The presence of a topic that a server sends to one channel of a client. It is maintained from the
 * first frame on, so that a `Presence` may be created at any time. Each frame is applied when it
 * arrives, so that a frame of an older membership is never applied to a later one.
 */
export class PresenceReplica {
  readonly state = new PresenceState()
  readonly #owner: ReplicaOwner
  readonly #followers = new Set<Follower>()
  /** The join_ref of the membership that received the last presence frame. */
  #membership: string | undefined
  /** The diffs that wait for the state of that membership; undefined once the state has arrived. */
  #waitingDiffs: Diff[] | undefined = []
  #waitingBytes = 0
  #isKnown = false
  /** Whether that membership received too many metas, so that its frames are ignored. */
  #hasOverflowed = false

  constructor(owner: ReplicaOwner) {
    this.#owner = owner
  }

  /** Whether a state has arrived. */
  get isKnown(): boolean {
    return this.#isKnown
  }

  /** Adds a follower, which receives all changes from now on. */
  follow(follower: Follower): void {
    this.#followers.add(follower)
    if (this.#hasOverflowed && this.#followers.size === 1) this.#reportError(TOO_MANY)
  }

  /** Applies a frame that the server sent to a membership. Ignores events other than presence. */
  takeFrame(membership: string, event: string, payload: unknown, size: number): void {
    if (event !== PRESENCE_STATE && event !== PRESENCE_DIFF) return
    if (membership !== this.#membership) {
      this.#membership = membership
      this.#waitingDiffs = []
      this.#waitingBytes = 0
      this.#hasOverflowed = false
    }
    if (this.#hasOverflowed) return
    if (event === PRESENCE_STATE) this.#takeState(payload)
    else this.#takeDiff(payload, size)
  }

  #takeState(payload: unknown): void {
    const state = parseState(payload)
    if (!state) {
      this.#reportError(`a \`${PRESENCE_STATE}\` that is none`)
      return
    }
    const diffs = this.#waitingDiffs ?? []
    this.#isKnown = true // before the listeners run: one may create another presence
    this.#update((applied) => this.state.syncState(state, applied), state, diffs.length === 0)
    // One at a time: the changes of each diff may contain a list of all metas of a key.
    for (const [index, diff] of diffs.entries()) {
      if (this.#hasOverflowed) break
      this.#applyDiff(diff, index === diffs.length - 1)
    }
    this.#waitingDiffs = undefined
  }

  #takeDiff(payload: unknown, size: number): void {
    const diff = parseDiff(payload)
    if (!diff) {
      this.#reportError(`a \`${PRESENCE_DIFF}\` that is none`)
    } else if (!this.#waitingDiffs) {
      this.#applyDiff(diff)
    } else if (this.#hasRoom(size)) {
      this.#waitingDiffs.push(diff)
      this.#waitingBytes += size
    } else {
      this.#reportError('too much before who is here')
    }
  }

  /** Returns whether one more diff may wait. A single diff always may. */
  #hasRoom(size: number): boolean {
    const count = this.#waitingDiffs?.length ?? 0
    return count < MAX_WAITING && (count === 0 || this.#waitingBytes + size <= MAX_WAITING_BYTES)
  }

  #applyDiff(diff: Diff, isComplete = true): void {
    this.#update((applied) => this.state.syncDiff(diff, applied), diff.joins, isComplete)
  }

  /** Applies a change. Passes the details to the followers where one of them needs them. */
  #update(
    apply: (applied: AppliedChange[] | undefined) => void,
    joins: readonly Change[],
    isComplete = true,
  ): void {
    const needsChanges = [...this.#followers].some(({ wantsChanges }) => wantsChanges)
    const applied: AppliedChange[] | undefined = needsChanges ? [] : undefined
    apply(applied)
    const isTooMuch = !this.#hasOverflowed && this.#hasTooMany(joins)
    for (const follower of this.#followers) follower.onChanges(applied, isComplete && !isTooMuch)
    if (isTooMuch) this.#overflow()
  }

  #hasTooMany(joins: readonly Change[]): boolean {
    const { state } = this
    return (
      state.metaCount > MAX_METAS || joins.some(([key]) => state.countOf(key) > MAX_METAS_OF_KEY)
    )
  }

  /** Removes all metas, and ignores the further presence frames of this membership. */
  #overflow(): void {
    this.#hasOverflowed = true
    this.#isKnown = false
    this.#waitingDiffs = undefined
    this.#update((applied) => this.state.syncState([], applied), [])
    this.#reportError(TOO_MANY)
  }

  /**
   * Reports an error where a presence exists. Without one, the events are events like any other.
   */
  #reportError(problem: string): void {
    if (this.#followers.size === 0) return
    const { topic } = this.#owner
    this.#owner.reportError(
      new ChannelError(`the server told ${problem} on \`${topic}\``, {
        code: 'ERR_MESSAGE_INVALID',
        topic,
      }),
    )
  }
}

import { PRESENCE_DIFF } from '../protocol/phoenix.ts'
import { parseTopics, type NodeMessage } from './node-message.ts'
import type { PresenceSource } from './presence-replicator.ts'
import {
  parseDiff,
  PresenceState,
  type AppliedChange,
  type Change,
  type Diff,
} from './presence-state.ts'
import { IncomingState, type RemoteDiff } from './remote-state.ts'

const TIMEOUT_HEARTBEATS = 2.5 // a silent node is removed before its third heartbeat is due

/** Another node, and the part of its presence that is known here. */
export class RemoteNode {
  readonly #source: PresenceSource
  readonly #requestState: () => boolean
  readonly #onSilent: () => void
  readonly #stateByTopic = new Map<string, PresenceState>()
  /** The number of its changes that are known here; -1 while its state is unknown. */
  #version = -1
  #isStateRequested = false
  /** The parts of its state that have arrived. */
  #incoming: IncomingState | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  /**
   * `requestState` requests the node's state, and returns false where that isn't possible yet.
   * `onSilent` is called when no message has arrived for more than two heartbeats.
   */
  constructor(source: PresenceSource, requestState: () => boolean, onSilent: () => void) {
    this.#source = source
    this.#requestState = requestState
    this.#onSilent = onSilent
  }

  /** Notes that the node has sent a message. */
  keepAlive(heartbeat: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(this.#onSilent, TIMEOUT_HEARTBEATS * heartbeat)
    this.#timer.unref?.()
  }

  /** Removes the whole presence of the node. */
  remove(): void {
    clearTimeout(this.#timer)
    for (const [topic, state] of this.#stateByTopic) {
      this.#source.onChange(topic, { joins: [], leaves: [...state] })
    }
  }

  /** Requests the node's state where a heartbeat or a request of the node shows missed changes. */
  requestIfStale({ version }: NodeMessage, isRequest: boolean): void {
    if (version === this.#version) return
    // The node may be sending its state already. If no part arrives before its next heartbeat, the
    // state is requested again.
    const isStateComing = isRequest ? this.#isStateRequested : this.#incoming?.takeProgress()
    if (isStateComing) return
    this.#incoming = undefined
    this.#isStateRequested = this.#requestState()
  }

  /** Applies a change of the node, or keeps it until the state before it has arrived. */
  takeDiff({ version, body }: NodeMessage): void {
    const remoteDiff = this.#readDiff(body)
    if (!remoteDiff) {
      this.#source.countDrop()
    } else if (version === this.#version + 1) {
      this.#version = version
      this.#applyDiff(remoteDiff)
    } else if (
      version > this.#version &&
      !this.#bufferDiff(version, remoteDiff) &&
      !this.#isStateRequested
    ) {
      this.#isStateRequested = this.#requestState()
    }
  }

  /** Takes a part of the node's state. Applies the state with the last part. */
  takePart({ version, part, isLast, body }: NodeMessage): void {
    if (version <= this.#version) {
      this.#incoming = undefined // the state is known: it answers another node's request
      this.#isStateRequested = false
      return
    }
    if (part === 0) this.#incoming = new IncomingState(version)
    const incoming = this.#incoming
    this.#incoming = undefined
    if (!incoming?.expects(version, part)) return // after the next heartbeat it is requested again
    const topics = parseTopics(body)
    if (!topics || [...topics.keys()].some((name) => !this.#source.matches(name))) {
      this.#source.countDrop()
      return
    }
    incoming.add(topics)
    if (isLast) this.#applyState(incoming)
    else this.#incoming = incoming
  }

  #readDiff(text: string): RemoteDiff | undefined {
    try {
      const message = this.#source.read(text)
      const frame = message.read()
      const diff = frame?.event === PRESENCE_DIFF ? parseDiff(frame.payload) : undefined
      if (!frame || !diff || !this.#source.matches(frame.topic)) return undefined
      return { topic: frame.topic, diff, message }
    } catch {
      return undefined
    }
  }

  /** Keeps a change until all parts of the state have arrived. Returns false where it can't. */
  #bufferDiff(version: number, remoteDiff: RemoteDiff): boolean {
    const incoming = this.#incoming
    if (!incoming || version <= incoming.version) return incoming !== undefined
    if (incoming.keep(version, remoteDiff)) return true
    this.#incoming = undefined
    return false
  }

  #applyState({ version, topics, diffs }: IncomingState): void {
    this.#isStateRequested = false
    this.#version = version
    for (const name of new Set([...topics.keys(), ...this.#stateByTopic.keys()])) {
      const state = new PresenceState()
      for (const change of this.#stateByTopic.get(name) ?? []) state.join(change)
      const applied: AppliedChange[] = []
      state.syncState(topics.get(name) ?? [], applied)
      if (applied.length > 0) this.#applyDiff({ topic: name, diff: diffOf(applied) })
    }
    for (const remoteDiff of diffs) {
      this.#version++
      this.#applyDiff(remoteDiff)
    }
  }

  #applyDiff({ topic, diff, message }: Omit<RemoteDiff, 'message'> & Partial<RemoteDiff>): void {
    const state = this.#stateByTopic.get(topic) ?? new PresenceState()
    this.#stateByTopic.set(topic, state)
    state.syncDiff(diff)
    if (state.size === 0) this.#stateByTopic.delete(topic)
    this.#source.onChange(topic, diff, message)
  }
}

function diffOf(applied: readonly AppliedChange[]): Diff {
  const changesOf = (side: AppliedChange['kind']): Change[] =>
    applied.flatMap(({ kind, key, metas }) => (kind === side ? [[key, metas] as const] : []))
  return { joins: changesOf('join'), leaves: changesOf('leave') }
}

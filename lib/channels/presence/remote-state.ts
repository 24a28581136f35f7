import { toBytes } from '../../connection/message.ts'
import type { Broadcast } from '../protocol/broadcast.ts'
import type { Change, Diff, PresenceState } from './presence-state.ts'

const PART_SIZE = 256 * 1024 // characters after which a part ends; its last key may exceed them
const MAX_DIFFS = 10_000 // diffs that wait for the rest of a state
const MAX_DIFF_BYTES = 8 * 1024 * 1024 // bytes of the diffs that wait

/** A change on another node, with the message that the node sent to its members. */
export interface RemoteDiff {
  readonly topic: string
  readonly diff: Diff
  readonly message: Broadcast
}

interface Part {
  readonly text: string
  readonly isLast: boolean
}

/**
 * The presence of this node at one version, in parts. Each part is encoded once, when it is first
 * needed.
 */
export class OutgoingState {
  readonly #parts: Iterator<Part, void>
  readonly #encodedParts: Uint8Array[] = []
  readonly #headOf: (part: number, isLast: boolean) => string

  /** Takes states that don't change, and a function that returns the first line of a part. */
  constructor(
    states: ReadonlyMap<string, PresenceState>,
    headOf: (part: number, isLast: boolean) => string,
  ) {
    this.#parts = partsOf(states)
    this.#headOf = headOf
  }

  /**
   * Returns an encoded part; undefined after the last one. The caller requests the parts in order.
   */
  at(index: number): Uint8Array | undefined {
    const cached = this.#encodedParts[index]
    if (cached) return cached
    const { value: part } = this.#parts.next()
    if (!part) return undefined
    const encoded = toBytes(`${this.#headOf(index, part.isLast)}\n${part.text}`)
    this.#encodedParts.push(encoded)
    return encoded
  }
}

/** The presence of another node while its parts arrive. */
export class IncomingState {
  readonly version: number
  readonly topics = new Map<string, Change[]>()
  /** Changes that arrived after the first part, in order. */
  readonly diffs: RemoteDiff[] = []
  #parts = 0
  #diffBytes = 0
  #hasAdvanced = true

  constructor(version: number) {
    this.version = version
  }

  /** Returns whether a part is the next one. */
  expects(version: number, part: number): boolean {
    return version === this.version && part === this.#parts
  }

  /** Adds the topics of the next part. */
  add(topics: ReadonlyMap<string, readonly Change[]>): void {
    this.#parts++
    this.#hasAdvanced = true
    for (const [name, changes] of topics) {
      const previous = this.topics.get(name)
      if (previous) for (const change of changes) previous.push(change)
      else this.topics.set(name, [...changes])
    }
  }

  /**
   * Adds a change that waits for the rest. Returns false where one before it is missing, or too
   * much waits.
   */
  keep(version: number, remoteDiff: RemoteDiff): boolean {
    this.#diffBytes += remoteDiff.message.bytes.length
    if (version !== this.version + this.diffs.length + 1) return false
    if (this.diffs.length >= MAX_DIFFS || this.#diffBytes > MAX_DIFF_BYTES) return false
    this.diffs.push(remoteDiff)
    return true
  }

  /** Returns whether a part has arrived since the last call. */
  takeProgress(): boolean {
    const hasAdvanced = this.#hasAdvanced
    this.#hasAdvanced = false
    return hasAdvanced
  }
}

/** Yields states as JSON, in parts. A topic that is too big for one part continues in the next. */
function* partsOf(states: ReadonlyMap<string, PresenceState>): Generator<Part, void> {
  let topics: string[] = []
  let size = 0
  for (const [name, state] of states) {
    let keys: string[] = []
    const textOfTopic = (): string => `${JSON.stringify(name)}:{${keys.join(',')}}`
    for (const [key, metas] of state) {
      const text = `${JSON.stringify(key)}:${JSON.stringify({ metas })}`
      keys.push(text)
      size += text.length
      if (size < PART_SIZE) continue
      topics.push(textOfTopic())
      yield { text: `{${topics.join(',')}}`, isLast: false }
      topics = []
      keys = []
      size = 0
    }
    if (keys.length === 0) continue
    topics.push(textOfTopic())
    size += name.length
  }
  yield { text: `{${topics.join(',')}}`, isLast: true }
}

import { toBytes } from '../message.ts'
import type { Change, Diff, Roster } from './roster.ts'
import type { Broadcast } from './broadcast.ts'

const PART_SIZE = 256 * 1024 // characters of a part, and those of one key more
const MAX_DIFFS = 10_000 // that wait for the rest of a state,
const MAX_DIFF_BYTES = 8 * 1024 * 1024 // and their bytes

/** A change on another node, as that node has told it to its members. */
export interface ToldDiff {
  readonly topic: string
  readonly diff: Diff
  readonly said: Broadcast
}

interface Part {
  readonly text: string
  readonly isLast: boolean
}

/** The presence of this node at one version, in parts. Each is encoded once, when it is first wanted. */
export class NodeState {
  readonly #parts: Iterator<Part, void>
  readonly #words: Uint8Array[] = []
  readonly #headOf: (part: number, isLast: boolean) => string

  /** Takes rosters that don't change, and what returns the first line of a part. */
  constructor(
    rosters: ReadonlyMap<string, Roster>,
    headOf: (part: number, isLast: boolean) => string,
  ) {
    this.#parts = partsOf(rosters)
    this.#headOf = headOf
  }

  /** Returns a part as it travels; undefined behind the last one. They are wanted in their order. */
  at(index: number): Uint8Array | undefined {
    const known = this.#words[index]
    if (known) return known
    const { value: part } = this.#parts.next()
    if (!part) return undefined
    const word = toBytes(`${this.#headOf(index, part.isLast)}\n${part.text}`)
    this.#words.push(word)
    return word
  }
}

/** The presence of another node while its parts come. */
export class IncomingState {
  readonly version: number
  readonly topics = new Map<string, Change[]>()
  /** Changes that came since, in their order. */
  readonly diffs: ToldDiff[] = []
  #parts = 0
  #diffBytes = 0
  #hasAdvanced = true

  constructor(version: number) {
    this.version = version
  }

  /** Whether a part is the next one. */
  expects(version: number, part: number): boolean {
    return version === this.version && part === this.#parts
  }

  /** Adds the topics of the next part. */
  add(topics: ReadonlyMap<string, readonly Change[]>): void {
    this.#parts++
    this.#hasAdvanced = true
    for (const [name, changes] of topics) {
      const known = this.topics.get(name)
      if (known) for (const change of changes) known.push(change)
      else this.topics.set(name, [...changes])
    }
  }

  /** Keeps a change for later. Returns false where one before it is missing, or too much waits. */
  keep(version: number, told: ToldDiff): boolean {
    this.#diffBytes += told.said.bytes.length
    if (version !== this.version + this.diffs.length + 1) return false
    if (this.diffs.length >= MAX_DIFFS || this.#diffBytes > MAX_DIFF_BYTES) return false
    this.diffs.push(told)
    return true
  }

  /** Whether a part has come since this was asked last. */
  takeProgress(): boolean {
    const hasAdvanced = this.#hasAdvanced
    this.#hasAdvanced = false
    return hasAdvanced
  }
}

/** Writes rosters as JSON, in parts. A topic that is too big for one goes on in the next. */
function* partsOf(rosters: ReadonlyMap<string, Roster>): Generator<Part, void> {
  let topics: string[] = []
  let size = 0
  for (const [name, roster] of rosters) {
    let keys: string[] = []
    const textOfTopic = (): string => `${JSON.stringify(name)}:{${keys.join(',')}}`
    for (const [key, metas] of roster) {
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

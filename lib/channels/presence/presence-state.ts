import { isJsonObject } from '../protocol/json.ts'
import { META_REF } from '../protocol/phoenix.ts'

/** The metadata of one member that is tracked by a key. */
export type Meta = Readonly<Record<string, any>>

/** The data of a key as a whole, beside its metas: a Phoenix server may add it with `fetch/2`. */
export type Data = Readonly<Record<string, unknown>>

/** Metas that are added to or removed from a key, and the data beside them. */
export type Change = readonly [key: string, metas: readonly Meta[], data?: Data]

/** The joins and the leaves of a change. */
export interface Diff {
  readonly joins: readonly Change[]
  readonly leaves: readonly Change[]
}

/** A change that was applied. */
export interface AppliedChange {
  readonly kind: 'join' | 'leave'
  readonly key: string
  /** The added or removed metas. */
  readonly metas: readonly Meta[]
  /** The other metas of the key: those before a join, or those after a leave. */
  readonly others: readonly Meta[]
  readonly data: Data
}

/** The metas of a key by ref, in the order of their joins, and the data beside them. */
interface Entry {
  readonly metas: Map<unknown, Meta>
  /** The same metas as an immutable list; undefined where it has to be made from the map. */
  list: readonly Meta[] | undefined
  data: Data
}

const NO_DATA: Data = Object.freeze({})

/**
 * The presence of a topic: metas by key. Keys come from peers, so any text is possible. The methods
 * add each change to the list `applied` where one is given.
 */
export class PresenceState {
  readonly #entries = new Map<string, Entry>()
  #metaCount = 0

  get size(): number {
    return this.#entries.size
  }

  /** The metas of all keys. */
  get metaCount(): number {
    return this.#metaCount
  }

  *[Symbol.iterator](): Generator<[string, readonly Meta[]]> {
    for (const [key, { metas }] of this.#entries) yield [key, [...metas.values()]]
  }

  keys(): Iterable<string> {
    return this.#entries.keys()
  }

  get(key: string): readonly Meta[] {
    return [...(this.#entries.get(key)?.metas.values() ?? [])]
  }

  /** Returns how many metas a key has. */
  countOf(key: string): number {
    return this.#entries.get(key)?.metas.size ?? 0
  }

  /** Returns the data of a key beside its metas. */
  dataOf(key: string): Data {
    return this.#entries.get(key)?.data ?? NO_DATA
  }

  /** Adds metas after those of the key; a meta with the same ref is replaced. */
  join([key, metas, data = NO_DATA]: Change, applied?: AppliedChange[]): void {
    const existing = this.#entries.get(key)
    if (!existing && metas.length === 0) return // a key without metas would never leave
    const entry = existing ?? { metas: new Map<unknown, Meta>(), list: [], data }
    const others = applied ? listOf(entry) : []
    const count = entry.metas.size
    for (const meta of metas) {
      entry.metas.delete(meta[META_REF])
      entry.metas.set(meta[META_REF], meta)
    }
    const addedCount = entry.metas.size - count
    // The list is extended at once: that is far faster than to read the map for the next change.
    entry.list = applied && addedCount === metas.length ? others.concat(metas) : undefined
    entry.data = data
    this.#entries.set(key, entry)
    this.#metaCount += addedCount
    applied?.push({ kind: 'join', key, metas, others, data })
  }

  /** Removes metas by their refs; unknown ones are skipped. */
  leave([key, metas]: Change, applied?: AppliedChange[]): void {
    const entry = this.#entries.get(key)
    if (!entry) return
    const metasBefore = applied ? listOf(entry) : []
    const removed = metas.filter((meta) => entry.metas.delete(meta[META_REF]))
    if (removed.length === 0) return
    this.#metaCount -= removed.length
    if (entry.metas.size === 0) this.#entries.delete(key)
    entry.list = applied && without(metasBefore, removed)
    applied?.push({ kind: 'leave', key, metas: removed, others: listOf(entry), data: entry.data })
  }

  /** Applies the joins of a diff, and then its leaves. */
  syncDiff({ joins, leaves }: Diff, applied?: AppliedChange[]): void {
    for (const change of joins) this.join(change, applied)
    for (const change of leaves) this.leave(change, applied)
  }

  /** Makes this state equal to a server's state, by joins and leaves. */
  syncState(state: readonly Change[], applied?: AppliedChange[]): void {
    const changes = new Map(state.map((change) => [change[0], change]))
    const leaves: Change[] = []
    for (const [key, { metas }] of this.#entries) {
      const refs = new Set((changes.get(key)?.[1] ?? []).map((meta) => meta[META_REF] as unknown))
      const removed = [...metas.values()].filter((meta) => !refs.has(meta[META_REF]))
      if (removed.length > 0) leaves.push([key, removed])
    }
    const joins: Change[] = []
    for (const [key, metas, data] of changes.values()) {
      const entry = this.#entries.get(key)
      const newMetas = entry ? metas.filter((meta) => !entry.metas.has(meta[META_REF])) : metas
      if (newMetas.length > 0) joins.push([key, newMetas, data ?? NO_DATA])
    }
    this.syncDiff({ joins, leaves }, applied)
  }
}

function listOf({ list, metas }: Entry): readonly Meta[] {
  return list ?? [...metas.values()]
}

function without(metas: readonly Meta[], removed: readonly Meta[]): readonly Meta[] {
  const refs = new Set<unknown>(removed.map((meta) => meta[META_REF] as unknown))
  return metas.filter((meta) => !refs.has(meta[META_REF]))
}

/**
 * Parses a state, or the joins or leaves of a diff: metas by key. Returns undefined where the value
 * is invalid.
 */
export function parseState(value: unknown): readonly Change[] | undefined {
  if (!isJsonObject(value)) return undefined
  const changes: Change[] = []
  for (const [key, presence] of Object.entries(value)) {
    if (!isJsonObject(presence)) return undefined
    const { metas, ...data } = presence
    if (!Array.isArray(metas) || !metas.every(isMeta)) return undefined
    changes.push(Object.keys(data).length > 0 ? [key, metas, data] : [key, metas])
  }
  return changes
}

/** Parses a diff. Returns undefined where the value is invalid. */
export function parseDiff(value: unknown): Diff | undefined {
  if (!isJsonObject(value)) return undefined
  const [joins, leaves] = [parseState(value.joins), parseState(value.leaves)]
  return joins && leaves && { joins, leaves }
}

/** Serializes to `{ [key]: { metas } }`, without invoking setters such as `__proto__`. */
export function toWire(changes: Iterable<Change>): Record<string, { metas: readonly Meta[] }> {
  return Object.fromEntries([...changes].map(([key, metas]) => [key, { metas }]))
}

/** Returns whether a value is a meta whose ref is no object: two objects never equal each other. */
function isMeta(value: unknown): value is Meta {
  return isJsonObject(value) && (typeof value[META_REF] !== 'object' || value[META_REF] === null)
}

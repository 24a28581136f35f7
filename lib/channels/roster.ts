import { META_REF } from './phoenix.ts'
import { isJsonObject } from './text.ts'

/** What is known of a key at one of the places where it is. */
export type Meta = Readonly<Record<string, any>>

/** What is known of a key as a whole, beside its metas: a Phoenix server may tell that, with `fetch/2`. */
export type Data = Readonly<Record<string, unknown>>

/** Metas that come, or go, with their key; and what stands beside them. */
export type Change = readonly [key: string, metas: readonly Meta[], data?: Data]

/** Both halves of a diff. */
export interface Diff {
  readonly joins: readonly Change[]
  readonly leaves: readonly Change[]
}

/** A change as it was made. */
export interface Applied {
  readonly how: 'join' | 'leave'
  readonly key: string
  /** The metas that have come, or gone. */
  readonly metas: readonly Meta[]
  /** The other metas of the key: those before a join, and those after a leave. */
  readonly others: readonly Meta[]
  readonly data: Data
}

/** A key: its metas by their refs, in the order in which they came, and what stands beside them. */
interface Entry {
  readonly metas: Map<unknown, Meta>
  /** The same in a list that never changes, where a change has been wanted since the last one. */
  list: readonly Meta[] | undefined
  data: Data
}

const NO_DATA: Data = Object.freeze({})

/** Metas by their keys, which are peers' own words. Each change is added to a list, where one is given. */
export class Roster {
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

  /** Returns what is known of a key beside its metas. */
  dataOf(key: string): Data {
    return this.#entries.get(key)?.data ?? NO_DATA
  }

  /** Adds metas behind those that are there; one of the same ref is replaced. */
  join([key, metas, data = NO_DATA]: Change, applied?: Applied[]): void {
    const known = this.#entries.get(key)
    if (!known && metas.length === 0) return // which would never leave
    const entry = known ?? { metas: new Map<unknown, Meta>(), list: [], data }
    const others = applied ? listOf(entry) : []
    const count = entry.metas.size
    for (const meta of metas) {
      entry.metas.delete(meta[META_REF])
      entry.metas.set(meta[META_REF], meta)
    }
    const added = entry.metas.size - count
    // Copied at once: this is far faster than to read the map again for the next change.
    entry.list = applied && added === metas.length ? others.concat(metas) : undefined
    entry.data = data
    this.#entries.set(key, entry)
    this.#metaCount += added
    applied?.push({ how: 'join', key, metas, others, data })
  }

  /** Removes metas by their refs; unknown ones are skipped. */
  leave([key, metas]: Change, applied?: Applied[]): void {
    const entry = this.#entries.get(key)
    if (!entry) return
    const before = applied ? listOf(entry) : []
    const gone = metas.filter((meta) => entry.metas.delete(meta[META_REF]))
    if (gone.length === 0) return
    this.#metaCount -= gone.length
    if (entry.metas.size === 0) this.#entries.delete(key)
    entry.list = applied && without(before, gone)
    applied?.push({ how: 'leave', key, metas: gone, others: listOf(entry), data: entry.data })
  }

  /** Makes a diff's joins, and then its leaves. */
  apply({ joins, leaves }: Diff, applied?: Applied[]): void {
    for (const change of joins) this.join(change, applied)
    for (const change of leaves) this.leave(change, applied)
  }

  /** Makes it what a server says that it is, by joins and leaves. */
  become(state: readonly Change[], applied?: Applied[]): void {
    const keys = new Map(state.map((change) => [change[0], change]))
    const leaves: Change[] = []
    for (const [key, { metas }] of this.#entries) {
      const refs = new Set((keys.get(key)?.[1] ?? []).map((meta) => meta[META_REF] as unknown))
      const gone = [...metas.values()].filter((meta) => !refs.has(meta[META_REF]))
      if (gone.length > 0) leaves.push([key, gone])
    }
    const joins: Change[] = []
    for (const [key, metas, data] of keys.values()) {
      const there = this.#entries.get(key)
      const fresh = there ? metas.filter((meta) => !there.metas.has(meta[META_REF])) : metas
      if (fresh.length > 0) joins.push([key, fresh, data ?? NO_DATA])
    }
    this.apply({ joins, leaves }, applied)
  }
}

function listOf({ list, metas }: Entry): readonly Meta[] {
  return list ?? [...metas.values()]
}

function without(metas: readonly Meta[], gone: readonly Meta[]): readonly Meta[] {
  const refs = new Set<unknown>(gone.map((meta) => meta[META_REF] as unknown))
  return metas.filter((meta) => !refs.has(meta[META_REF]))
}

/**
 * Reads who is here, or who comes and goes: metas by their keys; undefined for what is nothing of the
 * kind.
 */
export function changesIn(value: unknown): readonly Change[] | undefined {
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

/** Reads both halves of a diff. */
export function diffIn(value: unknown): Diff | undefined {
  if (!isJsonObject(value)) return undefined
  const [joins, leaves] = [changesIn(value.joins), changesIn(value.leaves)]
  return joins && leaves && { joins, leaves }
}

/** Writes metas by their keys, as they travel: no key is anything but a key. */
export function written(changes: Iterable<Change>): Record<string, { metas: readonly Meta[] }> {
  return Object.fromEntries([...changes].map(([key, metas]) => [key, { metas }]))
}

/** Returns whether a value is a meta that can leave again: two objects are never the same ref. */
function isMeta(value: unknown): value is Meta {
  return isJsonObject(value) && (typeof value[META_REF] !== 'object' || value[META_REF] === null)
}

import { META_REF } from './phoenix.ts'

/** What somebody is known by at one of the places where they are. */
export type Meta = Readonly<Record<string, any>>

/** Metas by their refs, in the order in which they came. */
type Metas = Map<unknown, Meta>

/** Who has come, or gone, by their keys. */
export type Change = readonly [key: string, metas: readonly Meta[]]

/** Hears of each change as it is made. */
export interface Witness {
  /** Who was there before is told, too. */
  readonly joined?: ((key: string, metas: readonly Meta[], before: readonly Meta[]) => void) | false
  /** Who is still there is told, too. */
  readonly left?: ((key: string, metas: readonly Meta[], after: readonly Meta[]) => void) | false
}

/** Who is here: keys are peers' own words, and each may be here more than once. */
export class Roster {
  readonly #keys = new Map<string, Metas>()

  get size(): number {
    return this.#keys.size
  }

  *[Symbol.iterator](): Generator<[string, readonly Meta[]]> {
    for (const [key, metas] of this.#keys) yield [key, [...metas.values()]]
  }

  get(key: string): readonly Meta[] {
    return [...(this.#keys.get(key)?.values() ?? [])]
  }

  /** Adds metas behind those that are there; one of the same ref is replaced. */
  join(key: string, metas: readonly Meta[], witness: Witness = {}): void {
    const now: Metas = this.#keys.get(key) ?? new Map<unknown, Meta>()
    const before = witness.joined ? [...now.values()] : []
    for (const meta of metas) {
      now.delete(meta[META_REF])
      now.set(meta[META_REF], meta)
    }
    this.#keys.set(key, now)
    if (witness.joined) witness.joined(key, metas, before)
  }

  /** Removes metas by their refs; whoever isn't here is nobody's loss. */
  leave(key: string, metas: readonly Meta[], witness: Witness = {}): void {
    const there = this.#keys.get(key)
    if (!there) return
    const gone = metas.filter((meta) => there.delete(meta[META_REF]))
    if (there.size === 0) this.#keys.delete(key)
    if (gone.length > 0 && witness.left) witness.left(key, gone, [...there.values()])
  }

  /** Makes it what a server says that it is, by joins and leaves. */
  become(state: readonly Change[], witness: Witness): void {
    const keys = new Map(state)
    const left: Change[] = []
    for (const [key, metas] of this.#keys) {
      const refs = new Set((keys.get(key) ?? []).map((meta) => meta[META_REF] as unknown))
      const gone = [...metas.values()].filter((meta) => !refs.has(meta[META_REF]))
      if (gone.length > 0) left.push([key, gone])
    }
    for (const [key, metas] of keys) {
      const there = this.#keys.get(key)
      const fresh = there ? metas.filter((meta) => !there.has(meta[META_REF])) : metas
      if (fresh.length > 0) this.join(key, fresh, witness)
    }
    for (const [key, metas] of left) this.leave(key, metas, witness)
  }
}

/**
 * Reads who is here, or who comes and goes: metas by their keys; undefined for what is nothing of the
 * kind.
 */
export function changesIn(value: unknown): readonly Change[] | undefined {
  if (!isBag(value)) return undefined
  const changes: Change[] = []
  for (const [key, presence] of Object.entries(value)) {
    const metas: unknown = isBag(presence) ? presence.metas : undefined
    if (!Array.isArray(metas) || !metas.every(isBag)) return undefined
    changes.push([key, metas])
  }
  return changes
}

/** Reads both halves of a diff. */
export function diffIn(
  value: unknown,
): { readonly joins: readonly Change[]; readonly leaves: readonly Change[] } | undefined {
  if (!isBag(value)) return undefined
  const [joins, leaves] = [changesIn(value.joins), changesIn(value.leaves)]
  return joins && leaves && { joins, leaves }
}

/** Writes metas by their keys, as they travel: no key is anything but a key. */
export function written(changes: Iterable<Change>): Record<string, { metas: readonly Meta[] }> {
  return Object.fromEntries([...changes].map(([key, metas]) => [key, { metas }]))
}

function isBag(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

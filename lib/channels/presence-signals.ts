import { Signals, type Hearer } from '../signals.ts'
import type { Loose } from './channel.ts'
import type { Applied, Meta, Roster } from './roster.ts'

/** A key has come: with metas of one place more, where it was here before. */
export interface PresenceJoin<Known extends object = Loose> {
  /** The key that was tracked. */
  readonly key: string
  /** The metas that are new. */
  readonly metas: readonly Known[]
  /** The metas that the key had before; empty: it was not here. */
  readonly before: readonly Known[]
  /** What a Phoenix server tells of the key beside its metas, with `fetch/2`; otherwise empty. */
  readonly data: Readonly<Record<string, unknown>>
}

/** A key has gone: from one place, where it is still at others. */
export interface PresenceLeave<Known extends object = Loose> {
  /** The key that was tracked. */
  readonly key: string
  /** The metas that have gone. */
  readonly metas: readonly Known[]
  /** The metas that the key has still; empty: it is gone. */
  readonly after: readonly Known[]
  /** What a Phoenix server told of the key beside its metas, with `fetch/2`; otherwise empty. */
  readonly data: Readonly<Record<string, unknown>>
}

/** The events of a presence. */
export interface PresenceEvents<Known extends object = Loose> {
  /** All that has changed is told. */
  sync: void
  /** A key has come. */
  join: PresenceJoin<Known>
  /** A key has gone. */
  leave: PresenceLeave<Known>
}

/** Changes that are not told yet. */
interface Untold {
  readonly changes: readonly Applied[]
  /** Whether `sync` follows them. */
  readonly isComplete: boolean
}

/**
 * The private half of a presence: its listeners. They are told of one change after the other, also where
 * a listener makes the next one.
 */
export class PresenceSignals<Known extends object> extends Signals<PresenceEvents<Known>> {
  readonly #parent: Hearer
  readonly #untold: Untold[] = []
  #isTelling = false
  #isCatchingUp = false

  constructor(parent: Hearer) {
    super({ kind: 'presence', events: ['sync', 'join', 'leave'] })
    this.#parent = parent
  }

  override get parent(): Hearer {
    return this.#parent
  }

  /** Whether each change is wanted, or only that there was one. */
  get wantsChanges(): boolean {
    return !this.#isCatchingUp && (this.listens('join') || this.listens('leave'))
  }

  /**
   * Tells of what was changed; from inside a listener, once all before is told. `sync` follows, unless
   * more changes do.
   */
  applied(changes: readonly Applied[] = [], isComplete = true): void {
    if (this.#isCatchingUp) return // the roster knows of it by then
    this.#untold.push({ changes, isComplete })
    if (this.#isTelling) return
    this.#isTelling = true
    this.#tellAll()
  }

  /** Tells the listeners that are added in this turn of the keys that are here already. */
  catchUp(roster: Roster): void {
    this.#isCatchingUp = true
    queueMicrotask(() => {
      this.#isCatchingUp = false
      const here = [...roster].map(([key, metas]): Applied => {
        return { how: 'join', key, metas, others: [], data: roster.dataOf(key) }
      })
      this.applied(here)
    })
  }

  #tellAll(): void {
    for (let told = this.#untold.shift(); told; told = this.#untold.shift()) {
      for (const change of told.changes) this.#tell(change)
      if (told.isComplete) this.emit('sync', undefined)
    }
    this.#isTelling = false
  }

  #tell({ how, key, metas, others, data }: Applied): void {
    // Peers are taken at their word, as with every payload whose type you give.
    const known = (of: readonly Meta[]): readonly Known[] => of as unknown as readonly Known[]
    const more = { key, metas: known(metas), data }
    if (how === 'join') this.emit('join', { ...more, before: known(others) })
    else this.emit('leave', { ...more, after: known(others) })
  }
}

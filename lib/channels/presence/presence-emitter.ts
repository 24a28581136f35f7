import { Emitter, type ErrorSink } from '../../events/emitter.ts'
import type { AnyEvents } from '../channel.ts'
import type { AppliedChange, Meta, PresenceState } from './presence-state.ts'

/** The event of a key that joined, or of more metas for a key that was present already. */
export interface PresenceJoin<Known extends object = AnyEvents> {
  /** The tracked key. */
  readonly key: string
  /** The added metas. */
  readonly metas: readonly Known[]
  /** The metas that the key had before; empty where the key wasn't present. */
  readonly before: readonly Known[]
  /**
   * The data that a Phoenix server adds to the key with `fetch/2`, beside the metas; otherwise
   * empty.
   */
  readonly data: Readonly<Record<string, unknown>>
}

/** The event of a key that left, or of metas that a key lost while it is still present. */
export interface PresenceLeave<Known extends object = AnyEvents> {
  /** The tracked key. */
  readonly key: string
  /** The removed metas. */
  readonly metas: readonly Known[]
  /** The metas that the key still has; empty where the key is no longer present. */
  readonly after: readonly Known[]
  /**
   * The data that a Phoenix server added to the key with `fetch/2`, beside the metas; otherwise
   * empty.
   */
  readonly data: Readonly<Record<string, unknown>>
}

/** The events of a presence. */
export interface PresenceEvents<Known extends object = AnyEvents> {
  /** The notice that the events of a change were all emitted, or that something changed. */
  sync: void
  /** A key that joined, or got more metas. */
  join: PresenceJoin<Known>
  /** A key that left, or lost metas. */
  leave: PresenceLeave<Known>
}

/** Changes that are not emitted yet. */
interface PendingChanges {
  readonly changes: readonly AppliedChange[]
  /** Whether `sync` follows these changes. */
  readonly isComplete: boolean
}

/**
 * The emitter of a presence. It emits one change after the other, also where a listener makes the
 * next change.
 */
export class PresenceEmitter<Known extends object> extends Emitter<PresenceEvents<Known>> {
  readonly #parent: ErrorSink
  readonly #pending: PendingChanges[] = []
  #isEmitting = false
  #isCatchingUp = false

  constructor(parent: ErrorSink) {
    super({ kind: 'presence', events: ['sync', 'join', 'leave'] })
    this.#parent = parent
  }

  override get parent(): ErrorSink {
    return this.#parent
  }

  /** Whether listeners need each change, or only the `sync` after it. */
  get wantsChanges(): boolean {
    return !this.#isCatchingUp && (this.hasListeners('join') || this.hasListeners('leave'))
  }

  /**
   * Emits changes; during an emission, after the changes before them. Then emits `sync`, unless the
   * caller announces more changes with `isComplete` false.
   */
  onChanges(changes: readonly AppliedChange[] = [], isComplete = true): void {
    if (this.#isCatchingUp) return // the catch-up will read them from the state
    this.#pending.push({ changes, isComplete })
    if (this.#isEmitting) return
    this.#isEmitting = true
    this.#emitPending()
  }

  /** Emits `join` for the keys that are present already, to the listeners added in this turn. */
  catchUp(state: PresenceState): void {
    this.#isCatchingUp = true
    queueMicrotask(() => {
      this.#isCatchingUp = false
      const changes = [...state].map(([key, metas]): AppliedChange => {
        return { kind: 'join', key, metas, others: [], data: state.dataOf(key) }
      })
      this.onChanges(changes)
    })
  }

  #emitPending(): void {
    for (let next = this.#pending.shift(); next; next = this.#pending.shift()) {
      for (const change of next.changes) this.#emitChange(change)
      if (next.isComplete) this.emit('sync', undefined)
    }
    this.#isEmitting = false
  }

  #emitChange({ kind, key, metas, others, data }: AppliedChange): void {
    // The type of metas isn't checked, as with every payload whose type the caller gives.
    const cast = (list: readonly Meta[]): readonly Known[] => list as unknown as readonly Known[]
    const value = { key, metas: cast(metas), data }
    if (kind === 'join') this.emit('join', { ...value, before: cast(others) })
    else this.emit('leave', { ...value, after: cast(others) })
  }
}

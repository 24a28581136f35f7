import mitt, { type Emitter } from 'mitt'
import { errorLog } from './error-log.ts'
import { CallbackError, ClosedError, show, unknownName, type WebsocketError } from './errors.ts'
import { Inbox, type Taker } from './inbox.ts'

/** Where a target keeps its private half; not exported by the package, so nobody can forge events. */
export const SIGNALS: unique symbol = Symbol('signals')

/** Anything you can `listen` to: its events and their values are those of `Events`. */
export interface Target<Events extends object> {
  /** @hidden */
  readonly [SIGNALS]: Signals<Events>
}

/** Receives the value of an event; a promise it returns is awaited. */
export type Callback<Value> = (value: Value) => unknown

/** What all targets of one kind have in common. */
export interface Plan<Events> {
  /** What such a target is called in messages. */
  readonly kind: string
  readonly events: readonly (keyof Events & string)[]
  /** The event that ends the target: it sticks. */
  readonly end?: keyof Events
  /** true: it may begin again after its end, with the callbacks it has. */
  readonly revives?: boolean
  /** The event whose values wait for their listeners, and are given one at a time. */
  readonly held?: keyof Events
  /** The other events that come from the peer: reading goes on while a `once` waits for one. */
  readonly arrivals?: readonly (keyof Events)[]
  /**
   * The event whose values are peers that ask to come in: while a loop over it is full, the next ones
   * are refused. A full loop over any other event drops its oldest value.
   */
  readonly admits?: keyof Events
}

/** Hears of errors. */
export interface Hearer {
  /** Tells whether anybody listened. */
  report(error: WebsocketError): boolean
  /** Counts an event that a loop dropped because it is too slow. */
  missed?(): void
}

type Handlers = Record<string, unknown>

// mitt's declaration says `export default` of a module that is CommonJS by its types under nodenext.
const makeEmitter = mitt as unknown as () => Emitter<Handlers>

/** The private half of a target: who listens, what waits for them, and whether it has ended. */
export class Signals<Events extends object> implements Hearer {
  readonly #plan: Plan<Events>
  #emitter: Emitter<Handlers> | undefined
  #inbox: Inbox<Events[keyof Events]> | undefined
  /** Who listens to what isn't held, with what mitt calls. */
  #takers: Map<Taker<never>, (value: unknown) => void> | undefined
  #end: { readonly value: unknown } | undefined
  #arrivalsAwaited = 0
  #endsAwaited = 0
  #fullLoops = 0

  constructor(plan: Plan<Events>) {
    this.#plan = plan
  }

  /** Who hears of the errors that nobody hears of here. */
  get parent(): Hearer | undefined {
    return undefined
  }

  /** The target itself, where it may close without your doing. */
  get owner(): object | undefined {
    return undefined
  }

  /** Is called when what waits has changed, or who listens. */
  changed(): void {}

  /**
   * The connection that a listener was called for, and what else may end while it waits: `value` is
   * what it was called with.
   */
  subjects(value: unknown): readonly unknown[] {
    return [this.owner, value]
  }

  /** Is called after a listener failed with `value`; `isHeard` tells whether an `error` listener heard. */
  listenerFailed(_value: unknown, _isHeard: boolean): void {}

  /** Is called when a listener took a value that isn't held; a promise settles when it has done so. */
  taken(_value: unknown, _promise: PromiseLike<unknown> | undefined): void {}

  /** What a wait rejects with once the target has ended. */
  closedError(): ClosedError {
    return new ClosedError(`the ${this.#plan.kind} has closed`)
  }

  /** Whether a `once` is pending that needs reading to go on. */
  get awaitsArrival(): boolean {
    return this.#arrivalsAwaited > 0 || this.#inbox?.awaited === true
  }

  /** Whether a `once` of the end is pending. */
  get awaitsEnd(): boolean {
    return this.#endsAwaited > 0
  }

  /** Whether the held event has, or ever had, a listener. */
  get everHeard(): boolean {
    return this.#inbox?.everHeard === true
  }

  /** How many held values wait. */
  get waiting(): number {
    return this.#inbox?.waiting ?? 0
  }

  /** The bytes of the held values that wait. */
  get waitingBytes(): number {
    return this.#inbox?.bytes ?? 0
  }

  /** Throws a TypeError for an event that the target doesn't have. */
  check(event: PropertyKey): void {
    if ((this.#plan.events as readonly PropertyKey[]).includes(event)) return
    const name = typeof event === 'string' ? event : show(event)
    throw unknownName(`event of a ${this.#plan.kind}`, name, this.#plan.events)
  }

  /** Tells whether it has ended for good. */
  get over(): boolean {
    return this.#end !== undefined && this.#plan.revives !== true
  }

  /** Returns whether an event never comes again. */
  isOver(_event: PropertyKey): boolean {
    return this.over
  }

  /** Tells whether anybody listens to an event. */
  listens(event: keyof Events & string): boolean {
    if (event === this.#plan.held) return this.#inbox?.heard === true
    return (this.#emitter?.all.get(event)?.length ?? 0) > 0
  }

  /** Gives an event to its listeners, side by side; tells whether there were any. */
  emit<Name extends keyof Events & string>(event: Name, value: Events[Name]): boolean {
    if (!this.listens(event)) return false
    this.#emitter?.emit(event, value)
    return true
  }

  /** Gives a held value to its listeners; tells whether all took it at once, or it is kept for some. */
  put(value: Events[keyof Events], size: number): boolean {
    return this.#held<Events[keyof Events]>().put(value, size)
  }

  /** Emits the event that ends the target; then its waits and loops end. */
  end(value: unknown): void {
    if (this.#end) return
    this.#end = { value }
    const takers = this.#listening() // a wait that begins in a listener may be for another life
    if (this.#plan.end !== undefined) this.#emitter?.emit(String(this.#plan.end), value)
    for (const taker of takers) taker.ended()
    this.#inbox?.end()
  }

  /** Ends waits and loops. */
  endWaits(): void {
    for (const taker of this.#listening()) taker.ended()
  }

  /** Makes a target that has ended begin again, with the callbacks it has. */
  revive(): void {
    this.#end = undefined
  }

  /** Puts a listener in its place. */
  attach<Value>(event: PropertyKey, taker: Taker<Value>): void {
    if (event === this.#plan.held) {
      this.#held<Value>().add(taker)
      return
    }
    const takers = (this.#takers ??= new Map())
    const end = this.#end // of this life: it may begin again before the taker is told
    // Where it may begin again only its end is there to be waited for: all else is of the next life.
    if (this.over || (end && event === this.#plan.end && !taker.stays)) {
      takers.set(taker, ignore)
      queueMicrotask(() => this.#tellEnded(event, taker, end?.value))
      return
    }
    const { where } = taker
    const take = (value: unknown): void => {
      if (!where || where(value as Value)) this.taken(value, taker.take(value as Value))
    }
    this.#emitter ??= makeEmitter()
    this.#emitter.on(String(event), take)
    takers.set(taker, take)
    this.changed()
  }

  /** Removes a listener; twice is harmless. */
  detach<Value>(event: PropertyKey, taker: Taker<Value>): void {
    if (event === this.#plan.held) {
      this.#held<Value>().remove(taker)
      return
    }
    const take = this.#takers?.get(taker)
    if (!take) return
    this.#takers?.delete(taker)
    this.#emitter?.off(String(event), take)
    this.changed()
  }

  /** Lets a listener have its next value, where values are held. */
  resume<Value>(event: PropertyKey, taker: Taker<Value>): void {
    if (event === this.#plan.held) this.#held<Value>().resume(taker)
  }

  /** Counts a `once` in, or out. */
  wait(event: PropertyKey, step: 1 | -1): void {
    if (event === this.#plan.end) this.#endsAwaited += step
    else if (this.#plan.arrivals?.includes(event as keyof Events)) this.#arrivalsAwaited += step
    else return
    this.changed()
  }

  /** Whether peers are to be refused, because a loop over those that came in is full. */
  get isFull(): boolean {
    return this.#fullLoops > 0
  }

  /** Counts a full loop in, or out. */
  fill(event: PropertyKey, step: 1 | -1): void {
    if (event === this.#plan.admits) this.#fullLoops += step
  }

  /** Counts a value that a full loop dropped. */
  missed(): void {
    this.parent?.missed?.()
  }

  /** Drops the held values that wait, and returns how many those were. */
  dropHeld(): number {
    return this.#inbox?.drain().length ?? 0
  }

  /** Makes what a listener threw a `CallbackError`, tells it to `error`, or else prints it. */
  failed(event: PropertyKey, cause: unknown, value: unknown): void {
    const subjects: unknown[] = this.subjects(value).filter((subject) => subject !== undefined)
    // A peer that leaves while a listener waits for it is an ordinary disconnect, not a failure.
    if (cause instanceof ClosedError && subjects.includes(cause.target)) return
    const error = new CallbackError(cause, { event: String(event) })
    const isOfError = event === 'error' // told to nobody, or it could fail for ever
    const isHeard = !isOfError && this.report(error)
    if (!isHeard) errorLog.print(error, `\`${String(event)}\` of a ${this.#plan.kind}`, subjects[0])
    if (!isOfError) this.listenerFailed(value, isHeard)
  }

  report(error: WebsocketError): boolean {
    // Every `error` event carries a WebsocketError: the plans say which targets have one.
    const own = this as unknown as Signals<{ error: WebsocketError }>
    return own.emit('error', error) || this.parent?.report(error) === true
  }

  #listening(): Taker<never>[] {
    return [...(this.#takers?.keys() ?? [])]
  }

  /** Is the inbox, of the values that the plan says. */
  #held<Value>(): Inbox<Value> {
    if (!this.#inbox) {
      this.#inbox = new Inbox(this)
      if (this.#end) this.#inbox.end()
    }
    return this.#inbox as unknown as Inbox<Value>
  }

  /** On an ended target its end sticks; nothing else comes. */
  #tellEnded<Value>(event: PropertyKey, taker: Taker<Value>, end: unknown): void {
    if (!this.#takers?.has(taker)) return // detached meanwhile
    if (event === this.#plan.end) void taker.take(end as Value)
    this.#takers.delete(taker)
    taker.ended()
  }
}

function ignore(): void {}

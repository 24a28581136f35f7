import mitt, { type Emitter as Mitt } from 'mitt'
import { errorLog } from '../error-log.ts'
import { CallbackError, ClosedError, type WebsocketError } from '../errors.ts'
import { describeValue } from '../format.ts'
import { unknownNameError } from '../validation.ts'
import type { Consumer } from './consumer.ts'
import { DeliveryQueue } from './delivery-queue.ts'

/** The description of the events that all targets of one kind have in common. */
export interface EventSpec<Events> {
  /** The name of this kind of target in messages. */
  readonly kind: string
  /** The names of all events. */
  readonly events: readonly (keyof Events & string)[]
  /** The event that ends the target. A listener that is added after the end gets it, too. */
  readonly terminalEvent?: keyof Events
  /** Whether the target may begin again after its end, with the callbacks it has. */
  readonly reopens?: boolean
  /** The event whose values wait for their listeners, which get them one at a time. */
  readonly queuedEvent?: keyof Events
  /** The other events that come from the peer: reading goes on while a `once` waits for one. */
  readonly peerEvents?: readonly (keyof Events)[]
  /**
   * The event whose values are peers that ask to be accepted: while a loop over it is full, further
   * peers are refused. A full loop over any other event drops its oldest value.
   */
  readonly admissionEvent?: keyof Events
}

/** A receiver of the errors that have no listener on the target where they occur. */
export interface ErrorSink {
  /** Reports an error. Returns whether a listener received it. */
  reportError(error: WebsocketError): boolean
  /** Counts an event that a loop dropped because the loop is too slow. */
  onDropped?(): void
}

type Handlers = Record<string, unknown>

// The cast: mitt's types declare an `export default` in a module that is CommonJS under nodenext.
const makeMitt = mitt as unknown as () => Mitt<Handlers>

/** The private half of a target: its listeners, the values that wait for them, and its end. */
export class Emitter<Events extends object> implements ErrorSink {
  readonly #spec: EventSpec<Events>
  #mitt: Mitt<Handlers> | undefined
  #queue: DeliveryQueue<Events[keyof Events]> | undefined
  /** The consumers of the events that aren't queued, each with the handler that mitt calls. */
  #handlers: Map<Consumer<never>, (value: unknown) => void> | undefined
  /** The value of the terminal event, in an object; set while the target has ended. */
  #ending: { readonly value: unknown } | undefined
  #pendingArrivals = 0
  #pendingEnds = 0
  #fullLoops = 0

  constructor(spec: EventSpec<Events>) {
    this.#spec = spec
  }

  /** The target that receives errors when this one has no `error` listener. */
  get parent(): ErrorSink | undefined {
    return undefined
  }

  /** Handles a change of the waiting values or of the listeners. */
  onChange(): void {}

  /**
   * Returns the objects that `value` is about, a connection first. When one of them has closed, the
   * `ClosedError` that a listener fails with is no failure.
   */
  subjects(value: unknown): readonly unknown[] {
    return [value]
  }

  /** Handles the failure of a listener; `isHeard` says whether an `error` listener got it. */
  onListenerFailed(_value: unknown, _isHeard: boolean): void {}

  /**
   * Handles an unqueued value after a listener took it. The promise settles when the listener has
   * finished.
   */
  onTaken(_value: unknown, _promise: PromiseLike<unknown> | undefined): void {}

  /** Returns the error that a wait rejects with once the target has ended. */
  closedError(): ClosedError {
    return new ClosedError(`the ${this.#spec.kind} has closed`)
  }

  /** Whether a `once` is pending that needs reading to go on. */
  get awaitsArrival(): boolean {
    return this.#pendingArrivals > 0 || this.#queue?.isAwaited === true
  }

  /** Whether a `once` of the terminal event is pending. */
  get awaitsEnd(): boolean {
    return this.#pendingEnds > 0
  }

  /** Whether the queued event has, or ever had, a listener. */
  get hadListeners(): boolean {
    return this.#queue?.hadConsumers === true
  }

  /** The number of queued values. */
  get queuedCount(): number {
    return this.#queue?.waiting ?? 0
  }

  /** The bytes of the queued values. */
  get waitingBytes(): number {
    return this.#queue?.bytes ?? 0
  }

  /** Throws a TypeError for an event that the target doesn't have. */
  assertEvent(event: PropertyKey): void {
    if ((this.#spec.events as readonly PropertyKey[]).includes(event)) return
    const name = typeof event === 'string' ? event : describeValue(event)
    throw unknownNameError(`event of a ${this.#spec.kind}`, name, this.#spec.events)
  }

  /** Whether the target has ended for good. */
  get hasEnded(): boolean {
    return this.#ending !== undefined && this.#spec.reopens !== true
  }

  /** Returns whether an event never comes again. */
  hasEventEnded(_event: PropertyKey): boolean {
    return this.hasEnded
  }

  hasListeners(event: keyof Events & string): boolean {
    if (event === this.#spec.queuedEvent) return this.#queue?.hasConsumers === true
    return (this.#mitt?.all.get(event)?.length ?? 0) > 0
  }

  /** Emits an event to its listeners, all at once. Returns whether any exist. */
  emit<Name extends keyof Events & string>(event: Name, value: Events[Name]): boolean {
    if (!this.hasListeners(event)) return false
    this.#mitt?.emit(event, value)
    return true
  }

  /** Enqueues a value. Returns whether every listener took it at once. */
  enqueue(value: Events[keyof Events], size: number): boolean {
    return this.#ensureQueue<Events[keyof Events]>().enqueue(value, size)
  }

  /** Emits the event that ends the target, then ends its waits and loops. */
  end(value: unknown): void {
    if (this.#ending) return
    this.#ending = { value }
    // Copied first: a wait that begins in a listener may be for the next session of the target.
    const consumers = this.#handledConsumers()
    const { terminalEvent } = this.#spec
    if (terminalEvent !== undefined) this.#mitt?.emit(String(terminalEvent), value)
    for (const consumer of consumers) consumer.onEnd()
    this.#queue?.end()
  }

  /** Ends the waits and loops. The target itself, and its callbacks, go on. */
  endWaits(): void {
    for (const consumer of this.#handledConsumers()) consumer.onEnd()
  }

  /** Restarts a target that has ended, with the callbacks it has. */
  reopen(): void {
    this.#ending = undefined
  }

  addListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === this.#spec.queuedEvent) {
      this.#ensureQueue<Value>().add(consumer)
      return
    }
    const handlers = (this.#handlers ??= new Map())
    // Read now: the target may begin again before the consumer is notified of this end.
    const ending = this.#ending
    // A target that may begin again has only its end to wait for: other events are those of the
    // next session.
    if (this.hasEnded || (ending && event === this.#spec.terminalEvent && !consumer.isPersistent)) {
      handlers.set(consumer, ignore)
      queueMicrotask(() => this.#notifyOfEnd(event, consumer, ending?.value))
      return
    }
    const { where } = consumer
    const handler = (value: unknown): void => {
      if (!where || where(value as Value)) this.onTaken(value, consumer.deliver(value as Value))
    }
    this.#mitt ??= makeMitt()
    this.#mitt.on(String(event), handler)
    handlers.set(consumer, handler)
    this.onChange()
  }

  /** Removes a listener. Calling it twice is harmless. */
  removeListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === this.#spec.queuedEvent) {
      this.#ensureQueue<Value>().remove(consumer)
      return
    }
    const handler = this.#handlers?.get(consumer)
    if (!handler) return
    this.#handlers?.delete(consumer)
    this.#mitt?.off(String(event), handler)
    this.onChange()
  }

  /** Delivers the next value of the queued event to a listener that takes values on demand. */
  resume<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === this.#spec.queuedEvent) this.#ensureQueue<Value>().resume(consumer)
  }

  /** Counts the pending `once` calls of an event: 1 adds one, -1 removes one. */
  countPendingOnce(event: PropertyKey, step: 1 | -1): void {
    if (event === this.#spec.terminalEvent) this.#pendingEnds += step
    else if (this.#spec.peerEvents?.includes(event as keyof Events)) this.#pendingArrivals += step
    else return
    this.onChange()
  }

  /** Whether new peers have to be refused, because a loop over the accepted ones is full. */
  get isFull(): boolean {
    return this.#fullLoops > 0
  }

  /** Counts the full loops over the `admissionEvent`: 1 adds one, -1 removes one. */
  countFullLoop(event: PropertyKey, step: 1 | -1): void {
    if (event === this.#spec.admissionEvent) this.#fullLoops += step
  }

  /** Counts a value that a full loop dropped. */
  onDropped(): void {
    this.parent?.onDropped?.()
  }

  /** Drops the queued values. Returns how many of them no listener had taken. */
  dropQueued(): number {
    return this.#queue?.takeAll().length ?? 0
  }

  /** Reports what a listener threw as a `CallbackError`. Prints it if no listener received that. */
  handleListenerFailure(event: PropertyKey, cause: unknown, value: unknown): void {
    const subjects: unknown[] = this.subjects(value).filter((subject) => subject !== undefined)
    // A peer that leaves while a listener waits for it is an ordinary disconnect, not a failure.
    if (cause instanceof ClosedError && subjects.includes(cause.target)) return
    const error = new CallbackError(cause, { event: String(event) })
    // A failed `error` listener is only printed: a report would call it again, and so without end.
    const isErrorEvent = event === 'error'
    const isHeard = !isErrorEvent && this.reportError(error)
    if (!isHeard) errorLog.print(error, `\`${String(event)}\` of a ${this.#spec.kind}`, subjects[0])
    if (!isErrorEvent) this.onListenerFailed(value, isHeard)
  }

  reportError(error: WebsocketError): boolean {
    // Every `error` event carries a WebsocketError; the EventSpec says which targets have one.
    const emitter = this as unknown as Emitter<{ error: WebsocketError }>
    return emitter.emit('error', error) || this.parent?.reportError(error) === true
  }

  #handledConsumers(): Consumer<never>[] {
    return [...(this.#handlers?.keys() ?? [])]
  }

  #ensureQueue<Value>(): DeliveryQueue<Value> {
    if (!this.#queue) {
      this.#queue = new DeliveryQueue(this)
      if (this.#ending) this.#queue.end()
    }
    return this.#queue as unknown as DeliveryQueue<Value>
  }

  /** Notifies a consumer that was added after the end: it gets the terminal event, no other one. */
  #notifyOfEnd<Value>(event: PropertyKey, consumer: Consumer<Value>, value: unknown): void {
    if (!this.#handlers?.has(consumer)) return // removed meanwhile
    if (event === this.#spec.terminalEvent) void consumer.deliver(value as Value)
    this.#handlers.delete(consumer)
    consumer.onEnd()
  }
}

function ignore(): void {}

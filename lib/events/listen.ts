import { invalidValue } from '../errors.ts'
import { checkNames, checkSignal } from '../validation.ts'
import { deferred, DONE, isPromise, markHandled, type Deferred } from '../promises.ts'
import type { Consumer } from './delivery-queue.ts'
import { EMITTER, type Callback, type Emitter, type Listenable } from './emitter.ts'

/** The options of `listen`. */
export interface ListenOptions {
  /**
   * Whether to stop after the first value.
   *
   * @default false
   */
  once?: boolean | undefined
  /**
   * The signal that stops the listener or the loop when it is aborted.
   *
   * @default none
   */
  signal?: AbortSignal | undefined
}

/** The options of `once`. */
export interface OnceOptions<Value, Wanted extends Value = Value> {
  /**
   * The predicate that picks the value. It is called with each value as it arrives, and first with
   * the messages that no listener has taken. A picked message is not kept for later listeners.
   *
   * @default every value is picked
   */
  where?: ((value: Value) => value is Wanted) | ((value: Value) => boolean) | undefined
  /**
   * The signal that stops the wait when it is aborted.
   *
   * @default none
   */
  signal?: AbortSignal | undefined
}

/**
 * The function that stops a listener. Calling it twice is harmless; `using` calls it at the end of
 * a block.
 */
export interface Unlisten extends Disposable {
  (): void
}

// Values that may wait in a loop. Messages are not among them: they wait in the target's queue.
const MAX_WAITING = 1_000

/**
 * Calls back for every value of an event, until the returned function is called.
 *
 * Messages come one at a time: return a promise, and the next message waits for it. All other
 * events come at once and don't wait for each other. If the callback fails, the target's `error`
 * event gets a `CallbackError`.
 *
 * @throws TypeError for an event that the target doesn't have, with the nearest name.
 */
export function listen<Events extends object, Name extends keyof Events>(
  target: Listenable<Events>,
  event: Name,
  callback: Callback<Events[Name]>,
  options?: ListenOptions,
): Unlisten
/**
 * Iterates over the values of an event, from this call on until the target ends, the signal is
 * aborted or the loop is left.
 *
 * At most 1,000 values wait for a loop, messages aside: those wait in a queue of their own. When
 * one more arrives, the oldest is dropped and counted. But while 1,000 values of a server's
 * `client` or a topic's `join` wait, new handshakes and joins are refused.
 */
export function listen<Events extends object, Name extends keyof Events>(
  target: Listenable<Events>,
  event: Name,
  options?: Pick<ListenOptions, 'signal'>,
): AsyncIterableIterator<Events[Name]>
export function listen<Events extends object, Name extends keyof Events>(
  ...args: [
    target: Listenable<Events>,
    event: Name,
    callbackOrOptions?: Callback<Events[Name]> | ListenOptions,
    options?: ListenOptions,
  ]
): Unlisten | AsyncIterableIterator<Events[Name]> {
  const [target, event, callbackOrOptions, options] = args
  const emitter = emitterOf(target, event)
  if (typeof callbackOrOptions === 'function') {
    return addCallback(emitter, event, callbackOrOptions, options)
  }
  // An `undefined` that is passed as the callback is a mistake, not a request for a loop.
  if (args.length > 2 && (typeof callbackOrOptions !== 'object' || callbackOrOptions === null)) {
    throw invalidValue(`the callback for \`${String(event)}\``, 'a function', callbackOrOptions)
  }
  checkOptions(callbackOrOptions ?? {}, ['signal'])
  return new EventIterator<Events, Events[Name]>(emitter, event, callbackOrOptions?.signal)
}

/**
 * Waits for the next value of an event, or with `where` for the first value that it picks.
 *
 * Two calls in a row lose nothing: a call in the turn in which another one resolved continues
 * behind that value. While it waits for a message, reading goes on, however much waits for slow
 * listeners.
 *
 * The promise rejects with a `ClosedError` when the target ends first, with the signal's reason
 * when the signal is aborted, and with what `where` throws.
 *
 * @throws TypeError for an event that the target doesn't have, with the nearest name.
 */
export function once<
  Events extends object,
  Name extends keyof Events,
  Wanted extends Events[Name] = Events[Name],
>(
  target: Listenable<Events>,
  event: Name,
  options: OnceOptions<Events[Name], Wanted> = {},
): Promise<Wanted> {
  checkOptions(options, ['where', 'signal'])
  const { where, signal } = options
  if (where !== undefined && typeof where !== 'function') {
    throw invalidValue('`where`', 'a function', where)
  }
  const emitter = emitterOf(target, event)
  const { promise, resolve, reject } = deferred<Wanted>()
  markHandled(promise)
  if (signal?.aborted) {
    reject(signal.reason)
    return promise
  }
  let isPending = true
  const finish = (settle: () => void): undefined => {
    if (!isPending) return
    isPending = false
    emitter.removeListener(event, consumer)
    signal?.removeEventListener('abort', onAbort)
    emitter.countPendingOnce(event, -1)
    settle()
  }
  const onAbort = (): void => finish(() => reject(signal?.reason))
  const consumer: Consumer<Events[Name]> = {
    isSingle: true,
    where:
      where &&
      ((value) => isPending && isPicked(where, value, (cause) => finish(() => reject(cause)))),
    cursor: 0,
    isBusy: false,
    deliver: (value) => finish(() => resolve(value as Wanted)), // `where` has checked the type
    onEnd: () => finish(() => reject(emitter.closedError())),
  }
  emitter.countPendingOnce(event, 1)
  emitter.addListener(event, consumer)
  if (isPending) signal?.addEventListener('abort', onAbort, { once: true })
  return promise
}

/** Returns whether the program's predicate picks a value. A predicate that fails picks nothing. */
function isPicked<Value>(
  where: (value: Value) => boolean,
  value: Value,
  onFailure: (cause: unknown) => void,
): boolean {
  try {
    const result: unknown = where(value)
    if (isPromise(result)) throw invalidValue('what `where` returns', 'true or false', result)
    return Boolean(result)
  } catch (cause) {
    onFailure(cause)
    return false
  }
}

function emitterOf<Events extends object>(
  target: Listenable<Events>,
  event: keyof Events,
): Emitter<Events> {
  if (typeof target !== 'object' || target === null || !(EMITTER in target)) {
    throw invalidValue(
      'the target of `listen`',
      'a server, a client, a connection, a room, a channel, a topic or a presence',
      target,
    )
  }
  const emitter = target[EMITTER]
  emitter.assertEvent(event)
  return emitter
}

function checkOptions(
  options: { signal?: AbortSignal | undefined },
  known: readonly string[],
): void {
  checkNames(options, known)
  checkSignal(options.signal)
}

function addCallback<Events extends object, Name extends keyof Events>(
  emitter: Emitter<Events>,
  event: Name,
  callback: Callback<Events[Name]>,
  options: ListenOptions = {},
): Unlisten {
  checkOptions(options, ['once', 'signal'])
  const listener = new Listener(emitter, event, callback, options)
  const unlisten = (): void => listener.stop()
  makeDisposable(unlisten)
  return unlisten
}

// Inherited: each listener has such a function, and an own property would cost memory for each.
const unlistenPrototype = {
  __proto__: Function.prototype,
  [Symbol.dispose](this: Unlisten): void {
    this()
  },
}

function makeDisposable(stop: () => void): asserts stop is Unlisten {
  Object.setPrototypeOf(stop, unlistenPrototype)
}

/** A consumer that calls back for each value of an event. */
class Listener<Events extends object, Value> implements Consumer<Value> {
  readonly isPersistent = true
  readonly isSingle: boolean
  cursor = 0
  isBusy = false
  readonly #emitter: Emitter<Events>
  readonly #event: keyof Events
  readonly #callback: Callback<Value>
  readonly #signal: AbortSignal | undefined
  #isStopped = false

  constructor(
    emitter: Emitter<Events>,
    event: keyof Events,
    callback: Callback<Value>,
    { once: isSingle = false, signal }: ListenOptions,
  ) {
    this.#emitter = emitter
    this.#event = event
    this.#callback = callback
    this.isSingle = isSingle
    this.#signal = signal
    this.#isStopped = signal?.aborted === true
    if (this.#isStopped) return
    emitter.addListener(event, this)
    signal?.addEventListener('abort', this, { once: true })
  }

  deliver(value: Value): PromiseLike<unknown> | undefined {
    if (this.#isStopped) return undefined
    if (this.isSingle) this.stop()
    try {
      const callback = this.#callback // called without `this`
      const result = callback(value)
      if (result === DONE || !isPromise(result)) return undefined
      // Any thenable, well-behaved or not, becomes a promise that never rejects.
      return Promise.resolve(result).then(undefined, (cause: unknown) =>
        this.#emitter.handleListenerFailure(this.#event, cause, value),
      )
    } catch (cause) {
      this.#emitter.handleListenerFailure(this.#event, cause, value)
      return undefined
    }
  }

  /** Lets go of the signal, which may outlive the target, if the target never begins again. */
  onEnd(): void {
    if (this.#emitter.hasEventEnded(this.#event)) this.#signal?.removeEventListener('abort', this)
  }

  /** Handles the `abort` event of the signal. */
  handleEvent(): void {
    this.stop()
  }

  stop(): void {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#emitter.removeListener(this.#event, this)
    this.#signal?.removeEventListener('abort', this)
  }
}

/** An iterator over the values of an event, for loops. */
class EventIterator<Events extends object, Value> implements AsyncIterableIterator<Value> {
  readonly #emitter: Emitter<Events>
  readonly #event: keyof Events
  readonly #signal: AbortSignal | undefined
  readonly #consumer: Consumer<Value>
  readonly #values: Value[] = []
  readonly #pendingReads: Deferred<IteratorResult<Value>>[] = []
  #hasEnded = false
  #isFull = false

  constructor(emitter: Emitter<Events>, event: keyof Events, signal: AbortSignal | undefined) {
    this.#emitter = emitter
    this.#event = event
    this.#signal = signal
    this.#consumer = {
      onDemand: true,
      cursor: 0,
      isBusy: true,
      deliver: (value) => this.#onValue(value),
      onEnd: () => this.#end(),
    }
    emitter.addListener(event, this.#consumer)
    if (signal?.aborted) this.#stop()
    else signal?.addEventListener('abort', this.#stop, { once: true })
  }

  next(): Promise<IteratorResult<Value>> {
    const read = deferred<IteratorResult<Value>>()
    markHandled(read.promise)
    const [value] = this.#values
    if (this.#values.length > 0) {
      this.#values.shift()
      this.#setFull(false)
      read.resolve({ done: false, value: value as Value })
    } else if (this.#hasEnded) {
      read.resolve({ done: true, value: undefined })
    } else {
      this.#pendingReads.push(read)
      this.#emitter.resume(this.#event, this.#consumer)
    }
    return read.promise
  }

  return(): Promise<IteratorResult<Value>> {
    this.#stop()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #onValue(value: Value): undefined {
    if (this.#hasEnded) return // the loop was left while others got this value
    const read = this.#pendingReads.shift()
    if (read) {
      read.resolve({ done: false, value })
      if (this.#pendingReads.length > 0) this.#emitter.resume(this.#event, this.#consumer)
      return
    }
    this.#values.push(value)
    if (this.#values.length > MAX_WAITING) {
      this.#values.shift()
      this.#emitter.onDropped()
    }
    this.#setFull(this.#values.length === MAX_WAITING)
  }

  #setFull(isFull: boolean): void {
    if (isFull === this.#isFull) return
    this.#isFull = isFull
    this.#emitter.countFullLoop(this.#event, isFull ? 1 : -1)
  }

  /** Ends the loop at once and drops the values that wait in it. */
  readonly #stop = (): void => {
    this.#values.length = 0
    this.#end()
  }

  #end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#setFull(false)
    this.#emitter.removeListener(this.#event, this.#consumer)
    this.#signal?.removeEventListener('abort', this.#stop)
    for (const read of this.#pendingReads.splice(0)) read.resolve({ done: true, value: undefined })
  }
}

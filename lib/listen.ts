import { unexpected } from './errors.ts'
import { checkNames, checkSignal } from './options/rules.ts'
import { deferred, DONE, handled, isPromise, type Deferred } from './promises.ts'
import type { Taker } from './inbox.ts'
import { SIGNALS, type Callback, type Signals, type Target } from './signals.ts'

/** How to listen. */
export interface ListenOptions {
  /** true: stop after the first value. Default: false. */
  once?: boolean | undefined
  /** Stops when it is aborted. Default: none. */
  signal?: AbortSignal | undefined
}

/** How to wait for one value. */
export interface OnceOptions<Value, Wanted extends Value = Value> {
  /**
   * Picks the value. Each one is looked at as it comes, and messages that no listener has taken are
   * looked through first. A picked message is not kept for later listeners. Default: takes any.
   */
  where?: ((value: Value) => value is Wanted) | ((value: Value) => boolean) | undefined
  /** Stops waiting when it is aborted. Default: none. */
  signal?: AbortSignal | undefined
}

/** Stops listening; calling it twice is harmless, and `using` calls it at the end of a block. */
export interface Unlisten extends Disposable {
  (): void
}

const MOST_WAITING = 1_000 // values in a loop, of an event whose values can't wait elsewhere

/**
 * Calls back for every value of an event, until the returned function is called.
 *
 * Messages come one at a time: return a promise, and the next one waits for it. All other events
 * come at once, side by side. A callback that fails becomes a `CallbackError` on the target's
 * `error`.
 *
 * @throws TypeError for an event that the target doesn't have, with the nearest name.
 */
export function listen<Events extends object, Name extends keyof Events>(
  target: Target<Events>,
  event: Name,
  callback: Callback<Events[Name]>,
  options?: ListenOptions,
): Unlisten
/**
 * Iterates over the values of an event, from this call on until the target ends, the signal is
 * aborted or the loop is left.
 *
 * At most 1,000 values wait for a loop, of other events than messages, which wait on their own. Of
 * one more the oldest is dropped and counted; but while 1,000 wait of a server's `client` or a topic's
 * `join`, new handshakes and joins are refused.
 */
export function listen<Events extends object, Name extends keyof Events>(
  target: Target<Events>,
  event: Name,
  options?: Pick<ListenOptions, 'signal'>,
): AsyncIterableIterator<Events[Name]>
export function listen<Events extends object, Name extends keyof Events>(
  ...given: [
    target: Target<Events>,
    event: Name,
    how?: Callback<Events[Name]> | ListenOptions,
    options?: ListenOptions,
  ]
): Unlisten | AsyncIterableIterator<Events[Name]> {
  const [target, event, how, options] = given
  const signals = signalsOf(target, event)
  if (typeof how === 'function') return callEach(signals, event, how, options)
  // A callback that is undefined is a slip, not a wish for a loop.
  if (given.length > 2 && (typeof how !== 'object' || how === null)) {
    throw unexpected(`the callback for \`${String(event)}\``, 'a function', how)
  }
  checkOptions(how ?? {}, ['signal'])
  return new Loop<Events, Events[Name]>(signals, event, how?.signal)
}

/**
 * Waits for the next value of an event, or with `where` for the first one that it picks.
 *
 * Two in a row lose nothing: one that is called in the turn in which another one resolved goes on
 * behind that value. While it waits for a message, reading goes on, whatever slow listeners keep
 * waiting.
 *
 * It rejects with a `ClosedError` when the target ends first, with the signal's reason when that is
 * aborted, and with what `where` throws.
 *
 * @throws TypeError for an event that the target doesn't have, with the nearest name.
 */
export function once<
  Events extends object,
  Name extends keyof Events,
  Wanted extends Events[Name] = Events[Name],
>(
  target: Target<Events>,
  event: Name,
  options: OnceOptions<Events[Name], Wanted> = {},
): Promise<Wanted> {
  checkOptions(options, ['where', 'signal'])
  const { where, signal } = options
  if (where !== undefined && typeof where !== 'function') {
    throw unexpected('`where`', 'a function', where)
  }
  const signals = signalsOf(target, event)
  const { promise, resolve, reject } = deferred<Wanted>()
  handled(promise)
  if (signal?.aborted) {
    reject(signal.reason)
    return promise
  }
  let pending = true
  const finish = (settle: () => void): undefined => {
    if (!pending) return
    pending = false
    signals.detach(event, taker)
    signal?.removeEventListener('abort', aborted)
    signals.wait(event, -1)
    settle()
  }
  const aborted = (): void => finish(() => reject(signal?.reason))
  const taker: Taker<Events[Name]> = {
    single: true,
    where:
      where && ((value) => pending && picks(where, value, (cause) => finish(() => reject(cause)))),
    position: 0,
    busy: false,
    take: (value) => finish(() => resolve(value as Wanted)), // which `where` has vouched for
    ended: () => finish(() => reject(signals.closedError())),
  }
  signals.wait(event, 1)
  signals.attach(event, taker)
  if (pending) signal?.addEventListener('abort', aborted, { once: true })
  return promise
}

/** Asks a program's predicate about a value; one that fails has picked nothing. */
function picks<Value>(
  where: (value: Value) => boolean,
  value: Value,
  failed: (cause: unknown) => void,
): boolean {
  try {
    const verdict: unknown = where(value)
    if (isPromise(verdict)) throw unexpected('what `where` returns', 'true or false', verdict)
    return Boolean(verdict)
  } catch (cause) {
    failed(cause)
    return false
  }
}

function signalsOf<Events extends object>(
  target: Target<Events>,
  event: keyof Events,
): Signals<Events> {
  if (typeof target !== 'object' || target === null || !(SIGNALS in target)) {
    throw unexpected(
      'the target of `listen`',
      'a server, a client, a connection, a room, a channel, a topic or a presence',
      target,
    )
  }
  const signals = target[SIGNALS]
  signals.check(event)
  return signals
}

function checkOptions(
  options: { signal?: AbortSignal | undefined },
  known: readonly string[],
): void {
  checkNames(options, known)
  checkSignal(options.signal)
}

function callEach<Events extends object, Name extends keyof Events>(
  signals: Signals<Events>,
  event: Name,
  callback: Callback<Events[Name]>,
  options: ListenOptions = {},
): Unlisten {
  checkOptions(options, ['once', 'signal'])
  const listener = new Listener(signals, event, callback, options)
  const unlisten = (): void => listener.stop()
  makeDisposable(unlisten)
  return unlisten
}

// Inherited, since there is one such function a listener: a property of its own would cost each.
const unlistenPrototype = {
  __proto__: Function.prototype,
  [Symbol.dispose](this: Unlisten): void {
    this()
  },
}

function makeDisposable(stop: () => void): asserts stop is Unlisten {
  Object.setPrototypeOf(stop, unlistenPrototype)
}

/** Calls back for each value of an event. */
class Listener<Events extends object, Value> implements Taker<Value> {
  readonly stays = true
  readonly single: boolean
  position = 0
  busy = false
  readonly #signals: Signals<Events>
  readonly #event: keyof Events
  readonly #callback: Callback<Value>
  readonly #signal: AbortSignal | undefined
  #stopped = false

  constructor(
    signals: Signals<Events>,
    event: keyof Events,
    callback: Callback<Value>,
    { once: isSingle = false, signal }: ListenOptions,
  ) {
    this.#signals = signals
    this.#event = event
    this.#callback = callback
    this.single = isSingle
    this.#signal = signal
    this.#stopped = signal?.aborted === true
    if (this.#stopped) return
    signals.attach(event, this)
    signal?.addEventListener('abort', this, { once: true })
  }

  take(value: Value): PromiseLike<unknown> | undefined {
    if (this.#stopped) return undefined
    if (this.single) this.stop()
    try {
      const callback = this.#callback // not a method of this object
      const result = callback(value)
      if (result === DONE || !isPromise(result)) return undefined
      // Any thenable, however it keeps its promises, becomes a promise that never rejects.
      return Promise.resolve(result).then(undefined, (cause: unknown) =>
        this.#signals.failed(this.#event, cause, value),
      )
    } catch (cause) {
      this.#signals.failed(this.#event, cause, value)
      return undefined
    }
  }

  /** A target that never begins again has no more use for the signal, which may outlive it. */
  ended(): void {
    if (this.#signals.isOver(this.#event)) this.#signal?.removeEventListener('abort', this)
  }

  /** Is what an aborted signal calls. */
  handleEvent(): void {
    this.stop()
  }

  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#signals.detach(this.#event, this)
    this.#signal?.removeEventListener('abort', this)
  }
}

/** The values of an event, one `next` at a time. */
class Loop<Events extends object, Value> implements AsyncIterableIterator<Value> {
  readonly #signals: Signals<Events>
  readonly #event: keyof Events
  readonly #signal: AbortSignal | undefined
  readonly #taker: Taker<Value>
  readonly #values: Value[] = []
  readonly #asked: Deferred<IteratorResult<Value>>[] = []
  #ended = false
  #isFull = false

  constructor(signals: Signals<Events>, event: keyof Events, signal: AbortSignal | undefined) {
    this.#signals = signals
    this.#event = event
    this.#signal = signal
    this.#taker = {
      pull: true,
      position: 0,
      busy: true,
      take: (value) => this.#take(value),
      ended: () => this.#end(),
    }
    signals.attach(event, this.#taker)
    if (signal?.aborted) this.#stop()
    else signal?.addEventListener('abort', this.#stop, { once: true })
  }

  next(): Promise<IteratorResult<Value>> {
    const asked = deferred<IteratorResult<Value>>()
    handled(asked.promise)
    const [value] = this.#values
    if (this.#values.length > 0) {
      this.#values.shift()
      this.#fill(false)
      asked.resolve({ done: false, value: value as Value })
    } else if (this.#ended) {
      asked.resolve({ done: true, value: undefined })
    } else {
      this.#asked.push(asked)
      this.#signals.resume(this.#event, this.#taker)
    }
    return asked.promise
  }

  return(): Promise<IteratorResult<Value>> {
    this.#stop()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #take(value: Value): undefined {
    if (this.#ended) return // left while this value is given to everybody
    const asked = this.#asked.shift()
    if (asked) {
      asked.resolve({ done: false, value })
      if (this.#asked.length > 0) this.#signals.resume(this.#event, this.#taker)
      return
    }
    this.#values.push(value)
    if (this.#values.length > MOST_WAITING) {
      this.#values.shift()
      this.#signals.missed()
    }
    this.#fill(this.#values.length === MOST_WAITING)
  }

  #fill(isFull: boolean): void {
    if (isFull === this.#isFull) return
    this.#isFull = isFull
    this.#signals.fill(this.#event, isFull ? 1 : -1)
  }

  /** Ends the loop at once, with nothing more to come from it. */
  readonly #stop = (): void => {
    this.#values.length = 0
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#fill(false)
    this.#signals.detach(this.#event, this.#taker)
    this.#signal?.removeEventListener('abort', this.#stop)
    for (const asked of this.#asked.splice(0)) asked.resolve({ done: true, value: undefined })
  }
}

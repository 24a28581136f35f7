import { unexpected, WebsocketError } from './errors.ts'
import { checkNames } from './options/rules.ts'
import { deferred, handled, isPromise, type Deferred } from './promises.ts'
import { SIGNALS, type Attachment, type Callback, type Signals, type Target } from './signals.ts'

/** How to listen. */
export interface ListenOptions {
  /** true: stop after the first value. Default: false. */
  once?: boolean | undefined
  /** Stops when it is aborted. Default: none. */
  signal?: AbortSignal | undefined
}

/** Stops listening; calling it twice is harmless, and `using` calls it at the end of a block. */
export interface Unlisten extends Disposable {
  (): void
}

const MOST_WAITING = 1_000 // values that a loop keeps, of an event that can't wait elsewhere

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
 * aborted or the loop is left. More than 1,000 values waiting (of other events than messages, which
 * wait on their own) end it with an error.
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
 * Waits for the next value of an event. Two in a row lose nothing.
 *
 * It rejects with a `ClosedError` when the target ends first, and with the signal's reason when that
 * is aborted.
 *
 * @throws TypeError for an event that the target doesn't have, with the nearest name.
 */
export function once<Events extends object, Name extends keyof Events>(
  target: Target<Events>,
  event: Name,
  options: Pick<ListenOptions, 'signal'> = {},
): Promise<Events[Name]> {
  checkOptions(options, ['signal'])
  const { signal } = options
  const signals = signalsOf(target, event)
  const { promise, resolve, reject } = deferred<Events[Name]>()
  handled(promise)
  if (signal?.aborted) {
    reject(signal.reason)
    return promise
  }
  const aborted = (): void => finish(() => reject(signal?.reason))
  let pending = true
  const finish = (settle: () => void): undefined => {
    if (!pending) return
    pending = false
    attachment.detach()
    signal?.removeEventListener('abort', aborted)
    signals.wait(event, -1)
    settle()
  }
  const attachment = signals.attach<Events[Name]>(event, {
    take: (value) => finish(() => resolve(value)),
    ended: () => finish(() => reject(signals.closedError())),
  })
  signals.wait(event, 1)
  signal?.addEventListener('abort', aborted, { once: true })
  return promise
}

function signalsOf<Events extends object>(
  target: Target<Events>,
  event: keyof Events,
): Signals<Events> {
  if (typeof target !== 'object' || target === null || !(SIGNALS in target)) {
    throw unexpected('what is listened to', 'a server, a client, a connection or a room', target)
  }
  const signals = target[SIGNALS]
  signals.check(event)
  return signals
}

function checkOptions(options: ListenOptions, known: readonly string[]): void {
  checkNames(options, known)
  const { signal } = options
  if (signal === undefined || typeof signal?.addEventListener === 'function') return
  throw unexpected('`signal`', 'an AbortSignal', signal)
}

function callEach<Events extends object, Name extends keyof Events>(
  signals: Signals<Events>,
  event: Name,
  callback: Callback<Events[Name]>,
  options: ListenOptions = {},
): Unlisten {
  checkOptions(options, ['once', 'signal'])
  const { once: single = false, signal } = options
  let attachment: Attachment | undefined
  const stop = (): void => {
    attachment?.detach()
    attachment = undefined
    signal?.removeEventListener('abort', stop)
  }
  const unlisten = Object.assign(stop, { [Symbol.dispose]: stop })
  if (signal?.aborted) return unlisten
  attachment = signals.attach<Events[Name]>(event, {
    take: (value) => {
      if (!attachment) return undefined
      if (single) stop()
      try {
        const result = callback(value)
        if (!isPromise(result)) return undefined
        // Any thenable, however it keeps its promises, becomes a promise that never rejects.
        return Promise.resolve(result).then(undefined, (cause: unknown) =>
          signals.failed(event, cause, value),
        )
      } catch (cause) {
        signals.failed(event, cause, value)
        return undefined
      }
    },
    ended: () => {
      // A target that never begins again has no more use for the signal, which may outlive it.
      if (signals.over) signal?.removeEventListener('abort', stop)
    },
    stays: true,
  })
  signal?.addEventListener('abort', stop, { once: true })
  return unlisten
}

/** The values of an event, one `next` at a time. */
class Loop<Events extends object, Value> implements AsyncIterableIterator<Value> {
  readonly #attachment: Attachment
  readonly #signal: AbortSignal | undefined
  readonly #values: Value[] = []
  readonly #asked: Deferred<IteratorResult<Value>>[] = []
  #ended = false
  #error: WebsocketError | undefined

  constructor(signals: Signals<Events>, event: PropertyKey, signal: AbortSignal | undefined) {
    this.#signal = signal
    this.#attachment = signals.attach<Value>(event, {
      pull: true,
      take: (value) => this.#take(value, event),
      ended: () => this.#end(),
    })
    if (signal?.aborted) this.#stop()
    else signal?.addEventListener('abort', this.#stop, { once: true })
  }

  next(): Promise<IteratorResult<Value>> {
    const asked = deferred<IteratorResult<Value>>()
    handled(asked.promise)
    const [value] = this.#values
    if (this.#values.length > 0) {
      this.#values.shift()
      asked.resolve({ done: false, value: value as Value })
    } else if (this.#error) {
      asked.reject(this.#error)
      this.#error = undefined
    } else if (this.#ended) {
      asked.resolve({ done: true, value: undefined })
    } else {
      this.#asked.push(asked)
      this.#attachment.resume()
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

  #take(value: Value, event: PropertyKey): undefined {
    if (this.#ended) return // left while this value is given to everybody
    const asked = this.#asked.shift()
    if (asked) {
      asked.resolve({ done: false, value })
      if (this.#asked.length > 0) this.#attachment.resume()
      return
    }
    this.#values.push(value)
    if (this.#values.length <= MOST_WAITING) return
    this.#error = new WebsocketError(
      `a loop over \`${String(event)}\` has ${MOST_WAITING} values waiting: it is too slow`,
    )
    this.#end()
  }

  /** Ends the loop at once, with nothing more to come from it. */
  readonly #stop = (): void => {
    this.#values.length = 0
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#attachment.detach()
    this.#signal?.removeEventListener('abort', this.#stop)
    for (const asked of this.#asked.splice(0)) asked.resolve({ done: true, value: undefined })
  }
}

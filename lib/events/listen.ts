import { DONE, isPromise } from '../promises.ts'
import { invalidValue } from '../validation.ts'
import type { Consumer } from './consumer.ts'
import type { Emitter } from './emitter.ts'
import { EventIterator } from './event-iterator.ts'
import { checkOptions, emitterOf, type Listenable } from './listenable.ts'

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

/** A function that receives the value of an event; a promise that it returns is awaited. */
export type Callback<Value> = (value: Value) => unknown

/**
 * The function that stops a listener. Calling it twice is harmless; `using` calls it at the end of
 * a block.
 */
export interface Unlisten extends Disposable {
  (): void
}

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

  /** Removes the listener from the signal, which may outlive a target that has ended for good. */
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

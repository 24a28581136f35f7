/**
 * A promise that has resolved. Returned where everything is done already: a listener that returns it
 * gets its next message at once.
 */
export const DONE: Promise<void> = Promise.resolve()

/** A promise with the functions that settle it. */
export interface Deferred<Value> {
  readonly promise: Promise<Value>
  readonly resolve: (value: Value) => void
  readonly reject: (reason: unknown) => void
}

/** Creates a promise that the caller settles. */
export function deferred<Value>(): Deferred<Value> {
  let resolve!: (value: Value) => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<Value>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}

/**
 * Marks a promise as handled and returns it. Callers that await it still see its rejection, but the
 * rejection is never reported as unhandled.
 */
export function markHandled<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {})
  return promise
}

/** Creates a rejected promise that is marked as handled. */
export function rejected(reason: unknown): Promise<never> {
  const { promise, reject } = deferred<never>()
  reject(reason)
  return markHandled(promise)
}

/**
 * A promise that records whether any code waits for it. Its rejection is never reported as
 * unhandled.
 */
export class WatchedPromise<Value> extends Promise<Value> {
  /** The constructor of the promises that `then` returns: the ordinary one. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  #isWatched = false

  constructor(executor: ConstructorParameters<typeof Promise<Value>>[0]) {
    super(executor)
    super.then(undefined, () => {})
  }

  /** Whether the promise was awaited, or `then` or `catch` was called on it. */
  get isWatched(): boolean {
    return this.#isWatched
  }

  override then<Fulfilled = Value, Rejected = never>(
    onFulfilled?: ((value: Value) => Fulfilled | PromiseLike<Fulfilled>) | null,
    onRejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    this.#isWatched = true
    return super.then(onFulfilled, onRejected)
  }
}

/** Returns whether a value is a promise or another object with a `then` method. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' && typeof value !== 'function') return false
  return value !== null && 'then' in value && typeof value.then === 'function'
}

/** Settles as the given promise does. Rejects when it takes longer than `timeout` milliseconds. */
export function withTimeout<Value>(promise: PromiseLike<Value>, timeout: number): Promise<Value> {
  const { promise: settled, resolve, reject } = deferred<Value>()
  const text = `no answer within ${timeout} ms`
  const timer = setTimeout(() => reject(new Error(text)), timeout)
  promise.then(resolve, reject)
  const stopTimer = (): void => clearTimeout(timer)
  settled.then(stopTimer, stopTimer)
  return settled
}

/** What is returned where everything is done already: a listener that returns it holds nothing up. */
export const DONE: Promise<void> = Promise.resolve()

/** A promise and the two ways it can end. */
export interface Deferred<Value> {
  readonly promise: Promise<Value>
  readonly resolve: (value: Value) => void
  readonly reject: (reason: unknown) => void
}

/** Makes a promise to be settled from outside. */
export function deferred<Value>(): Deferred<Value> {
  let resolve!: (value: Value) => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

/** Marks a promise as handled: whoever awaits it sees its rejection, nobody else is harmed. */
export function handled<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {})
  return promise
}

/** Makes a promise that has rejected, and harms nothing where it is left alone. */
export function rejected(reason: unknown): Promise<never> {
  const { promise, reject } = deferred<never>()
  reject(reason)
  return handled(promise)
}

/**
 * A promise that knows whether anything waits for it. Left alone, its rejection harms nothing.
 */
export class WatchedPromise<Value> extends Promise<Value> {
  /** What `then` makes of it is an ordinary promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  #isWatched = false

  constructor(executor: ConstructorParameters<typeof Promise<Value>>[0]) {
    super(executor)
    super.then(undefined, () => {})
  }

  /** Whether it was awaited, caught, or given to a `then`. */
  get isWatched(): boolean {
    return this.#isWatched
  }

  override then<Kept = Value, Caught = never>(
    kept?: ((value: Value) => Kept | PromiseLike<Kept>) | null,
    caught?: ((reason: unknown) => Caught | PromiseLike<Caught>) | null,
  ): Promise<Kept | Caught> {
    this.#isWatched = true
    return super.then(kept, caught)
  }
}

/** Tells whether a value is a promise, or another thing with a `then` method. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' && typeof value !== 'function') return false
  return value !== null && 'then' in value && typeof value.then === 'function'
}

/** Resolves with what a promise does; rejects where that takes longer than so many milliseconds. */
export function inTime<Value>(promise: PromiseLike<Value>, timeout: number): Promise<Value> {
  const { promise: settled, resolve, reject } = deferred<Value>()
  const text = `no answer within ${timeout} ms`
  const timer = setTimeout(() => reject(new Error(text)), timeout)
  promise.then(resolve, reject)
  const end = (): void => clearTimeout(timer)
  settled.then(end, end)
  return settled
}

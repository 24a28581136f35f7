/**
 * A consumer of a queue's values. `cursor` and `isBusy` belong to the queue, which stores them here
 * to avoid a Map.
 */
export interface Consumer<Value> {
  /** Whether it takes a value only after a call of `resume`. */
  readonly onDemand?: boolean
  /** Whether it stays registered when its target has ended, for a target that may begin again. */
  readonly isPersistent?: boolean
  /**
   * Whether it takes one value and is then removed. Values that arrive in the same turn are kept
   * for the next single consumer, which continues after the value taken.
   */
  readonly isSingle?: boolean
  /** A predicate that picks the value to take, out of order. Never throws; needs `isSingle`. */
  readonly where?: ((value: Value) => boolean) | undefined
  /** The number of the first value that it may take next. */
  cursor: number
  /** Whether it can't take a value at the moment. */
  isBusy: boolean
  /**
   * Takes the next value. Never throws. A returned promise, which never rejects, delays the next.
   */
  deliver(value: Value): PromiseLike<unknown> | undefined
  /** Handles the end of the queue. Called after the last value was taken. */
  onEnd(): void
}

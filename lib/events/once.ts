import { deferred, isPromise, markHandled } from '../promises.ts'
import { invalidValue } from '../validation.ts'
import type { Consumer } from './consumer.ts'
import { checkOptions, emitterOf, type Listenable } from './listenable.ts'

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
 * Waits for the next value of an event, or with `where` for the first value that it picks.
 *
 * Two calls in a row lose nothing: a call in the turn in which another one resolved continues
 * after that value. While it waits for a message, reading goes on, however much waits for slow
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

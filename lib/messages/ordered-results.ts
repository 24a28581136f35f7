import { isPromise, markHandled, rejected } from '../promises.ts'

/** The callbacks for the result of one task, and the size of its input. */
export interface ResultHandlers<Result> {
  /** The bytes of the input. */
  readonly size?: number
  /** Receives the result. */
  onResult(result: Result): void
  /** Receives what the task, or `onResult`, has thrown. */
  onError(cause: unknown): void
  /**
   * Called with 1 when the input begins to wait, for its own result or for those of earlier tasks,
   * and with -1 when the wait ends.
   */
  onWaiting?(step: 1 | -1): void
}

/** Runs tasks that may be asynchronous at once, and delivers their results in the order of calls. */
export class OrderedResults {
  /** Resolves once the last waiting task is done; every later result waits for it. */
  #pending: Promise<void> | undefined
  #waitingCount = 0
  #waitingBytes = 0

  /** Whether a result is pending, or delivered right now. */
  get isPending(): boolean {
    return this.#pending !== undefined
  }

  /** The number of inputs that wait, for their own results or for those of earlier ones. */
  get waitingCount(): number {
    return this.#waitingCount
  }

  /** The bytes of the inputs that wait. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** Runs a task. Delivers its result at once when the task and all earlier ones are done. */
  run<Result>(task: () => Result | PromiseLike<Result>, handlers: ResultHandlers<Result>): void {
    try {
      const result = task()
      if (isPromise(result)) this.#wait(Promise.resolve(result), handlers)
      else if (this.#pending) this.#wait(Promise.resolve(result), handlers)
      else handlers.onResult(result)
    } catch (cause) {
      // A task that throws at once also waits for its turn, behind the results of earlier ones.
      if (this.#pending) this.#wait(rejected(cause), handlers)
      else handlers.onError(cause)
    }
  }

  #wait<Result>(result: Promise<Result>, handlers: ResultHandlers<Result>): void {
    const { size = 0 } = handlers
    this.#waitingCount += 1
    this.#waitingBytes += size
    handlers.onWaiting?.(1)
    markHandled(result)
    const pending: Promise<void> = (this.#pending ?? Promise.resolve())
      .then(() => result)
      .finally(() => {
        this.#waitingCount -= 1
        this.#waitingBytes -= size
      })
      .then((outcome) => handlers.onResult(outcome))
      .catch((cause: unknown) => handlers.onError(cause))
      .then(() => {
        if (this.#pending === pending) this.#pending = undefined
        handlers.onWaiting?.(-1)
      })
    this.#pending = pending
  }
}

import { deferred, markHandled, type Deferred } from '../promises.ts'
import type { Consumer } from './consumer.ts'
import type { Emitter } from './emitter.ts'

// Values that may wait in a loop. Messages are not among them: they wait in the target's queue.
const MAX_WAITING = 1_000

/** An iterator over the values of an event, for loops. */
export class EventIterator<Events extends object, Value> implements AsyncIterableIterator<Value> {
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
    if (this.#hasEnded) return // the loop was left while other listeners got this value
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

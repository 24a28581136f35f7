import { deferred, withTimeout, isPromise, type Deferred } from '../../promises.ts'

const MAX_READS = 8 // that run at a time

/** The queue of one server's reads of its history stores. A limited number runs at a time. */
export class ReadQueue {
  #running = 0
  readonly #waiting: Deferred<void>[] = []

  /** Runs a read at once where the limit allows it, or else in turn; urgent reads run first. */
  run<Page>(
    read: () => Page | PromiseLike<Page>,
    { timeout, isUrgent }: { readonly timeout: number; readonly isUrgent: boolean },
  ): Page | PromiseLike<Page> {
    if (this.#running < MAX_READS) {
      this.#running++
      return this.#read(read, timeout)
    }
    const waiter = deferred<void>()
    if (isUrgent) this.#waiting.unshift(waiter)
    else this.#waiting.push(waiter)
    return waiter.promise.then(() => this.#read(read, timeout))
  }

  #read<Page>(read: () => Page | PromiseLike<Page>, timeout: number): Page | PromiseLike<Page> {
    let page: Page | PromiseLike<Page> | undefined
    try {
      page = read()
    } finally {
      if (!isPromise(page)) this.#end()
    }
    if (!isPromise(page)) return page
    const limited = withTimeout(page, timeout)
    const end = (): void => this.#end()
    limited.then(end, end)
    return limited
  }

  #end(): void {
    const next = this.#waiting.shift()
    if (next)
      next.resolve() // takes over this read's slot
    else this.#running--
  }
}

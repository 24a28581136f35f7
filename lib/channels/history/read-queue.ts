import { deferred, withTimeout, isPromise, type Deferred } from '../../promises.ts'

const MAX_READS = 8 // that run at a time

/** The queue of one server's reads of its history stores. A limited number runs at a time. */
export class ReadQueue {
  #running = 0
  readonly #waiters: Deferred<void>[] = []

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
    if (isUrgent) this.#waiters.unshift(waiter)
    else this.#waiters.push(waiter)
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
    const limitedPage = withTimeout(page, timeout)
    const end = (): void => this.#end()
    limitedPage.then(end, end)
    return limitedPage
  }

  #end(): void {
    const next = this.#waiters.shift()
    // The next read takes the place of this one, so the number of running reads stays the same.
    if (next) next.resolve()
    else this.#running--
  }
}

import { deferred, inTime, isPromise, type Deferred } from '../../promises.ts'

const MAX_READS = 8

/** The reads of the stores of one server: so many are under way at a time. */
export class ReadQueue {
  #underWay = 0
  readonly #waiting: Deferred<void>[] = []

  /** Reads at once, or when it is its turn; urgent reads come first. */
  run<Page>(
    read: () => Page | PromiseLike<Page>,
    { timeout, isUrgent }: { readonly timeout: number; readonly isUrgent: boolean },
  ): Page | PromiseLike<Page> {
    if (this.#underWay < MAX_READS) {
      this.#underWay++
      return this.#read(read, timeout)
    }
    const turn = deferred<void>()
    if (isUrgent) this.#waiting.unshift(turn)
    else this.#waiting.push(turn)
    return turn.promise.then(() => this.#read(read, timeout))
  }

  #read<Page>(read: () => Page | PromiseLike<Page>, timeout: number): Page | PromiseLike<Page> {
    let page: Page | PromiseLike<Page> | undefined
    try {
      page = read()
    } finally {
      if (!isPromise(page)) this.#end()
    }
    if (!isPromise(page)) return page
    const answered = inTime(page, timeout)
    const end = (): void => this.#end()
    answered.then(end, end)
    return answered
  }

  #end(): void {
    const next = this.#waiting.shift()
    if (next)
      next.resolve() // which goes on in the same place
    else this.#underWay--
  }
}

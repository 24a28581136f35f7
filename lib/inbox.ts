/** Takes the values of an inbox; the two marks are the inbox's own, kept here to spare a table. */
export interface Taker<Value> {
  /** true: takes a value only after a `resume`. */
  readonly pull?: boolean
  /** true: stays in its place when what it listens to ends and begins again. */
  readonly stays?: boolean
  /** The number of the value that it takes next. */
  position: number
  /** Whether it takes nothing for now. */
  busy: boolean
  /** Takes the next value; never throws. A promise, which never rejects, keeps the next one waiting. */
  take(value: Value): PromiseLike<unknown> | undefined
  /** Is told when the inbox has ended and the last value was taken. */
  ended(): void
}

/** Whom an inbox belongs to. */
interface Owner {
  /** Is told when what waits has changed, or who listens. */
  changed(): void
}

/** Values that wait, with their sizes. */
class Log<Value> {
  readonly values: (Value | undefined)[] = []
  readonly sizes: number[] = []
  /** Where it begins in its arrays. */
  head = 0

  get length(): number {
    return this.values.length - this.head
  }

  /** Forgets the first value, and tells its size. */
  shift(): number {
    const size = this.sizes[this.head] ?? 0
    this.values[this.head++] = undefined
    // Once as much has gone as stays, so that a value is moved at most once on average.
    if (this.length === 0 || (this.head > 1_000 && this.head > this.length)) {
      this.values.splice(0, this.head)
      this.sizes.splice(0, this.head)
      this.head = 0
    }
    return size
  }
}

/**
 * Keeps what waits for the listeners of one event: a log of values, and for each where
 * it stands in it.
 *
 * Values wait while nobody listens, and behind each listener that is still busy. A value is let go
 * once every listener has taken it. Whoever starts to listen begins with the oldest value waiting,
 * or, inside a listener, with the one after the value being handled.
 */
export class Inbox<Value> {
  /** The bytes of the values that wait; an empty one counts as one. */
  bytes = 0

  readonly #owner: Owner
  #log: Log<Value> | undefined // made for the first value that has to wait
  #first = 0 // the number of the value that it begins with
  #takers: readonly Taker<Value>[] = [] // replaced, never changed: it may be under way
  #current: Taker<Value> | undefined
  #ended = false

  /** Makes an inbox of an owner. */
  constructor(owner: Owner) {
    this.#owner = owner
  }

  /** How many values wait. */
  get waiting(): number {
    return this.#log?.length ?? 0
  }

  /** Tells whether anybody listens. */
  get heard(): boolean {
    return this.#takers.length > 0
  }

  /** Puts a value in: to everybody at once, which it tells, or into the log for those who are busy. */
  put(value: Value, size: number): boolean {
    if (this.#giveAll(value)) return true
    const log = (this.#log ??= new Log())
    log.values.push(value)
    log.sizes.push(Math.max(1, size))
    this.bytes += Math.max(1, size)
    this.#owner.changed()
    this.#pumpAll()
    return false
  }

  /** Adds a taker; it gets its first value in a later turn. */
  add(taker: Taker<Value>): void {
    taker.position = this.#current ? this.#current.position : this.#first
    taker.busy = taker.pull === true
    this.#takers = this.#takers.concat(taker) // of just the length it needs
    queueMicrotask(() => this.#pump(taker))
    this.#owner.changed()
  }

  /** Removes a taker; what only it still had to take waits for the next one. */
  remove(taker: Taker<Value>): void {
    if (!this.#takers.includes(taker)) return
    this.#takers = this.#takers.filter((other) => other !== taker)
    this.#trim(Math.min(this.#oldest(), this.#takers.length === 0 ? taker.position : Infinity))
    this.#owner.changed()
  }

  /** Takes out what waits. */
  drain(): Value[] {
    const values = this.#log?.values.slice(this.#log.head) ?? []
    this.#first += values.length
    this.#log = undefined
    this.bytes = 0
    return values as Value[]
  }

  /** Lets a taker have its next value. */
  resume(taker: Taker<Value>): void {
    taker.busy = false
    this.#pump(taker)
  }

  /** Says that nothing more will come: each listener is told after its last value. */
  end(): void {
    this.#ended = true
    this.#pumpAll()
  }

  /** Gives each listener what waits for it; from inside one, when it has returned. */
  #pumpAll(): void {
    if (this.#current) queueMicrotask(() => this.#pumpAll())
    else for (const taker of this.#takers) this.#pump(taker)
  }

  /** The way of nearly every message: nothing waits, and everybody can take it. */
  #giveAll(value: Value): boolean {
    const takers = this.#takers
    if (takers.length === 0 || this.#current || this.waiting > 0) return false
    for (const taker of takers) if (taker.busy) return false
    this.#first++
    for (const taker of takers) {
      // One that was removed by another is left out.
      if (takers === this.#takers || this.#takers.includes(taker)) {
        this.#give(taker, value, this.#first)
      }
    }
    return true
  }

  #give(taker: Taker<Value>, value: Value, position: number): void {
    const before = this.#current
    this.#current = taker
    taker.position = position
    taker.busy = taker.pull === true
    const promise = taker.take(value)
    this.#current = before
    if (!promise) return
    taker.busy = true
    promise.then(() => this.resume(taker))
  }

  /** Gives a listener what waits for it, until it is busy. */
  #pump(taker: Taker<Value>): void {
    while (!taker.busy && this.#takers.includes(taker)) {
      const index = taker.position - this.#first
      if (index >= this.waiting) {
        if (this.#ended) taker.ended()
        return
      }
      const value = this.#log?.values[this.#log.head + index] as Value
      taker.position++
      this.#trim(this.#oldest())
      this.#give(taker, value, taker.position)
      if (this.#takers.length > 0) this.#trim(this.#oldest())
      this.#owner.changed() // only now: who waits for the log to be empty comes after the last value
    }
  }

  /** The number of the oldest value that somebody still takes, the one in hand among them. */
  #oldest(): number {
    let oldest = this.#current?.position ?? Infinity
    for (const { position } of this.#takers) oldest = Math.min(oldest, position)
    return oldest
  }

  /** Lets go of the values before this number. */
  #trim(position: number): void {
    for (; this.#first < position && this.waiting > 0; this.#first++) {
      this.bytes -= this.#log?.shift() ?? 0
    }
  }
}

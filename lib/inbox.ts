/** Takes the values of an inbox. */
export interface Taker<Value> {
  /** Takes the next value; never throws. A promise, which never rejects, keeps the next one waiting. */
  readonly take: (value: Value) => PromiseLike<unknown> | undefined
  /** Is told when the inbox has ended and the last value was taken. */
  readonly ended: () => void
  /** true: takes a value only after a `resume`. */
  readonly pull?: boolean
  /** true: stays in its place when what it listens to ends and begins again. */
  readonly stays?: boolean
}

/** Where one taker stands in the log of an inbox. */
class Cursor<Value> {
  readonly taker: Taker<Value>
  readonly resume: () => void
  busy: boolean
  /** The number of the value it takes next. */
  position: number

  constructor(taker: Taker<Value>, position: number, pump: (cursor: Cursor<Value>) => void) {
    this.taker = taker
    this.position = position
    this.busy = taker.pull === true
    this.resume = () => {
      this.busy = false
      pump(this)
    }
  }
}

/** A taker in its place. */
export type Place<Value> = Cursor<Value>

/**
 * Keeps what waits for the listeners of one event: a log of values, and a cursor into it for each.
 *
 * Values wait while nobody listens, and behind each listener that is still busy. A value is let go
 * once every listener has taken it. Whoever starts to listen begins with the oldest value waiting,
 * or, inside a listener, with the one after the value being handled.
 */
export class Inbox<Value> {
  /** How many values wait. */
  get waiting(): number {
    return this.#log.length - this.#head
  }

  /** The bytes of the values that wait; an empty one counts as one. */
  bytes = 0

  readonly #changed: () => void
  #log: (Value | undefined)[] = []
  #sizes: number[] = []
  #head = 0 // where the log begins in its array
  #first = 0 // the number of the value there
  #cursors: readonly Cursor<Value>[] = [] // replaced, never changed: it may be under way
  #current: Cursor<Value> | undefined
  #ended = false

  /** Makes an inbox that tells when what waits has changed. */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  /** Tells whether anybody listens. */
  get heard(): boolean {
    return this.#cursors.length > 0
  }

  /** Puts a value in: to everybody at once, which it tells, or into the log for those who are busy. */
  put(value: Value, size: number): boolean {
    if (this.#giveAll(value)) return true
    this.#log.push(value)
    this.#sizes.push(Math.max(1, size))
    this.bytes += Math.max(1, size)
    this.#changed()
    this.#pumpAll()
    return false
  }

  /** Adds a taker; it gets its first value in a later turn. */
  add(taker: Taker<Value>): Place<Value> {
    const position = this.#current ? this.#current.position : this.#first
    const cursor = new Cursor(taker, position, (own) => this.#pump(own))
    this.#cursors = [...this.#cursors, cursor]
    queueMicrotask(() => this.#pump(cursor))
    this.#changed()
    return cursor
  }

  /** Removes a taker; what only it still had to take waits for the next one. */
  remove(cursor: Place<Value>): void {
    if (!this.#cursors.includes(cursor)) return
    this.#cursors = this.#cursors.filter((other) => other !== cursor)
    this.#trim(Math.min(this.#oldest(), this.#cursors.length === 0 ? cursor.position : Infinity))
    this.#changed()
  }

  /** Says that nothing more will come: each listener is told after its last value. */
  end(): void {
    this.#ended = true
    this.#pumpAll()
  }

  /** Gives each listener what waits for it; from inside one, when it has returned. */
  #pumpAll(): void {
    if (this.#current) queueMicrotask(() => this.#pumpAll())
    else for (const cursor of this.#cursors) this.#pump(cursor)
  }

  /** The way of nearly every message: nothing waits, and everybody can take it. */
  #giveAll(value: Value): boolean {
    const cursors = this.#cursors
    if (cursors.length === 0 || this.#current || this.waiting > 0) return false
    for (const cursor of cursors) if (cursor.busy) return false
    this.#first++
    for (const cursor of cursors) {
      // One that was removed by another is left out.
      if (cursors === this.#cursors || this.#cursors.includes(cursor)) {
        this.#give(cursor, value, this.#first)
      }
    }
    return true
  }

  #give(cursor: Cursor<Value>, value: Value, position: number): void {
    const before = this.#current
    this.#current = cursor
    cursor.position = position
    cursor.busy = cursor.taker.pull === true
    const promise = cursor.taker.take(value)
    this.#current = before
    if (!promise) return
    cursor.busy = true
    promise.then(cursor.resume)
  }

  /** Gives a listener what waits for it, until it is busy. */
  #pump(cursor: Cursor<Value>): void {
    while (!cursor.busy && this.#cursors.includes(cursor)) {
      const index = this.#head + cursor.position - this.#first
      const value = this.#log[index]
      if (index >= this.#log.length) {
        if (this.#ended) cursor.taker.ended()
        return
      }
      cursor.position++
      this.#trim(this.#oldest())
      this.#give(cursor, value as Value, cursor.position)
      if (this.#cursors.length > 0) this.#trim(this.#oldest())
      this.#changed() // only now: who waits for the log to be empty comes after the last value
    }
  }

  /** The number of the oldest value that somebody still takes, the one in hand among them. */
  #oldest(): number {
    let oldest = this.#current?.position ?? Infinity
    for (const cursor of this.#cursors) oldest = Math.min(oldest, cursor.position)
    return oldest
  }

  /** Lets go of the values before this number. */
  #trim(position: number): void {
    if (position <= this.#first) return
    for (; this.#first < position; this.#first++) {
      this.bytes -= this.#sizes[this.#head] ?? 0
      this.#log[this.#head++] = undefined
    }
    if (this.waiting === 0) this.#shorten()
    // Once as much has gone as stays, so that a value is moved at most once on average.
    else if (this.#head > 1_000 && this.#head > this.waiting) this.#shorten()
  }

  #shorten(): void {
    this.#log.splice(0, this.#head)
    this.#sizes.splice(0, this.#head)
    this.#head = 0
  }
}

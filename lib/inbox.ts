import { afterTurn } from './turn.ts'

/** Takes the values of an inbox. The marks are the inbox's own, kept here to spare a table. */
export interface Taker<Value> {
  /** true: takes a value only after a `resume`. */
  readonly pull?: boolean
  /** true: stays in its place when its target ends and begins again. */
  readonly stays?: boolean
  /**
   * true: takes one value and is removed then. What comes in that turn is kept for the next such
   * taker, which goes on behind it.
   */
  readonly single?: boolean
  /** Picks the value to take, out of turn; never throws. Goes with `single`. */
  readonly where?: ((value: Value) => boolean) | undefined
  /** The number of the first value that it may take next. */
  position: number
  /** Whether it takes nothing for now. */
  busy: boolean
  /** Takes the next value; never throws. A promise, which never rejects, keeps the next one waiting. */
  take(value: Value): PromiseLike<unknown> | undefined
  /** Is called when the inbox has ended and the last value was taken. */
  ended(): void
}

/** The target that an inbox belongs to. */
interface Owner {
  /** Is called when what waits has changed, or the takers have. */
  changed(): void
}

/** A value that waits. */
interface Entry<Value> {
  readonly number: number
  readonly value: Value
  readonly size: number
  /** Whether a taker has taken it. */
  taken: boolean
  /** The only takers that still get it, once one with a `where` has picked it. */
  left?: readonly Taker<Value>[]
}

/** The entries that wait, by ascending number. */
class Log<Value> {
  readonly #entries: (Entry<Value> | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#entries.length - this.#head
  }

  at(index: number): Entry<Value> | undefined {
    return this.#entries[this.#head + index]
  }

  /** Returns the index of the first entry from a number on. */
  indexOf(number: number): number {
    let low = 0
    let high = this.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.at(middle)?.number ?? 0) < number) low = middle + 1
      else high = middle
    }
    return low
  }

  push(entry: Entry<Value>): void {
    this.#entries.push(entry)
  }

  shift(): void {
    this.#entries[this.#head++] = undefined
    // Once as much has gone as stays, so that an entry is moved at most once on average.
    if (this.length === 0 || (this.#head > 1_000 && this.#head > this.length)) {
      this.#entries.splice(0, this.#head)
      this.#head = 0
    }
  }

  delete(index: number): void {
    this.#entries.splice(this.#head + index, 1)
  }

  /** Removes all entries, and returns them. */
  clear(): Entry<Value>[] {
    const entries = this.#entries.splice(0).slice(this.#head)
    this.#head = 0
    return entries as Entry<Value>[] // only those before the head are empty
  }
}

/**
 * Keeps what waits for the listeners of one event: a log of values, and for each listener its
 * position in it.
 *
 * A value waits until a listener has taken it, and behind each listener that is still busy. A new
 * listener begins with the first value that no listener has taken. A single one that is added in the
 * turn in which another one took its value goes on behind that value, however fast other listeners
 * are: until the turn ends, the log keeps what came since.
 */
export class Inbox<Value> {
  /** The sizes of the values that wait; an empty one counts as one. */
  bytes = 0
  /** Whether it has, or ever had, a taker. */
  everHeard = false

  readonly #owner: Owner
  #log: Log<Value> | undefined // made for the first value that has to wait
  #next = 0 // the number of the next value that is put in
  #untaken = 0 // no entry before this number waits for its first taker
  #takers: readonly Taker<Value>[] = [] // replaced, never changed: it may be iterated over
  #pickers: readonly Taker<Value>[] = [] // those with a `where`
  #giving = false
  /** Where a single taker goes on that is added in this turn. */
  #resumption: number | undefined
  #ended = false

  /** Makes an inbox of a target. */
  constructor(owner: Owner) {
    this.#owner = owner
  }

  /** How many values wait. */
  get waiting(): number {
    return this.#log?.length ?? 0
  }

  /** Whether a listener takes what comes; one with a `where` takes what it picks, only. */
  get heard(): boolean {
    return this.#takers.length > 0
  }

  /** Whether a single taker may still go on behind the one that took its value in this turn. */
  get isResumable(): boolean {
    return this.#resumption !== undefined
  }

  /** Whether a single taker waits for a value that has not come yet. */
  get awaited(): boolean {
    if (this.#pickers.length > 0) return true
    return this.#takers.some((taker) => taker.single === true && !this.#nextFor(taker))
  }

  /** Gives a value to every taker at once and returns true, or lets it wait and returns false. */
  put(value: Value, size: number): boolean {
    const left = this.#takers
    const number = this.#next++
    const picked = this.#pickers.length > 0 && this.#pick(value, number)
    if (picked && left.length === 0) return true
    if (!picked && this.#giveAll(value)) return true
    const log = (this.#log ??= new Log())
    const charge = Math.max(1, size)
    log.push(
      picked
        ? { number, value, size: charge, taken: true, left }
        : { number, value, size: charge, taken: false },
    )
    this.bytes += charge
    this.#owner.changed()
    this.#pumpAll()
    return false
  }

  /** Lets takers with a `where` pick a value that does not wait here; returns whether one did. */
  offer(value: Value): boolean {
    return this.#pick(value, this.#next++)
  }

  /** Adds a taker; it gets its first value in a later turn, one with a `where` may find it now. */
  add(taker: Taker<Value>): void {
    this.everHeard = true
    taker.busy = taker.pull === true
    taker.position = this.#start(taker)
    if (taker.where) {
      if (this.#find(taker, taker.where)) return
      this.#pickers = this.#pickers.concat(taker)
      if (this.#ended) queueMicrotask(() => this.#endPickers())
    } else {
      this.#takers = this.#takers.concat(taker) // of just the length it needs
      // Several that go on behind the same value may be added in this turn: none may overtake.
      if (taker.single && this.#resumption !== undefined) taker.busy = true
      else queueMicrotask(() => this.#pump(taker))
    }
    this.#owner.changed()
  }

  /** Removes a taker; what only it still had to take waits for the next one. */
  remove(taker: Taker<Value>): void {
    if (taker.where) {
      this.#pickers = this.#pickers.filter((other) => other !== taker)
    } else {
      if (!this.#takers.includes(taker)) return
      this.#takers = this.#takers.filter((other) => other !== taker)
      this.#trim()
    }
    this.#owner.changed()
  }

  /** Removes what waits for its first taker, and returns it; the rest is removed, too. */
  drain(): Value[] {
    const entries = this.#log?.clear() ?? []
    this.#log = undefined
    this.bytes = 0
    this.#untaken = this.#next
    return entries.filter(({ taken }) => !taken).map(({ value }) => value)
  }

  /** Lets a taker have its next value. */
  resume(taker: Taker<Value>): void {
    taker.busy = false
    this.#pump(taker)
  }

  /** Ends the inbox: each taker is told after its last value. */
  end(): void {
    this.#ended = true
    this.#endPickers()
    this.#pumpAll()
  }

  #endPickers(): void {
    for (const picker of this.#pickers) picker.ended()
  }

  /** Returns the number of the first value that a new taker may take. */
  #start(taker: Taker<Value>): number {
    const log = this.#log
    let number = this.#next
    for (let index = log?.indexOf(this.#untaken) ?? 0; ; index++) {
      const entry = log?.at(index)
      if (!entry) break
      if (entry.taken) continue
      number = entry.number
      break
    }
    this.#untaken = number
    return taker.single ? Math.min(number, this.#resumption ?? number) : number
  }

  /** Lets those with a `where` pick a value that has come; returns whether one did. */
  #pick(value: Value, number: number): boolean {
    let picked = false
    for (const picker of this.#pickers) {
      if (!this.#pickers.includes(picker) || picker.where?.(value) !== true) continue
      picked = true
      this.#goOnBehind(number)
      void picker.take(value)
    }
    return picked
  }

  /** Looks through what waits already. */
  #find(taker: Taker<Value>, where: (value: Value) => boolean): boolean {
    const log = this.#log
    if (!log) return false
    for (let index = log.indexOf(taker.position); ; index++) {
      const entry = log.at(index)
      if (!entry) return false
      if (entry.left || !where(entry.value)) continue
      entry.taken = true
      entry.left = this.#takers.filter(({ position }) => position <= entry.number)
      this.#goOnBehind(entry.number)
      if (entry.left.length === 0) this.#delete(index, entry)
      this.#trim()
      void taker.take(entry.value)
      this.#owner.changed()
      return true
    }
  }

  /** Keeps what comes behind a value until the turn ends: its taker may want more. */
  #goOnBehind(number: number): void {
    if (this.#resumption === undefined) afterTurn(() => this.#endTurn())
    this.#resumption = Math.min(this.#resumption ?? Infinity, number + 1)
  }

  #endTurn(): void {
    this.#resumption = undefined
    for (const taker of this.#takers) {
      if (taker.single && taker.busy) this.resume(taker)
    }
    this.#trim()
    this.#owner.changed()
  }

  /** Gives each taker what waits for it; from inside one, when it has returned. */
  #pumpAll(): void {
    if (this.#giving) queueMicrotask(() => this.#pumpAll())
    else for (const taker of this.#takers) this.#pump(taker)
  }

  /** The way of nearly every message: nothing waits, and every taker can take it. */
  #giveAll(value: Value): boolean {
    const takers = this.#takers
    if (takers.length === 0 || this.#giving || this.waiting > 0) return false
    if (this.#resumption !== undefined) return false
    for (const taker of takers) if (taker.busy) return false
    const position = this.#next
    for (const taker of takers) {
      // One that was removed by another is left out.
      if (takers === this.#takers || this.#takers.includes(taker)) {
        this.#give(taker, value, position)
      }
    }
    return true
  }

  #give(taker: Taker<Value>, value: Value, position: number): void {
    const outer = this.#giving
    this.#giving = true
    taker.position = position
    taker.busy = taker.pull === true
    if (taker.single) this.#goOnBehind(position - 1)
    const promise = taker.take(value)
    this.#giving = outer
    if (!promise) return
    taker.busy = true
    promise.then(() => this.resume(taker))
  }

  /** Gives a taker what waits for it, until it is busy. */
  #pump(taker: Taker<Value>): void {
    while (!taker.busy && this.#takers.includes(taker)) {
      const entry = this.#nextFor(taker)
      if (!entry) {
        if (this.#ended) taker.ended()
        return
      }
      entry.taken = true
      taker.position = entry.number + 1
      this.#trim()
      this.#give(taker, entry.value, taker.position)
      this.#trim()
      this.#owner.changed() // only now: what needs an empty log comes after the last value
    }
  }

  /** Returns what a taker gets next. */
  #nextFor(taker: Taker<Value>): Entry<Value> | undefined {
    const log = this.#log
    if (!log || taker.position >= this.#next) return undefined
    for (let index = log.indexOf(taker.position); ; index++) {
      const entry = log.at(index)
      if (!entry?.left || entry.left.includes(taker)) return entry
    }
  }

  /** Removes what every taker has, and what no other one may still ask for in this turn. */
  #trim(): void {
    const log = this.#log
    if (!log || log.length === 0) return
    let oldest = this.#resumption ?? Infinity
    for (const { position } of this.#takers) oldest = Math.min(oldest, position)
    for (;;) {
      const entry = log.at(0)
      if (!entry?.taken || entry.number >= oldest) return
      this.bytes -= entry.size
      log.shift()
    }
  }

  #delete(index: number, { size }: Entry<Value>): void {
    this.bytes -= size
    this.#log?.delete(index)
  }
}

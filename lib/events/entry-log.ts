import type { Consumer } from './consumer.ts'

/** A queued value. */
export interface Entry<Value> {
  readonly number: number
  readonly value: Value
  readonly size: number
  /** Whether a consumer has taken the value. */
  isTaken: boolean
  /** The only consumers that still get the value, once one with a `where` has picked it. */
  recipients?: readonly Consumer<Value>[]
}

/** The queued values of a delivery queue, by ascending number. */
export class EntryLog<Value> {
  /** The total size of the entries. */
  bytes = 0
  readonly #entries: (Entry<Value> | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#entries.length - this.#head
  }

  at(index: number): Entry<Value> | undefined {
    return this.#entries[this.#head + index]
  }

  /** Returns the index of the first entry whose number is `number` or higher. */
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

  /** Returns the first entry from `number` on that no consumer has taken. */
  findUntaken(number: number): Entry<Value> | undefined {
    for (let index = this.indexOf(number); ; index++) {
      const entry = this.at(index)
      if (!entry?.isTaken) return entry
    }
  }

  /** Returns the first entry from the consumer's cursor on that it may take. */
  findNextFor(consumer: Consumer<Value>): Entry<Value> | undefined {
    for (let index = this.indexOf(consumer.cursor); ; index++) {
      const entry = this.at(index)
      if (!entry?.recipients || entry.recipients.includes(consumer)) return entry
    }
  }

  push(entry: Entry<Value>): void {
    this.#entries.push(entry)
    this.bytes += entry.size
  }

  delete(index: number): void {
    this.bytes -= this.at(index)?.size ?? 0
    this.#entries.splice(this.#head + index, 1)
  }

  /** Removes the taken entries with numbers below `end`, up to the first that is not taken. */
  discardTaken(end: number): void {
    for (;;) {
      const entry = this.at(0)
      if (!entry?.isTaken || entry.number >= end) return
      this.bytes -= entry.size
      this.#shift()
    }
  }

  /** Removes all entries. Returns the values that no consumer has taken. */
  clear(): Value[] {
    const entries = this.#entries.splice(0).slice(this.#head) as Entry<Value>[] // none is empty now
    this.#head = 0
    this.bytes = 0
    return entries.filter(({ isTaken }) => !isTaken).map(({ value }) => value)
  }

  #shift(): void {
    this.#entries[this.#head++] = undefined
    // Compacts once more is removed than remains: an entry is moved at most once on average.
    if (this.length === 0 || (this.#head > 1_000 && this.#head > this.length)) {
      this.#entries.splice(0, this.#head)
      this.#head = 0
    }
  }
}

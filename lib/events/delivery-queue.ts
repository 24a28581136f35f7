import { afterTurn } from './after-turn.ts'
import type { Consumer } from './consumer.ts'
import { EntryLog, type Entry } from './entry-log.ts'

/** The target that a queue belongs to. */
interface QueueOwner {
  /** Handles a change of the queued values or of the consumers. */
  onChange(): void
}

/**
 * A queue of the values of one event, shared by all its listeners: a log of values, and a
 * cursor into it for each consumer.
 *
 * A value waits until a consumer has taken it, and for each consumer that is still busy. A new
 * consumer begins with the first value that no consumer has taken. A single consumer that is added
 * in the turn in which another one took its value continues after that value, however fast other
 * consumers are: until the turn ends, the log keeps the values that arrived since.
 */
export class DeliveryQueue<Value> {
  /** Whether it has, or ever had, a consumer. */
  hadConsumers = false

  readonly #owner: QueueOwner
  #log: EntryLog<Value> | undefined // created for the first value that has to wait
  #nextNumber = 0 // the number of the next value that is enqueued
  #firstUntaken = 0 // every entry with a lower number was taken at least once
  #consumers: readonly Consumer<Value>[] = [] // replaced, never changed: a loop may iterate over it
  #pickers: readonly Consumer<Value>[] = [] // the consumers with a `where`
  #isDelivering = false
  /** The number from which a single consumer continues if it is added in this turn. */
  #resumeNumber: number | undefined
  #hasEnded = false

  constructor(owner: QueueOwner) {
    this.#owner = owner
  }

  /** The number of queued values. */
  get waiting(): number {
    return this.#log?.length ?? 0
  }

  /** The total size of the queued values; an empty value counts as one byte. */
  get bytes(): number {
    return this.#log?.bytes ?? 0
  }

  /**
   * Whether a consumer takes every value. One with a `where` doesn't count: it takes its pick only.
   */
  get hasConsumers(): boolean {
    return this.#consumers.length > 0
  }

  /**
   * Whether a new single consumer may still continue after a value that was taken in this turn.
   */
  get isResumable(): boolean {
    return this.#resumeNumber !== undefined
  }

  /** Whether a single consumer waits for a value that has not arrived yet. */
  get isAwaited(): boolean {
    if (this.#pickers.length > 0) return true
    return this.#consumers.some(
      (consumer) => consumer.isSingle === true && !this.#nextEntryFor(consumer),
    )
  }

  /**
   * Enqueues a value. Returns true when every consumer took it at once, false when it was queued.
   */
  enqueue(value: Value, size: number): boolean {
    const recipients = this.#consumers
    const number = this.#nextNumber++
    const isPicked = this.#pickers.length > 0 && this.#pick(value, number)
    if (isPicked && recipients.length === 0) return true
    if (!isPicked && this.#deliverToAll(value)) return true
    const log = (this.#log ??= new EntryLog())
    const countedSize = Math.max(1, size)
    log.push(
      isPicked
        ? { number, value, size: countedSize, isTaken: true, recipients }
        : { number, value, size: countedSize, isTaken: false },
    )
    this.#owner.onChange()
    this.#deliverQueuedToAll()
    return false
  }

  /**
   * Offers a value that isn't queued here to the consumers with a `where`. Returns whether one took
   * it.
   */
  offerToPickers(value: Value): boolean {
    return this.#pick(value, this.#nextNumber++)
  }

  /**
   * Adds a consumer. It gets its first value in a later turn; one with a `where` may get it now.
   */
  add(consumer: Consumer<Value>): void {
    this.hadConsumers = true
    consumer.isBusy = consumer.onDemand === true
    consumer.cursor = this.#startCursor(consumer)
    if (consumer.where) {
      if (this.#findQueued(consumer, consumer.where)) return
      this.#pickers = this.#pickers.concat(consumer)
      if (this.#hasEnded) queueMicrotask(() => this.#endPickers())
    } else {
      this.#consumers = this.#consumers.concat(consumer) // allocates exactly the length it needs
      // Several single consumers may be added in this turn. They all begin when it ends, in order.
      if (consumer.isSingle && this.#resumeNumber !== undefined) consumer.isBusy = true
      else queueMicrotask(() => this.#deliverQueued(consumer))
    }
    this.#owner.onChange()
  }

  /** Removes a consumer. Values that no consumer has taken wait for the next one. */
  remove(consumer: Consumer<Value>): void {
    if (consumer.where) {
      this.#pickers = this.#pickers.filter((other) => other !== consumer)
    } else {
      if (!this.#consumers.includes(consumer)) return
      this.#consumers = this.#consumers.filter((other) => other !== consumer)
      this.#discardTaken()
    }
    this.#owner.onChange()
  }

  /** Removes all queued values. Returns those that no consumer has taken. */
  takeAll(): Value[] {
    const log = this.#log
    this.#log = undefined
    this.#firstUntaken = this.#nextNumber
    return log?.clear() ?? []
  }

  /** Delivers to a consumer that was busy or takes values on demand. */
  resume(consumer: Consumer<Value>): void {
    consumer.isBusy = false
    this.#deliverQueued(consumer)
  }

  /** Ends the queue. Each consumer is notified after its last value. */
  end(): void {
    this.#hasEnded = true
    this.#endPickers()
    this.#deliverQueuedToAll()
  }

  #endPickers(): void {
    for (const picker of this.#pickers) picker.onEnd()
  }

  /** Returns the number of the first value that a new consumer may take. */
  #startCursor(consumer: Consumer<Value>): number {
    const number = this.#log?.findUntaken(this.#firstUntaken)?.number ?? this.#nextNumber
    this.#firstUntaken = number
    return consumer.isSingle ? Math.min(number, this.#resumeNumber ?? number) : number
  }

  /**
   * Offers a value that has arrived to the consumers with a `where`. Returns whether one took it.
   */
  #pick(value: Value, number: number): boolean {
    let isPicked = false
    for (const picker of this.#pickers) {
      if (!this.#pickers.includes(picker) || picker.where?.(value) !== true) continue
      isPicked = true
      this.#allowResumption(number)
      void picker.deliver(value)
    }
    return isPicked
  }

  /**
   * Searches the queued values for the one that a new consumer picks. Returns whether it took one.
   */
  #findQueued(consumer: Consumer<Value>, where: (value: Value) => boolean): boolean {
    const log = this.#log
    if (!log) return false
    for (let index = log.indexOf(consumer.cursor); ; index++) {
      const entry = log.at(index)
      if (!entry) return false
      if (entry.recipients || !where(entry.value)) continue
      entry.isTaken = true
      entry.recipients = this.#consumers.filter(({ cursor }) => cursor <= entry.number)
      this.#allowResumption(entry.number)
      if (entry.recipients.length === 0) log.delete(index)
      this.#discardTaken()
      void consumer.deliver(entry.value)
      this.#owner.onChange()
      return true
    }
  }

  /**
   * Keeps the values after `number` until the turn ends: the program may add a consumer for them.
   */
  #allowResumption(number: number): void {
    if (this.#resumeNumber === undefined) afterTurn(() => this.#endTurn())
    this.#resumeNumber = Math.min(this.#resumeNumber ?? Infinity, number + 1)
  }

  #endTurn(): void {
    this.#resumeNumber = undefined
    for (const consumer of this.#consumers) {
      if (consumer.isSingle && consumer.isBusy) this.resume(consumer)
    }
    this.#discardTaken()
    this.#owner.onChange()
  }

  /** Delivers the queued values to each consumer; if one is being called, after it has returned. */
  #deliverQueuedToAll(): void {
    if (this.#isDelivering) queueMicrotask(() => this.#deliverQueuedToAll())
    else for (const consumer of this.#consumers) this.#deliverQueued(consumer)
  }

  /**
   * Delivers a value to every consumer at once and returns true, or returns false if one of them
   * can't take it now. Nearly every message takes this fast path.
   */
  #deliverToAll(value: Value): boolean {
    const consumers = this.#consumers
    if (consumers.length === 0 || this.#isDelivering || this.waiting > 0) return false
    if (this.#resumeNumber !== undefined) return false
    for (const consumer of consumers) if (consumer.isBusy) return false
    const cursor = this.#nextNumber
    for (const consumer of consumers) {
      // Skips a consumer that another one has removed meanwhile.
      if (consumers === this.#consumers || this.#consumers.includes(consumer)) {
        this.#deliver(consumer, value, cursor)
      }
    }
    return true
  }

  #deliver(consumer: Consumer<Value>, value: Value, cursor: number): void {
    const wasDelivering = this.#isDelivering
    this.#isDelivering = true
    consumer.cursor = cursor
    consumer.isBusy = consumer.onDemand === true
    if (consumer.isSingle) this.#allowResumption(cursor - 1)
    const promise = consumer.deliver(value)
    this.#isDelivering = wasDelivering
    if (!promise) return
    consumer.isBusy = true
    promise.then(() => this.resume(consumer))
  }

  /** Delivers the queued values to a consumer until it is busy. */
  #deliverQueued(consumer: Consumer<Value>): void {
    while (!consumer.isBusy && this.#consumers.includes(consumer)) {
      const entry = this.#nextEntryFor(consumer)
      if (!entry) {
        if (this.#hasEnded) consumer.onEnd()
        return
      }
      entry.isTaken = true
      consumer.cursor = entry.number + 1
      this.#discardTaken()
      this.#deliver(consumer, entry.value, consumer.cursor)
      this.#discardTaken()
      // Last: `close` waits for an empty queue, and has to follow the last value.
      this.#owner.onChange()
    }
  }

  #nextEntryFor(consumer: Consumer<Value>): Entry<Value> | undefined {
    if (consumer.cursor >= this.#nextNumber) return undefined
    return this.#log?.findNextFor(consumer)
  }

  /** Removes the values that every consumer has taken, except those kept until the turn ends. */
  #discardTaken(): void {
    const log = this.#log
    if (!log || log.length === 0) return
    let end = this.#resumeNumber ?? Infinity
    for (const { cursor } of this.#consumers) end = Math.min(end, cursor)
    log.discardTaken(end)
  }
}

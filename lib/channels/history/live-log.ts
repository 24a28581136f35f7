import { withTimeout, isPromise } from '../../promises.ts'
import { earliestWanted, findBeginning, type HistoryJoin } from './find-beginning.ts'
import { decodeEntry, type RecordedMessage } from './recorded-message.ts'
import type { HistoryPage, HistorySubscriber } from './store.ts'
import { MAX_WAITING, sizeOf, StoreRead, type HistoryMessage } from './store-read.ts'
import type { TopicHistory } from './topic-history.ts'

/**
 * The log of one topic on this node. It delivers the messages in the order of the store. Where a
 * message is missing, it reads the store before it delivers the next one. Where the store lacks the
 * message, too, it ends the memberships.
 */
export class LiveLog {
  readonly #topic: string
  readonly #history: TopicHistory
  /** Undefined until the first page of the store arrived, and after the position was lost. */
  #epoch: string | undefined
  /** The offset of the latest delivered message. */
  #offset = 0
  /** Whether the store has to be read before the next delivery. */
  #isBehind = true
  /** Whether messages may have been missed since the position was last known to be up to date. */
  #mayHaveMissed = false
  /** Whether the subscription is active; always, where the store has none. */
  #isSubscribed = false
  #isDelivering = false
  #isClosed = false
  #currentRead: StoreRead | undefined
  #joins: HistoryJoin[] = []
  /** The messages that arrived while another was being delivered, or while the log is behind. */
  #waitingMessages: HistoryMessage[] = []
  #waitingSize = 0
  #unsubscribe: (() => void) | undefined

  constructor(topic: string, history: TopicHistory) {
    this.#topic = topic
    this.#history = history
  }

  /** Whether joins wait for a read. */
  get hasWaitingJoins(): boolean {
    return [...this.#joins, ...(this.#currentRead?.joins ?? [])].some((join) => join.isWanted())
  }

  /** Subscribes to the store. Calls `onFailed` where that fails. */
  start(onFailed: () => void): void {
    const { store, settings } = this.#history
    if (!store.subscribe) {
      this.#isSubscribed = true
      return
    }
    const subscription = this.#subscribe().then((unsubscribe) => {
      this.#unsubscribe = unsubscribe
      if (this.#isClosed) this.close() // unsubscribes: the log was closed meanwhile
    })
    withTimeout(subscription, settings.timeout).then(
      () => {
        this.#isSubscribed = true
        this.#readIfNeeded()
      },
      (cause: unknown) => {
        this.#history.report({ cause })
        onFailed()
      },
    )
  }

  /** Unsubscribes from the store, and rejects the joins that wait. */
  close(): void {
    this.#isClosed = true
    const unsubscribe = this.#unsubscribe
    this.#unsubscribe = undefined
    const joins = [...(this.#currentRead?.joins ?? []), ...this.#joins]
    this.#currentRead = undefined
    this.#joins = []
    for (const join of joins) join.reject()
    unsubscribe?.()
  }

  /** Completes a join at once where its start is known, or else after the next read. */
  admit(join: HistoryJoin): void {
    const { since, backlog } = join
    const needsMessages = since?.epoch === this.#epoch && since?.offset !== this.#offset
    const isLive = !this.#isBehind && !this.#isDelivering
    if (this.#epoch !== undefined && isLive && !needsMessages && backlog === 0) {
      join.complete(findBeginning(join, { epoch: this.#epoch, offset: this.#offset }, new Map()))
      return
    }
    this.#joins.push(join)
    this.#readIfNeeded()
  }

  /** Accepts a message of the store, in any order. */
  receive(message: HistoryMessage): void {
    if (this.#isClosed) return
    const isNext = message.epoch === this.#epoch && message.offset === this.#offset + 1
    if (this.#isBehind || this.#isDelivering) {
      this.#enqueue(message)
    } else if (isNext) {
      this.#deliver(message)
      this.#readIfNeeded()
    } else if (message.epoch !== this.#epoch || message.offset > this.#offset) {
      this.#isBehind = true
      this.#enqueue(message)
      this.#readIfNeeded()
    }
  }

  /** Notes that messages may have been missed. Reads the store if joins or members need it. */
  interrupt(): void {
    if (this.#currentRead) this.#currentRead.mayHaveMissed = true
    this.#isBehind = this.#mayHaveMissed = true
    this.#readIfNeeded()
  }

  async #subscribe(): Promise<(() => void) | undefined> {
    const subscriber: HistorySubscriber = {
      receive: (message) => this.receive(message),
      interrupted: () => this.interrupt(),
    }
    return this.#history.store.subscribe?.(this.#topic, subscriber)
  }

  #enqueue(message: HistoryMessage): void {
    this.#waitingMessages.push(message)
    this.#waitingSize += sizeOf(message)
    if (this.#waitingSize <= MAX_WAITING) return
    this.#takeWaiting() // drops them: they will be read from the store
    if (this.#currentRead) this.#currentRead.mayHaveMissed = true
  }

  #takeWaiting(): readonly HistoryMessage[] {
    const messages = this.#waitingMessages
    this.#waitingMessages = []
    this.#waitingSize = 0
    return messages
  }

  /** Starts a read of the store where joins or members need one. */
  #readIfNeeded(): void {
    if (this.#currentRead || !this.#isSubscribed || this.#isClosed || this.#isDelivering) return
    if (!this.#isReadNeeded()) return
    const { owner, settings } = this.#history
    const { timeout } = settings
    const isUrgent = this.#isBehind && owner.hasMembers(this.#topic)
    const read = new StoreRead()
    this.#currentRead = read
    const onPage = (page: HistoryPage | undefined): void => this.#onPage(read, page)
    const onError = (cause: unknown): void => this.#onReadError(read, cause)
    try {
      const page = owner.reads.run(() => this.#startRead(read), { timeout, isUrgent })
      // Joins give up after the timeout; members that are behind wait for their turn in the queue.
      if (!isPromise(page)) onPage(page)
      else if (isUrgent) page.then(onPage, onError)
      else withTimeout(page, timeout).then(onPage, onError)
    } catch (cause) {
      onError(cause)
    }
  }

  #isReadNeeded(): boolean {
    this.#joins = this.#joins.filter((join) => join.isWanted())
    return this.#joins.length > 0 || (this.#isBehind && this.#history.owner.hasMembers(this.#topic))
  }

  #startRead(read: StoreRead): HistoryPage | undefined | PromiseLike<HistoryPage> {
    if (this.#currentRead !== read || !this.#isReadNeeded()) return undefined
    const joins = this.#joins
    this.#joins = []
    read.begin(joins, this.#takeWaiting())
    const { store, settings } = this.#history
    return store.read(this.#topic, earliestWanted(joins, this.#epoch, this.#offset), settings)
  }

  #onReadError(read: StoreRead, cause: unknown): void {
    if (this.#currentRead !== read) return
    this.#history.report({ cause })
    if (this.#isBehind) this.#losePosition()
    const joins = read.joins.length > 0 ? read.joins : this.#joins.splice(0)
    this.#answerJoins(read, joins)
  }

  #onPage(read: StoreRead, page: HistoryPage | undefined): void {
    if (this.#currentRead !== read) return
    if (!page) {
      this.#currentRead = undefined
      return
    }
    this.#history.report()
    read.addPage(page)
    this.#advance(read, page)
    this.#isBehind = read.mayHaveMissed
    this.#mayHaveMissed &&= read.mayHaveMissed
    const hasGap = read.earlyMessages.some((message) => !this.#deliverEarly(message))
    if (hasGap) this.#losePosition()
    this.#drainWaiting()
    this.#answerJoins(read, read.joins)
  }

  /**
   * Advances the log to the store's position; ends the memberships where messages between are
   * missing.
   */
  #advance(read: StoreRead, { epoch, offset, entries }: HistoryPage): void {
    // A log that has delivered nothing over an uninterrupted subscription has missed nothing: its
    // former epoch had no messages.
    const isUntouched = this.#offset === 0 && !this.#mayHaveMissed
    const isSameEpoch = this.#epoch === epoch || (this.#epoch !== undefined && isUntouched)
    const missedEntries = isSameEpoch ? entries.filter((entry) => entry.offset > this.#offset) : []
    if (isSameEpoch && this.#offset + missedEntries.length >= offset) {
      this.#epoch = epoch
      for (const entry of missedEntries) this.#emit(entry.offset, read.messages.get(entry.offset))
      return
    }
    this.#losePosition()
    this.#epoch = epoch
    this.#offset = offset
  }

  /**
   * Delivers a message that waited for a read. Returns false where a message before it is missing
   * in spite of the read.
   */
  #deliverEarly(message: HistoryMessage): boolean {
    if (message.epoch !== this.#epoch || message.offset <= this.#offset) return true
    if (message.offset > this.#offset + 1) return false
    this.#deliver(message)
    return true
  }

  #deliver(message: HistoryMessage): void {
    const recordedMessage = decodeEntry(message, message.epoch)
    this.#currentRead?.keep(message, recordedMessage)
    this.#emit(message.offset, recordedMessage)
    this.#drainWaiting()
  }

  #emit(offset: number, message: RecordedMessage | undefined): void {
    this.#offset = offset
    this.#isDelivering = true
    try {
      if (message) this.#history.owner.deliver(this.#topic, message)
      else this.#history.owner.countDrop()
    } finally {
      this.#isDelivering = false
    }
  }

  /** Processes the messages that arrived while another was being delivered. */
  #drainWaiting(): void {
    if (this.#isBehind || this.#isDelivering) return
    for (const message of this.#takeWaiting()) this.receive(message)
  }

  /** Forgets the position, and ends the memberships: the messages that they missed are unknown. */
  #losePosition(): void {
    const hadPosition = this.#epoch !== undefined
    this.#epoch = undefined
    this.#offset = 0
    this.#isBehind = true
    this.#mayHaveMissed = false
    if (hadPosition) this.#history.owner.endMemberships(this.#topic)
  }

  #answerJoins(read: StoreRead, joins: readonly HistoryJoin[]): void {
    for (const join of joins) {
      const [epoch, offset] = [this.#epoch, this.#offset]
      if (!join.isWanted()) continue
      if (epoch === undefined) join.reject()
      else join.complete(findBeginning(join, { epoch, offset }, read.messages))
    }
    if (this.#currentRead === read) this.#currentRead = undefined
    this.#drainWaiting()
    this.#readIfNeeded()
  }
}

import { inTime, isPromise } from '../../promises.ts'
import { earliestWanted, findBeginning, type HistoryJoin, type Messages } from './find-beginning.ts'
import type { LiveLogOwner } from './history-host.ts'
import { decodeEntry, type RecordedMessage } from './recorded.ts'
import type { HistoryEntry, HistoryPage, HistorySubscriber } from './store.ts'

/** A recorded message as a store gives it. */
type HistoryMessage = HistoryEntry & { readonly epoch: string }

/** A read that is under way, for the joins that wait for it and for a log that is behind. */
interface Read {
  joins: readonly HistoryJoin[]
  /** The messages that came before it began, and wait for it. */
  early: readonly HistoryMessage[]
  /** What the store answers, and what is delivered meanwhile, by offsets. */
  readonly messages: Messages
  /** What of that may still be delivered before the answer. */
  room: number
  /** Whether messages may have been missed since it began. */
  isDoubtful: boolean
}

const MAX_WAITING = 1024 * 1024 // characters that wait for a read, or are kept for the joins that do
const OVERHEAD = 100 // of each message

/**
 * The messages of one topic as they are delivered on this node, in the order of the store. Where one is
 * missing it reads the store before it delivers on, and where that has a hole, too, it ends the
 * memberships.
 */
export class LiveLog {
  readonly #topic: string
  readonly #owner: LiveLogOwner
  /** Undefined until the store has told it, and once it is lost. */
  #epoch: string | undefined
  /** The offset of the latest message that was delivered. */
  #offset = 0
  /** Whether the store has to be read before anything is delivered. */
  #isBehind = true
  /** Whether messages may have been missed since the position was known to be the latest one. */
  #hasMissed = false
  #isStanding = false
  #isDelivering = false
  #isClosed = false
  #read: Read | undefined
  #joins: HistoryJoin[] = []
  #waiting: HistoryMessage[] = []
  #waitingSize = 0
  #unsubscribe: (() => void) | undefined

  constructor(topic: string, owner: LiveLogOwner) {
    this.#topic = topic
    this.#owner = owner
  }

  /** Whether joins wait here. */
  get isAwaited(): boolean {
    return [...this.#joins, ...(this.#read?.joins ?? [])].some((join) => join.isWanted())
  }

  /** Begins to receive. Calls back where the store refuses that. */
  start(failed: () => void): void {
    const { store, settings } = this.#owner
    if (!store.subscribe) {
      this.#isStanding = true
      return
    }
    const subscribed = this.#subscribe().then((unsubscribe) => {
      this.#unsubscribe = unsubscribe
      if (this.#isClosed) this.close() // it came too late
    })
    inTime(subscribed, settings.timeout).then(
      () => {
        this.#isStanding = true
        this.#run()
      },
      (cause: unknown) => {
        this.#owner.report({ cause })
        failed()
      },
    )
  }

  /** Stops receiving, and refuses the joins that wait. */
  close(): void {
    this.#isClosed = true
    const unsubscribe = this.#unsubscribe
    this.#unsubscribe = undefined
    const joins = [...(this.#read?.joins ?? []), ...this.#joins]
    this.#read = undefined
    this.#joins = []
    for (const join of joins) join.refuse()
    unsubscribe?.()
  }

  /** Finds the place of a join: at once where that is known, or with the next read. */
  admit(join: HistoryJoin): void {
    const { since, backlog } = join
    const hasMissed = since?.epoch === this.#epoch && since?.offset !== this.#offset
    const isLive = !this.#isBehind && !this.#isDelivering
    if (this.#epoch !== undefined && isLive && !hasMissed && backlog === 0) {
      join.enter(findBeginning(join, { epoch: this.#epoch, offset: this.#offset }, new Map()))
      return
    }
    this.#joins.push(join)
    this.#run()
  }

  /** Takes a message of the store, in whatever order it comes. */
  receive(message: HistoryMessage): void {
    if (this.#isClosed) return
    const isNext = message.epoch === this.#epoch && message.offset === this.#offset + 1
    if (this.#isBehind || this.#isDelivering) {
      this.#wait(message)
    } else if (isNext) {
      this.#deliver(message)
      this.#run()
    } else if (message.epoch !== this.#epoch || message.offset > this.#offset) {
      this.#isBehind = true
      this.#wait(message)
      this.#run()
    }
  }

  /** Messages may have been missed. */
  interrupt(): void {
    if (this.#read) this.#read.isDoubtful = true
    this.#isBehind = this.#hasMissed = true
    this.#run()
  }

  async #subscribe(): Promise<(() => void) | undefined> {
    const subscriber: HistorySubscriber = {
      receive: (message) => this.receive(message),
      interrupted: () => this.interrupt(),
    }
    return this.#owner.store.subscribe?.(this.#topic, subscriber)
  }

  #wait(message: HistoryMessage): void {
    this.#waiting.push(message)
    this.#waitingSize += message.data.length + OVERHEAD
    if (this.#waitingSize <= MAX_WAITING) return
    this.#takeWaiting() // the store has them
    if (this.#read) this.#read.isDoubtful = true
  }

  #takeWaiting(): readonly HistoryMessage[] {
    const waiting = this.#waiting
    this.#waiting = []
    this.#waitingSize = 0
    return waiting
  }

  /** Reads the store where something waits for that. */
  #run(): void {
    if (this.#read || !this.#isStanding || this.#isClosed || this.#isDelivering) return
    if (!this.#isReadWanted()) return
    const { host, settings } = this.#owner
    const { timeout } = settings
    const isUrgent = this.#isBehind && host.hasMembers(this.#topic)
    const read: Read = {
      ...{ joins: [], early: [], messages: new Map(), room: MAX_WAITING },
      isDoubtful: false,
    }
    this.#read = read
    const taken = (page: HistoryPage | undefined): void => this.#take(read, page)
    const failed = (cause: unknown): void => this.#fail(read, cause)
    try {
      const page = host.reads.run(() => this.#begin(read), { timeout, isUrgent })
      // Members that are behind wait for their turn, joins for so long.
      if (!isPromise(page)) taken(page)
      else if (isUrgent) page.then(taken, failed)
      else inTime(page, timeout).then(taken, failed)
    } catch (cause) {
      failed(cause)
    }
  }

  #isReadWanted(): boolean {
    this.#joins = this.#joins.filter((join) => join.isWanted())
    return this.#joins.length > 0 || (this.#isBehind && this.#owner.host.hasMembers(this.#topic))
  }

  #begin(read: Read): HistoryPage | undefined | PromiseLike<HistoryPage> {
    if (this.#read !== read || !this.#isReadWanted()) return undefined
    read.joins = this.#joins
    this.#joins = []
    read.early = this.#takeWaiting()
    read.isDoubtful = false
    const { store, settings } = this.#owner
    return store.read(this.#topic, earliestWanted(read.joins, this.#epoch, this.#offset), settings)
  }

  #fail(read: Read, cause: unknown): void {
    if (this.#read !== read) return
    this.#owner.report({ cause })
    if (this.#isBehind) this.#lose()
    const joins = read.joins.length > 0 ? read.joins : this.#joins.splice(0)
    this.#settle(read, joins)
  }

  #take(read: Read, page: HistoryPage | undefined): void {
    if (this.#read !== read) return
    if (!page) {
      this.#read = undefined
      return
    }
    this.#owner.report()
    read.room = Infinity // what waits is bounded already
    this.#advance(read, page)
    this.#isBehind = read.isDoubtful
    this.#hasMissed &&= read.isDoubtful
    const hasHole = read.early.some((message) => !this.#follow(message))
    if (hasHole) this.#lose()
    this.#drain()
    this.#settle(read, read.joins)
  }

  /** Brings the log to where the store is; ends the memberships where messages between are missing. */
  #advance(read: Read, { epoch, offset, entries }: HistoryPage): void {
    for (const entry of entries) {
      if (!read.messages.has(entry.offset))
        read.messages.set(entry.offset, decodeEntry(entry, epoch))
    }
    // What was subscribed without a break has had no message in the other epoch.
    const isFirst = this.#offset === 0 && !this.#hasMissed
    const isSame = this.#epoch === epoch || (this.#epoch !== undefined && isFirst)
    const missed = isSame ? entries.filter((entry) => entry.offset > this.#offset) : []
    if (isSame && this.#offset + missed.length >= offset) {
      this.#epoch = epoch
      for (const entry of missed) this.#send(entry.offset, read.messages.get(entry.offset))
      return
    }
    this.#lose()
    this.#epoch = epoch
    this.#offset = offset
  }

  /** Delivers what waited for a read. Returns false where one before it is missing nevertheless. */
  #follow(message: HistoryMessage): boolean {
    if (message.epoch !== this.#epoch || message.offset <= this.#offset) return true
    if (message.offset > this.#offset + 1) return false
    this.#deliver(message)
    return true
  }

  #deliver(message: HistoryMessage): void {
    const prepared = decodeEntry(message, message.epoch)
    const read = this.#read
    if (read && read.joins.length > 0) {
      read.room -= message.data.length + OVERHEAD
      if (read.room < 0) read.messages.clear()
      else read.messages.set(message.offset, prepared)
    }
    this.#send(message.offset, prepared)
    this.#drain()
  }

  #send(offset: number, message: RecordedMessage | undefined): void {
    this.#offset = offset
    this.#isDelivering = true
    try {
      if (message) this.#owner.host.deliver(this.#topic, message)
      else this.#owner.host.dropped()
    } finally {
      this.#isDelivering = false
    }
  }

  /** Takes what came while something else was delivered. */
  #drain(): void {
    if (this.#isBehind || this.#isDelivering) return
    for (const message of this.#takeWaiting()) this.receive(message)
  }

  /** Ends the memberships: what they missed is not known. */
  #lose(): void {
    const hadPosition = this.#epoch !== undefined
    this.#epoch = undefined
    this.#offset = 0
    this.#isBehind = true
    this.#hasMissed = false
    if (hadPosition) this.#owner.host.endMemberships(this.#topic)
  }

  #settle(read: Read, joins: readonly HistoryJoin[]): void {
    for (const join of joins) {
      const [epoch, offset] = [this.#epoch, this.#offset]
      if (!join.isWanted()) continue
      if (epoch === undefined) join.refuse()
      else join.enter(findBeginning(join, { epoch, offset }, read.messages))
    }
    if (this.#read === read) this.#read = undefined
    this.#drain()
    this.#run()
  }
}

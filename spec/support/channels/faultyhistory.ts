import type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
  HistorySubscriber,
} from 'simplewebsockets/channels'
import type { Random } from './random.ts'

type Message = HistoryEntry & { readonly epoch: string }

/** A message that the store has recorded at some time. */
export interface Commit extends HistoryPosition {
  /** Where it stands among all that was ever recorded. */
  readonly seq: number
  readonly data: string
}

/** How often, of a hundred times, what goes wrong. */
export interface Faults {
  /** An operation is refused. */
  readonly refused: number
  /** An operation is done, and answered with a failure. */
  readonly unanswered: number
  /** An operation is done, and not answered before its timeout. */
  readonly late: number
  /** A message is not received by one node. */
  readonly lost: number
  /** A message is received twice. */
  readonly doubled: number
}

export const NO_FAULTS: Faults = { refused: 0, unanswered: 0, late: 0, lost: 0, doubled: 0 }

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** One subscription of one node. */
class Subscription {
  readonly #subscriber: HistorySubscriber
  #isCut = false
  #queue: Promise<void> = Promise.resolve()
  #isOpen = true
  #life = 0

  constructor(subscriber: HistorySubscriber) {
    this.#subscriber = subscriber
  }

  /** Hands on a message some turns later, behind those before it. */
  send(message: Message, turns: number): void {
    const life = this.#life
    if (this.#isCut) return
    this.#later(turns, () => life === this.#life && this.#subscriber.receive(message))
  }

  /** Loses what is on its way; is told of that when it stands again. */
  cut(): void {
    this.#life++
    this.#isCut = true
  }

  stand(turns: number): void {
    this.#isCut = false
    this.#later(turns, () => this.#subscriber.interrupted())
  }

  close(): void {
    this.#isOpen = false
  }

  idle(): Promise<void> {
    return this.#queue
  }

  #later(turns: number, act: () => unknown): void {
    this.#queue = this.#queue.then(async () => {
      for (let left = turns; left > 0; left--) await turn()
      if (this.#isOpen) act()
    })
  }
}

/** A store as one node sees it. */
export interface NodeHistory extends HistoryStore {
  /** Ends all subscriptions, as a killed process does. */
  leave(): void
  /** Loses the way to the store, and what comes from there. */
  cutOff(): void
  reconnect(): void
}

/** A store for many nodes in this process that takes turns for everything, and fails when it is told to. */
export class FaultyHistory {
  faults: Faults = NO_FAULTS
  readonly commits: Commit[] = []
  readonly #random: Random
  readonly #subscriptions = new Set<Subscription>()
  #entries: HistoryEntry[] = []
  /** The life of the topic; undefined before its first message. */
  #epoch: string | undefined
  #offset = 0
  #run = 1
  #isDown = false
  reads = 0
  /** Whether messages were dropped for its bounds. */
  hasTrimmed = false

  constructor(random: Random) {
    this.#random = random
  }

  /** The store as one node sees it, which may be cut off from it. */
  node(): NodeHistory {
    const own = new Set<Subscription>()
    let isCutOff = false
    const operate = async <Value>(act: () => Value): Promise<Value> => {
      if (isCutOff) throw new Error('the store is out of reach')
      return this.#operate(act)
    }
    return {
      append: (_topic, data, bounds) => operate(() => this.#append(data, bounds)),
      read: (_topic, since) => {
        this.reads++
        return operate(() => this.#read(since))
      },
      cutOff: () => {
        isCutOff = true
        for (const subscription of own) subscription.cut()
      },
      reconnect: () => {
        isCutOff = false
        for (const subscription of own) subscription.stand(1)
      },
      subscribe: async (_topic, subscriber) => {
        await operate(() => {})
        const subscription = new Subscription(subscriber)
        own.add(subscription)
        this.#subscriptions.add(subscription)
        return () => {
          subscription.close()
          this.#subscriptions.delete(subscription)
        }
      },
      leave: () => {
        for (const subscription of own) {
          subscription.close()
          this.#subscriptions.delete(subscription)
        }
      },
    }
  }

  /** Goes down: nothing is answered, and no message gets through. */
  goDown(): void {
    this.#isDown = true
    for (const subscription of this.#subscriptions) subscription.cut()
  }

  /** Comes back with so many of its latest messages lost, in another run unless it is durable. */
  comeBack(lost: number, isDurable: boolean): void {
    this.#isDown = false
    if (!isDurable) {
      this.#run++
      this.#entries = this.#entries.slice(0, Math.max(0, this.#entries.length - lost))
      this.#forget()
    }
    for (const subscription of this.#subscriptions) subscription.stand(this.#random.below(4))
  }

  /** Loses all that it has, while nodes stay subscribed. */
  flush(): void {
    this.#run++
    this.#forget()
  }

  /** Interrupts the subscriptions, some of them, and restores them. */
  interrupt(): void {
    for (const subscription of this.#subscriptions) {
      if (this.#random.below(2) === 0) continue
      subscription.cut()
      subscription.stand(this.#random.below(4))
    }
  }

  /** Resolves once all that is on its way has arrived. */
  async settle(): Promise<void> {
    for (let turns = 0; turns < 15; turns++) {
      await turn()
      for (const subscription of [...this.#subscriptions]) await subscription.idle()
    }
  }

  #forget(): void {
    this.#epoch = undefined
    this.#offset = 0
    this.#entries = []
  }

  #append(data: string, { size }: HistoryBounds): HistoryPosition {
    this.#epoch ??= `run${this.#run}`
    const message = { epoch: this.#epoch, offset: ++this.#offset, data }
    this.#entries.push({ offset: message.offset, data })
    this.commits.push({ ...message, seq: this.commits.length + 1 })
    if (this.#entries.length > size) {
      this.hasTrimmed = true
      this.#entries = this.#entries.slice(-size)
    }
    for (const subscription of this.#subscriptions) {
      if (this.#happens(this.faults.lost)) continue
      subscription.send(message, this.#random.below(3))
      if (this.#happens(this.faults.doubled)) subscription.send(message, this.#random.below(2))
    }
    return message
  }

  #read(since: number | undefined): HistoryPage {
    const entries = since === undefined ? [] : this.#entries.filter(({ offset }) => offset > since)
    return { epoch: this.#epoch ?? `run${this.#run}`, offset: this.#offset, entries }
  }

  async #operate<Value>(act: () => Value): Promise<Value> {
    for (let turns = this.#random.below(3); turns > 0; turns--) await turn()
    if (this.#isDown || this.#happens(this.faults.refused)) throw new Error('the store is down')
    const value = act()
    const isLate = this.#happens(this.faults.late)
    if (isLate) await new Promise((resolve) => setTimeout(resolve, 30))
    for (let turns = this.#random.below(3); turns > 0; turns--) await turn()
    if (this.#happens(this.faults.unanswered)) throw new Error('no answer')
    return value
  }

  #happens(percent: number): boolean {
    return this.#random.below(100) < percent
  }
}

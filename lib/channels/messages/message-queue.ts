import type { Consumer } from '../../events/consumer.ts'
import { DeliveryQueue } from '../../events/delivery-queue.ts'
import { afterTurn } from '../../events/after-turn.ts'

/** The filter of a listener that receives the messages of every event. */
export const ANY_EVENT: unique symbol = Symbol('every')

/** The name of an event, or `ANY_EVENT`. */
export type EventFilter = string | typeof ANY_EVENT

/** A message that a `MessageQueue` keeps. */
export interface QueuedMessage {
  readonly event: string
  /** The size of the message in bytes. */
  readonly size: number
  /** The position of the message among all messages of its channel. */
  readonly number: number
}

/** The owner of a message queue, which counts the waiting messages of its connection. */
export interface BacklogListener {
  /** Whether messages without a listener count, too, not only those for slow listeners. */
  readonly countsUnlistened: boolean
  /** Adds to the number of waiting messages, and to their bytes; the numbers may be negative. */
  addBacklog(messages: number, bytes: number): void
}

const MAX_FORMER_EVENTS = 1_000 // names of events that have lost their last listener

/** The messages that wait for the listeners of one filter. */
class EventQueue<Value extends QueuedMessage> extends DeliveryQueue<Value> {
  /** The number of the first message that arrived since the queue has a listener. */
  firstNumber = 0
}

/**
 * Queues the received messages of a channel: one queue for each event that has listeners, and one
 * for the listeners of every event. So a slow listener delays no other.
 *
 * Messages without any listener wait in the queue of every event until a listener is added.
 */
export class MessageQueue<Value extends QueuedMessage> {
  readonly #listener: BacklogListener
  #every: EventQueue<Value> | undefined
  /** The queues of events with a listener, or whose last listener left messages behind. */
  #named: Map<string, EventQueue<Value>> | undefined
  /** Whether there was ever a listener of every event. */
  #handlesAll = false
  /** The events that had a listener and have none now. */
  #formerEvents: Set<string> | undefined
  #next = 0 // the number of the next message
  #waiting = 0
  #messages = 0
  #bytes = 0
  #ended = false

  constructor(listener: BacklogListener) {
    this.#listener = listener
  }

  /** The number of messages that wait for a slow listener. */
  get waiting(): number {
    return this.#waiting
  }

  /** Whether no further message will come. */
  get hasEnded(): boolean {
    return this.#ended
  }

  /** The bytes of the waiting messages, as they were reported to the `BacklogListener`. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Returns the queue in which a message of `event` would wait for a listener; undefined when the
   * event has a listener, or when no such queue exists yet.
   */
  withoutListener(event: string): { readonly waiting: number; readonly bytes: number } | undefined {
    const named = this.#named?.get(event)
    if (this.#every?.hasConsumers === true || named?.hasConsumers === true) return undefined
    return named ?? this.#every
  }

  /** Returns whether an event ever had a listener, of its own or of every event. */
  handles(event: string): boolean {
    return (
      this.#handlesAll ||
      this.#named?.has(event) === true ||
      this.#formerEvents?.has(event) === true
    )
  }

  /** Removes and returns the messages whose event never had a listener. */
  takeUnhandled(): Value[] {
    if (this.#handlesAll) return []
    const messages = this.#every?.takeAll() ?? []
    for (const message of messages) {
      if (this.handles(message.event)) this.#every?.enqueue(message, message.size)
    }
    this.onChange()
    return messages.filter(({ event }) => !this.handles(event))
  }

  /** Delivers a message to its listeners, or queues it. */
  enqueue(message: Value): void {
    this.#next = message.number + 1
    const named = this.#named?.get(message.event)
    const every = this.#every
    const listening = [named, every].filter((queue) => acceptsMessages(queue))
    // Without a listener the message waits with older ones of its event, or of every event.
    const queues = listening.length > 0 ? listening : [named ?? this.#everyQueue()]
    let isPicked = false
    for (const queue of [named, every]) {
      if (queue && !queues.includes(queue) && queue.offerToPickers(message)) isPicked = true
    }
    if (isPicked && listening.length === 0) return
    for (const queue of queues) queue?.enqueue(message, message.size)
  }

  /** Adds a listener. */
  add(filter: EventFilter, consumer: Consumer<Value>): void {
    if (filter === ANY_EVENT) this.#handlesAll = true
    const queue = filter === ANY_EVENT ? this.#everyQueue() : this.#namedQueue(filter)
    if (!queue.hasConsumers) {
      this.#adoptBacklog(filter, queue)
      queue.firstNumber = this.#next
      if (this.#ended) queue.end()
    }
    queue.add(consumer)
  }

  /** Removes a listener. Messages that only this listener had still to take wait for the next. */
  remove(filter: EventFilter, consumer: Consumer<Value>): void {
    const queue = filter === ANY_EVENT ? this.#every : this.#named?.get(filter)
    if (!queue) return
    queue.remove(consumer)
    if (queue.isResumable) afterTurn(() => this.#keepUndelivered(filter, queue))
    else this.#keepUndelivered(filter, queue)
  }

  /** Keeps the messages of a queue without a listener for the next one; drops those delivered. */
  #keepUndelivered(filter: EventFilter, queue: EventQueue<Value>): void {
    if (acceptsMessages(queue)) return
    const otherQueue = ({ event }: Value): EventQueue<Value> | undefined =>
      filter === ANY_EVENT ? this.#named?.get(event) : this.#every
    const undelivered = queue
      .takeAll()
      .filter((message) => !wasDelivered(otherQueue(message), message))
    for (const message of undelivered) queue.enqueue(message, message.size)
    if (filter !== ANY_EVENT && undelivered.length === 0) this.#deleteQueue(filter)
    this.onChange()
  }

  /** Delivers the next message to a listener. */
  resume(filter: EventFilter, consumer: Consumer<Value>): void {
    const queue = filter === ANY_EVENT ? this.#every : this.#named?.get(filter)
    if (queue) queue.resume(consumer)
  }

  /** Ends the queue: no further message will come. Each listener ends after its last message. */
  end(): void {
    this.#ended = true
    for (const queue of this.#queues()) queue.end()
    this.onChange()
  }

  /** Drops all waiting messages, and returns their number. */
  clear(): number {
    let count = 0
    for (const queue of this.#queues()) count += queue.takeAll().length
    this.onChange()
    return count
  }

  /** Reports the waiting messages to the `BacklogListener`. Called by each queue on a change. */
  onChange(): void {
    let [waiting, messages, bytes] = [0, 0, 0]
    // After the end, messages without a listener wait only for a program that kept the channel.
    const countsUnheard = this.#listener.countsUnlistened && !this.#ended
    for (const queue of this.#queues()) {
      if (queue.hasConsumers) waiting += queue.waiting
      if (!queue.hasConsumers && !countsUnheard) continue
      messages += queue.waiting
      bytes += queue.bytes
    }
    if (waiting === this.#waiting && messages === this.#messages && bytes === this.#bytes) return
    const added = [messages - this.#messages, bytes - this.#bytes] as const
    this.#waiting = waiting
    this.#messages = messages
    this.#bytes = bytes
    this.#listener.addBacklog(...added)
  }

  /** Moves the messages that wait without a listener into the queue of their first listener. */
  #adoptBacklog(filter: EventFilter, queue: EventQueue<Value>): void {
    const messages = queue.takeAll()
    if (filter === ANY_EVENT) {
      for (const [event, named] of this.#named ?? []) {
        if (named.hasConsumers) continue
        for (const message of named.takeAll()) messages.push(message)
        this.#named?.delete(event)
      }
    } else if (this.#every && !this.#every.hasConsumers && this.#every.waiting > 0) {
      const every = this.#every
      for (const message of every.takeAll()) {
        if (message.event === filter) messages.push(message)
        else every.enqueue(message, message.size)
      }
    }
    messages.sort((one, other) => one.number - other.number)
    for (const message of messages) queue.enqueue(message, message.size)
  }

  /** Deletes the queue of an event. The event still counts as handled. */
  #deleteQueue(event: string): void {
    this.#named?.delete(event)
    if (!this.#listener.countsUnlistened) return // on a client, which refuses no event
    this.#formerEvents ??= new Set()
    if (this.#formerEvents.size < MAX_FORMER_EVENTS) this.#formerEvents.add(event)
    else this.#handlesAll = true // a program that listens to so many events may listen to any
  }

  #everyQueue(): EventQueue<Value> {
    return (this.#every ??= new EventQueue<Value>(this))
  }

  #namedQueue(event: string): EventQueue<Value> {
    const named = (this.#named ??= new Map<string, EventQueue<Value>>())
    const queue = named.get(event) ?? new EventQueue<Value>(this)
    named.set(event, queue)
    return queue
  }

  #queues(): EventQueue<Value>[] {
    const named = this.#named ? [...this.#named.values()] : []
    return this.#every ? [this.#every, ...named] : named
  }
}

/**
 * Returns whether a queue accepts messages. A queue that lost its last listener in this turn does:
 * a new listener may follow in the same turn.
 */
function acceptsMessages(
  queue: { readonly hasConsumers: boolean; readonly isResumable: boolean } | undefined,
): boolean {
  return queue !== undefined && (queue.hasConsumers || queue.isResumable)
}

/** Returns whether `queue` received this message, too: it had a listener at its arrival. */
function wasDelivered<Value extends QueuedMessage>(
  queue: EventQueue<Value> | undefined,
  { number }: Value,
): boolean {
  return queue?.hasConsumers === true && number >= queue.firstNumber
}

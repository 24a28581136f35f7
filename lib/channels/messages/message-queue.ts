import { afterTurn } from '../../events/after-turn.ts'
import type { Consumer } from '../../events/consumer.ts'
import { DeliveryQueue } from '../../events/delivery-queue.ts'

/** The filter of a listener that receives the messages of every event. */
export const ANY_EVENT: unique symbol = Symbol('anyEvent')

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
  /** The queue of the listeners of every event. */
  #anyQueue: EventQueue<Value> | undefined
  /** The queues of events with a listener, or whose last listener left messages behind. */
  #eventQueues: Map<string, EventQueue<Value>> | undefined
  /** Whether there was ever a listener of every event. */
  #handlesAll = false
  /** The events that had a listener and have none now. */
  #formerEvents: Set<string> | undefined
  #next = 0 // the number of the next message
  #waiting = 0
  #messages = 0
  #bytes = 0
  #hasEnded = false

  constructor(listener: BacklogListener) {
    this.#listener = listener
  }

  /** The number of messages that wait for a slow listener. */
  get waiting(): number {
    return this.#waiting
  }

  /** Whether no further message will come. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** The bytes of the waiting messages, as they were reported to the `BacklogListener`. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Returns the queue in which a message of `event` would wait for a listener; undefined when the
   * event has a listener, or when no such queue exists yet.
   */
  findUnlistened(event: string): { readonly waiting: number; readonly bytes: number } | undefined {
    const eventQueue = this.#eventQueues?.get(event)
    if (this.#anyQueue?.hasConsumers === true || eventQueue?.hasConsumers === true) return undefined
    return eventQueue ?? this.#anyQueue
  }

  /** Returns whether an event ever had a listener, of its own or of every event. */
  handles(event: string): boolean {
    return (
      this.#handlesAll ||
      this.#eventQueues?.has(event) === true ||
      this.#formerEvents?.has(event) === true
    )
  }

  /** Removes and returns the messages whose event never had a listener. */
  takeUnhandled(): Value[] {
    if (this.#handlesAll) return []
    const messages = this.#anyQueue?.takeAll() ?? []
    for (const message of messages) {
      if (this.handles(message.event)) this.#anyQueue?.enqueue(message, message.size)
    }
    this.onChange()
    return messages.filter(({ event }) => !this.handles(event))
  }

  /** Delivers a message to its listeners, or queues it. */
  enqueue(message: Value): void {
    this.#next = message.number + 1
    const eventQueue = this.#eventQueues?.get(message.event)
    const anyQueue = this.#anyQueue
    const readyQueues = [eventQueue, anyQueue].filter((queue) => acceptsMessages(queue))
    // Without a listener the message waits with older ones of its event, or of every event.
    const queues = readyQueues.length > 0 ? readyQueues : [eventQueue ?? this.#openAnyQueue()]
    let isPicked = false
    for (const queue of [eventQueue, anyQueue]) {
      if (queue && !queues.includes(queue) && queue.offerToPickers(message)) isPicked = true
    }
    if (isPicked && readyQueues.length === 0) return
    for (const queue of queues) queue?.enqueue(message, message.size)
  }

  /** Adds a listener. */
  add(filter: EventFilter, consumer: Consumer<Value>): void {
    if (filter === ANY_EVENT) this.#handlesAll = true
    const queue = filter === ANY_EVENT ? this.#openAnyQueue() : this.#openEventQueue(filter)
    if (!queue.hasConsumers) {
      this.#moveUnlistened(filter, queue)
      queue.firstNumber = this.#next
      if (this.#hasEnded) queue.end()
    }
    queue.add(consumer)
  }

  /** Removes a listener. Messages that only this listener had still to take wait for the next. */
  remove(filter: EventFilter, consumer: Consumer<Value>): void {
    const queue = filter === ANY_EVENT ? this.#anyQueue : this.#eventQueues?.get(filter)
    if (!queue) return
    queue.remove(consumer)
    if (queue.isResumable) afterTurn(() => this.#keepUndelivered(filter, queue))
    else this.#keepUndelivered(filter, queue)
  }

  /** Keeps the messages of a queue without a listener for the next one; drops those delivered. */
  #keepUndelivered(filter: EventFilter, queue: EventQueue<Value>): void {
    if (acceptsMessages(queue)) return
    const otherQueue = ({ event }: Value): EventQueue<Value> | undefined =>
      filter === ANY_EVENT ? this.#eventQueues?.get(event) : this.#anyQueue
    const undelivered = queue
      .takeAll()
      .filter((message) => !wasDelivered(otherQueue(message), message))
    for (const message of undelivered) queue.enqueue(message, message.size)
    if (filter !== ANY_EVENT && undelivered.length === 0) this.#deleteQueue(filter)
    this.onChange()
  }

  /** Delivers the next message to a listener. */
  resume(filter: EventFilter, consumer: Consumer<Value>): void {
    const queue = filter === ANY_EVENT ? this.#anyQueue : this.#eventQueues?.get(filter)
    if (queue) queue.resume(consumer)
  }

  /** Ends the queue: no further message will come. Each listener ends after its last message. */
  end(): void {
    this.#hasEnded = true
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
    // After the end, messages without a listener wait only while the program keeps the channel.
    const countsUnlistened = this.#listener.countsUnlistened && !this.#hasEnded
    for (const queue of this.#queues()) {
      if (queue.hasConsumers) waiting += queue.waiting
      if (!queue.hasConsumers && !countsUnlistened) continue
      messages += queue.waiting
      bytes += queue.bytes
    }
    if (waiting === this.#waiting && messages === this.#messages && bytes === this.#bytes) return
    const changes = [messages - this.#messages, bytes - this.#bytes] as const
    this.#waiting = waiting
    this.#messages = messages
    this.#bytes = bytes
    this.#listener.addBacklog(...changes)
  }

  /** Moves the messages that wait without a listener into the queue of their first listener. */
  #moveUnlistened(filter: EventFilter, queue: EventQueue<Value>): void {
    const messages = queue.takeAll()
    if (filter === ANY_EVENT) {
      for (const [event, eventQueue] of this.#eventQueues ?? []) {
        if (eventQueue.hasConsumers) continue
        for (const message of eventQueue.takeAll()) messages.push(message)
        this.#eventQueues?.delete(event)
      }
    } else if (this.#anyQueue && !this.#anyQueue.hasConsumers && this.#anyQueue.waiting > 0) {
      const anyQueue = this.#anyQueue
      for (const message of anyQueue.takeAll()) {
        if (message.event === filter) messages.push(message)
        else anyQueue.enqueue(message, message.size)
      }
    }
    messages.sort((one, other) => one.number - other.number)
    for (const message of messages) queue.enqueue(message, message.size)
  }

  /** Deletes the queue of an event. The event still counts as handled. */
  #deleteQueue(event: string): void {
    this.#eventQueues?.delete(event)
    if (!this.#listener.countsUnlistened) return // on a client, which refuses no event
    this.#formerEvents ??= new Set()
    if (this.#formerEvents.size < MAX_FORMER_EVENTS) this.#formerEvents.add(event)
    else this.#handlesAll = true // a program that listens to so many events may listen to any
  }

  #openAnyQueue(): EventQueue<Value> {
    return (this.#anyQueue ??= new EventQueue<Value>(this))
  }

  #openEventQueue(event: string): EventQueue<Value> {
    const queues = (this.#eventQueues ??= new Map<string, EventQueue<Value>>())
    const queue = queues.get(event) ?? new EventQueue<Value>(this)
    queues.set(event, queue)
    return queue
  }

  #queues(): EventQueue<Value>[] {
    const eventQueues = this.#eventQueues ? [...this.#eventQueues.values()] : []
    return this.#anyQueue ? [this.#anyQueue, ...eventQueues] : eventQueues
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

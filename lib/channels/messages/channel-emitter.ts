import { EMITTER } from '../../internal.ts'
import { ClosedError, invalidArgument } from '../../errors.ts'
import type { Consumer } from '../../events/consumer.ts'
import { Emitter, type ErrorSink, type Listenable } from '../../events/emitter.ts'
import { CHANNEL, type ChannelEvents } from '../channel.ts'
import { ANY_EVENT, type EventFilter } from './message-queue.ts'
import type { Message } from './message.ts'

/** The members of a channel that its emitters use. */
export interface ChannelInternals extends Listenable<ChannelEvents> {
  readonly connection: object | undefined
  /** Whether no further message from the peer will come. */
  readonly hasQueueEnded: boolean
  /** The target that receives errors when the channel has no `error` listener. */
  readonly errorSink: ErrorSink
  /** Adds a consumer of the messages that the peer pushes. */
  addConsumer<Value>(filter: EventFilter, consumer: Consumer<Value>): void
  /** Removes a consumer. */
  removeConsumer<Value>(filter: EventFilter, consumer: Consumer<Value>): void
  /** Delivers the next message to a consumer. */
  resume<Value>(filter: EventFilter, consumer: Consumer<Value>): void
  /** Adds `step` to the number of pending `once`, which keep reading going. */
  pinReading(step: 1 | -1): void
  /** Handles the failure of a listener. */
  onListenerFailed(): void
  /** Returns the error with which a wait on the closed channel rejects. */
  closedError(): ClosedError
}

/** The emitter of the channel's own events. */
export class ChannelEmitter extends Emitter<ChannelEvents> {
  readonly #channel: ChannelInternals

  constructor(channel: ChannelInternals) {
    super(CHANNEL)
    this.#channel = channel
  }

  override get parent(): ErrorSink {
    return this.#channel.errorSink
  }

  override closedError(): ClosedError {
    return this.#channel.closedError()
  }

  override hasEventEnded(event: PropertyKey): boolean {
    return event === 'message' ? this.#channel.hasQueueEnded : super.hasEventEnded(event)
  }

  override addListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === 'message') this.#channel.addConsumer(ANY_EVENT, consumer)
    else super.addListener(event, consumer)
  }

  override removeListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === 'message') this.#channel.removeConsumer(ANY_EVENT, consumer)
    else super.removeListener(event, consumer)
  }

  override resume<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === 'message') this.#channel.resume(ANY_EVENT, consumer)
  }

  override countPendingOnce(event: PropertyKey, step: 1 | -1): void {
    if (event !== 'close') this.#channel.pinReading(step)
  }

  override subjects(): readonly unknown[] {
    return [this.#channel.connection, this.#channel]
  }

  override onListenerFailed(): void {
    this.#channel.onListenerFailed()
  }
}

/** The emitter of the peer's messages, by the names of their events. */
class MessageEmitter extends Emitter<Record<string, Message>> {
  readonly #channel: ChannelInternals

  constructor(channel: ChannelInternals) {
    super({ kind: 'channel', events: [] })
    this.#channel = channel
  }

  /** Accepts every string: the peer chooses the names of its events. */
  override assertEvent(event: PropertyKey): void {
    if (typeof event !== 'string') throw invalidArgument('expected the name of an event')
  }

  override closedError(): ClosedError {
    return this.#channel.closedError()
  }

  override hasEventEnded(): boolean {
    return this.#channel.hasQueueEnded
  }

  override addListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    this.#channel.addConsumer(String(event), consumer)
  }

  override removeListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    this.#channel.removeConsumer(String(event), consumer)
  }

  override resume<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    this.#channel.resume(String(event), consumer)
  }

  override countPendingOnce(_: PropertyKey, step: 1 | -1): void {
    this.#channel.pinReading(step)
  }

  override handleListenerFailure(event: PropertyKey, cause: unknown, value: unknown): void {
    // A peer's `error` is a message. Only failing listeners of the channel's own are just printed.
    this.#channel[EMITTER].handleListenerFailure(
      event === 'error' ? 'message' : event,
      cause,
      value,
    )
  }
}

/** The target to `listen` to for the peer's messages: `channel.messages`. */
export class MessageTarget implements Listenable<Record<string, Message>> {
  readonly #emitter: MessageEmitter

  constructor(channel: ChannelInternals) {
    this.#emitter = new MessageEmitter(channel)
  }

  get [EMITTER](): Emitter<Record<string, Message>> {
    return this.#emitter
  }
}

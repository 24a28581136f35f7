import { ClosedError } from '../../errors.ts'
import type { Consumer } from '../../events/consumer.ts'
import { Emitter, type ErrorSink } from '../../events/emitter.ts'
import type { Listenable } from '../../events/listenable.ts'
import { EMITTER, type EVENTS } from '../../internal.ts'
import { invalidArgument } from '../../validation.ts'
import { CHANNEL, type ChannelEvents } from '../channel.ts'
import type { IncomingMessage, Message } from './message.ts'
import { ANY_EVENT, type MessageQueue } from './message-queue.ts'

/** The members of a channel that its emitters use. */
export interface ChannelInternals extends Listenable<ChannelEvents> {
  readonly connection: object | undefined
  /** Whether no further message from the peer will come. */
  readonly hasQueueEnded: boolean
  /** The target that receives errors when the channel has no `error` listener. */
  readonly errorSink: ErrorSink
  /** The messages that the peer pushes. */
  readonly queue: MessageQueue<IncomingMessage>
  /** Adds `step` to the number of pending `once` calls, for which reading goes on. */
  pinReading(step: 1 | -1): void
  /** Handles the failure of a listener. */
  onListenerFailed(): void
  /** Returns the error with which a wait on the closed channel rejects. */
  closedError(): ClosedError
}

// The channel emits only `IncomingMessage` where this is called, which the type can't express.
function asMessageConsumer<Value>(consumer: Consumer<Value>): Consumer<IncomingMessage> {
  return consumer as unknown as Consumer<IncomingMessage>
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
    if (event === 'message') this.#channel.queue.add(ANY_EVENT, asMessageConsumer(consumer))
    else super.addListener(event, consumer)
  }

  override removeListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === 'message') this.#channel.queue.remove(ANY_EVENT, asMessageConsumer(consumer))
    else super.removeListener(event, consumer)
  }

  override resume<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    if (event === 'message') this.#channel.queue.resume(ANY_EVENT, asMessageConsumer(consumer))
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
    this.#channel.queue.add(String(event), asMessageConsumer(consumer))
  }

  override removeListener<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    this.#channel.queue.remove(String(event), asMessageConsumer(consumer))
  }

  override resume<Value>(event: PropertyKey, consumer: Consumer<Value>): void {
    this.#channel.queue.resume(String(event), asMessageConsumer(consumer))
  }

  override countPendingOnce(_: PropertyKey, step: 1 | -1): void {
    this.#channel.pinReading(step)
  }

  override handleListenerFailure(event: PropertyKey, cause: unknown, value: unknown): void {
    // Here `error` is an event of the peer, and not the `error` event of the channel, for which a
    // failing listener would only be printed.
    this.#channel[EMITTER].handleListenerFailure(
      event === 'error' ? 'message' : event,
      cause,
      value,
    )
  }
}

/** The target to `listen` to for the peer's messages: `channel.messages`. */
export class MessageTarget implements Listenable<Record<string, Message>> {
  /** @hidden */
  declare readonly [EVENTS]?: Record<string, Message>
  readonly #emitter: MessageEmitter

  constructor(channel: ChannelInternals) {
    this.#emitter = new MessageEmitter(channel)
  }

  get [EMITTER](): Emitter<Record<string, Message>> {
    return this.#emitter
  }
}

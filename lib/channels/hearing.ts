import { ClosedError } from '../errors.ts'
import type { Taker } from '../inbox.ts'
import { SIGNALS, Signals, type Hearer, type Target } from '../signals.ts'
import { CHANNEL, type ChannelEvents } from './channel.ts'
import { EVERY, type Mailed } from './mail.ts'
import type { Message } from './received.ts'

/** A channel, as those who listen to it have to do with it. */
export interface Heard extends Target<ChannelEvents> {
  readonly connection: object | undefined
  /** Whether the peer pushes nothing more, ever. */
  readonly hasMailEnded: boolean
  /** Who hears of errors that nobody hears of here. */
  readonly hearer: Hearer
  /** Adds a listener of what the peer pushes. */
  attach<Value>(heard: Mailed, taker: Taker<Value>): void
  /** Removes it. */
  detach<Value>(heard: Mailed, taker: Taker<Value>): void
  /** Lets it have its next message. */
  resume<Value>(heard: Mailed, taker: Taker<Value>): void
  /** Counts a `once` in, or out. */
  wait(step: 1 | -1): void
  /** A listener has failed. */
  crash(): void
  closedError(): ClosedError
}

/** Who listens to a channel itself. */
export class ChannelSignals extends Signals<ChannelEvents> {
  readonly #channel: Heard

  constructor(channel: Heard) {
    super(CHANNEL)
    this.#channel = channel
  }

  override get parent(): Hearer {
    return this.#channel.hearer
  }

  override closedError(): ClosedError {
    return this.#channel.closedError()
  }

  override isOver(event: PropertyKey): boolean {
    return event === 'message' ? this.#channel.hasMailEnded : super.isOver(event)
  }

  override attach<Value>(event: PropertyKey, taker: Taker<Value>): void {
    if (event === 'message') this.#channel.attach(EVERY, taker)
    else super.attach(event, taker)
  }

  override detach<Value>(event: PropertyKey, taker: Taker<Value>): void {
    if (event === 'message') this.#channel.detach(EVERY, taker)
    else super.detach(event, taker)
  }

  override resume<Value>(event: PropertyKey, taker: Taker<Value>): void {
    if (event === 'message') this.#channel.resume(EVERY, taker)
  }

  override wait(event: PropertyKey, step: 1 | -1): void {
    if (event !== 'close') this.#channel.wait(step)
  }

  override subjects(): readonly unknown[] {
    return [this.#channel.connection, this.#channel]
  }

  override listenerFailed(): void {
    this.#channel.crash()
  }
}

/** Who listens to what the peer pushes, by its name. */
class MessageSignals extends Signals<Record<string, Message>> {
  readonly #channel: Heard

  constructor(channel: Heard) {
    super({ kind: 'channel', events: [] })
    this.#channel = channel
  }

  /** A peer names its events as it likes. */
  override check(event: PropertyKey): void {
    if (typeof event !== 'string') throw new TypeError('expected the name of an event')
  }

  override closedError(): ClosedError {
    return this.#channel.closedError()
  }

  override isOver(): boolean {
    return this.#channel.hasMailEnded
  }

  override attach<Value>(event: PropertyKey, taker: Taker<Value>): void {
    this.#channel.attach(String(event), taker)
  }

  override detach<Value>(event: PropertyKey, taker: Taker<Value>): void {
    this.#channel.detach(String(event), taker)
  }

  override resume<Value>(event: PropertyKey, taker: Taker<Value>): void {
    this.#channel.resume(String(event), taker)
  }

  override wait(_: PropertyKey, step: 1 | -1): void {
    this.#channel.wait(step)
  }

  override failed(event: PropertyKey, cause: unknown, value: unknown): void {
    // A peer's event of that name isn't the channel's own, whose failing listeners are only printed.
    this.#channel[SIGNALS].failed(event === 'error' ? 'message' : event, cause, value)
  }
}

/** What is listened to for what the peer pushes. */
export class Messages implements Target<Record<string, Message>> {
  readonly #signals: MessageSignals

  constructor(channel: Heard) {
    this.#signals = new MessageSignals(channel)
  }

  get [SIGNALS](): Signals<Record<string, Message>> {
    return this.#signals
  }
}

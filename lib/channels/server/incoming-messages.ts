import { EMITTER } from '../../internal.ts'
import type { ValidationResult } from '../contract/contract.ts'
import { OrderedValidator } from '../contract/ordered-validator.ts'
import { IncomingMessage } from '../messages/message.ts'
import { MessageQueue, type BacklogListener } from '../messages/message-queue.ts'
import type { PushFrame, Ref } from '../protocol/serializer.ts'
import type { ServerChannel } from './server-channel.ts'
import type { ServerSocket } from './socket.ts'

const UNHANDLED = { reason: 'unhandled event' }

/**
 * The messages that the peer pushes to a channel, in their order: checked against the contract, and
 * queued for the listeners. After the membership, the rest is delivered within `closeTimeout`.
 */
export class IncomingMessages implements BacklogListener {
  readonly #channel: ServerChannel<any>
  readonly #socket: ServerSocket<any>
  /** The phase: after `end`, the rest is validated first, and then delivered. */
  #phase: 'open' | 'validating' | 'delivering' | 'ended' = 'open'
  #queue: MessageQueue<IncomingMessage> | undefined
  #validator: OrderedValidator | undefined
  #count = 0
  #refusesUnhandled = false
  #timer: NodeJS.Timeout | undefined

  constructor(channel: ServerChannel<any>, socket: ServerSocket<any>) {
    this.#channel = channel
    this.#socket = socket
  }

  // A getter, because a field would take memory in each channel.
  get countsUnlistened(): boolean {
    return true
  }

  /** Whether the last message was delivered or dropped. */
  get hasEnded(): boolean {
    return this.#phase === 'ended'
  }

  /** Whether no further message will come. */
  get hasQueueEnded(): boolean {
    return this.#queue?.hasEnded === true
  }

  /** The messages that wait for their listeners. */
  get queue(): MessageQueue<IncomingMessage> {
    if (!this.#queue) {
      this.#queue = new MessageQueue(this)
      if (this.#isQueueClosed) this.#queue.end()
    }
    return this.#queue
  }

  /** The bytes of the messages that wait. */
  get waitingBytes(): number {
    return (this.#queue?.bytes ?? 0) + (this.#validator?.waitingBytes ?? 0)
  }

  /** Checks a message against the contract. Queues it, or refuses it. */
  receive(frame: PushFrame, size: number): void {
    const schemas = this.#channel.topicHandler.contract?.in
    if (!schemas) {
      this.#enqueue(frame, frame.payload, size)
      return
    }
    const { event, payload } = frame
    this.#validator ??= new OrderedValidator()
    this.#validator.validate(Object.hasOwn(schemas, event) ? schemas[event] : undefined, payload, {
      size,
      onResult: (result) => this.#onValidated(frame, size, result),
      onError: (cause) => this.#channel[EMITTER].handleListenerFailure('message', cause, undefined),
      onWaiting: (step) => {
        this.#socket.addBacklog(step, step * size)
        this.#deliverIfValidated()
      },
    })
  }

  /** Refuses the messages without a listener: those that wait, and all later ones. */
  refuseUnhandled(): void {
    if (this.#refusesUnhandled) return
    this.#refusesUnhandled = true
    for (const { ref } of this.#queue?.takeUnhandled() ?? []) this.#refuse(ref)
  }

  /**
   * Accepts no more messages. Calls `onDelivered` of the channel once the rest is delivered, or
   * dropped. When the peer has ended the membership, the rest includes the messages that are being
   * validated. When this server has ended it, all waiting messages are dropped.
   */
  end(isEndedByPeer: boolean): void {
    if (!isEndedByPeer) this.#drop()
    if (isEndedByPeer && this.#validator?.isValidating === true) this.#phase = 'validating'
    else this.#deliverRest()
    if (this.hasEnded) return
    // Slow listeners must not keep the memory of a closed channel for longer.
    this.#timer ??= setTimeout(() => {
      this.#drop()
      this.#finish()
    }, this.#socket.closeTimeout)
  }

  addBacklog(messages: number, bytes: number): void {
    this.#socket.addBacklog(messages, bytes)
    this.#finishIfDelivered()
  }

  get #isQueueClosed(): boolean {
    return this.#phase === 'delivering' || this.#phase === 'ended'
  }

  #onValidated(frame: PushFrame, size: number, result: ValidationResult): void {
    if ('value' in result) this.#enqueue(frame, result.value, size)
    else this.#channel.answer(frame.ref, 'error', result.refusal)
  }

  #enqueue(frame: PushFrame, payload: unknown, size: number): void {
    if (this.#isQueueClosed) {
      this.#socket.countDropped()
      return
    }
    if (this.#refusesUnhandled && !this.queue.handles(frame.event)) {
      this.#refuse(frame.ref)
      return
    }
    const number = this.#count++
    this.queue.enqueue(new IncomingMessage(frame, payload, this.#channel, { size, number }))
  }

  #refuse(ref: Ref): void {
    this.#socket.countDropped()
    if (ref === null || this.#phase !== 'open') return // the client has left since
    this.#channel.answer(ref, 'error', UNHANDLED)
  }

  #drop(): void {
    this.#socket.countDropped(this.#queue?.clear() ?? 0)
  }

  /** Ends the queue of a peer that has left, once all its messages are validated. */
  #deliverIfValidated(): void {
    if (this.#phase === 'validating' && this.#validator?.isValidating !== true) this.#deliverRest()
  }

  #deliverRest(): void {
    this.#phase = 'delivering'
    this.#queue?.end()
    this.#finishIfDelivered()
  }

  #finishIfDelivered(): void {
    if (this.#phase === 'delivering' && (this.#queue?.waiting ?? 0) === 0) this.#finish()
  }

  /** Calls `onDelivered`, once. */
  #finish(): void {
    if (this.hasEnded) return
    const isQueueOpen = this.#phase === 'validating'
    this.#phase = 'ended'
    clearTimeout(this.#timer)
    if (isQueueOpen) this.#queue?.end()
    this.#channel.onDelivered()
  }
}

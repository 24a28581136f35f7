import { escapeText, messageOf } from '../../format.ts'
import type { StandardSchema } from '../../messages/standard-schema.ts'
import { checkContract, type Contract } from '../contract/contract.ts'
import { OrderedValidator } from '../contract/ordered-validator.ts'
import { ChannelError } from '../errors.ts'
import { IncomingMessage, type Replier } from '../messages/message.ts'
import { MessageQueue, type BacklogListener } from '../messages/message-queue.ts'
import { PRESENCE_DIFF, PRESENCE_STATE } from '../protocol/phoenix.ts'
import type { PushFrame } from '../protocol/serializer.ts'
import type { ClientChannel } from './client-channel.ts'
import type { ClientSocket } from './socket.ts'

// The limits of the messages that wait because their event has no listener: their number and bytes.
const MAX_WITHOUT_LISTENER = 1_000
const MAX_BYTES_WITHOUT_LISTENER = 1024 * 1024

/**
 * The messages that the server pushes to a channel, in their order: checked against the contract,
 * and queued for the listeners. After the membership, the rest is delivered within `closeTimeout`.
 */
export class IncomingMessages implements BacklogListener, Replier {
  readonly countsUnlistened = false
  /** The messages that wait for their listeners. */
  readonly queue = new MessageQueue<IncomingMessage>(this)
  readonly #channel: ClientChannel
  readonly #socket: ClientSocket
  readonly #schemas: Contract['out']
  readonly #validator: OrderedValidator | undefined
  #count = 0
  /**
   * Whether the error about dropped messages without a listener was reported: it is reported once.
   */
  #hasReportedOverflow = false
  /** The phase: after `end`, the rest is validated first, and then delivered. */
  #phase: 'open' | 'validating' | 'delivering' | 'ended' = 'open'
  #endTimer: ReturnType<typeof setTimeout> | undefined
  #onEnd: (() => void) | undefined

  /** @throws TypeError for a value that isn't a contract. */
  constructor(channel: ClientChannel, socket: ClientSocket, contract: Contract | undefined) {
    if (contract) checkContract(contract)
    this.#channel = channel
    this.#socket = socket
    this.#schemas = contract?.out
    this.#validator = contract && new OrderedValidator()
  }

  /** Checks a message against the contract. Queues it, or reports that it is not valid. */
  receive(frame: PushFrame, payload: unknown, size: number): void {
    if (!this.#validator) {
      this.#enqueue(frame, payload, size)
      return
    }
    this.#validator.validate(this.#schemaOf(frame.event), payload, {
      onResult: (result) => {
        if ('value' in result) this.#enqueue(frame, result.value, size)
        else this.#refuse(frame, result.refusal.reason, undefined, result.refusal)
      },
      onError: (cause) => this.#refuse(frame, messageOf(cause), cause),
      onWaiting: (step) => {
        if (step === -1 && this.#phase === 'validating') this.#deliverRest()
      },
    })
  }

  /** Drops the messages that wait. Returns the error that says so. */
  drop(): ChannelError {
    return this.#tooSlowError(this.queue.clear())
  }

  /** Accepts no more messages. Calls `onEnd` once the rest is delivered, or dropped. */
  end(onEnd: () => void): void {
    this.#onEnd = onEnd
    this.#phase = 'validating'
    this.#endTimer = setTimeout(() => this.#dropRest(), this.#socket.closeTimeout)
    this.#deliverRest()
  }

  addBacklog(messages: number, bytes: number): void {
    this.#socket.addBacklog(messages, bytes)
    if (this.#phase === 'delivering' && this.queue.waiting === 0) this.#finish()
  }

  /** Logs and ignores a reply to a push of the server: the protocol has no such replies. */
  answer(): void {
    this.#socket.log(
      'channel',
      `a server's push on ${this.#channel.topic} can't be answered`,
      undefined,
    )
  }

  #schemaOf(event: string): StandardSchema | 'anything' | undefined {
    const schemas = this.#schemas
    // Presence events belong to the protocol, so contracts don't describe them.
    if (!schemas || event === PRESENCE_STATE || event === PRESENCE_DIFF) return 'anything'
    return Object.hasOwn(schemas, event) ? schemas[event] : undefined
  }

  #refuse({ event }: PushFrame, reason: string, cause: unknown, reply?: unknown): void {
    const { topic } = this.#channel
    const text = escapeText(`\`${event}\` on \`${topic}\` breaks the contract: ${reason}`)
    this.#channel.reportError(
      new ChannelError(text, { code: 'ERR_MESSAGE_INVALID', topic, reply, cause }),
    )
  }

  #enqueue(frame: PushFrame, payload: unknown, size: number): void {
    if (this.#phase === 'delivering' || this.#phase === 'ended') return
    const { waiting = 0, bytes = 0 } = this.queue.findUnlistened(frame.event) ?? {}
    const isFull =
      waiting >= MAX_WITHOUT_LISTENER || (waiting > 0 && bytes + size > MAX_BYTES_WITHOUT_LISTENER)
    if (isFull) {
      this.#reportOverflow()
      return
    }
    this.queue.enqueue(new IncomingMessage(frame, payload, this, { size, number: this.#count++ }))
  }

  /** Reports, once, that messages without a listener exceed their limit and are dropped. */
  #reportOverflow(): void {
    if (this.#hasReportedOverflow) return
    this.#hasReportedOverflow = true
    const { topic } = this.#channel
    const text = `too much waits for a listener on \`${topic}\`, and is dropped: listen to \`message\`, even with an empty callback`
    this.#channel.reportError(new ChannelError(text, { code: 'ERR_NO_LISTENER', topic }))
  }

  #tooSlowError(dropped: number): ChannelError {
    const { topic } = this.#channel
    const text = `the listeners of \`${topic}\` are too slow: ${dropped} messages that waited are dropped`
    return new ChannelError(text, { code: 'ERR_SLOW_LISTENER', topic, status: 'error' })
  }

  /** Ends the queue, once all messages are validated. */
  #deliverRest(): void {
    if (this.#validator?.isValidating === true) return
    this.#phase = 'delivering'
    this.queue.end()
    if (this.queue.waiting === 0) this.#finish()
  }

  /** Drops the messages that still wait for slow listeners, so that none follows `close`. */
  #dropRest(): void {
    const { waiting } = this.queue
    if (waiting > 0) this.#channel.reportError(this.#tooSlowError(waiting))
    this.queue.clear()
    this.#finish()
  }

  /** Calls `onEnd`, once. */
  #finish(): void {
    if (this.#phase === 'ended') return
    clearTimeout(this.#endTimer)
    const isQueueOpen = this.#phase === 'validating'
    this.#phase = 'ended'
    if (isQueueOpen) this.queue.end()
    this.#onEnd?.()
  }
}

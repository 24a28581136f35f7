import { closeReason, type CloseReason } from '../../connection/close-codes.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import { ClosedError } from '../../errors.ts'
import type { ErrorSink, Emitter } from '../../events/emitter.ts'
import type { Listenable } from '../../events/listenable.ts'
import { escapeText } from '../../format.ts'
import { EMITTER, REPLICA } from '../../internal.ts'
import { deferred, rejected, type Deferred } from '../../promises.ts'
import { invalidCall } from '../../validation.ts'
import { Channel, type ChannelEvents, type ChannelState } from '../channel.ts'
import type { Contract } from '../contract/contract.ts'
import type { ChannelError } from '../errors.ts'
import {
  ChannelEmitter,
  MessageTarget,
  type ChannelInternals,
} from '../messages/channel-emitter.ts'
import type { IncomingMessage, Message } from '../messages/message.ts'
import type { MessageQueue } from '../messages/message-queue.ts'
import { resolvePushOptions, type PushOptions } from '../messages/push-options.ts'
import { PresenceReplica } from '../presence/presence-replica.ts'
import type { PushFrame, ReplyFrame, TopicFrame } from '../protocol/serializer.ts'
import { IncomingMessages } from './incoming-messages.ts'
import { JoinPush } from './join-push.ts'
import { PendingPushes, errorFromReply, type PushRequest } from './pending-pushes.ts'
import { ReplyTimer } from './reply-timer.ts'
import type { ClientSocket } from './socket.ts'

const LEAVE_REASON = closeReason(1000, 'left')

/** A client's membership of a topic: the state machine in the table of docs/how-to/channel-client.md. */
export class ClientChannel extends Channel implements ChannelInternals {
  readonly topic: string
  readonly #socket: ClientSocket
  readonly #emitter = new ChannelEmitter(this)
  readonly #messageTarget = new MessageTarget(this)
  readonly #incoming: IncomingMessages
  readonly #pushes: PendingPushes
  readonly #replyTimer: ReplyTimer
  readonly #join: JoinPush
  readonly #replica = new PresenceReplica(this)
  #state: ChannelState = 'closed'
  #joinReply: unknown
  #leave: { readonly ref: string; readonly done: Deferred<void> } | undefined
  #closeReason: CloseReason | undefined

  constructor(
    socket: ClientSocket,
    topic: string,
    payload: unknown,
    contract: Contract | undefined,
  ) {
    super()
    this.topic = topic
    this.#socket = socket
    this.#pushes = new PendingPushes(this, socket)
    this.#replyTimer = new ReplyTimer(socket)
    this.#join = new JoinPush(this, socket, payload, this.#replyTimer)
    this.#incoming = new IncomingMessages(this, socket, contract)
  }

  get [EMITTER](): Emitter<ChannelEvents> {
    return this.#emitter
  }

  override get [REPLICA](): PresenceReplica {
    return this.#replica
  }

  get errorSink(): ErrorSink {
    return this.#socket.errorSink
  }

  get [Symbol.toStringTag](): string {
    return 'ClientChannel'
  }

  get state(): ChannelState {
    return this.#state
  }

  /** Whether the membership has ended for good. */
  get hasClosed(): boolean {
    return this.#closeReason !== undefined
  }

  get connection(): WebsocketConnection | undefined {
    return this.#socket.connection
  }

  get messages(): Listenable<Record<string, Message<any>>> {
    return this.#messageTarget
  }

  /** The bytes of the messages that wait for this channel's slow listeners. */
  get waitingBytes(): number {
    return this.#incoming.queue.bytes
  }

  join(): Promise<unknown> {
    if (this.#state === 'joined') return Promise.resolve(this.#joinReply)
    if (this.hasClosed || this.#state === 'leaving') return rejected(this.closedError())
    const promise = this.#join.createPromise()
    if (this.#state === 'closed') this.#socket.addChannel(this)
    if (this.#state !== 'joining') this.startJoin()
    return promise
  }

  push(event: string, payload: unknown, options?: PushOptions): Promise<unknown> {
    const { timeout, ...settings } = resolvePushOptions(options)
    if (this.hasClosed || this.#state === 'leaving') return rejected(this.closedError())
    if (this.#state === 'closed') {
      throw invalidCall(`\`${event}\` was pushed before \`${this.topic}\` was joined: join first`)
    }
    const sendsNow = this.#state === 'joined'
    const terms = { ...settings, timeout: timeout || this.#socket.timeout, sendsNow }
    const push: { event: string; payload: unknown } = {
      event,
      payload: payload === undefined ? {} : payload,
    }
    if (!sendsNow) push.payload = this.#socket.encodeLater(this.#pushFrame(push, '0', '0'))
    return this.#pushes.add(push, terms)
  }

  broadcast(): never {
    throw invalidCall('a client cannot broadcast: push, and let the server do it')
  }

  leave(): Promise<void> {
    if (this.hasClosed) return Promise.resolve()
    if (this.#leave) return this.#leave.done.promise
    const joinRef = this.#join.ref
    if (joinRef === undefined || !this.#socket.connection) {
      this.end(LEAVE_REASON)
      return Promise.resolve()
    }
    this.#state = 'leaving'
    const [done, ref] = [deferred<void>(), this.#socket.ref()]
    this.#leave = { done, ref }
    this.#join.cancel(this.closedError())
    this.#pushes.failWaiting(this.closedError())
    const { hasReplies } = this.#socket
    if (hasReplies) this.#replyTimer.start(() => this.end(LEAVE_REASON))
    this.#replyTimer.pinReading(hasReplies)
    this.#socket.sendFrame({ kind: 'leave', topic: this.topic, joinRef, ref })
    if (!hasReplies) this.end(LEAVE_REASON)
    return done.promise
  }

  /** Joins, for the first time or again. */
  startJoin(): void {
    this.#state = 'joining'
    this.#join.start()
  }

  /** Called when the server has accepted the join. */
  onJoined(reply: unknown): void {
    this.#state = 'joined'
    this.#joinReply = reply
    this.#socket.log('channel', `joined ${this.topic}`, reply)
    this.#pushes.flush()
    this.#emitter.emit('join', reply)
  }

  /** Called when a join or the membership has failed: rejects the pushes that were sent. */
  onErrored(error: ClosedError): void {
    this.#state = 'errored'
    this.#pushes.failSent(error)
  }

  onConnected(): void {
    this.#join.onConnected()
  }

  onDisconnected(reason: CloseReason): void {
    this.#join.onDisconnected()
    if (this.#state === 'leaving') this.end(LEAVE_REASON)
    if (this.#state !== 'joined') return
    const text = `the connection of \`${this.topic}\` has closed: ${reason.code} ${reason.description}`
    this.onErrored(new ClosedError(escapeText(text), { closeCode: reason.code, target: this }))
    if (this.#socket.rejoinDelay(reason, 1) === undefined) this.end(reason)
  }

  /** Closes the channel, which never joins again. */
  end(reason: CloseReason): void {
    if (this.hasClosed) return
    this.#closeReason = reason
    this.#state = 'closed'
    this.#socket.removeChannel(this)
    this.#socket.log('channel', `closed ${this.topic}: ${reason.description}`, reason)
    this.#pushes.failSent(this.closedError())
    this.#pushes.failWaiting(this.closedError())
    this.#join.cancel(this.closedError())
    this.#incoming.end(() => this.#emitter.end(reason))
    this.#leave?.done.resolve()
  }

  /** Drops the messages that wait, leaves, and joins again, because the listeners are too slow. */
  endAsTooSlow(): void {
    const error = this.#incoming.drop()
    if (this.#state === 'joined') this.#join.abandon(error)
    else this.reportError(error)
  }

  /** Sets whether a join, leave or push that waits keeps the process alive. */
  keepAlive(isAlive: boolean): void {
    this.#replyTimer.keepAlive(isAlive)
    this.#pushes.keepAlive(isAlive)
  }

  /**
   * Handles a frame of the server about the topic. Returns whether the frame was for this channel.
   */
  handleFrame(frame: TopicFrame, size: number): boolean {
    const { topic } = this
    const joinRef = this.#join.ref
    if (this.hasClosed || (frame.joinRef !== null && frame.joinRef !== joinRef)) return false
    if (frame.kind === 'reply') return this.#handleReply(frame)
    if (frame.kind === 'close' || (this.#leave && frame.kind === 'error')) {
      this.end(this.#leave ? LEAVE_REASON : closeReason(1000, 'sent out by the server'))
      return true
    }
    if (joinRef === undefined || this.#leave) return false
    if (frame.kind === 'push') this.#handlePush(frame, joinRef, size)
    else
      this.#join.fail(
        errorFromReply('the membership', { topic, status: 'error', reply: frame.payload }),
      )
    return true
  }

  /**
   * Reports an error that the server has caused, such as a refusal. With `isHandled` the error is
   * only logged, because the caller receives it already.
   */
  reportError(error: ChannelError, isHandled = false): void {
    this.#socket.log('channel', error.message, error)
    if (!isHandled) this.#emitter.reportError(error)
  }

  /** Sends a push. Returns the ref of its reply, or undefined when no reply will come. */
  sendPush(push: PushRequest): string | undefined {
    const ref = this.#socket.ref()
    this.#socket.sendFrame(this.#pushFrame(push, this.#join.ref ?? null, ref))
    return this.#socket.hasReplies ? ref : undefined
  }

  get hasQueueEnded(): boolean {
    return this.#incoming.queue.hasEnded
  }

  get queue(): MessageQueue<IncomingMessage> {
    return this.#incoming.queue
  }

  pinReading(step: 1 | -1): void {
    this.#socket.pinReading(step)
  }

  /** Does nothing: on a client, the membership goes on after a listener has failed. */
  onListenerFailed(): void {}

  closedError(): ClosedError {
    const { code, description } = this.#closeReason ?? LEAVE_REASON
    const text = `the channel of \`${this.topic}\` has closed: ${description}`
    return new ClosedError(escapeText(text), { closeCode: code, target: this })
  }

  #pushFrame({ event, payload }: PushRequest, joinRef: string | null, ref: string): PushFrame {
    return { kind: 'push', topic: this.topic, event, joinRef, ref, payload }
  }

  #handlePush(frame: PushFrame, joinRef: string, size: number): void {
    const payload = this.#join.position.advance(frame.payload)
    this.#replica.takeFrame(joinRef, frame.event, payload, size)
    this.#incoming.receive(frame, payload, size)
  }

  #handleReply({ ref, status, payload }: ReplyFrame): boolean {
    if (ref === null) return false
    if (this.#state === 'joining' && ref === this.#join.ref) {
      this.#join.onReply(status, payload)
      return true
    }
    if (ref !== this.#leave?.ref) return this.#pushes.answer(ref, status, payload)
    this.end(LEAVE_REASON)
    return true
  }
}

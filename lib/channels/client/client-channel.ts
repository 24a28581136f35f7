import { closeReason, type CloseReason } from '../../connection/close-codes.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import { escapeText } from '../../error-text.ts'
import { ChannelError } from '../../channel-errors.ts'
import { ClosedError, invalidCall } from '../../errors.ts'
import type { Consumer } from '../../events/delivery-queue.ts'
import { isFunction } from '../../validation.ts'
import { deferred, markHandled, isPromise, rejected, type Deferred } from '../../promises.ts'
import { EMITTER, type ErrorSink, type Emitter, type Listenable } from '../../events/emitter.ts'
import { Channel, REPLICA, type ChannelEvents, type ChannelState } from '../channel.ts'
import type { Contract } from '../contract/contract.ts'
import type { ClientFrame, PushFrame, ReplyFrame, TopicFrame } from '../protocol/serializer.ts'
import {
  ChannelEmitter,
  MessageTarget,
  type ChannelInternals,
} from '../messages/channel-emitter.ts'
import { MessageQueue, type EventFilter, type BacklogListener } from '../messages/message-queue.ts'
import { ClientPosition } from '../history/position.ts'
import { PresenceReplica } from '../presence/replica.ts'
import {
  resolvePushOptions,
  keepAlive,
  PendingPushes,
  errorFromReply,
  type PushRequest,
  type PushOwner,
  type PushOptions,
} from '../messages/pending-pushes.ts'
import { IncomingMessage, type Replier, type Message } from '../messages/message.ts'
import { InboundValidator } from './inbound-validator.ts'

/** The services of a `ClientSocket` that its channels use. */
export interface ClientSocketApi extends BacklogListener {
  /** The connection, while it is open. */
  readonly connection: WebsocketConnection | undefined
  /** The target that receives the errors that no listener of the channel receives. */
  readonly errorSink: ErrorSink
  readonly timeout: number
  readonly closeTimeout: number
  /** Whether the protocol has replies. */
  readonly hasReplies: boolean
  /** Returns a new, unique ref. */
  ref(): string
  /** Sends a frame. Throws for a payload that can't be encoded. */
  sendFrame(frame: ClientFrame): void
  /**
   * Returns a copy of the payload of a push that is sent later: already encoded where the
   * serializer allows that. Throws what `sendFrame` would throw.
   */
  encodeLater(frame: PushFrame): unknown
  /**
   * Returns the milliseconds until a channel joins again after this error or close reason, or
   * undefined if the channel doesn't join again.
   */
  rejoinDelay(error: ChannelError | CloseReason, attempt: number): number | undefined
  /** Passes an entry to the logger. */
  log(kind: string, text: string, data: unknown): void
  /** Adds a channel. A channel that has the same topic leaves. */
  addChannel(channel: ClientChannel): void
  /** Removes a channel. */
  removeChannel(channel: ClientChannel): void
  /** Adds (1) or removes (-1) one reason to keep reading while messages wait. */
  pinReading(step: 1 | -1): void
  /**
   * Whether joins and pushes that wait keep the process alive: false while the client is closed.
   */
  readonly isAlive: boolean
}

type Timer = ReturnType<typeof setTimeout>

// The limits of the messages that wait because their event has no listener: their number and bytes.
const MAX_WITHOUT_LISTENER = 1_000
const MAX_BYTES_WITHOUT_LISTENER = 1024 * 1024
const LEAVE_REASON = closeReason(1000, 'left')

/** A client's membership of a topic: the state machine in the table of docs/channel-client.md. */
export class ClientChannel
  extends Channel
  implements Replier, BacklogListener, ChannelInternals, PushOwner
{
  readonly topic: string
  readonly countsUnlistened = false
  readonly #socket: ClientSocketApi
  readonly #payload: unknown
  readonly #emitter: ChannelEmitter
  readonly #messages: MessageTarget
  readonly #queue: MessageQueue<IncomingMessage>
  readonly #pushes: PendingPushes
  readonly #validator: InboundValidator | undefined
  readonly #position = new ClientPosition()
  readonly #replica = new PresenceReplica(this)
  #state: ChannelState = 'closed'
  /** The join ref of the membership; set only while a join is pending or the channel is joined. */
  #joinRef: string | undefined
  /** The promise that `join()` returns; undefined once the join is answered. */
  #joining: Deferred<unknown> | undefined
  /**
   * The identity of the pending call of the payload function; the result of an older call is
   * ignored.
   */
  #payloadRequest: object | undefined
  #joinReply: unknown
  #leaving: { readonly ref: string; readonly done: Deferred<void> } | undefined
  /**
   * The timeout of the join or leave that waits for its reply; only one of them waits at a time.
   */
  #replyTimer: Timer | undefined
  #rejoinTimer: Timer | undefined
  #attempt = 0
  #isReplyPending = false
  #messageCount = 0
  /**
   * Whether the error about dropped messages without a listener was reported: it is reported once.
   */
  #hasReportedOverflow = false
  #closeReason: CloseReason | undefined
  /** Whether the membership has ended while earlier messages are still being validated. */
  #isDraining = false
  #closeTimer: Timer | 'over' | undefined

  constructor(
    socket: ClientSocketApi,
    topic: string,
    payload: unknown,
    contract: Contract | undefined,
  ) {
    super()
    this.topic = topic
    this.#socket = socket
    this.#payload = payload
    this.#emitter = new ChannelEmitter(this)
    this.#messages = new MessageTarget(this)
    this.#queue = new MessageQueue(this)
    this.#pushes = new PendingPushes(this)
    this.#validator = contract && new InboundValidator(contract, this)
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

  get state(): ChannelState {
    return this.#state
  }

  get connection(): WebsocketConnection | undefined {
    return this.#socket.connection
  }

  get messages(): Listenable<Record<string, Message<any>>> {
    return this.#messages
  }

  join(): Promise<unknown> {
    if (this.#state === 'joined') return Promise.resolve(this.#joinReply)
    if (this.#closeReason || this.#state === 'leaving') return rejected(this.closedError())
    const joining = this.#joinDeferred()
    if (this.#state === 'closed') this.#socket.addChannel(this)
    if (this.#state !== 'joining') this.#startJoin()
    return joining.promise
  }

  push(event: string, payload: unknown, options?: PushOptions): Promise<unknown> {
    const { timeout, ...settings } = resolvePushOptions(options)
    const push: PushRequest = { event, payload: payload === undefined ? {} : payload }
    const hasEnded = this.#closeReason !== undefined || this.#state === 'leaving'
    if (this.#state === 'closed' && !hasEnded) {
      throw invalidCall(`\`${event}\` was pushed before \`${this.topic}\` was joined: join first`)
    }
    if (hasEnded) return rejected(this.closedError())
    const now = this.#state === 'joined'
    const terms = { ...settings, timeout: timeout || this.#socket.timeout, now }
    if (now) return this.#pushes.add(push, terms)
    const prepared = this.#socket.encodeLater(this.#pushFrame(push, '0', '0'))
    return this.#pushes.add({ event, payload: prepared }, terms)
  }

  broadcast(): never {
    throw invalidCall('a client speaks to its server alone: push, and let the server broadcast')
  }

  leave(): Promise<void> {
    if (this.#closeReason) return Promise.resolve()
    if (this.#leaving) return this.#leaving.done.promise
    const joinRef = this.#joinRef
    if (joinRef === undefined || !this.#socket.connection) {
      this.#end(LEAVE_REASON)
      return Promise.resolve()
    }
    this.#clearTimers()
    this.#state = 'leaving'
    const [done, ref] = [deferred<void>(), this.#socket.ref()]
    this.#leaving = { done, ref }
    this.#joining?.reject(this.closedError())
    this.#joining = undefined
    this.#pushes.failWaiting(this.closedError())
    this.#socket.sendFrame({ kind: 'leave', topic: this.topic, joinRef, ref })
    if (this.#socket.hasReplies) this.#startTimeout(() => this.#end(LEAVE_REASON))
    else this.#end(LEAVE_REASON)
    return done.promise
  }

  /** Called when the client has connected: continues a pending join, or joins again. */
  onConnected(): void {
    this.#attempt = 0
    if (this.#state === 'errored') this.#startJoin()
    else if (this.#state === 'joining') this.#resolveJoinPayload()
  }

  /**
   * Called when the connection has closed. A join without a reply goes on with the next connection.
   */
  onDisconnected(reason: CloseReason): void {
    clearTimeout(this.#rejoinTimer)
    this.#joinRef = this.#payloadRequest = undefined
    if (this.#state === 'leaving') this.#end(LEAVE_REASON)
    if (this.#state === 'joining') this.#setReplyPending(false)
    if (this.#state !== 'joined') return
    this.#state = 'errored'
    const text = `the connection of \`${this.topic}\` has closed: ${reason.code} ${reason.description}`
    this.#pushes.failSent(
      new ClosedError(escapeText(text), { closeCode: reason.code, target: this }),
    )
    if (this.#socket.rejoinDelay(reason, 1) === undefined) this.#end(reason)
  }

  get isAlive(): boolean {
    return this.#socket.isAlive
  }

  /** Sets whether a join, leave or push that waits keeps the process alive. */
  keepAlive(isAlive: boolean): void {
    keepAlive(this.#replyTimer, isAlive)
    this.#pushes.keepAlive(isAlive)
  }

  /** Called when the client has given up connecting: closes the channel. */
  onGaveUp(reason: CloseReason): void {
    this.#end(reason)
  }

  /**
   * Handles a frame of the server about the topic. Returns whether the frame was for this channel.
   */
  handleFrame(frame: TopicFrame, size: number): boolean {
    if (frame.joinRef !== null && frame.joinRef !== this.#joinRef) return false
    if (frame.kind === 'reply') return this.#handleReply(frame)
    if (frame.kind === 'close') return this.#onCloseFrame()
    if (this.#joinRef === undefined) return false
    if (frame.kind === 'error') this.#onErrorFrame(frame.payload)
    else if (this.#state === 'leaving') return false
    else this.#handlePush(frame, size)
    return true
  }

  /** Enqueues a message for its listeners. */
  enqueue(frame: PushFrame, payload: unknown, size: number): void {
    if (this.#closeReason && !this.#isDraining) return
    const { waiting = 0, bytes = 0 } = this.#queue.withoutListener(frame.event) ?? {}
    const isFull =
      waiting >= MAX_WITHOUT_LISTENER || (waiting > 0 && bytes + size > MAX_BYTES_WITHOUT_LISTENER)
    if (isFull) {
      this.#reportOverflow()
      return
    }
    this.#queue.enqueue(
      new IncomingMessage(frame, payload, this, { size, number: this.#messageCount++ }),
    )
  }

  /**
   * Reports an error that the server has caused, such as a refusal. With `isHandled` the error is
   * only logged, because the caller receives it already.
   */
  refused(error: ChannelError, isHandled = false): void {
    this.#socket.log('channel', error.message, error)
    if (!isHandled) this.#emitter.reportError(error)
  }

  /** Logs and ignores a reply to a push of the server: the protocol has no such replies. */
  answer(): void {
    this.#socket.log('channel', `a server's push on ${this.topic} can't be answered`, undefined)
  }

  send(push: PushRequest): string | undefined {
    const ref = this.#socket.ref()
    this.#socket.sendFrame(this.#pushFrame(push, this.#joinRef ?? null, ref))
    return this.#socket.hasReplies ? ref : undefined
  }

  get hasQueueEnded(): boolean {
    return this.#queue.hasEnded
  }

  /** The bytes of the messages that wait for this channel's slow listeners. */
  get waitingBytes(): number {
    return this.#queue.bytes
  }

  /** Drops the messages that wait, leaves, and joins again, because the listeners are too slow. */
  endAsTooSlow(): void {
    const { topic } = this
    const joinRef = this.#joinRef
    const error = this.#tooSlowError(this.#queue.clear())
    if (this.#state !== 'joined' || joinRef === undefined) {
      this.refused(error)
      return
    }
    this.#socket.sendFrame({ kind: 'leave', topic, joinRef, ref: this.#socket.ref() })
    this.#onJoinError(error)
  }

  addBacklog(messages: number, bytes: number): void {
    this.#socket.addBacklog(messages, bytes)
    if (this.#closeReason && !this.#isDraining && this.#queue.waiting === 0) this.#emitClose()
  }

  /** Ends the message queue of a membership that has ended, once all its messages are validated. */
  onValidated(): void {
    if (!this.#isDraining || this.#validator?.isValidating === true) return
    this.#isDraining = false
    this.#queue.end()
    if (this.#queue.waiting === 0) this.#emitClose()
  }

  addConsumer<Value>(filter: EventFilter, consumer: Consumer<Value>): void {
    // By `ChannelEvents`, the listeners of these events consume messages.
    this.#queue.add(filter, consumer as unknown as Consumer<IncomingMessage>)
  }

  removeConsumer<Value>(filter: EventFilter, consumer: Consumer<Value>): void {
    this.#queue.remove(filter, consumer as unknown as Consumer<IncomingMessage>)
  }

  resume<Value>(filter: EventFilter, consumer: Consumer<Value>): void {
    this.#queue.resume(filter, consumer as unknown as Consumer<IncomingMessage>)
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

  #handlePush(frame: PushFrame, size: number): void {
    const payload = this.#position.advance(frame.payload)
    if (this.#joinRef !== undefined) {
      this.#replica.takeFrame(this.#joinRef, frame.event, payload, size)
    }
    if (this.#validator) this.#validator.validate(frame, payload, size)
    else this.enqueue(frame, payload, size)
  }

  #pushFrame({ event, payload }: PushRequest, joinRef: string | null, ref: string): PushFrame {
    return { kind: 'push', topic: this.topic, event, joinRef, ref, payload }
  }

  #joinDeferred(): Deferred<unknown> {
    if (this.#joining) return this.#joining
    this.#joining = deferred()
    markHandled(this.#joining.promise)
    return this.#joining
  }

  /** Begins an attempt to join, which lasts until the reply or the timeout. */
  #startJoin(): void {
    clearTimeout(this.#rejoinTimer)
    this.#state = 'joining'
    this.#joinDeferred()
    this.#startTimeout(() => this.#onJoinTimeout())
    this.#resolveJoinPayload()
  }

  /** Resolves the payload, and sends the join. */
  #resolveJoinPayload(): void {
    if (!this.#socket.connection) return
    const request = (this.#payloadRequest = {})
    const onFailure = (cause: unknown): void => {
      if (this.#payloadRequest !== request) return
      const text = `could not ask to join \`${this.topic}\``
      this.#onJoinError(new ChannelError(text, { topic: this.topic, status: 'error', cause }))
    }
    const onPayload = (payload: unknown): void => {
      if (this.#payloadRequest === request) this.#sendJoin(payload)
    }
    try {
      const given = isFunction(this.#payload) ? this.#payload() : this.#payload
      if (isPromise(given)) given.then(onPayload).then(undefined, onFailure)
      else onPayload(given)
    } catch (cause) {
      onFailure(cause)
    }
  }

  #sendJoin(given: unknown = {}): void {
    const payload = this.#position.addTo(given)
    const joinRef = this.#socket.ref()
    this.#socket.sendFrame({ kind: 'join', topic: this.topic, joinRef, ref: joinRef, payload })
    this.#payloadRequest = undefined
    this.#joinRef = joinRef
    if (this.#socket.hasReplies) this.#setReplyPending(true)
    else this.#onJoinOk({})
  }

  #handleReply({ ref, status, payload }: ReplyFrame): boolean {
    if (ref === null) return false
    if (this.#state === 'joining' && ref === this.#joinRef) {
      if (status === 'ok') this.#onJoinOk(this.#position.begin(payload))
      else
        this.#onJoinError(
          errorFromReply('a join', {
            code: 'ERR_JOIN_REFUSED',
            topic: this.topic,
            status,
            reply: payload,
          }),
        )
      return true
    }
    if (ref !== this.#leaving?.ref) return this.#pushes.answer(ref, status, payload)
    this.#end(LEAVE_REASON)
    return true
  }

  #onJoinOk(reply: unknown): void {
    const joining = this.#joining
    this.#clearTimers()
    this.#attempt = 0
    this.#state = 'joined'
    this.#joinReply = reply
    this.#joining = undefined
    this.#socket.log('channel', `joined ${this.topic}`, reply)
    this.#pushes.flush()
    this.#emitter.emit('join', reply)
    joining?.resolve(reply)
  }

  #onJoinTimeout(): void {
    const { topic } = this
    const joinRef = this.#joinRef
    // The server may still accept the join, so it must learn that this client gave up.
    if (joinRef !== undefined && this.#socket.connection) {
      this.#socket.sendFrame({ kind: 'leave', topic, joinRef, ref: this.#socket.ref() })
    }
    const text = `no reply to the join of \`${topic}\` within ${this.#socket.timeout} ms`
    this.#onJoinError(
      new ChannelError(text, { code: 'ERR_JOIN_TIMEOUT', topic, status: 'timeout' }),
    )
  }

  #onErrorFrame(payload: unknown): void {
    if (this.#state === 'leaving') {
      this.#end(LEAVE_REASON)
      return
    }
    const { topic } = this
    const failure = { topic, status: 'error', reply: payload }
    this.#onJoinError(errorFromReply('the membership', failure))
  }

  #onCloseFrame(): boolean {
    if (this.#state === 'closed') return false
    this.#end(this.#leaving ? LEAVE_REASON : closeReason(1000, 'sent out by the server'))
    return true
  }

  /**
   * Called when a join or the membership has failed: joins again, unless `rejoin` says otherwise.
   */
  #onJoinError(error: ChannelError): void {
    const joining = this.#joining
    this.#clearTimers()
    this.#state = 'errored'
    this.#joinRef = this.#joining = undefined
    const closed = new ClosedError(error.message, { closeCode: 1011, cause: error, target: this })
    this.#pushes.failSent(closed)
    const delay = this.#socket.rejoinDelay(error, ++this.#attempt)
    // The program's own functions may have left or joined meanwhile.
    const isDecided = this.#hasMovedOn()
    if (delay !== undefined && this.#socket.connection && !isDecided) {
      this.#rejoinTimer = setTimeout(() => this.#startJoin(), delay)
    }
    joining?.reject(error)
    // A channel that has closed emits no more errors.
    this.refused(error, this.#closeReason !== undefined)
    if (delay === undefined && !isDecided) this.#end(closeReason(1000, error.message))
  }

  #hasMovedOn(): boolean {
    return this.#state !== 'errored'
  }

  /** Stops waiting for a reply, a payload or the next join. */
  #clearTimers(): void {
    clearTimeout(this.#replyTimer)
    clearTimeout(this.#rejoinTimer)
    this.#payloadRequest = undefined
    this.#setReplyPending(false)
  }

  #startTimeout(onTimeout: () => void): void {
    clearTimeout(this.#replyTimer)
    this.#replyTimer = setTimeout(onTimeout, this.#socket.timeout)
    keepAlive(this.#replyTimer, this.isAlive)
    if (this.#state === 'leaving') this.#setReplyPending(true)
  }

  #setReplyPending(isPending: boolean): void {
    if (isPending === this.#isReplyPending) return
    this.#isReplyPending = isPending
    this.#socket.pinReading(isPending ? 1 : -1)
  }

  #end(reason: CloseReason): void {
    if (this.#closeReason) return
    this.#clearTimers()
    this.#closeReason = reason
    this.#state = 'closed'
    this.#joinRef = undefined
    this.#socket.removeChannel(this)
    this.#socket.log('channel', `closed ${this.topic}: ${reason.description}`, reason)
    this.#pushes.failSent(this.closedError())
    this.#pushes.failWaiting(this.closedError())
    this.#joining?.reject(this.closedError())
    this.#joining = undefined
    this.#isDraining = this.#validator?.isValidating === true
    if (!this.#isDraining) this.#queue.end()
    if (!this.#isDraining && this.#queue.waiting === 0) this.#emitClose()
    else this.#closeTimer ??= setTimeout(() => this.#giveUpWaiting(), this.#socket.closeTimeout)
    this.#leaving?.done.resolve()
  }

  #tooSlowError(dropped: number): ChannelError {
    const { topic } = this
    const text = `the listeners of \`${topic}\` are too slow: ${dropped} messages that waited are dropped`
    return new ChannelError(text, { code: 'ERR_SLOW_LISTENER', topic, status: 'error' })
  }

  /** Drops the messages that still wait for slow listeners, so that none follows `close`. */
  #giveUpWaiting(): void {
    const { waiting } = this.#queue
    if (waiting > 0) this.refused(this.#tooSlowError(waiting))
    this.#queue.clear()
    this.#emitClose()
  }

  /** Emits `close` once, after the messages before it. */
  #emitClose(): void {
    if (this.#closeTimer === 'over') return
    clearTimeout(this.#closeTimer)
    this.#closeTimer = 'over'
    if (this.#isDraining) this.#queue.end()
    this.#isDraining = false
    this.#emitter.end(this.#closeReason)
  }

  /** Reports, once, that messages without a listener exceed their limit and are dropped. */
  #reportOverflow(): void {
    if (this.#hasReportedOverflow) return
    this.#hasReportedOverflow = true
    const { topic } = this
    const text = `too much waits for a listener on \`${topic}\`, and is dropped: listen to \`message\`, even with an empty callback`
    this.refused(new ChannelError(text, { code: 'ERR_NO_LISTENER', topic }))
  }
}

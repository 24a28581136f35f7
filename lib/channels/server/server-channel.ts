import type { CloseReason } from '../../connection/close-codes.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import { escapeText } from '../../error-text.ts'
import { ClosedError, invalidCall } from '../../errors.ts'
import type { Consumer } from '../../events/delivery-queue.ts'
import { DELIVER, type Data, type PreparedMessage as Prepared } from '../../connection/message.ts'
import { flag, resolveOptions } from '../../validation.ts'
import { DONE, rejected } from '../../promises.ts'
import type { RoomMember } from '../../rooms/room.ts'
import { EMITTER, type ErrorSink, type Emitter, type Listenable } from '../../events/emitter.ts'
import { Broadcast } from '../protocol/broadcast.ts'
import {
  Channel,
  TOPIC,
  type ChannelEvents,
  type ChannelState,
  type AnyEvents,
} from '../channel.ts'
import type { StandardSchema, ValidationResult } from '../contract/contract.ts'
import type { JoinFrame, PushFrame, Ref, Serializer, ServerFrame } from '../protocol/serializer.ts'
import { OrderedValidator } from '../contract/ordered-validator.ts'
import {
  ChannelEmitter,
  MessageTarget,
  type ChannelInternals,
} from '../messages/channel-emitter.ts'
import { fieldOf, parsePosition, SINCE, withoutFields } from '../history/position.ts'
import { RecordedMessage } from '../history/recorded.ts'
import type { HistoryPosition } from '../history/store.ts'
import { INVALID_POSITION, type TopicHistory } from '../history/topic-history.ts'
import { MessageQueue, type EventFilter, type BacklogListener } from '../messages/message-queue.ts'
import type { EncodedState } from '../presence/encoded-state.ts'
import { resolvePushOptions, type PushOptions } from '../messages/pending-pushes.ts'
import { IncomingMessage, type Replier, type Message } from '../messages/message.ts'
import {
  JoinRequestBase,
  type AcceptOptions,
  type JoinRequest,
  type LeaveReason,
  type NewMember,
  type Topic,
} from './topic.ts'

/** The socket of a server's channels, as far as they use it. */
export interface ServerChannelOwner<Context extends {}> extends BacklogListener {
  readonly connection: WebsocketConnection<Context>
  /** The target that receives errors when the channel has no `error` listener. */
  readonly errorSink: ErrorSink
  readonly serializer: Serializer
  readonly joinTimeout: number
  readonly closeTimeout: number
  /** Encodes a frame. Returns undefined, and counts a drop, when the protocol has no such frame. */
  encode(frame: ServerFrame): Data | undefined
  /** Sends an encoded frame. */
  send(data: Data | Prepared): void
  /**
   * Encodes a broadcast for the protocol of the connection. Returns undefined, and counts a drop,
   * when the protocol can't express it.
   */
  encodeBroadcast(broadcast: Broadcast): Prepared | undefined
  /** Counts dropped messages: one, or `count`. */
  countDropped(count?: number): void
  /** Adds `step` to the number of pending `once`, which keep reading going. */
  wait(step: 1 | -1): void
  /** Ends a join in the queue: its listeners have answered, or it has timed out. */
  onJoinAnswered(channel: ServerChannel<Context>): void
  /** Adds a channel to the members of its topic. */
  addToRoom(channel: ServerChannel<Context>): void
  /** Removes a channel. */
  removeChannel(channel: ServerChannel<Context>): void
  /** Sends an event to all other members of a topic, on every node. */
  broadcast(from: ServerChannel<Context>, event: string, payload: unknown): Promise<void>
}

/** A join that is not answered yet, and what waits for its answer. */
interface PendingJoin {
  readonly ref: Ref
  /** The join refs of the channels that it replaces, whose `close` frames follow the reply. */
  replacedJoinRefs: readonly Ref[]
  /** The encoded pushes of this server, to send after the reply. */
  readonly bufferedOutgoing: Data[]
  /** The pushes of the peer, to handle after the reply, with their sizes. */
  readonly bufferedIncoming: [frame: PushFrame, size: number][]
  /** The history position up to which the client has seen messages, if it sent one. */
  since?: HistoryPosition | undefined
  /** Whether the join was accepted, and waits for the topic's history. */
  accepted?: boolean
}

const TOO_BUSY = { reason: 'too busy' }
const UNHANDLED = { reason: 'unhandled event' }
const UNAVAILABLE = { reason: 'history unavailable' }
const acceptRules = { recover: { ...flag(), fallback: true } }
/** The prefix of this node's sender ids, so that no two nodes have the same. */
const NODE_ID = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
let senderCount = 0

/** The join request that the listeners of `join` receive. */
class PendingJoinRequest<Context extends {}>
  extends JoinRequestBase
  implements JoinRequest<AnyEvents, AnyEvents, Context, unknown>
{
  readonly channel: ServerChannel<Context>
  readonly payload: unknown

  constructor(channel: ServerChannel<Context>, payload: unknown) {
    super()
    this.channel = channel
    this.payload = payload
  }

  get accept(): JoinRequest['accept'] {
    return (reply = {}, options) => this.channel.accept(reply, options)
  }

  get reject(): JoinRequest['reject'] {
    return (reason = {}) => this.channel.reject(reason)
  }

  override crash(): void {
    this.channel.onListenerFailed()
  }

  override holdUntil(prepared: PromiseLike<unknown>): void {
    this.channel.holdUntil(prepared)
  }
}

/** The server's end of one member's channel. */
export class ServerChannel<Context extends {} = {}>
  extends Channel<AnyEvents, AnyEvents, Context>
  implements RoomMember, Replier, BacklogListener, ChannelInternals, NewMember
{
  readonly topic: string
  readonly countsUnlistened = true
  readonly #owner: ServerChannelOwner<Context>
  readonly #topicHandler: Topic<AnyEvents, AnyEvents, Context>
  readonly #joinRef: Ref
  #state: ChannelState = 'joining'
  #pending: PendingJoin | undefined
  /** The channel that this join replaces, which ends when the join starts. */
  #previous: ServerChannel<Context> | undefined
  /** Whether the peer joins the topic again, so that this channel gets no more broadcasts. */
  #isReplaced = false
  /** Whether the `join` listeners have answered, or the join has timed out. */
  #isAnswered = false
  #joinTimer: NodeJS.Timeout | undefined
  #emitter: ChannelEmitter | undefined
  #messages: MessageTarget | undefined
  #queue: MessageQueue<IncomingMessage> | undefined
  #validator: OrderedValidator | undefined
  /** Whether the peer has left while its earlier messages are still being validated. */
  #isDraining = false
  #messageCount = 0
  #waitingBytes = 0
  /** The number of `join` listeners whose promises are pending. */
  #pendingListeners = 0
  /** Whether the `join` listeners have settled: from then on, unhandled events are refused. */
  #isPrepared = false
  /** Whether the channel may broadcast: from `accept` until the server ends it or it crashes. */
  #canBroadcast = false
  /** The sender id of its broadcasts on a topic with a history, once there are any. */
  #sender: string | undefined
  #closeReason: CloseReason | undefined
  #closeTimer: NodeJS.Timeout | 'over' | undefined

  constructor(
    owner: ServerChannelOwner<Context>,
    topicHandler: Topic<AnyEvents, AnyEvents, Context>,
    { topic, joinRef, ref }: JoinFrame,
  ) {
    super()
    this.topic = topic
    this.#owner = owner
    this.#topicHandler = topicHandler
    this.#joinRef = joinRef
    this.#pending = { ref, replacedJoinRefs: [], bufferedOutgoing: [], bufferedIncoming: [] }
  }

  get [EMITTER](): Emitter<ChannelEvents> {
    if (!this.#emitter) {
      this.#emitter = new ChannelEmitter(this)
      if (this.#closeTimer === 'over') this.#emitter.end(this.#closeReason)
    }
    return this.#emitter
  }

  override get [TOPIC](): object {
    return this.#topicHandler
  }

  get errorSink(): ErrorSink {
    return this.#owner.errorSink
  }

  get state(): ChannelState {
    return this.#state
  }

  get connection(): WebsocketConnection<Context> {
    return this.#owner.connection
  }

  get messages(): Listenable<Record<string, Message<any>>> {
    return (this.#messages ??= new MessageTarget(this))
  }

  get isOpen(): boolean {
    return this.#state === 'joined' && this.connection.isOpen
  }

  get valid(): boolean {
    return this.connection.valid && !this.#isReplaced
  }

  join(): Promise<unknown> {
    throw invalidCall('a client joins; on a server, answer its `join` with accept')
  }

  push(event: string, payload: unknown, options?: PushOptions): Promise<unknown> {
    const { signal } = resolvePushOptions(options)
    if (signal?.aborted) return rejected(signal.reason)
    if (this.#state === 'closed') return rejected(this.closedError())
    const data = this.#owner.encode({
      ...{ kind: 'push', topic: this.topic, event, joinRef: this.#joinRef, ref: null },
      payload: payload === undefined ? {} : payload,
    })
    if (data !== undefined) {
      if (this.#pending) this.#pending.bufferedOutgoing.push(data)
      else this.#owner.send(data)
    }
    return DONE
  }

  /** The history of the topic. */
  get history(): TopicHistory | undefined {
    return this.#topicHandler.history
  }

  /** The sender id, by which the channel skips its own broadcasts on a topic with a history. */
  get sender(): string {
    return (this.#sender ??= `${NODE_ID}.${++senderCount}`)
  }

  broadcast(event: string, payload: unknown): Promise<void> {
    if (this.#canBroadcast) return this.#owner.broadcast(this, event, payload)
    if (this.#pending) {
      throw invalidCall(
        `\`${event}\` was broadcast before \`${this.topic}\` was joined: accept first`,
      )
    }
    this.#owner.countDropped()
    return Promise.resolve()
  }

  leave(): Promise<void> {
    this.#onAnswered()
    if (this.#pending) this.#rejectJoin({}, 'ended')
    else if (this.#state !== 'closed') {
      this.#sendFrame({ kind: 'close', topic: this.topic, joinRef: this.#joinRef })
      this.#stopMessages()
      this.#endMembership('ended', { code: 1000, description: 'sent out' })
    }
    return Promise.resolve()
  }

  close(code?: number, description?: string): unknown {
    return this.connection.close(code, description)
  }

  [DELIVER](message: Prepared): boolean {
    if (!(message instanceof Broadcast)) return false
    if (message instanceof RecordedMessage && message.sender === this.#sender) return false
    const encoded = this.#owner.encodeBroadcast(message)
    return encoded !== undefined && this.connection[DELIVER](encoded)
  }

  sendPresence(state: EncodedState): void {
    if (this.#state !== 'joined') return // a listener has ended the channel
    const message = state.messageFor(this.#owner.serializer, this.topic, this.#joinRef)
    if (message) this.#owner.send(message)
    else this.#owner.countDropped()
  }

  /** Returns whether a join ref addresses this channel; null addresses the current channel. */
  matchesJoinRef(joinRef: Ref): boolean {
    return joinRef === null || joinRef === this.#joinRef
  }

  /** Passes the join to the topic's `join` listeners. Rejects it if they don't answer in time. */
  handleJoin(rawPayload: unknown): void {
    this.#endPrevious()
    const { contract, history } = this.#topicHandler
    const payload = history ? withoutFields(rawPayload, SINCE) : rawPayload
    const since = history && fieldOf(rawPayload, SINCE)
    const hasSince = since !== undefined && since !== null
    if (hasSince && this.#pending) this.#pending.since = parsePosition(since) ?? INVALID_POSITION
    if (contract?.join) this.#checkJoin(contract.join, payload)
    else this.#emitJoin(payload)
    if (this.#isAnswered || this.#pending?.accepted) return
    this.#joinTimer = setTimeout(
      () => this.reject({ reason: 'join timed out' }),
      this.#owner.joinTimeout,
    )
    this.#joinTimer.unref?.() // the timer of an abandoned join outlives the connection
  }

  accept(reply: unknown, options?: AcceptOptions): boolean {
    const { recover } = resolveOptions(acceptRules, options)
    const pending = this.#pending
    if (!pending) this.#onAnswered()
    if (!pending || pending.accepted) return this.#isMember
    const { history } = this
    if (!history) {
      this.#completeJoin(pending, reply, [])
      return this.#isMember
    }
    history.admit(this.topic, {
      since: pending.since,
      reply,
      recover,
      isWanted: () => this.#pending === pending,
      enter: (answer, messages) => this.#completeJoin(pending, answer, messages),
      refuse: () => this.loseHistory(),
      failed: (cause) => this[EMITTER].handleListenerFailure('join', cause, undefined),
    })
    if (this.#pending !== pending) return this.#isMember // the join is complete, or has ended
    pending.accepted = true
    this.#canBroadcast = true
    clearTimeout(this.#joinTimer)
    return true
  }

  /** Keeps messages without a listener waiting until the promise of a `join` listener settles. */
  holdUntil(prepared: PromiseLike<unknown>): void {
    this.#pendingListeners += 1
    void prepared.then(() => {
      this.#pendingListeners -= 1
      this.#onListenersSettled()
    })
  }

  reject(reason: unknown): void {
    if (this.#pending?.accepted) return
    if (this.#pending) this.#rejectJoin(reason, 'ended')
    this.#onAnswered()
  }

  /** Ends the channel with an error, because a listener of it or of its topic has failed. */
  onListenerFailed(): void {
    if (this.#pending) this.#rejectJoin({ reason: 'join crashed' }, 'crashed')
    else this.#fail('channel_crash', 'crashed', 'a listener failed')
    this.#onAnswered()
  }

  /** Ends the channel, because the history's store can't return the missed messages. */
  loseHistory(): void {
    if (this.#pending) this.#rejectJoin(UNAVAILABLE, 'historyLost')
    else this.#fail('history lost', 'historyLost', 'its history was lost')
    this.#onAnswered()
  }

  /** Ends the channel, because the peer sends more than the listeners take. */
  endAsTooSlow(): void {
    const reason = 'too slow'
    if (this.#pending) this.#rejectJoin({ reason }, 'tooSlow')
    else this.#fail(reason, 'tooSlow', 'its listeners are too slow')
  }

  /** Replies to the peer's `leave`, and ends the channel. */
  handleLeave(ref: Ref): void {
    const { topic } = this
    const joinRef = this.#joinRef
    this.#reply(joinRef, ref, 'ok', {})
    this.#sendFrame({ kind: 'close', topic, joinRef })
    this.#terminate('left', { code: 1000, description: 'left' })
  }

  /**
   * Replaces the peer's earlier channel of the topic. A pending join is rejected at once; a joined
   * channel ends when this join starts.
   */
  replace(old: ServerChannel<Context>): void {
    const pending = old.#pending
    if (!pending) {
      old.#isReplaced = true
      this.#previous = old
      return
    }
    this.#previous = old.#previous
    old.#previous = undefined
    if (this.#pending) this.#pending.replacedJoinRefs = pending.replacedJoinRefs
    pending.replacedJoinRefs = []
    old.#rejectJoin({ reason: 'replaced' }, 'replaced')
  }

  /** Ends the channel, because the connection has closed. */
  handleDisconnect(reason: CloseReason): void {
    this.#previous?.handleDisconnect(reason)
    this.#terminate('closed', reason)
    this.#onAnswered()
  }

  /** Handles a push of the peer: buffers, validates or queues it. */
  handlePush(frame: PushFrame, size: number): void {
    if (this.#pending) {
      this.#pending.bufferedIncoming.push([frame, size])
      this.#addWaiting(1, size)
      return
    }
    const schemas = this.#topicHandler.contract?.in
    if (!schemas) {
      this.#enqueue(frame, frame.payload, size)
      return
    }
    const { event, payload } = frame
    this.#orderedValidator.validate(
      Object.hasOwn(schemas, event) ? schemas[event] : undefined,
      payload,
      {
        onResult: (result) => this.#onValidated(frame, size, result),
        onError: (cause) => this[EMITTER].handleListenerFailure('message', cause, undefined),
        onWaiting: (step) => {
          this.#addWaiting(step, step * size)
          this.#endIfDrained()
        },
      },
    )
  }

  answer(ref: Ref, status: string, payload: unknown): void {
    if (ref === null || this.#state !== 'joined') this.#owner.countDropped()
    else this.#reply(this.#joinRef, ref, status, payload)
  }

  get hasQueueEnded(): boolean {
    return this.#queue?.hasEnded === true
  }

  /** The bytes of the messages that wait on this channel. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  addBacklog(messages: number, bytes: number): void {
    this.#addWaiting(messages, bytes)
    if (this.#closeReason && !this.#isDraining && this.#queue?.waiting === 0) this.#emitClose()
  }

  addConsumer<Value>(filter: EventFilter, consumer: Consumer<Value>): void {
    this.#queue ??= new MessageQueue(this)
    if (this.#closeReason && !this.#isDraining) this.#queue.end()
    // The types of a channel's events say that these consumers take messages.
    this.#queue.add(filter, consumer as unknown as Consumer<IncomingMessage>)
  }

  removeConsumer<Value>(filter: EventFilter, consumer: Consumer<Value>): void {
    this.#queue?.remove(filter, consumer as unknown as Consumer<IncomingMessage>)
  }

  resume<Value>(filter: EventFilter, consumer: Consumer<Value>): void {
    this.#queue?.resume(filter, consumer as unknown as Consumer<IncomingMessage>)
  }

  pinReading(step: 1 | -1): void {
    this.#owner.wait(step)
  }

  closedError(): ClosedError {
    const { code, description } = this.#closeReason ?? { code: 1006, description: '' }
    const text = `the channel of \`${this.topic}\` has closed: ${description}`
    return new ClosedError(escapeText(text), { closeCode: code, target: this })
  }

  /** The validator of what the peer sends, created on first use. */
  get #orderedValidator(): OrderedValidator {
    return (this.#validator ??= new OrderedValidator())
  }

  /** Whether the client is a member, or will be once the store of the topic's history answers. */
  get #isMember(): boolean {
    return this.#state === 'joined' || this.#pending?.accepted === true
  }

  #emitJoin(payload: unknown): void {
    if (!this.#pending) {
      this.#onAnswered() // the client has left since
      return
    }
    const emitter = this.#topicHandler[EMITTER]
    if (emitter.isFull) {
      this.reject(TOO_BUSY)
      return
    }
    if (emitter.emit('join', new PendingJoinRequest(this, payload))) return
    if (this.#topicHandler.acceptsWithoutListener()) this.accept({})
    else this.reject({ reason: 'no join listener' })
  }

  #checkJoin(schema: StandardSchema, payload: unknown): void {
    this.#orderedValidator.validate(schema, payload, {
      onResult: (result) => {
        if ('refusal' in result) this.reject(result.refusal)
        else this.#emitJoin(result.value)
      },
      onError: (cause) => this[EMITTER].handleListenerFailure('join', cause, undefined),
    })
  }

  /**
   * Completes the join in one turn: the reply, the subscription, the missed messages, the buffered
   * pushes of both sides.
   */
  #completeJoin(pending: PendingJoin, reply: unknown, missed: readonly RecordedMessage[]): void {
    this.#reply(this.#joinRef, pending.ref, 'ok', reply)
    this.#onAnswered()
    this.#clearPendingJoin(pending)
    this.#state = 'joined'
    this.#canBroadcast = true
    this.#owner.addToRoom(this)
    for (const message of missed) this[DELIVER](message)
    for (const data of pending.bufferedOutgoing) this.#owner.send(data)
    this.#topicHandler.runAfterJoin(this)
    this.#topicHandler[EMITTER].emit('joined', { channel: this })
    // A listener of `joined` may have ended the channel.
    if (this.#isMember) this.#emitter?.emit('join', reply)
    for (const [frame, size] of pending.bufferedIncoming) this.handlePush(frame, size)
    queueMicrotask(() => this.#onListenersSettled()) // listeners added in this turn count, too
  }

  /** Rejects the join, even if it was accepted and the history is still being read. */
  #rejectJoin(reason: unknown, leaveReason: LeaveReason): void {
    const pending = this.#pending
    if (!pending) return
    this.#reply(this.#joinRef, pending.ref, 'error', reason)
    this.#canBroadcast = false
    this.#abandonJoin(pending, leaveReason, { code: 1000, description: 'not let in' })
    for (const [{ ref }] of pending.bufferedIncoming) {
      if (ref === null) this.#owner.countDropped()
      else this.#reply(null, ref, 'error', { reason: 'unmatched topic' })
    }
  }

  /** Ends a pending join. The topic gets `joined` and `leave` for a join that was accepted. */
  #abandonJoin(pending: PendingJoin, reason: LeaveReason, closeReason: CloseReason): void {
    this.#clearPendingJoin(pending)
    this.#close(closeReason)
    if (!pending.accepted) return
    this.#onAnswered()
    this.#topicHandler[EMITTER].emit('joined', { channel: this })
    this.#topicHandler[EMITTER].emit('leave', { channel: this, reason })
  }

  /** Ends the channel with an error frame, after which the client rejoins. */
  #fail(reason: string, leaveReason: LeaveReason, description: string): void {
    if (this.#state !== 'joined') return
    const { topic } = this
    this.#sendFrame({ kind: 'error', topic, joinRef: this.#joinRef, payload: { reason } })
    this.#stopMessages()
    this.#endMembership(leaveReason, { code: 1011, description })
  }

  /** Adds to the waiting bytes of this channel, and to the backlog of its connection. */
  #addWaiting(messages: number, bytes: number): void {
    this.#waitingBytes += bytes
    this.#owner.addBacklog(messages, bytes)
  }

  /** Drops the waiting messages, and refuses further broadcasts of the member. */
  #stopMessages(): void {
    this.#canBroadcast = false
    this.#owner.countDropped(this.#queue?.clear() ?? 0)
  }

  /** Refuses the messages without a listener, once the `join` listeners have settled. */
  #onListenersSettled(): void {
    if (this.#isPrepared || this.#pendingListeners > 0 || this.#state !== 'joined') return
    this.#isPrepared = true
    for (const { ref } of this.#queue?.takeUnhandled() ?? []) this.#refuseUnhandled(ref)
  }

  #refuseUnhandled(ref: Ref): void {
    this.#owner.countDropped()
    if (ref === null || this.#state !== 'joined') return // the client has left since
    this.#reply(this.#joinRef, ref, 'error', UNHANDLED)
  }

  #onValidated(frame: PushFrame, size: number, result: ValidationResult): void {
    if ('value' in result) this.#enqueue(frame, result.value, size)
    else this.answer(frame.ref, 'error', result.refusal)
  }

  #enqueue(frame: PushFrame, payload: unknown, size: number): void {
    if (this.#state !== 'joined' && !this.#isDraining) {
      this.#owner.countDropped()
      return
    }
    this.#queue ??= new MessageQueue(this)
    if (this.#isPrepared && !this.#queue.handles(frame.event)) this.#refuseUnhandled(frame.ref)
    else
      this.#queue.enqueue(
        new IncomingMessage(frame, payload, this, { size, number: this.#messageCount++ }),
      )
  }

  #reply(joinRef: Ref, ref: Ref, status: string, payload: unknown): void {
    const { topic } = this
    const data = this.#owner.encode({ kind: 'reply', topic, joinRef, ref, status, payload })
    if (data !== undefined) this.#owner.send(data)
  }

  #sendFrame(frame: ServerFrame): void {
    const data = this.#owner.encode(frame)
    if (data !== undefined) this.#owner.send(data)
  }

  #endPrevious(): void {
    const previous = this.#previous
    this.#previous = undefined
    if (previous?.state !== 'joined') return // none, or it has ended already
    if (this.#pending)
      this.#pending.replacedJoinRefs = [...this.#pending.replacedJoinRefs, previous.#joinRef]
    previous.#endMembership('replaced', { code: 1000, description: 'joined anew' })
  }

  /** Lets the next join of the topic start. */
  #onAnswered(): void {
    this.#isAnswered = true
    clearTimeout(this.#joinTimer)
    this.#owner.onJoinAnswered(this)
  }

  /** Clears the answered join, and sends the `close` frames of the channels that it replaced. */
  #clearPendingJoin(pending: PendingJoin): void {
    this.#endPrevious()
    this.#pending = undefined
    for (const [, size] of pending.bufferedIncoming) this.#addWaiting(-1, -size)
    const { topic } = this
    for (const joinRef of pending.replacedJoinRefs)
      this.#sendFrame({ kind: 'close', topic, joinRef })
  }

  /** Ends the channel, whether it was joined already or not. */
  #terminate(reason: LeaveReason, closeReason: CloseReason): void {
    if (this.#pending) this.#abandonJoin(this.#pending, reason, closeReason)
    else if (this.#state === 'joined') this.#endMembership(reason, closeReason)
  }

  #endMembership(reason: LeaveReason, closeReason: CloseReason): void {
    // Messages that the peer sent before it left are delivered; not so when this server ended it.
    const isEndedByPeer = reason === 'left' || reason === 'closed' || reason === 'replaced'
    this.#isDraining = isEndedByPeer && this.#validator?.isValidating === true
    this.#close(closeReason)
    this.#topicHandler[EMITTER].emit('leave', { channel: this, reason })
  }

  #close(closeReason: CloseReason): void {
    this.#state = 'closed'
    this.#closeReason = closeReason
    this.#owner.removeChannel(this)
    if (!this.#isDraining) this.#queue?.end()
    if (!this.#isDraining && (this.#queue?.waiting ?? 0) === 0) this.#emitClose()
    else this.#closeTimer ??= setTimeout(() => this.#dropUndelivered(), this.#owner.closeTimeout)
  }

  /** Ends the queue of a peer that has left, once all its messages are validated. */
  #endIfDrained(): void {
    if (!this.#isDraining || this.#validator?.isValidating === true) return
    this.#isDraining = false
    this.#queue?.end()
    if ((this.#queue?.waiting ?? 0) === 0) this.#emitClose()
  }

  /** Drops what still waits for slow listeners: a closed channel holds no memory for longer. */
  #dropUndelivered(): void {
    this.#owner.countDropped(this.#queue?.clear() ?? 0)
    this.#emitClose()
  }

  /** Emits `close`, after the last message. */
  #emitClose(): void {
    if (this.#closeTimer === 'over') return
    clearTimeout(this.#closeTimer)
    this.#closeTimer = 'over'
    if (this.#isDraining) this.#queue?.end()
    this.#isDraining = false
    this.#emitter?.end(this.#closeReason)
  }
}

import type { CloseReason } from '../../connection/close-codes.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import type { Data, PreparedMessage } from '../../connection/message.ts'
import { ClosedError } from '../../errors.ts'
import type { ErrorSink, Emitter } from '../../events/emitter.ts'
import type { Listenable } from '../../events/listenable.ts'
import { escapeText } from '../../format.ts'
import { DELIVER, EMITTER } from '../../internal.ts'
import { DONE, rejected } from '../../promises.ts'
import type { RoomMember } from '../../rooms/room.ts'
import { invalidCall } from '../../validation.ts'
import { Channel, type ChannelEvents, type ChannelState, type AnyEvents } from '../channel.ts'
import { createSenderId, RecordedMessage } from '../history/recorded-message.ts'
import {
  ChannelEmitter,
  MessageTarget,
  type ChannelInternals,
} from '../messages/channel-emitter.ts'
import type { IncomingMessage, Replier, Message } from '../messages/message.ts'
import type { MessageQueue } from '../messages/message-queue.ts'
import { resolvePushOptions, type PushOptions } from '../messages/push-options.ts'
import type { EncodedState } from '../presence/encoded-state.ts'
import { Broadcast } from '../protocol/broadcast.ts'
import type { JoinFrame, PushFrame, Ref } from '../protocol/serializer.ts'
import { IncomingMessages } from './incoming-messages.ts'
import { PendingJoin } from './pending-join.ts'
import type { ServerSocket } from './socket.ts'
import type { LeaveReason, Topic } from './topic.ts'

/** The server's end of one member's channel. */
export class ServerChannel<Context extends object = {}>
  extends Channel<AnyEvents, AnyEvents, Context>
  implements RoomMember, Replier, ChannelInternals
{
  readonly topic: string
  readonly joinRef: Ref
  readonly #socket: ServerSocket<Context>
  readonly #topicHandler: Topic<AnyEvents, AnyEvents, Context>
  readonly #incoming: IncomingMessages
  #state: ChannelState = 'joining'
  /** The join, until the client is a member. */
  #join: PendingJoin<Context> | undefined
  /** Whether a newer join of the peer replaces this channel, which then gets no more broadcasts. */
  #isReplaced = false
  #emitter: ChannelEmitter | undefined
  #messages: MessageTarget | undefined
  /** Whether broadcasts are sent: also after the peer left, but not after the server ended it. */
  #canBroadcast = false
  /** The sender id of its broadcasts on a topic with a history, once there are any. */
  #sender: string | undefined
  #closeReason: CloseReason | undefined

  constructor(
    socket: ServerSocket<Context>,
    topicHandler: Topic<AnyEvents, AnyEvents, Context>,
    frame: JoinFrame,
  ) {
    super()
    this.topic = frame.topic
    this.joinRef = frame.joinRef
    this.#socket = socket
    this.#topicHandler = topicHandler
    this.#incoming = new IncomingMessages(this, socket)
    this.#join = new PendingJoin(this, socket, this.#incoming, frame.ref)
  }

  get [EMITTER](): Emitter<ChannelEvents> {
    if (!this.#emitter) {
      this.#emitter = new ChannelEmitter(this)
      if (this.#incoming.hasEnded) this.#emitter.end(this.#closeReason)
    }
    return this.#emitter
  }

  get topicHandler(): Topic<AnyEvents, AnyEvents, Context> {
    return this.#topicHandler
  }

  get errorSink(): ErrorSink {
    return this.#socket.errorSink
  }

  get [Symbol.toStringTag](): string {
    return 'ServerChannel'
  }

  get state(): ChannelState {
    return this.#state
  }

  get connection(): WebsocketConnection<Context> {
    return this.#socket.connection
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

  get waitingBytes(): number {
    return (this.#join?.waitingBytes ?? 0) + this.#incoming.waitingBytes
  }

  /** The sender id, by which the channel skips its own broadcasts on a topic with a history. */
  get sender(): string {
    return (this.#sender ??= createSenderId())
  }

  join(): Promise<unknown> {
    throw invalidCall('a client joins; on a server, answer its `join` with accept')
  }

  push(event: string, payload: unknown = {}, options?: PushOptions): Promise<unknown> {
    const { signal } = resolvePushOptions(options)
    if (signal?.aborted) return rejected(signal.reason)
    if (this.#state === 'closed') return rejected(this.closedError())
    const { topic, joinRef } = this
    const data = this.#socket.encode({ kind: 'push', topic, event, joinRef, ref: null, payload })
    if (data === undefined) return DONE
    if (this.#join?.isPending === true) this.#join.bufferOutgoing(data)
    else this.#socket.send(data)
    return DONE
  }

  broadcast(event: string, payload: unknown): Promise<void> {
    if (this.#canBroadcast || this.#join?.isAccepted === true) {
      return this.#socket.broadcast(this, event, payload)
    }
    if (this.#join?.isPending === true) {
      throw invalidCall(
        `\`${event}\` was broadcast before \`${this.topic}\` was joined: accept first`,
      )
    }
    this.#socket.countDropped()
    return Promise.resolve()
  }

  leave(): Promise<void> {
    if (this.#join) {
      this.#join.release()
      this.#join.refuse({}, 'ended')
    } else if (this.#state !== 'closed') {
      this.#socket.sendFrame({ kind: 'close', topic: this.topic, joinRef: this.joinRef })
      this.end('ended', { code: 1000, description: 'sent out' })
    }
    return Promise.resolve()
  }

  close(code?: number, description?: string): unknown {
    return this.connection.close(code, description)
  }

  [DELIVER](message: PreparedMessage): boolean {
    if (!(message instanceof Broadcast)) return false
    if (message instanceof RecordedMessage && message.sender === this.#sender) return false
    const encoded = this.#socket.encodeBroadcast(message)
    return encoded !== undefined && this.connection[DELIVER](encoded)
  }

  /** Sends the presence of the topic, as a message that other new members share. */
  sendPresence(state: EncodedState): void {
    if (this.#state !== 'joined') return // a listener has ended the channel
    const message = state.messageFor(this.#socket.serializer, this.topic, this.joinRef)
    if (message) this.#socket.send(message)
    else this.#socket.countDropped()
  }

  answer(ref: Ref, status: string, payload: unknown): void {
    if (ref === null || this.#state !== 'joined') this.#socket.countDropped()
    else this.#reply(ref, status, payload)
  }

  /** Replaces the peer's earlier channel of the topic. */
  replace(oldChannel: ServerChannel<Context>): void {
    oldChannel.#isReplaced = true
    this.#join?.replace(oldChannel, oldChannel.#join)
  }

  handleJoin(payload: unknown): void {
    this.#join?.start(payload)
  }

  /** Handles a push of the peer. One that arrives before the reply to the join waits for it. */
  handlePush(frame: PushFrame, size: number): void {
    if (this.#join?.isPending === true) this.#join.bufferIncoming(frame, size)
    else this.#incoming.receive(frame, size)
  }

  /** Replies to the peer's `leave`, and ends the channel. */
  handleLeave(ref: Ref): void {
    const closeReason = { code: 1000, description: 'left' }
    this.#reply(ref, 'ok', {})
    this.#socket.sendFrame({ kind: 'close', topic: this.topic, joinRef: this.joinRef })
    if (this.#join) this.#join.abandon('left', closeReason)
    else this.end('left', closeReason)
  }

  /** Ends the channel, because the connection has closed. */
  handleDisconnect(reason: CloseReason): void {
    if (this.#join) this.#join.handleDisconnect(reason)
    else this.end('closed', reason)
  }

  /** Makes the client a member, and sends the messages that it missed and the buffered pushes. */
  onJoined(
    reply: unknown,
    missedMessages: readonly RecordedMessage[],
    pushes: readonly Data[],
  ): void {
    this.#join = undefined
    this.#state = 'joined'
    this.#canBroadcast = true
    this.#socket.addToRoom(this)
    for (const message of missedMessages) this[DELIVER](message)
    for (const data of pushes) this.#socket.send(data)
    this.#topicHandler.runAfterJoin(this)
    this.#topicHandler[EMITTER].emit('joined', { channel: this })
    // A listener of `joined` may have ended the channel.
    if (this.state === 'joined') this.#emitter?.emit('join', reply)
  }

  /** Closes the channel. The topic gets `joined` and `leave` for a join that was accepted. */
  onJoinEnded(reason: LeaveReason, closeReason: CloseReason, wasAccepted: boolean): void {
    this.#canBroadcast = wasAccepted && (reason === 'left' || reason === 'closed')
    this.#close(closeReason, false)
    if (!wasAccepted) return
    this.#topicHandler[EMITTER].emit('joined', { channel: this })
    this.#topicHandler[EMITTER].emit('leave', { channel: this, reason })
  }

  /** Ends the channel, because a listener of it or of its topic has failed. */
  onListenerFailed(): void {
    this.fail(this.#join ? 'join crashed' : 'channel_crash', 'crashed', 'a listener failed')
    this.#join?.release()
  }

  /** Ends the channel, because the peer sends more than the listeners take. */
  endAsTooSlow(): void {
    this.fail('too slow', 'tooSlow', 'its listeners are too slow')
  }

  /** Rejects the join, or ends the channel with an error, after which the client rejoins. */
  fail(reason: string, leaveReason: LeaveReason, description: string): void {
    this.#join?.refuse({ reason }, leaveReason)
    if (this.#state !== 'joined') return
    const { topic, joinRef } = this
    this.#socket.sendFrame({ kind: 'error', topic, joinRef, payload: { reason } })
    this.end(leaveReason, { code: 1011, description })
  }

  end(reason: LeaveReason, closeReason: CloseReason): void {
    if (this.#state !== 'joined') return
    const isEndedByPeer = reason === 'left' || reason === 'closed' || reason === 'replaced'
    this.#canBroadcast = isEndedByPeer
    this.#close(closeReason, isEndedByPeer)
    this.#topicHandler[EMITTER].emit('leave', { channel: this, reason })
  }

  /** Emits `close`: the last message was delivered or dropped. */
  onDelivered(): void {
    this.#emitter?.end(this.#closeReason)
  }

  get hasQueueEnded(): boolean {
    return this.#incoming.hasQueueEnded
  }

  get queue(): MessageQueue<IncomingMessage> {
    return this.#incoming.queue
  }

  pinReading(step: 1 | -1): void {
    this.#socket.pinReading(step)
  }

  closedError(): ClosedError {
    const { code, description } = this.#closeReason ?? { code: 1006, description: '' }
    const text = `the channel of \`${this.topic}\` has closed: ${description}`
    return new ClosedError(escapeText(text), { closeCode: code, target: this })
  }

  #reply(ref: Ref, status: string, payload: unknown): void {
    const { topic, joinRef } = this
    this.#socket.sendFrame({ kind: 'reply', topic, joinRef, ref, status, payload })
  }

  #close(closeReason: CloseReason, isEndedByPeer: boolean): void {
    this.#state = 'closed'
    this.#closeReason = closeReason
    this.#socket.removeChannel(this)
    this.#incoming.end(isEndedByPeer)
  }
}

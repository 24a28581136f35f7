import type { CloseReason } from '../../connection/close-codes.ts'
import type { Data } from '../../connection/message.ts'
import { EMITTER } from '../../internal.ts'
import { flag, resolveOptions } from '../../validation.ts'
import type { StandardSchema } from '../../messages/standard-schema.ts'
import { OrderedValidator } from '../contract/ordered-validator.ts'
import { fieldOf, parsePosition, SINCE, withoutFields } from '../history/position.ts'
import type { RecordedMessage } from '../history/recorded-message.ts'
import type { HistoryPosition } from '../history/store.ts'
import { INVALID_POSITION } from '../history/topic-history.ts'
import type { PushFrame, Ref } from '../protocol/serializer.ts'
import type { IncomingMessages } from './incoming-messages.ts'
import { PendingJoinRequest, type AcceptOptions } from './join-request.ts'
import type { ServerChannel } from './server-channel.ts'
import type { ServerSocket } from './socket.ts'
import type { LeaveReason } from './topic.ts'

const TOO_BUSY = { reason: 'too busy' }
const UNAVAILABLE = { reason: 'history unavailable' }
const acceptRules = { recover: { ...flag(), fallback: true } }

/** A join without a reply: with the channels that it replaces, and the pushes that wait for it. */
export class PendingJoin<Context extends object> {
  readonly #channel: ServerChannel<Context>
  readonly #socket: ServerSocket<Context>
  readonly #messages: IncomingMessages
  /** The ref of the `join` frame, which the reply repeats. */
  readonly #ref: Ref
  /** `accepted` while the join waits for the topic's history; `finished` once it has ended. */
  #state: 'waiting' | 'accepted' | 'finished' = 'waiting'
  /** Whether the `join` listeners have answered, or the join has timed out. */
  #isAnswered = false
  #timer: NodeJS.Timeout | undefined
  /** The number of `join` listeners whose promises are pending. */
  #busyListeners = 0
  /** The history position up to which the client has seen messages, if it sent one. */
  #since: HistoryPosition | undefined
  /** The channel that this join replaces, which ends when the join starts. */
  #previous: ServerChannel<Context> | undefined
  /** The join refs of the channels that it replaces, whose `close` frames follow the reply. */
  #replacedJoinRefs: Ref[] = []
  /** The encoded pushes of this server, to send after the reply. */
  #outgoing: Data[] = []
  /** The pushes of the peer, to handle after the reply, with their sizes. */
  #incoming: [frame: PushFrame, size: number][] = []

  constructor(
    channel: ServerChannel<Context>,
    socket: ServerSocket<Context>,
    messages: IncomingMessages,
    ref: Ref,
  ) {
    this.#channel = channel
    this.#socket = socket
    this.#messages = messages
    this.#ref = ref
  }

  get isPending(): boolean {
    return this.#state !== 'finished'
  }

  get isAccepted(): boolean {
    return this.#state === 'accepted'
  }

  /** The bytes of the peer's pushes that wait for the answer. */
  get waitingBytes(): number {
    return this.#incoming.reduce((bytes, [, size]) => bytes + size, 0)
  }

  /** Passes the join to the topic's `join` listeners. Rejects it if they don't answer in time. */
  start(rawPayload: unknown): void {
    this.#endPrevious()
    const { contract, history } = this.#channel.topicHandler
    const payload = history ? withoutFields(rawPayload, SINCE) : rawPayload
    const since = history && fieldOf(rawPayload, SINCE)
    if (since !== undefined && since !== null) {
      this.#since = parsePosition(since) ?? INVALID_POSITION
    }
    if (contract?.join) this.#validate(contract.join, payload)
    else this.#emit(payload)
    if (this.#isAnswered || this.isAccepted) return
    this.#timer = setTimeout(
      () => this.reject({ reason: 'join timed out' }),
      this.#socket.joinTimeout,
    )
    this.#timer.unref?.() // the timer of an abandoned join outlives the connection
  }

  accept(reply: unknown, options?: AcceptOptions): boolean {
    const { recover } = resolveOptions(acceptRules, options)
    if (!this.isPending) this.release() // a listener answers a join that was abandoned meanwhile
    if (this.#state !== 'waiting') return this.#isMember
    const { history } = this.#channel.topicHandler
    if (!history) {
      this.#complete(reply, [])
      return this.#isMember
    }
    history.admit(this.#channel.topic, {
      since: this.#since,
      reply,
      recover,
      isWanted: () => this.isPending,
      enter: (answer, messages) => this.#complete(answer, messages),
      refuse: () => {
        this.refuse(UNAVAILABLE, 'historyLost')
        this.release()
      },
      failed: (cause) => this.#handleListenerFailure(cause),
    })
    if (!this.isPending) return this.#isMember // the join is complete, or has ended
    this.#state = 'accepted'
    clearTimeout(this.#timer)
    return true
  }

  reject(reason: unknown): void {
    if (this.isAccepted) return
    this.refuse(reason, 'ended')
    this.release()
  }

  /** Rejects the join, even if it was accepted and the history is still being read. */
  refuse(reason: unknown, leaveReason: LeaveReason): void {
    if (!this.isPending) return
    this.#reply('error', reason)
    const incoming = this.#incoming
    this.abandon(leaveReason, { code: 1000, description: 'not let in' })
    for (const [{ ref }] of incoming) this.#socket.replyUnmatched(this.#channel.topic, ref)
  }

  /** Ends the join without a reply. */
  abandon(leaveReason: LeaveReason, closeReason: CloseReason): void {
    if (!this.isPending) return
    const wasAccepted = this.isAccepted
    this.#end()
    if (wasAccepted) this.release()
    this.#channel.onJoinEnded(leaveReason, closeReason, wasAccepted)
  }

  /** Lets the next join of the topic start. */
  release(): void {
    this.#isAnswered = true
    clearTimeout(this.#timer)
    this.#socket.onJoinAnswered(this.#channel)
  }

  /** Ends the join, and the channel that it replaces, because the connection has closed. */
  handleDisconnect(reason: CloseReason): void {
    this.#previous?.handleDisconnect(reason)
    this.abandon('closed', reason)
    this.release()
  }

  /**
   * Replaces an older channel of the topic. It ends when this join starts. If its own join is still
   * pending, that join is rejected at once, and this one replaces what it would have replaced.
   */
  replace(oldChannel: ServerChannel<Context>, oldJoin: PendingJoin<Context> | undefined): void {
    if (!oldJoin) {
      this.#previous = oldChannel
      return
    }
    this.#previous = oldJoin.#previous
    this.#replacedJoinRefs = oldJoin.#replacedJoinRefs
    oldJoin.#previous = undefined
    oldJoin.#replacedJoinRefs = []
    oldJoin.refuse({ reason: 'replaced' }, 'replaced')
  }

  /** Keeps a push of this server until the reply is sent. */
  bufferOutgoing(data: Data): void {
    this.#outgoing.push(data)
  }

  /** Keeps a push of the peer until the reply is sent. */
  bufferIncoming(frame: PushFrame, size: number): void {
    this.#incoming.push([frame, size])
    this.#socket.addBacklog(1, size)
  }

  /** Keeps messages without a listener waiting until the promise of a `join` listener settles. */
  holdUntil(promise: PromiseLike<unknown>): void {
    this.#busyListeners += 1
    void promise.then(() => {
      this.#busyListeners -= 1
      this.#onListenersSettled()
    })
  }

  /** Whether the client is a member, or will be once the store of the topic's history answers. */
  get #isMember(): boolean {
    return this.#channel.state === 'joined' || this.isAccepted
  }

  #validate(schema: StandardSchema, payload: unknown): void {
    new OrderedValidator().validate(schema, payload, {
      onResult: (result) => {
        if ('refusal' in result) this.reject(result.refusal)
        else this.#emit(result.value)
      },
      onError: (cause) => this.#handleListenerFailure(cause),
    })
  }

  #emit(payload: unknown): void {
    if (!this.isPending) {
      this.release() // the client has left since
      return
    }
    const emitter = this.#channel.topicHandler[EMITTER]
    if (emitter.isFull) {
      this.reject(TOO_BUSY)
      return
    }
    if (emitter.emit('join', new PendingJoinRequest(this.#channel, payload, this))) return
    if (this.#channel.topicHandler.acceptsWithoutListener()) this.accept({})
    else this.reject({ reason: 'no join listener' })
  }

  /**
   * Completes the join in one turn: the reply, the subscription, the missed messages, the buffered
   * pushes of both sides.
   */
  #complete(reply: unknown, missedMessages: readonly RecordedMessage[]): void {
    this.#reply('ok', reply)
    this.release()
    const [outgoing, incoming] = [this.#outgoing, this.#incoming]
    this.#end()
    this.#channel.onJoined(reply, missedMessages, outgoing)
    for (const [frame, size] of incoming) this.#messages.receive(frame, size)
    queueMicrotask(() => this.#onListenersSettled()) // listeners added in this turn count, too
  }

  /** Ends the join: closes the channels that it replaced, and clears the buffers of pushes. */
  #end(): void {
    this.#endPrevious()
    this.#state = 'finished'
    const [incoming, joinRefs] = [this.#incoming, this.#replacedJoinRefs]
    this.#outgoing = []
    this.#incoming = []
    for (const [, size] of incoming) this.#socket.addBacklog(-1, -size)
    const { topic } = this.#channel
    for (const joinRef of joinRefs) this.#socket.sendFrame({ kind: 'close', topic, joinRef })
  }

  #endPrevious(): void {
    const previous = this.#previous
    this.#previous = undefined
    if (previous?.state !== 'joined') return // none, or it has ended already
    if (this.isPending) this.#replacedJoinRefs.push(previous.joinRef)
    previous.end('replaced', { code: 1000, description: 'joined anew' })
  }

  #onListenersSettled(): void {
    if (this.#busyListeners === 0 && this.#channel.state === 'joined') {
      this.#messages.refuseUnhandled()
    }
  }

  #handleListenerFailure(cause: unknown): void {
    this.#channel[EMITTER].handleListenerFailure('join', cause, undefined)
  }

  #reply(status: string, payload: unknown): void {
    const { topic, joinRef } = this.#channel
    this.#socket.sendFrame({ kind: 'reply', topic, joinRef, ref: this.#ref, status, payload })
  }
}

import type { CloseReason } from '../close.ts'
import type { WebsocketConnection } from '../connection.ts'
import { escaped } from '../error-text.ts'
import { ClosedError } from '../errors.ts'
import type { Taker } from '../inbox.ts'
import { DELIVER, type Data, type Message as Prepared } from '../message.ts'
import { flag, settle } from '../options/rules.ts'
import { DONE, rejected } from '../promises.ts'
import type { RoomMember } from '../room.ts'
import { SIGNALS, type Hearer, type Signals, type Target } from '../signals.ts'
import { Broadcast } from './broadcast.ts'
import { Channel, TOPIC, type ChannelEvents, type ChannelState, type Loose } from './channel.ts'
import type { StandardSchema, Verdict } from './contract.ts'
import type { JoinFrame, PushFrame, Ref, Serializer, ServerFrame } from './frame.ts'
import { Gate } from './gate.ts'
import { ChannelSignals, Messages, type Heard } from './hearing.ts'
import { fieldOf, parsePosition, SINCE, withoutFields } from './history/position.ts'
import { RecordedMessage } from './history/recorded.ts'
import type { HistoryPosition } from './history/store.ts'
import { NOWHERE, type TopicHistory } from './history/topic-history.ts'
import { Mail, type Mailed, type Tally } from './mail.ts'
import type { PresenceState } from './presence-state.ts'
import { checkedPush, type PushOptions } from './push.ts'
import { Received, type Answerer, type Message } from './received.ts'
import {
  Joining,
  type AcceptOptions,
  type JoinRequest,
  type LeaveReason,
  type NewMember,
  type Topic,
} from './topic.ts'

/** What the memberships of one connection live on. */
export interface Host<Context extends {}> extends Tally {
  readonly connection: WebsocketConnection<Context>
  /** Who hears of errors that nobody hears of on the channel. */
  readonly hearer: Hearer
  readonly serializer: Serializer
  readonly joinTimeout: number
  readonly closeTimeout: number
  /** Writes a frame; undefined, and counted, where the dialect has no words for it. */
  written(frame: ServerFrame): Data | undefined
  /** Sends what is written. */
  send(data: Data | Prepared): void
  /** Is a broadcast in the dialect of the connection; undefined, and counted, where it has no words. */
  inDialect(broadcast: Broadcast): Prepared | undefined
  /** Counts a message that is dropped. */
  dropped(count?: number): void
  /** Counts a `once` in, or out. */
  wait(step: 1 | -1): void
  /** Hears that the listeners of a join have answered, or that its time is up. */
  answered(channel: ServerChannel<Context>): void
  /** Brings a channel among the members of its topic. */
  entered(channel: ServerChannel<Context>): void
  /** Forgets a channel. */
  gone(channel: ServerChannel<Context>): void
  /** Sends to all other members of a topic, on every node. */
  broadcast(from: ServerChannel<Context>, event: string, payload: unknown): Promise<void>
}

/** What waits for the answer to a join. */
interface Pending {
  readonly ref: Ref
  /** The memberships that it replaces, whose ends are told after its answer. */
  replaces: readonly Ref[]
  /** What was pushed here meanwhile, */
  readonly pushed: Data[]
  /** and what the peer pushed, with its sizes. */
  readonly arrived: [frame: PushFrame, size: number][]
  /** What its client has seen before, where it says so. */
  since?: HistoryPosition | undefined
  /** Whether it was accepted, and waits to be let in. */
  accepted?: boolean
}

const TOO_BUSY = { reason: 'too busy' }
const UNHANDLED = { reason: 'unhandled event' }
const UNAVAILABLE = { reason: 'history unavailable' }
const acceptRules = { recover: { ...flag(), fallback: true } }
/** Begins the ids of senders, which are unlike those of other nodes. */
const NODE = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
let senders = 0

/** A request, as the listeners of `join` see it. */
class Request<Context extends {}>
  extends Joining
  implements JoinRequest<Loose, Loose, Context, unknown>
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
    this.channel.crash()
  }

  override holdUntil(prepared: PromiseLike<unknown>): void {
    this.channel.holdUntil(prepared)
  }
}

/** One membership of one topic, on the server that has it. */
export class ServerChannel<Context extends {} = {}>
  extends Channel<Loose, Loose, Context>
  implements RoomMember, Answerer, Tally, Heard, NewMember
{
  readonly topic: string
  readonly countsUnheard = true
  readonly #host: Host<Context>
  readonly #of: Topic<Loose, Loose, Context>
  readonly #joinRef: Ref
  #state: ChannelState = 'joining'
  #pending: Pending | undefined
  /** The membership that it ends once it has its turn. */
  #before: ServerChannel<Context> | undefined
  /** Whether its peer joins anew, and so hears nothing more of it. */
  #isReplaced = false
  /** Whether its `join` listeners have answered, or their time is up. */
  #isAnswered = false
  #late: NodeJS.Timeout | undefined
  #signals: ChannelSignals | undefined
  #messages: Messages | undefined
  #mail: Mail<Received> | undefined
  #judge: Gate | undefined
  /** Whether the peer has gone while what it sent before is still being checked. */
  #isDraining = false
  #count = 0
  #waitingBytes = 0
  /** Listeners of `join` that have not done their work yet. */
  #preparing = 0
  /** Whether all listeners are there that its `join` listeners wanted to add. */
  #isPrepared = false
  /** Whether it may speak to the other members: from `accept` on, until it is sent out or crashes. */
  #maySpeak = false
  /** The id of what it broadcasts on a topic with a history, once it does. */
  #sender: string | undefined
  #why: CloseReason | undefined
  #over: NodeJS.Timeout | 'over' | undefined

  constructor(
    host: Host<Context>,
    of: Topic<Loose, Loose, Context>,
    { topic, joinRef, ref }: JoinFrame,
  ) {
    super()
    this.topic = topic
    this.#host = host
    this.#of = of
    this.#joinRef = joinRef
    this.#pending = { ref, replaces: [], pushed: [], arrived: [] }
  }

  get [SIGNALS](): Signals<ChannelEvents> {
    if (!this.#signals) {
      this.#signals = new ChannelSignals(this)
      if (this.#over === 'over') this.#signals.end(this.#why)
    }
    return this.#signals
  }

  override get [TOPIC](): object {
    return this.#of
  }

  get hearer(): Hearer {
    return this.#host.hearer
  }

  get state(): ChannelState {
    return this.#state
  }

  get connection(): WebsocketConnection<Context> {
    return this.#host.connection
  }

  get messages(): Target<Record<string, Message<any>>> {
    return (this.#messages ??= new Messages(this))
  }

  get isOpen(): boolean {
    return this.#state === 'joined' && this.connection.isOpen
  }

  get valid(): boolean {
    return this.connection.valid && !this.#isReplaced
  }

  join(): Promise<unknown> {
    throw new TypeError('a client joins; on a server, answer its `join` with accept')
  }

  push(event: string, payload: unknown, options?: PushOptions): Promise<unknown> {
    const { signal } = checkedPush(options)
    if (signal?.aborted) return rejected(signal.reason)
    if (this.#state === 'closed') return rejected(this.closedError())
    const data = this.#host.written({
      ...{ kind: 'push', topic: this.topic, event, joinRef: this.#joinRef, ref: null },
      payload: payload === undefined ? {} : payload,
    })
    if (data !== undefined) {
      if (this.#pending) this.#pending.pushed.push(data)
      else this.#host.send(data)
    }
    return DONE
  }

  /** The history of its topic. */
  get history(): TopicHistory | undefined {
    return this.#of.history
  }

  /** The id that keeps what it broadcasts on a topic with a history from coming back to it. */
  get sender(): string {
    return (this.#sender ??= `${NODE}.${++senders}`)
  }

  broadcast(event: string, payload: unknown): Promise<void> {
    if (this.#maySpeak) return this.#host.broadcast(this, event, payload)
    if (this.#pending) {
      throw new TypeError(
        `\`${event}\` was broadcast before \`${this.topic}\` was joined: accept first`,
      )
    }
    this.#host.dropped()
    return Promise.resolve()
  }

  leave(): Promise<void> {
    this.#answered()
    if (this.#pending) this.#refuse({}, 'ended')
    else if (this.#state !== 'closed') {
      this.#tell({ kind: 'close', topic: this.topic, joinRef: this.#joinRef })
      this.#silence()
      this.#end('ended', { code: 1000, description: 'sent out' })
    }
    return Promise.resolve()
  }

  close(code?: number, description?: string): unknown {
    return this.connection.close(code, description)
  }

  [DELIVER](message: Prepared): boolean {
    if (!(message instanceof Broadcast)) return false
    if (message instanceof RecordedMessage && message.sender === this.#sender) return false
    const said = this.#host.inDialect(message)
    return said !== undefined && this.connection[DELIVER](said)
  }

  sendPresence(state: PresenceState): void {
    if (this.#state !== 'joined') return // a listener has sent it out
    const message = state.messageFor(this.#host.serializer, this.topic, this.#joinRef)
    if (message) this.#host.send(message)
    else this.#host.dropped()
  }

  /** Tells whether a frame that names a membership means this one. */
  isMeant(joinRef: Ref): boolean {
    return joinRef === null || joinRef === this.#joinRef
  }

  /** Asks whoever listens to the topic, and answers for them where they don't. */
  ask(given: unknown): void {
    this.#endBefore()
    const { contract, history } = this.#of
    const payload = history ? withoutFields(given, SINCE) : given
    const since = history && fieldOf(given, SINCE)
    const isAsked = since !== undefined && since !== null
    if (isAsked && this.#pending) this.#pending.since = parsePosition(since) ?? NOWHERE
    if (contract?.join) this.#checkJoin(contract.join, payload)
    else this.#request(payload)
    if (this.#isAnswered || this.#pending?.accepted) return
    this.#late = setTimeout(() => this.reject({ reason: 'join timed out' }), this.#host.joinTimeout)
    this.#late.unref?.() // where its client gave it up it outlives the connection
  }

  accept(reply: unknown, options?: AcceptOptions): boolean {
    const { recover } = settle(acceptRules, options)
    const pending = this.#pending
    if (!pending) this.#answered()
    if (!pending || pending.accepted) return this.#isMember
    const { history } = this
    if (!history) {
      this.#enter(pending, reply, [])
      return this.#isMember
    }
    history.admit(this.topic, {
      since: pending.since,
      reply,
      recover,
      isWanted: () => this.#pending === pending,
      enter: (answer, messages) => this.#enter(pending, answer, messages),
      refuse: () => this.loseHistory(),
      failed: (cause) => this[SIGNALS].failed('join', cause, undefined),
    })
    if (this.#pending !== pending) return this.#isMember // it is in, or out again, already
    pending.accepted = true
    this.#maySpeak = true
    clearTimeout(this.#late)
    return true
  }

  /** Keeps events without a listener waiting until a listener of `join` has done its work. */
  holdUntil(prepared: PromiseLike<unknown>): void {
    this.#preparing += 1
    void prepared.then(() => {
      this.#preparing -= 1
      this.#prepare()
    })
  }

  reject(reason: unknown): void {
    if (this.#pending?.accepted) return
    if (this.#pending) this.#refuse(reason, 'ended')
    this.#answered()
  }

  /** A listener of this membership, or of its topic, has failed. */
  crash(): void {
    if (this.#pending) this.#refuse({ reason: 'join crashed' }, 'crashed')
    else this.#breakOff('channel_crash', 'crashed', 'a listener failed')
    this.#answered()
  }

  /** Ends it: the store of its topic's history can't tell what it has missed. */
  loseHistory(): void {
    if (this.#pending) this.#refuse(UNAVAILABLE, 'historyLost')
    else this.#breakOff('history lost', 'historyLost', 'its history was lost')
    this.#answered()
  }

  /** Ends the membership: its peer sends more than its listeners take. */
  tooSlow(): void {
    const reason = 'too slow'
    if (this.#pending) this.#refuse({ reason }, 'tooSlow')
    else this.#breakOff(reason, 'tooSlow', 'its listeners are too slow')
  }

  /** The peer leaves. */
  left(ref: Ref): void {
    const { topic } = this
    const joinRef = this.#joinRef
    this.#reply(joinRef, ref, 'ok', {})
    this.#tell({ kind: 'close', topic, joinRef })
    this.#quit('left', { code: 1000, description: 'left' })
  }

  /**
   * Takes the place of what its peer had of the topic: a join is refused at once, and a membership ends
   * when this join has its turn.
   */
  replace(old: ServerChannel<Context>): void {
    const pending = old.#pending
    if (!pending) {
      old.#isReplaced = true
      this.#before = old
      return
    }
    this.#before = old.#before
    old.#before = undefined
    if (this.#pending) this.#pending.replaces = pending.replaces
    pending.replaces = []
    old.#refuse({ reason: 'replaced' }, 'replaced')
  }

  /** The connection has closed. */
  closed(reason: CloseReason): void {
    this.#before?.closed(reason)
    this.#quit('closed', reason)
    this.#answered()
  }

  /** The peer has pushed something. */
  arrive(frame: PushFrame, size: number): void {
    if (this.#pending) {
      this.#pending.arrived.push([frame, size])
      this.#tally(1, size)
      return
    }
    const known = this.#of.contract?.in
    if (!known) {
      this.#take(frame, frame.payload, size)
      return
    }
    const { event, payload } = frame
    this.#gate.judge(Object.hasOwn(known, event) ? known[event] : undefined, payload, {
      settled: (verdict) => this.#judged(frame, size, verdict),
      failed: (cause) => this[SIGNALS].failed('message', cause, undefined),
      waits: (step) => {
        this.#tally(step, step * size)
        this.#drained()
      },
    })
  }

  answer(ref: Ref, status: string, payload: unknown): void {
    if (ref === null || this.#state !== 'joined') this.#host.dropped()
    else this.#reply(this.#joinRef, ref, status, payload)
  }

  get hasMailEnded(): boolean {
    return this.#mail?.hasEnded === true
  }

  /** The bytes of what waits for this membership. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  tally(messages: number, bytes: number): void {
    this.#tally(messages, bytes)
    if (this.#why && !this.#isDraining && this.#mail?.waiting === 0) this.#isOver()
  }

  attach<Value>(heard: Mailed, taker: Taker<Value>): void {
    this.#mail ??= new Mail(this)
    if (this.#why && !this.#isDraining) this.#mail.end()
    // Whoever listens to this takes messages, as the events of a channel say.
    this.#mail.add(heard, taker as unknown as Taker<Received>)
  }

  detach<Value>(heard: Mailed, taker: Taker<Value>): void {
    this.#mail?.remove(heard, taker as unknown as Taker<Received>)
  }

  resume<Value>(heard: Mailed, taker: Taker<Value>): void {
    this.#mail?.resume(heard, taker as unknown as Taker<Received>)
  }

  wait(step: 1 | -1): void {
    this.#host.wait(step)
  }

  closedError(): ClosedError {
    const { code, description } = this.#why ?? { code: 1006, description: '' }
    const text = `the channel of \`${this.topic}\` has closed: ${description}`
    return new ClosedError(escaped(text), { code, target: this })
  }

  /** Is what a contract lets pass by. */
  get #gate(): Gate {
    return (this.#judge ??= new Gate())
  }

  /** Whether it is a member, or will be once the store of its topic's history has answered. */
  get #isMember(): boolean {
    return this.#state === 'joined' || this.#pending?.accepted === true
  }

  #request(payload: unknown): void {
    if (!this.#pending) {
      this.#answered() // they have left meanwhile
      return
    }
    const signals = this.#of[SIGNALS]
    if (signals.isFull) {
      this.reject(TOO_BUSY)
      return
    }
    if (signals.emit('join', new Request(this, payload))) return
    if (this.#of.acceptsUnheard()) this.accept({})
    else this.reject({ reason: 'no join listener' })
  }

  #checkJoin(schema: StandardSchema, payload: unknown): void {
    this.#gate.judge(schema, payload, {
      settled: (verdict) => {
        if ('refusal' in verdict) this.reject(verdict.refusal)
        else this.#request(verdict.value)
      },
      failed: (cause) => this[SIGNALS].failed('join', cause, undefined),
    })
  }

  /**
   * Completes the join in one turn: the reply, the messages that were missed, and what waited.
   */
  #enter(pending: Pending, reply: unknown, missed: readonly RecordedMessage[]): void {
    this.#reply(this.#joinRef, pending.ref, 'ok', reply)
    this.#answered()
    this.#settle(pending)
    this.#state = 'joined'
    this.#maySpeak = true
    this.#host.entered(this)
    for (const message of missed) this[DELIVER](message)
    for (const data of pending.pushed) this.#host.send(data)
    this.#of.entered(this)
    this.#of[SIGNALS].emit('joined', { channel: this })
    if (this.#isMember) this.#signals?.emit('join', reply) // no listener of `joined` has sent it out
    for (const [frame, size] of pending.arrived) this.arrive(frame, size)
    queueMicrotask(() => this.#prepare()) // listeners added in the same turn count, too
  }

  /** Refuses the join, also where it was accepted and its history is still being read. */
  #refuse(reason: unknown, as: LeaveReason): void {
    const pending = this.#pending
    if (!pending) return
    this.#reply(this.#joinRef, pending.ref, 'error', reason)
    this.#maySpeak = false
    this.#giveUp(pending, as, { code: 1000, description: 'not let in' })
    for (const [{ ref }] of pending.arrived) {
      if (ref === null) this.#host.dropped()
      else this.#reply(null, ref, 'error', { reason: 'unmatched topic' })
    }
  }

  /** Ends a join that is under way; one that was accepted has been a membership, for its topic. */
  #giveUp(pending: Pending, reason: LeaveReason, why: CloseReason): void {
    this.#settle(pending)
    this.#finish(why)
    if (!pending.accepted) return
    this.#answered()
    this.#of[SIGNALS].emit('joined', { channel: this })
    this.#of[SIGNALS].emit('leave', { channel: this, reason })
  }

  /** Ends a membership with an error that its client rejoins after. */
  #breakOff(reason: string, as: LeaveReason, description: string): void {
    if (this.#state !== 'joined') return
    const { topic } = this
    this.#tell({ kind: 'error', topic, joinRef: this.#joinRef, payload: { reason } })
    this.#silence()
    this.#end(as, { code: 1011, description })
  }

  /** Adds to what waits for this membership, and for its connection. */
  #tally(messages: number, bytes: number): void {
    this.#waitingBytes += bytes
    this.#host.tally(messages, bytes)
  }

  /** Drops what waits, and lets the member say nothing more to the others. */
  #silence(): void {
    this.#maySpeak = false
    this.#host.dropped(this.#mail?.clear() ?? 0)
  }

  /** Refuses what waits without a listener, once the `join` listeners have done their work. */
  #prepare(): void {
    if (this.#isPrepared || this.#preparing > 0 || this.#state !== 'joined') return
    this.#isPrepared = true
    for (const { ref } of this.#mail?.takeUnhandled() ?? []) this.#refuseUnhandled(ref)
  }

  #refuseUnhandled(ref: Ref): void {
    this.#host.dropped()
    if (ref === null || this.#state !== 'joined') return // it has left meanwhile
    this.#reply(this.#joinRef, ref, 'error', UNHANDLED)
  }

  #judged(frame: PushFrame, size: number, verdict: Verdict): void {
    if ('value' in verdict) this.#take(frame, verdict.value, size)
    else this.answer(frame.ref, 'error', verdict.refusal)
  }

  #take(frame: PushFrame, payload: unknown, size: number): void {
    if (this.#state !== 'joined' && !this.#isDraining) {
      this.#host.dropped()
      return
    }
    this.#mail ??= new Mail(this)
    if (this.#isPrepared && !this.#mail.handles(frame.event)) this.#refuseUnhandled(frame.ref)
    else this.#mail.put(new Received(frame, payload, this, { size, number: this.#count++ }))
  }

  #reply(joinRef: Ref, ref: Ref, status: string, payload: unknown): void {
    const { topic } = this
    const data = this.#host.written({ kind: 'reply', topic, joinRef, ref, status, payload })
    if (data !== undefined) this.#host.send(data)
  }

  #tell(frame: ServerFrame): void {
    const data = this.#host.written(frame)
    if (data !== undefined) this.#host.send(data)
  }

  #endBefore(): void {
    const before = this.#before
    this.#before = undefined
    if (before?.state !== 'joined') return // it has ended by itself, if there was one
    if (this.#pending) this.#pending.replaces = [...this.#pending.replaces, before.#joinRef]
    before.#end('replaced', { code: 1000, description: 'joined anew' })
  }

  /** Lets the next join of the topic have its turn. */
  #answered(): void {
    this.#isAnswered = true
    clearTimeout(this.#late)
    this.#host.answered(this)
  }

  /** The join is answered. */
  #settle(pending: Pending): void {
    this.#endBefore()
    this.#pending = undefined
    for (const [, size] of pending.arrived) this.#tally(-1, -size)
    const { topic } = this
    for (const joinRef of pending.replaces) this.#tell({ kind: 'close', topic, joinRef })
  }

  /** Ends it, whether it was joined already or not. */
  #quit(reason: LeaveReason, why: CloseReason): void {
    if (this.#pending) this.#giveUp(this.#pending, reason, why)
    else if (this.#state === 'joined') this.#end(reason, why)
  }

  #end(reason: LeaveReason, why: CloseReason): void {
    // What a peer sent before it went is heard; a member that this side ended is heard no more.
    const hasGone = reason === 'left' || reason === 'closed' || reason === 'replaced'
    this.#isDraining = hasGone && this.#judge?.isJudging === true
    this.#finish(why)
    this.#of[SIGNALS].emit('leave', { channel: this, reason })
  }

  #finish(why: CloseReason): void {
    this.#state = 'closed'
    this.#why = why
    this.#host.gone(this)
    if (!this.#isDraining) this.#mail?.end()
    if (!this.#isDraining && (this.#mail?.waiting ?? 0) === 0) this.#isOver()
    else this.#over ??= setTimeout(() => this.#giveUpWaiting(), this.#host.closeTimeout)
  }

  /** Ends the messages of a peer that has gone, once all of them are checked. */
  #drained(): void {
    if (!this.#isDraining || this.#judge?.isJudging === true) return
    this.#isDraining = false
    this.#mail?.end()
    if ((this.#mail?.waiting ?? 0) === 0) this.#isOver()
  }

  /** Drops what still waits for slow listeners: a peer that has gone holds no memory for longer. */
  #giveUpWaiting(): void {
    this.#host.dropped(this.#mail?.clear() ?? 0)
    this.#isOver()
  }

  /** Emits `close`, after the messages before it. */
  #isOver(): void {
    if (this.#over === 'over') return
    clearTimeout(this.#over)
    this.#over = 'over'
    if (this.#isDraining) this.#mail?.end()
    this.#isDraining = false
    this.#signals?.end(this.#why)
  }
}

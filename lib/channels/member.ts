import { closeReason, type CloseReason } from '../close.ts'
import type { WebsocketConnection } from '../connection.ts'
import { escaped } from '../error-text.ts'
import { ChannelError, ClosedError } from '../errors.ts'
import type { Taker } from '../inbox.ts'
import { isFunction } from '../options/rules.ts'
import { deferred, handled, isPromise, rejected, type Deferred } from '../promises.ts'
import { SIGNALS, type Hearer, type Signals, type Target } from '../signals.ts'
import { Channel, REPLICA, type ChannelEvents, type ChannelState } from './channel.ts'
import type { Contract } from './contract.ts'
import type { ClientFrame, PushFrame, ReplyFrame, TopicFrame } from './frame.ts'
import { ChannelSignals, Messages, type Heard } from './hearing.ts'
import { Mail, type Mailed, type Tally } from './mail.ts'
import { ClientPosition } from './history/position.ts'
import { PresenceReplica } from './presence-replica.ts'
import {
  checkedPush,
  keepAlive,
  Pushes,
  refusal,
  type Push,
  type Pusher,
  type PushOptions,
} from './push.ts'
import { Received, type Answerer, type Message } from './received.ts'
import { Sieve } from './sieve.ts'

/** What the channels of one client live on. */
export interface Line extends Tally {
  /** The connection, while it is open. */
  readonly connection: WebsocketConnection | undefined
  /** Who hears of errors that nobody hears of on the channel. */
  readonly hearer: Hearer
  readonly timeout: number
  readonly closeTimeout: number
  /** Whether the dialect has replies. */
  readonly replies: boolean
  /** Is a ref that nothing else has. */
  ref(): string
  /** Sends a frame; throws for a payload that can't be said. */
  say(frame: ClientFrame): void
  /**
   * Returns the payload of a push that is sent later, as it is now, and encoded where the dialect allows
   * that; throws what `say` would.
   */
  prepared(frame: PushFrame): unknown
  /** Tells whether a channel joins again after this, and when: in how many milliseconds. */
  again(error: ChannelError | CloseReason, attempt: number): number | undefined
  /** Says what happens. */
  log(kind: string, text: string, data: unknown): void
  /** Brings a channel in; whoever has its topic leaves. */
  entering(channel: ClientChannel): void
  /** Forgets a channel. */
  gone(channel: ClientChannel): void
  /** Counts what needs reading to go on in, or out. */
  wait(step: 1 | -1): void
  /** Whether what is waited for keeps the process alive: not while the client is closed. */
  readonly isAlive: boolean
}

type Timer = ReturnType<typeof setTimeout>

const MOST_UNHEARD = 1_000 // messages that wait for want of a listener,
const MOST_UNHEARD_BYTES = 1024 * 1024 // and their bytes
const LEFT = closeReason(1000, 'left')

/** One membership of one topic, on the client that has it: the table of docs/channel-client.md. */
export class ClientChannel extends Channel implements Answerer, Tally, Heard, Pusher {
  readonly topic: string
  readonly countsUnheard = false
  readonly #line: Line
  readonly #payload: unknown
  readonly #signals: ChannelSignals
  readonly #messages: Messages
  readonly #mail: Mail<Received>
  readonly #pushes: Pushes
  readonly #sieve: Sieve | undefined
  readonly #position = new ClientPosition()
  readonly #replica = new PresenceReplica(this)
  #state: ChannelState = 'closed'
  /** What the membership is called: only while it is asked for, or there. */
  #joinRef: string | undefined
  /** Until the join is answered: whoever waits for that, */
  #joining: Deferred<unknown> | undefined
  /** and what says that an answer of the payload's function is still wanted. */
  #asking: object | undefined
  #reply: unknown
  #leaving: { readonly ref: string; readonly left: Deferred<void> } | undefined
  /** Ends the wait for an answer to a join or leave; one at a time. */
  #late: Timer | undefined
  #again: Timer | undefined
  #attempt = 0
  #waits = false
  #count = 0
  /** Whether it was told that messages are dropped for want of a listener: once is enough. */
  #isOverflowTold = false
  #why: CloseReason | undefined
  /** Whether it has ended while what came before is still being checked. */
  #isDraining = false
  #over: Timer | 'over' | undefined

  constructor(line: Line, topic: string, payload: unknown, contract: Contract | undefined) {
    super()
    this.topic = topic
    this.#line = line
    this.#payload = payload
    this.#signals = new ChannelSignals(this)
    this.#messages = new Messages(this)
    this.#mail = new Mail(this)
    this.#pushes = new Pushes(this)
    this.#sieve = contract && new Sieve(contract, this)
  }

  get [SIGNALS](): Signals<ChannelEvents> {
    return this.#signals
  }

  override get [REPLICA](): PresenceReplica {
    return this.#replica
  }

  get hearer(): Hearer {
    return this.#line.hearer
  }

  get state(): ChannelState {
    return this.#state
  }

  get connection(): WebsocketConnection | undefined {
    return this.#line.connection
  }

  get messages(): Target<Record<string, Message<any>>> {
    return this.#messages
  }

  join(): Promise<unknown> {
    if (this.#state === 'joined') return Promise.resolve(this.#reply)
    if (this.#why || this.#state === 'leaving') return rejected(this.closedError())
    const joining = this.#expect()
    if (this.#state === 'closed') this.#line.entering(this)
    if (this.#state !== 'joining') this.#begin()
    return joining.promise
  }

  push(event: string, payload: unknown, options?: PushOptions): Promise<unknown> {
    const { timeout, ...how } = checkedPush(options)
    const push: Push = { event, payload: payload === undefined ? {} : payload }
    const isOver = this.#why !== undefined || this.#state === 'leaving'
    if (this.#state === 'closed' && !isOver) {
      throw new TypeError(`\`${event}\` was pushed before \`${this.topic}\` was joined: join first`)
    }
    if (isOver) return rejected(this.closedError())
    const now = this.#state === 'joined'
    const terms = { ...how, timeout: timeout || this.#line.timeout, now }
    if (now) return this.#pushes.add(push, terms)
    const prepared = this.#line.prepared(this.#pushFrame(push, '0', '0'))
    return this.#pushes.add({ event, payload: prepared }, terms)
  }

  broadcast(): never {
    throw new TypeError('a client speaks to its server alone: push, and let the server broadcast')
  }

  leave(): Promise<void> {
    if (this.#why) return Promise.resolve()
    if (this.#leaving) return this.#leaving.left.promise
    const joinRef = this.#joinRef
    if (joinRef === undefined || !this.#line.connection) {
      this.#finish(LEFT)
      return Promise.resolve()
    }
    this.#settle()
    this.#state = 'leaving'
    const [left, ref] = [deferred<void>(), this.#line.ref()]
    this.#leaving = { left, ref }
    this.#joining?.reject(this.closedError())
    this.#joining = undefined
    this.#pushes.failWaiting(this.closedError())
    this.#line.say({ kind: 'leave', topic: this.topic, joinRef, ref })
    if (this.#line.replies) this.#wait(() => this.#finish(LEFT))
    else this.#finish(LEFT)
    return left.promise
  }

  /** The connection is there. */
  opened(): void {
    this.#attempt = 0
    if (this.#state === 'errored') this.#begin()
    else if (this.#state === 'joining') this.#ask()
  }

  /** The connection is gone; a join that was not answered goes on with the next one. */
  lost(reason: CloseReason): void {
    clearTimeout(this.#again)
    this.#joinRef = this.#asking = undefined
    if (this.#state === 'leaving') this.#finish(LEFT)
    if (this.#state === 'joining') this.#awaits(false)
    if (this.#state !== 'joined') return
    this.#state = 'errored'
    const text = `the connection of \`${this.topic}\` has closed: ${reason.code} ${reason.description}`
    this.#pushes.failSent(new ClosedError(escaped(text), { code: reason.code, target: this }))
    if (this.#line.again(reason, 1) === undefined) this.#finish(reason)
  }

  get isAlive(): boolean {
    return this.#line.isAlive
  }

  /** Lets what is waited for keep the process alive, or not. */
  keepAlive(isAlive: boolean): void {
    keepAlive(this.#late, isAlive)
    this.#pushes.keepAlive(isAlive)
  }

  /** The client has given up to connect. */
  gaveUp(reason: CloseReason): void {
    this.#finish(reason)
  }

  /** The server says something about the topic; tells whether it meant this membership. */
  heard(frame: TopicFrame, size: number): boolean {
    if (frame.joinRef !== null && frame.joinRef !== this.#joinRef) return false
    if (frame.kind === 'reply') return this.#replied(frame)
    if (frame.kind === 'close') return this.#sentOut()
    if (this.#joinRef === undefined) return false
    if (frame.kind === 'error') this.#crashed(frame.payload)
    else if (this.#state === 'leaving') return false
    else this.#pushed(frame, size)
    return true
  }

  /** Keeps a message for its listeners. */
  take(frame: PushFrame, payload: unknown, size: number): void {
    if (this.#why && !this.#isDraining) return
    const { waiting = 0, bytes = 0 } = this.#mail.unheard(frame.event) ?? {}
    const isFull = waiting >= MOST_UNHEARD || (waiting > 0 && bytes + size > MOST_UNHEARD_BYTES)
    if (isFull) {
      this.#tellOverflow()
      return
    }
    this.#mail.put(new Received(frame, payload, this, { size, number: this.#count++ }))
  }

  /** Tells of what the server has refused, or done wrong; `isHandled`: the caller hears of it. */
  refused(error: ChannelError, isHandled = false): void {
    this.#line.log('channel', error.message, error)
    if (!isHandled) this.#signals.report(error)
  }

  /** What a server pushes has no answer. */
  answer(): void {
    this.#line.log('channel', `a server's push on ${this.topic} can't be answered`, undefined)
  }

  send(push: Push): string | undefined {
    const ref = this.#line.ref()
    this.#line.say(this.#pushFrame(push, this.#joinRef ?? null, ref))
    return this.#line.replies ? ref : undefined
  }

  get hasMailEnded(): boolean {
    return this.#mail.hasEnded
  }

  /** The bytes of what waits for this channel's slow listeners. */
  get waitingBytes(): number {
    return this.#mail.bytes
  }

  /** Drops what waits, leaves, and joins again: the listeners are too slow for what comes. */
  tooSlow(): void {
    const { topic } = this
    const joinRef = this.#joinRef
    const error = this.#tooSlowError(this.#mail.clear())
    if (this.#state !== 'joined' || joinRef === undefined) {
      this.refused(error)
      return
    }
    this.#line.say({ kind: 'leave', topic, joinRef, ref: this.#line.ref() })
    this.#failed(error)
  }

  tally(messages: number, bytes: number): void {
    this.#line.tally(messages, bytes)
    if (this.#why && !this.#isDraining && this.#mail.waiting === 0) this.#isOver()
  }

  /** Ends the messages of a membership that is over, once all of them are checked. */
  judged(): void {
    if (!this.#isDraining || this.#sieve?.isJudging === true) return
    this.#isDraining = false
    this.#mail.end()
    if (this.#mail.waiting === 0) this.#isOver()
  }

  attach<Value>(heard: Mailed, taker: Taker<Value>): void {
    // Whoever listens to this takes messages, as the events of a channel say.
    this.#mail.add(heard, taker as unknown as Taker<Received>)
  }

  detach<Value>(heard: Mailed, taker: Taker<Value>): void {
    this.#mail.remove(heard, taker as unknown as Taker<Received>)
  }

  resume<Value>(heard: Mailed, taker: Taker<Value>): void {
    this.#mail.resume(heard, taker as unknown as Taker<Received>)
  }

  wait(step: 1 | -1): void {
    this.#line.wait(step)
  }

  /** A listener has failed: here the membership goes on. */
  crash(): void {}

  closedError(): ClosedError {
    const { code, description } = this.#why ?? LEFT
    const text = `the channel of \`${this.topic}\` has closed: ${description}`
    return new ClosedError(escaped(text), { code, target: this })
  }

  #pushed(frame: PushFrame, size: number): void {
    const payload = this.#position.advance(frame.payload)
    if (this.#joinRef !== undefined) {
      this.#replica.hear(this.#joinRef, frame.event, payload, size)
    }
    if (this.#sieve) this.#sieve.put(frame, payload, size)
    else this.take(frame, payload, size)
  }

  #pushFrame({ event, payload }: Push, joinRef: string | null, ref: string): PushFrame {
    return { kind: 'push', topic: this.topic, event, joinRef, ref, payload }
  }

  #expect(): Deferred<unknown> {
    if (this.#joining) return this.#joining
    this.#joining = deferred()
    handled(this.#joining.promise)
    return this.#joining
  }

  /** Begins an attempt, which lasts until it is answered, or too late. */
  #begin(): void {
    clearTimeout(this.#again)
    this.#state = 'joining'
    this.#expect()
    this.#wait(() => this.#unanswered())
    this.#ask()
  }

  /** Asks for the payload, and sends the join. */
  #ask(): void {
    if (!this.#line.connection) return
    const asking = (this.#asking = {})
    const failed = (cause: unknown): void => {
      if (this.#asking !== asking) return
      const text = `could not ask to join \`${this.topic}\``
      this.#failed(new ChannelError(text, { topic: this.topic, status: 'error', cause }))
    }
    const asked = (payload: unknown): void => {
      if (this.#asking === asking) this.#sendJoin(payload)
    }
    try {
      const given = isFunction(this.#payload) ? this.#payload() : this.#payload
      if (isPromise(given)) given.then(asked).then(undefined, failed)
      else asked(given)
    } catch (cause) {
      failed(cause)
    }
  }

  #sendJoin(given: unknown = {}): void {
    const payload = this.#position.addTo(given)
    const joinRef = this.#line.ref()
    this.#line.say({ kind: 'join', topic: this.topic, joinRef, ref: joinRef, payload })
    this.#asking = undefined
    this.#joinRef = joinRef
    if (this.#line.replies) this.#awaits(true)
    else this.#joined({})
  }

  #replied({ ref, status, payload }: ReplyFrame): boolean {
    if (ref === null) return false
    if (this.#state === 'joining' && ref === this.#joinRef) {
      if (status === 'ok') this.#joined(this.#position.begin(payload))
      else this.#failed(refusal('a join', { topic: this.topic, status, reply: payload }))
      return true
    }
    if (ref !== this.#leaving?.ref) return this.#pushes.answer(ref, status, payload)
    this.#finish(LEFT)
    return true
  }

  #joined(reply: unknown): void {
    const joining = this.#joining
    this.#settle()
    this.#attempt = 0
    this.#state = 'joined'
    this.#reply = reply
    this.#joining = undefined
    this.#line.log('channel', `joined ${this.topic}`, reply)
    this.#pushes.flush()
    this.#signals.emit('join', reply)
    joining?.resolve(reply)
  }

  #unanswered(): void {
    const { topic } = this
    const joinRef = this.#joinRef
    // The server may let it in later, and nobody would be there.
    if (joinRef !== undefined && this.#line.connection) {
      this.#line.say({ kind: 'leave', topic, joinRef, ref: this.#line.ref() })
    }
    const text = `no reply to the join of \`${topic}\` within ${this.#line.timeout} ms`
    this.#failed(new ChannelError(text, { topic, status: 'timeout' }))
  }

  #crashed(payload: unknown): void {
    if (this.#state === 'leaving') {
      this.#finish(LEFT)
      return
    }
    const { topic } = this
    this.#failed(refusal('the membership', { topic, status: 'error', reply: payload }))
  }

  #sentOut(): boolean {
    if (this.#state === 'closed') return false
    this.#finish(this.#leaving ? LEFT : closeReason(1000, 'sent out by the server'))
    return true
  }

  /** The attempt, or the membership, came to nothing: it is tried again, unless told not to. */
  #failed(error: ChannelError): void {
    const joining = this.#joining
    this.#settle()
    this.#state = 'errored'
    this.#joinRef = this.#joining = undefined
    const closed = new ClosedError(error.message, { code: 1011, cause: error, target: this })
    this.#pushes.failSent(closed)
    const delay = this.#line.again(error, ++this.#attempt)
    const isDecided = this.#hasMovedOn() // the program's own functions may have left, or joined
    if (delay !== undefined && this.#line.connection && !isDecided) {
      this.#again = setTimeout(() => this.#begin(), delay)
    }
    joining?.reject(error)
    this.refused(error, this.#why !== undefined) // a channel that has closed tells nothing more
    if (delay === undefined && !isDecided) this.#finish(closeReason(1000, error.message))
  }

  #hasMovedOn(): boolean {
    return this.#state !== 'errored'
  }

  /** Nothing is waited for any more. */
  #settle(): void {
    clearTimeout(this.#late)
    clearTimeout(this.#again)
    this.#asking = undefined
    this.#awaits(false)
  }

  #wait(late: () => void): void {
    clearTimeout(this.#late)
    this.#late = setTimeout(late, this.#line.timeout)
    keepAlive(this.#late, this.isAlive)
    if (this.#state === 'leaving') this.#awaits(true)
  }

  #awaits(waits: boolean): void {
    if (waits === this.#waits) return
    this.#waits = waits
    this.#line.wait(waits ? 1 : -1)
  }

  #finish(why: CloseReason): void {
    if (this.#why) return
    this.#settle()
    this.#why = why
    this.#state = 'closed'
    this.#joinRef = undefined
    this.#line.gone(this)
    this.#line.log('channel', `closed ${this.topic}: ${why.description}`, why)
    this.#pushes.failSent(this.closedError())
    this.#pushes.failWaiting(this.closedError())
    this.#joining?.reject(this.closedError())
    this.#joining = undefined
    this.#isDraining = this.#sieve?.isJudging === true
    if (!this.#isDraining) this.#mail.end()
    if (!this.#isDraining && this.#mail.waiting === 0) this.#isOver()
    else this.#over ??= setTimeout(() => this.#giveUpWaiting(), this.#line.closeTimeout)
    this.#leaving?.left.resolve()
  }

  #tooSlowError(dropped: number): ChannelError {
    const { topic } = this
    const text = `the listeners of \`${topic}\` are too slow: ${dropped} messages that waited are dropped`
    return new ChannelError(text, { topic, status: 'error' })
  }

  /** Drops what still waits for slow listeners, so that nothing follows `close`. */
  #giveUpWaiting(): void {
    const { waiting } = this.#mail
    if (waiting > 0) this.refused(this.#tooSlowError(waiting))
    this.#mail.clear()
    this.#isOver()
  }

  /** Emits `close`, after the messages before it. */
  #isOver(): void {
    if (this.#over === 'over') return
    clearTimeout(this.#over)
    this.#over = 'over'
    if (this.#isDraining) this.#mail.end()
    this.#isDraining = false
    this.#signals.end(this.#why)
  }

  /** Tells that more came than waits for a listener. */
  #tellOverflow(): void {
    if (this.#isOverflowTold) return
    this.#isOverflowTold = true
    const { topic } = this
    const text = `too much waits for a listener on \`${topic}\`, and is dropped: listen to \`message\`, even with an empty callback`
    this.refused(new ChannelError(text, { topic }))
  }
}

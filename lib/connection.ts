import debug from '#debug'
import type { Allowance } from './allowance.ts'
import { closeTexts, messageTooBig, sendableReason, type CloseReason } from './close.ts'
import type { Counts, DropReason } from './counts.ts'
import { ClosedError, FrameError, WebsocketError, type CallbackError } from './errors.ts'
import type { Keepalive, Watched } from './keepalive.ts'
import {
  DELIVER,
  mostBytes,
  toBytes,
  toData,
  toText,
  type Data,
  type Message,
  type SendData,
} from './message.ts'
import type { ConnectionSettings } from './options/connection.ts'
import { pingPayload, Pings } from './pings.ts'
import { deferred, handled, type Deferred } from './promises.ts'
import type { RequestDetails } from './request.ts'
import { SIGNALS, Signals, type Hearer, type Plan, type Target } from './signals.ts'
import type { Receiver, Transport } from './transport/transport.ts'
import type { Watch } from './watch.ts'

const log = debug('simplewebsockets:connection')

/** The events of a connection. */
export interface ConnectionEvents {
  /** A message: text as a string, binary as bytes. It waits for a listener, and for a slow one. */
  message: Data
  /** A ping, answered already. */
  ping: Data
  /** A pong that isn't the keepalive's. */
  pong: Data
  /** What waited for the peer is below the high-water mark again. */
  drain: void
  /** What the peer sent was invalid or too much, or a listener of yours failed. */
  error: FrameError | CallbackError
  /** The connection has ended, after its last message. */
  close: CloseReason
}

/** What made a connection, and what it lends to it. */
export interface Maker<Context extends {} = {}> extends Hearer {
  readonly side: 'server' | 'client'
  readonly settings: ConnectionSettings
  readonly keepalive: Keepalive | undefined
  readonly counts: Counts
  /** Makes what bounds how much a peer may send, where that is limited. */
  readonly allowance?: (() => Allowance) | undefined
  /** Who is told of what happens; a maker in a browser has nobody. */
  readonly watch?: Watch | undefined
  /** Sends to everybody else. */
  broadcast(from: WebsocketConnection<Context>, data: Data): void
  /** Forgets a connection that is closed, before its `close` event. */
  gone(connection: WebsocketConnection<Context>, reason: CloseReason): void
}

/** Reads a connection's messages as they come, in place of the listeners of `message`. */
export interface Reader {
  /** Whether so much waits that reading has to pause; an arrival may be awaited on the connection. */
  isFull(isAwaited: boolean): boolean
  /** Makes room at once: it is full, and reading can't pause. */
  overflow(): void
  /** Takes a message; throws a `FrameError` for what the connection has to close for. */
  read(data: Data, size: number): void
  /** Hears that the peer has pinged. */
  pinged(): void
  /** Hears that the connection has ended. */
  ended(reason: CloseReason): void
}

/** Names the method that gives a connection its reader, before its first message. */
export const READ: unique symbol = Symbol('read')

/** How a connection closes. */
interface Closing {
  /** Why: what whoever closed first said. */
  readonly reason: CloseReason
  /** Whether it was closed from this side. */
  here: boolean
  /** How many messages waited when `timer` was set. */
  waiting?: number
  timer?: NodeJS.Timeout
  /** Settles once the wire has closed. */
  ended?: Deferred<CloseReason>
}

/** How many bytes went over a connection. */
export interface Carried {
  readonly received: number
  readonly sent: number
}

/** Names the method that tells how many bytes went over a connection. */
export const CARRIED: unique symbol = Symbol('carried')

/** Names the method that closes a connection because a listener failed: nothing more is delivered. */
export const FAIL: unique symbol = Symbol('fail')

/** Cuts a connection off, as a failing network would. */
export const CUT: unique symbol = Symbol('cut')

const PLAN: Plan<ConnectionEvents> = {
  kind: 'connection',
  events: ['message', 'ping', 'pong', 'drain', 'error', 'close'],
  held: 'message',
  arrivals: ['ping', 'pong'],
  end: 'close',
}

const MOST_PINGS = 1_000 // that wait for their pong
const SOFT_BOUND = 16 // messages that wait for a slow listener before reading pauses,
const SOFT_SHARE = 64 // or this part of the bytes that may wait
const RESUMED_BELOW = 8 // messages that wait, and half of those bytes: then reading goes on
/** Bytes that a waiting message takes beside its payload. */
export const MESSAGE_OVERHEAD = 256
const KEEPALIVE_PAYLOAD = toBytes('keepalive')

const OPEN = 0 // both ways
const CLOSING = 1 // a close frame went or came
const CLOSED = 2 // the transport has ended; messages may still wait for their listeners
const ENDED = 3 // the `close` event is out

/**
 * Is one end of a connection, the same on a server and on a client: you speak with its methods, and
 * `listen` to its events.
 */
export class WebsocketConnection<Context extends {} = {}> implements Target<ConnectionEvents> {
  /** What a connection's listeners, its transport and its keepalive have to do with. */
  static readonly #Inside = class extends Signals<ConnectionEvents> implements Receiver, Watched {
    heard = -1
    pinged = false
    readonly #connection: WebsocketConnection

    constructor(connection: WebsocketConnection) {
      super(PLAN)
      this.#connection = connection
    }

    override get parent(): Hearer {
      return this.#connection.#maker
    }

    override get owner(): WebsocketConnection {
      return this.#connection
    }

    override changed(): void {
      this.#connection.#flow()
    }

    override check(event: PropertyKey): void {
      super.check(event)
      if (event !== 'message' || !this.#connection.#reader) return
      throw new TypeError('the messages of this connection are for its channels: listen to those')
    }

    override listenerFailed(_: unknown, isHeard: boolean): void {
      if (!isHeard) this.#connection[FAIL]()
    }

    override closedError(): ClosedError {
      return this.#connection.#closedError()
    }

    message(data: Data, size: number): void {
      this.#connection.#received(data, size)
    }

    ping(payload: Uint8Array): void {
      if (this.#connection.#hasFailed || !this.#connection.#allows(payload.length)) return
      this.#connection.#reader?.pinged()
      if (this.listens('ping')) this.emit('ping', this.#connection.#readable(payload))
    }

    pong(payload: Uint8Array): void {
      this.#connection.#ponged(payload)
    }

    written(): void {
      this.#connection.#written()
    }

    closing(reason: CloseReason): void {
      this.#connection.#peerClosing(reason)
    }

    invalid(reason: CloseReason, cause: unknown): void {
      this.#connection.#invalid(reason, cause)
    }

    closed(reason: CloseReason): void {
      this.#connection.#closed(reason)
    }

    get bytesReceived(): number {
      return this.#connection.#transport.bytesReceived
    }

    get paused(): boolean {
      return this.#connection.#paused
    }

    probe(): void {
      this.#connection.#sendPing(KEEPALIVE_PAYLOAD, undefined)
      if (this.paused) this.#connection.#readChunk()
    }

    giveUp(): void {
      this.#connection.#giveUp()
    }
  }

  /** The request that opened it: as received on a server, as dialled on a client. */
  readonly request: RequestDetails
  /** false: it may send and receive, but `emit` and `broadcast` skip it. */
  valid = true

  readonly #inside: Signals<ConnectionEvents> & Receiver & Watched
  readonly #maker: Maker<Context>
  readonly #transport: Transport
  #context: Context | undefined
  #id: string | undefined
  #state = OPEN
  #closing: Closing | undefined
  #pings: Pings | undefined
  #allowance: Allowance | undefined
  #reader: Reader | undefined
  #paused = false
  #full = false
  #hasFailed = false

  /** @internal */
  constructor(
    maker: Maker<Context>,
    transport: Transport,
    request: RequestDetails,
    context?: Context,
  ) {
    this.request = request
    this.#context = context
    this.#maker = maker
    this.#transport = transport
    this.#inside = new WebsocketConnection.#Inside(this)
    maker.keepalive?.add(this.#inside)
    transport.start(this.#inside)
  }

  /** @hidden */
  get [SIGNALS](): Signals<ConnectionEvents> {
    return this.#inside
  }

  /** Which end this is. */
  get side(): 'server' | 'client' {
    return this.#maker.side
  }

  /** What `authorize` returned; without one, an empty object. */
  get context(): Context {
    return (this.#context ??= {} as Context) // which is then what its type says
  }

  /** A name that nobody can guess. */
  get id(): string {
    return (this.#id ??= newId())
  }

  /** The subprotocol agreed on, or nothing. */
  get protocol(): string {
    return this.#transport.protocol
  }

  /** Whether messages can be sent: no close frame went or came. */
  get isOpen(): boolean {
    return this.#state === OPEN
  }

  /** Bytes accepted by `send` and not yet handed to the kernel. */
  get bufferedAmount(): number {
    return this.#transport.bufferedAmount
  }

  /** Milliseconds of the last round trip that a ping measured; the keepalive's count too. */
  get latency(): number | undefined {
    return this.#pings?.latency
  }

  /**
   * Sends a message: text as a text frame, bytes as a binary one, a number as its decimal text. Bytes
   * stay yours: change them as soon as this has returned.
   *
   * false means: wait for `drain`, more than `highWaterMark` bytes wait for the peer; or it has
   * closed, and nothing is sent. It never throws for the state of the connection.
   *
   * @throws TypeError for anything but a string, bytes or a finite number.
   */
  send(data: SendData): boolean {
    const sent = toData(data)
    return this.#send(this.#maker.settings.binary ? toBytes(sent) : sent)
  }

  /**
   * Sends a message to every other valid connection of this server, on every node; from a client's
   * connection it reaches nobody.
   *
   * @throws TypeError for anything but a string, bytes or a finite number.
   */
  broadcast(data: SendData): void {
    this.#maker.broadcast(this, toData(data))
  }

  /**
   * Pings the peer, with a payload cut to 125 bytes, and resolves with the round trip in
   * milliseconds. A pong answers its ping and all earlier ones, RFC 6455 §5.5.3.
   *
   * It rejects with a `ClosedError` when the connection closes first.
   */
  ping(data: SendData = ''): Promise<number> {
    const payload = pingPayload(toData(data))
    const asked = deferred<number>()
    handled(asked.promise)
    if (this.#state !== OPEN) asked.reject(this.#closedError())
    else if ((this.#pings?.size ?? 0) < MOST_PINGS) this.#sendPing(payload, asked)
    else asked.reject(new WebsocketError(`${MOST_PINGS} pings wait for their pong already`))
    return asked.promise
  }

  /*
   * The closing handshake, RFC 6455 §7.1.2:
   *
   *    here                               there
   *    close() ── close frame ─────────▶  closing        no message is sent after it
   *    closing ◀───────── close frame ──  the answer     messages before it still arrive
   *    closed  ◀────── the TCP ends ───▶  closed         the server ends it first
   *    `close` event                      `close` event  after the messages before it
   *
   * A peer that doesn't answer within `closeTimeout` is cut. Both ends report the reason of whoever
   * closed first.
   */

  /**
   * Closes: sends a close frame and resolves once the peer has answered it, or was cut after
   * `closeTimeout`. An empty description gets the code's standard text; it is cut to 123 bytes.
   * Closing twice sends one frame, and both resolve with the reason of whoever closed first.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(code = 1000, description = ''): Promise<CloseReason> {
    const reason = sendableReason(code, description)
    this.#shut(reason)
    const closing = this.#close(reason)
    if (this.#state >= CLOSED) return Promise.resolve(closing.reason)
    return (closing.ended ??= deferred()).promise
  }

  /**
   * Ends the connection at once, without a closing handshake: both ends get a `close` event with
   * 1006, the peer when it sees that TCP has ended. What the kernel has not taken yet is lost.
   *
   * On a connection that is closing already it ends the wait for the peer, and the reason stays. A
   * browser can't end TCP: there this end gets its `close` event at once, and the browser says
   * goodbye to the server with 1005.
   */
  terminate(): void {
    if (this.#state >= CLOSED) return
    this.#state = CLOSING
    this.#close(named(1006)).here = true
    this.#flow()
    this.#transport.cut()
  }

  /** Closes with 1000 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [DELIVER](message: Data | Message): boolean {
    return this.#send(message)
  }

  /** @internal */
  [READ](reader: Reader): void {
    this.#reader = reader
  }

  /** @internal */
  [CARRIED](): Carried {
    const { bytesReceived, bytesSent = 0 } = this.#transport
    return { received: bytesReceived, sent: bytesSent }
  }

  /** @internal */
  [FAIL](): void {
    this.#hasFailed = true
    for (let left = this.#inside.dropHeld(); left > 0; left--) this.#drop('closing')
    this.#shut(named(1011))
    queueMicrotask(() => this.#flow()) // `close` comes after the listener that failed, and at once
  }

  /** @internal */
  [CUT](): void {
    this.#transport.cut()
  }

  #send(message: Data | Message): boolean {
    if (this.#state !== OPEN) return false
    const { maxBufferedAmount } = this.#maker.settings
    const transport = this.#transport
    const waiting = transport.bufferedAmount
    if (waiting > 0 && waiting + mostBytes(message) > maxBufferedAmount) {
      if (waiting + toBytes(message).length > maxBufferedAmount) return this.#overflow()
    }
    transport.send(message)
    this.#maker.counts.sent++
    if (transport.bufferedAmount <= this.#mark) return true
    this.#fill()
    return false
  }

  get #mark(): number {
    const { highWaterMark, maxBufferedAmount } = this.#maker.settings
    return Math.min(highWaterMark, maxBufferedAmount)
  }

  /** A peer that doesn't read has as much waiting as it may. */
  #overflow(): boolean {
    const { slowConsumer, maxBufferedAmount } = this.#maker.settings
    this.#drop('slowConsumer')
    this.#fill()
    if (slowConsumer === 'close') {
      this.#shut({
        code: 1013,
        description: `more than ${maxBufferedAmount} bytes wait to be read`,
      })
    }
    return false
  }

  #fill(): void {
    if (!this.#full) this.#transport.notify()
    this.#full = true
  }

  #written(): void {
    if (this.#state !== OPEN) return
    if (this.bufferedAmount > this.#mark) {
      this.#transport.notify() // more was sent meanwhile
    } else {
      this.#full = false
      this.#inside.emit('drain', undefined)
    }
  }

  #received(data: Data, size: number): void {
    const most = this.#maker.settings.maxReceivedMessageSize
    if (this.#hasFailed) {
      this.#drop('closing')
    } else if (size > most) {
      this.#invalid(messageTooBig(most))
    } else if (this.#overfull && this.#state !== OPEN) {
      this.#drop('closing') // the connection closes for it already
    } else if (this.#allows(size)) {
      this.#take(data, size)
    }
  }

  /** Whether more waits than may. A single message within the size limit always fits. */
  get #overfull(): boolean {
    const { waiting, waitingBytes } = this.#inside
    return waiting > 1 && waitingBytes > this.#maker.settings.maxWaitingBytes
  }

  #take(data: Data, size: number): void {
    const signals = this.#inside
    const { counts, watch, settings } = this.#maker
    counts.received++
    if (watch?.message.hasSubscribers) watch.message.publish({ connection: this, size })
    if (this.#reader) {
      this.#handOn(this.#reader, data, size)
    } else {
      const wasPaused = this.#paused
      const taken = signals.put(settings.binary ? toBytes(data) : data, size + MESSAGE_OVERHEAD)
      // The message at which reading pauses always fits, long as it may be.
      if (!taken && this.#overfull && wasPaused === this.#paused) {
        this.#invalid({ code: 1008, description: this.#unheardOf() })
      }
    }
  }

  #drop(reason: DropReason): void {
    const { counts, watch } = this.#maker
    counts.drops[reason]++
    if (watch?.drop.hasSubscribers) watch.drop.publish({ reason, connection: this })
  }

  #handOn(reader: Reader, data: Data, size: number): void {
    try {
      reader.read(data, size)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#invalid({ code: error.code, description: error.message }, error.cause)
    }
    if (this.#paused && this.#transport.canPause === false) reader.overflow()
  }

  /** Tells whether the peer may send so much now; what may not come is dropped, or the end. */
  #allows(size: number): boolean {
    this.#allowance ??= this.#maker.allowance?.()
    const refusal = this.#allowance?.refusal(size)
    if (refusal === undefined) return true
    this.#drop('rateLimit')
    if (!this.#allowance?.drops) this.#invalid({ code: 1008, description: refusal })
    return false
  }

  #unheardOf(): string {
    return this.#inside.listens('message')
      ? this.#slow()
      : 'listen to `message`, even with an empty callback'
  }

  #slow(): string {
    return `more than ${this.#maker.settings.maxWaitingBytes} bytes wait for a slow listener`
  }

  /** Pauses reading while too much waits for a slow listener, unless an arrival is awaited. */
  #flow(): void {
    if (this.#state === CLOSED) this.#endSoon()
    const paused = this.#state === OPEN && this.#mustPause()
    if (paused === this.#paused) return
    this.#paused = paused
    if (paused) this.#transport.pause()
    else this.#transport.resume()
  }

  #mustPause(): boolean {
    const isAwaited = this.#inside.awaitsArrival || this.#pings?.asked === true
    if (this.#reader) return this.#reader.isFull(isAwaited)
    return !isAwaited && this.#backlogged()
  }

  /** Whether too much waits; once reading has paused, whether enough still does. */
  #backlogged(): boolean {
    const signals = this.#inside
    const { waiting, waitingBytes } = signals
    if (waiting === 0 || !signals.listens('message')) return false
    const most = this.#maker.settings.maxWaitingBytes / SOFT_SHARE
    if (this.#paused) return waiting > RESUMED_BELOW || waitingBytes > most / 2
    return waiting > SOFT_BOUND || waitingBytes > most
  }

  #sendPing(payload: Uint8Array, asked: Deferred<number> | undefined): void {
    this.#transport.ping(payload) // which may throw
    this.#pings ??= new Pings()
    this.#pings.add(payload, asked)
    this.#flow()
  }

  #ponged(payload: Uint8Array): void {
    const answered = this.#pings?.answer(payload)
    this.#flow()
    if (answered === 'keepalive' || this.#hasFailed) return
    this.#inside.emit('pong', this.#readable(payload))
  }

  /** Reads a little while reading is paused, to hear whether the peer is still there. */
  #readChunk(): void {
    const held = this.#transport.heldBytes ?? 0
    const isFull = this.#inside.waitingBytes + held > this.#maker.settings.maxWaitingBytes
    if (!isFull) this.#transport.readChunk?.()
    else if (!this.#reader) this.#invalid({ code: 1008, description: this.#slow() })
  }

  #giveUp(): void {
    const peer = this.side === 'client' ? 'server' : 'client'
    this.#close({ code: 1006, description: `could not ping the ${peer}.` })
    this.#transport.cut()
  }

  /** Closes from this side. */
  #shut(reason: CloseReason): void {
    if (this.#state !== OPEN) return
    this.#state = CLOSING
    const closing = this.#close(reason)
    closing.here = true
    this.#flow()
    this.#transport.close(reason)
    this.#cutLater(closing)
  }

  #peerClosing(reason: CloseReason): void {
    if (this.#state !== OPEN) return
    this.#state = CLOSING
    const closing = this.#close(named(reason.code, reason.description))
    this.#flow()
    this.#cutLater(closing)
  }

  #invalid(reason: CloseReason, cause?: unknown): void {
    if (this.#state !== OPEN) return
    const error = new FrameError(reason.description, { code: reason.code, cause })
    this.#shut(reason)
    if (!this.#inside.report(error))
      log('%s has to close: %d %s', this.id, error.code, error.message)
  }

  /** Is how it closes: for this reason, unless it had one before. */
  #close(reason: CloseReason): Closing {
    return (this.#closing ??= { reason, here: false })
  }

  #cutLater(closing: Closing): void {
    closing.timer = setTimeout(() => this.#transport.cut(), this.#maker.settings.closeTimeout)
  }

  /** The transport has ended; the `close` event comes after the messages that still wait. */
  #closed({ code, description }: CloseReason): void {
    const closing = this.#close(named(code, description))
    clearTimeout(closing.timer)
    const signals = this.#inside
    this.#state = CLOSING
    this.#maker.keepalive?.delete(signals)
    this.#maker.gone(this, closing.reason)
    const { watch } = this.#maker
    if (watch?.close.hasSubscribers) watch.close.publish({ connection: this, ...closing.reason })
    this.#reader?.ended(closing.reason)
    this.#state = CLOSED
    this.#pings?.reject(this.#closedError())
    this.#endSoon()
    if (!this.#hasEnded) log('%s has closed: messages wait for a listener of `message`', this.id)
    closing.ended?.resolve(closing.reason)
  }

  /** Emits `close` once every message is taken, or once no listener takes any more of them. */
  #endSoon(): void {
    const { waiting } = this.#inside
    const closing = this.#close(named(1006))
    if (waiting === 0 || this.#isUnread(closing)) {
      this.#end()
    } else if (waiting !== closing.waiting) {
      clearTimeout(closing.timer)
      closing.waiting = waiting
      closing.timer = setTimeout(() => this.#end(), this.#maker.settings.closeTimeout)
    }
  }

  /** Whether the program has shown that it doesn't read the messages that wait. */
  #isUnread({ here }: Closing): boolean {
    const signals = this.#inside
    if (signals.listens('message') || signals.awaitsArrival) return false
    return here || (signals.awaitsEnd && !signals.everHeard)
  }

  get #hasEnded(): boolean {
    return this.#state === ENDED
  }

  #end(): void {
    if (this.#hasEnded) return
    this.#state = ENDED
    clearTimeout(this.#closing?.timer)
    for (let left = this.#inside.dropHeld(); left > 0; left--) this.#drop('unread')
    this.#inside.end(this.#closing?.reason)
  }

  #closedError(): ClosedError {
    const { code, description } = this.#closing?.reason ?? named(1006)
    const text = `the connection has closed: ${code} ${description}`
    return new ClosedError(text, { code, target: this })
  }

  #readable(payload: Uint8Array): Data {
    return this.#maker.settings.binary ? payload : toText(payload)
  }
}

/** Makes an id; a page that came without TLS has no `randomUUID`, but the bytes to make one of. */
function newId(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID()
  const digits = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  )
  return digits.join('')
}

function named(code: number, description = ''): CloseReason {
  return { code, description: description === '' ? (closeTexts.get(code) ?? '') : description }
}

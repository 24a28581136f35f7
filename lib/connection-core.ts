import debug from '#debug'
import type { Allowance } from './allowance.ts'
import { closeTexts, messageTooBig, sendableReason, type CloseReason } from './close.ts'
import type { WebsocketConnection } from './connection.ts'
import type { Counts, DropReason } from './counts.ts'
import { escaped } from './error-text.ts'
import { ClosedError, FrameError, WebsocketError, type CallbackError } from './errors.ts'
import type { Keepalive, Watched } from './keepalive.ts'
import { mostBytes, toBytes, toText, type Data, type Message } from './message.ts'
import type { ConnectionSettings } from './options/connection.ts'
import { Pings } from './pings.ts'
import { deferred, handled, type Deferred } from './promises.ts'
import { Signals, type Hearer, type Plan } from './signals.ts'
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

/** The server or client that made a connection, as far as the connection needs it. */
export interface Maker<Context extends {} = {}> extends Hearer {
  readonly side: 'server' | 'client'
  readonly settings: ConnectionSettings
  readonly keepalive: Keepalive | undefined
  readonly counts: Counts
  /** Makes what bounds how much a peer may send, where that is limited. */
  readonly allowance?: (() => Allowance) | undefined
  /** The diagnostics channels. Not in a browser. */
  readonly watch?: Watch | undefined
  /** Sends to every other connection. */
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

/** How a connection closes. */
interface Closing {
  /** The reason of the end that closed first. */
  readonly reason: CloseReason
  /** Whether it was closed from this side. */
  here: boolean
  /** How many messages waited when `timer` was set. */
  waiting?: number
  timer?: NodeJS.Timeout
  /** Settles once the wire has closed. */
  ended?: Deferred<CloseReason>
}

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
 * The inner half of a connection: its state, what waits, and what its transport, its keepalive, its
 * server or client, and its channels have to do with it. `WebsocketConnection` is what users see.
 */
export class ConnectionCore<Context extends {} = {}>
  extends Signals<ConnectionEvents>
  implements Receiver, Watched
{
  heard = -1
  pinged = false
  readonly #connection: WebsocketConnection<Context>
  readonly #maker: Maker<Context>
  readonly #transport: Transport
  #state = OPEN
  #closing: Closing | undefined
  #pings: Pings | undefined
  #allowance: Allowance | undefined
  #reader: Reader | undefined
  #paused = false
  #full = false
  #hasFailed = false
  #isOverLimit = false // closed for its rate

  constructor(
    connection: WebsocketConnection<Context>,
    maker: Maker<Context>,
    transport: Transport,
  ) {
    super(PLAN)
    this.#connection = connection
    this.#maker = maker
    this.#transport = transport
    maker.keepalive?.add(this)
    transport.start(this)
  }

  override get parent(): Hearer {
    return this.#maker
  }

  override get owner(): WebsocketConnection<Context> {
    return this.#connection
  }

  get side(): 'server' | 'client' {
    return this.#maker.side
  }

  get protocol(): string {
    return this.#transport.protocol
  }

  get isOpen(): boolean {
    return this.#state === OPEN
  }

  get bufferedAmount(): number {
    return this.#transport.bufferedAmount
  }

  get latency(): number | undefined {
    return this.#pings?.latency
  }

  get bytesReceived(): number {
    return this.#transport.bytesReceived
  }

  get bytesSent(): number {
    return this.#transport.bytesSent ?? 0
  }

  /** Whether reading is paused. */
  get paused(): boolean {
    return this.#paused
  }

  get isBusy(): boolean {
    return this.#transport.isBusy === true
  }

  override check(event: PropertyKey): void {
    super.check(event)
    if (event !== 'message' || !this.#reader) return
    throw new TypeError('the messages of this connection are for its channels: listen to those')
  }

  override listenerFailed(_: unknown, isHeard: boolean): void {
    if (!isHeard) this.fail()
  }

  override closedError(): ClosedError {
    const { code, description } = this.#closing?.reason ?? named(1006)
    const text = `the connection has closed: ${code} ${description}`
    return new ClosedError(escaped(text), { code, target: this.#connection })
  }

  /** Hands the messages to a reader, in place of the listeners of `message`: before the first. */
  readWith(reader: Reader): void {
    this.#reader = reader
  }

  /** Sends a message of the caller's, as bytes where the option `binary` says so. */
  send(data: Data): boolean {
    return this.deliver(this.#maker.settings.binary ? toBytes(data) : data)
  }

  /** Sends to every other connection of the server. */
  broadcast(data: Data): void {
    this.#maker.broadcast(this.#connection, data)
  }

  /** Sends a message that is in its final form. */
  deliver(message: Data | Message): boolean {
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

  /** Pings the peer with at most 125 bytes, and resolves with the round trip in milliseconds. */
  measure(payload: Uint8Array): Promise<number> {
    const asked = deferred<number>()
    handled(asked.promise)
    if (this.#state !== OPEN) asked.reject(this.closedError())
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
   * A peer that doesn't answer within `closeTimeout` is cut. Both ends report the reason of the end
   * that closed first.
   */

  /** Closes from this side; throws a RangeError for a code that may not be sent. */
  close(code: number, description: string): Promise<CloseReason> {
    const reason = sendableReason(code, description)
    this.#shut(reason)
    const closing = this.#close(reason)
    if (this.#state >= CLOSED) return Promise.resolve(closing.reason)
    return (closing.ended ??= deferred()).promise
  }

  /** Ends at once, without a closing handshake. */
  terminate(): void {
    if (this.#state >= CLOSED) return
    this.#state = CLOSING
    this.#close(named(1006)).here = true
    this.changed()
    this.#transport.cut()
  }

  /** Closes because a listener failed: nothing more is delivered. */
  fail(): void {
    this.#hasFailed = true
    for (let left = this.dropHeld(); left > 0; left--) this.#drop('closing')
    this.#shut(named(1011))
    queueMicrotask(() => this.changed()) // `close` comes after the listener that failed, and at once
  }

  /** Cuts the transport off, as a failing network would. */
  cut(): void {
    this.#transport.cut()
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

  written(): void {
    if (this.#state !== OPEN) return
    if (this.bufferedAmount > this.#mark) {
      this.#transport.notify() // more was sent meanwhile
    } else {
      this.#full = false
      this.emit('drain', undefined)
    }
  }

  frame(bytes: number): boolean {
    return this.#allows(bytes)
  }

  message(data: Data, size: number): void {
    const most = this.#maker.settings.maxReceivedMessageSize
    if (this.#hasFailed) {
      this.#drop('closing')
    } else if (size > most) {
      this.invalid(messageTooBig(most))
    } else if (this.#overfull && this.#state !== OPEN) {
      this.#drop('closing') // the connection closes for it already
    } else {
      this.#take(data, size)
    }
  }

  /** Whether more waits than may. A single message within the size limit always fits. */
  get #overfull(): boolean {
    const { waiting, waitingBytes } = this
    return waiting > 1 && waitingBytes > this.#maker.settings.maxWaitingBytes
  }

  #take(data: Data, size: number): void {
    const { counts, watch, settings } = this.#maker
    counts.received++
    if (watch?.message.hasSubscribers) watch.message.publish({ connection: this.#connection, size })
    if (this.#reader) {
      this.#handOn(this.#reader, data, size)
    } else {
      const wasPaused = this.#paused
      const willWait = this.waiting > 0 || !this.listens('message')
      const kept = willWait ? withoutChunk(data) : data
      const taken = this.put(settings.binary ? toBytes(kept) : kept, size + MESSAGE_OVERHEAD)
      // The message at which reading pauses always fits, long as it may be.
      if (!taken && this.#overfull && wasPaused === this.#paused) {
        this.invalid({ code: 1008, description: this.#unheardOf() })
      }
    }
  }

  #drop(reason: DropReason): void {
    const { counts, watch } = this.#maker
    counts.drops[reason]++
    if (watch?.drop.hasSubscribers) watch.drop.publish({ reason, connection: this.#connection })
  }

  #handOn(reader: Reader, data: Data, size: number): void {
    try {
      reader.read(data, size)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.invalid({ code: error.code, description: error.message }, error.cause)
    }
    if (this.#paused && this.#transport.canPause === false) reader.overflow()
  }

  /** Tells whether the peer may send so much now; what may not come is dropped, or the end. */
  #allows(size: number): boolean {
    this.#allowance ??= this.#maker.allowance?.()
    const refusal = this.#isOverLimit ? '' : this.#allowance?.refusal(size)
    if (refusal === undefined) return true
    this.#drop('rateLimit')
    if (this.#isOverLimit || this.#allowance?.drops) return false
    this.#isOverLimit = true
    this.invalid({ code: 1008, description: refusal })
    return false
  }

  #unheardOf(): string {
    return this.listens('message')
      ? this.#slow()
      : 'listen to `message`, even with an empty callback'
  }

  #slow(): string {
    return `more than ${this.#maker.settings.maxWaitingBytes} bytes wait for a slow listener`
  }

  /** Pauses reading while too much waits for a slow listener, unless an arrival is awaited. */
  override changed(): void {
    if (this.#state === CLOSED) this.#endSoon()
    const paused = this.#state === OPEN && this.#mustPause()
    if (paused === this.#paused) return
    this.#paused = paused
    if (paused) this.#transport.pause()
    else this.#transport.resume()
  }

  #mustPause(): boolean {
    const isAwaited = this.awaitsArrival || this.#pings?.asked === true
    if (this.#reader) return this.#reader.isFull(isAwaited)
    return !isAwaited && this.#backlogged()
  }

  /** Whether too much waits; once reading has paused, whether enough still does. */
  #backlogged(): boolean {
    const { waiting, waitingBytes } = this
    if (waiting === 0 || !this.listens('message')) return false
    const most = this.#maker.settings.maxWaitingBytes / SOFT_SHARE
    if (this.#paused) return waiting > RESUMED_BELOW || waitingBytes > most / 2
    return waiting > SOFT_BOUND || waitingBytes > most
  }

  #sendPing(payload: Uint8Array, asked: Deferred<number> | undefined): void {
    this.#transport.ping(payload) // which may throw
    this.#pings ??= new Pings()
    this.#pings.add(payload, asked)
    this.changed()
  }

  ping(payload: Uint8Array): void {
    if (this.#hasFailed) return
    this.#reader?.pinged()
    if (this.listens('ping')) this.emit('ping', this.#readable(payload))
  }

  pong(payload: Uint8Array): void {
    const answered = this.#pings?.answer(payload)
    this.changed()
    if (answered === 'keepalive' || this.#hasFailed) return
    this.emit('pong', this.#readable(payload))
  }

  /** Pings, and reads a little where reading is paused, to hear whether the peer is still there. */
  probe(): void {
    this.#sendPing(KEEPALIVE_PAYLOAD, undefined)
    if (this.#paused) this.#readChunk()
  }

  #readChunk(): void {
    const held = this.#transport.heldBytes ?? 0
    const isFull = this.waitingBytes + held > this.#maker.settings.maxWaitingBytes
    if (!isFull) this.#transport.readChunk?.()
    else if (!this.#reader) this.invalid({ code: 1008, description: this.#slow() })
  }

  giveUp(): void {
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
    this.changed()
    this.#transport.close(reason)
    this.#cutLater(closing)
  }

  closing(reason: CloseReason): void {
    if (this.#state !== OPEN) return
    this.#state = CLOSING
    const closing = this.#close(named(reason.code, reason.description))
    this.changed()
    this.#cutLater(closing)
  }

  invalid(reason: CloseReason, cause?: unknown): void {
    if (this.#state !== OPEN) return
    const error = new FrameError(reason.description, { code: reason.code, cause })
    this.#shut(reason)
    if (!this.report(error))
      log('%s has to close: %d %s', this.#connection.id, error.code, error.message)
  }

  /** Returns how it closes: for this reason, unless it had one before. */
  #close(reason: CloseReason): Closing {
    return (this.#closing ??= { reason, here: false })
  }

  #cutLater(closing: Closing): void {
    closing.timer = setTimeout(() => this.#transport.cut(), this.#maker.settings.closeTimeout)
  }

  /** The transport has ended; the `close` event comes after the messages that still wait. */
  closed({ code, description }: CloseReason): void {
    const closing = this.#close(named(code, description))
    clearTimeout(closing.timer)
    this.#state = CLOSING
    this.#maker.keepalive?.delete(this)
    this.#maker.gone(this.#connection, closing.reason)
    const { watch } = this.#maker
    if (watch?.close.hasSubscribers)
      watch.close.publish({ connection: this.#connection, ...closing.reason })
    this.#reader?.ended(closing.reason)
    this.#state = CLOSED
    this.#pings?.reject(this.closedError())
    this.#endSoon()
    if (!this.#hasEnded)
      log('%s has closed: messages wait for a listener of `message`', this.#connection.id)
    closing.ended?.resolve(closing.reason)
  }

  /** Emits `close` once every message is taken, or once no listener takes any more of them. */
  #endSoon(): void {
    const { waiting } = this
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
    if (this.listens('message') || this.awaitsArrival) return false
    return here || (this.awaitsEnd && !this.everHeard)
  }

  get #hasEnded(): boolean {
    return this.#state === ENDED
  }

  #end(): void {
    if (this.#hasEnded) return
    this.#state = ENDED
    clearTimeout(this.#closing?.timer)
    for (let left = this.dropHeld(); left > 0; left--) this.#drop('unread')
    this.end(this.#closing?.reason)
  }

  #readable(payload: Uint8Array): Data {
    return this.#maker.settings.binary ? payload : toText(payload)
  }
}

function named(code: number, description = ''): CloseReason {
  return { code, description: description === '' ? (closeTexts.get(code) ?? '') : description }
}

/** Copies bytes that would keep alive a chunk of which they are only a part. */
function withoutChunk(data: Data): Data {
  const isPart = data instanceof Uint8Array && data.length < data.buffer.byteLength
  return isPart ? Uint8Array.from(data) : data
}

import debug from '#debug'
import type { RateLimiter } from './rate-limiter.ts'
import {
  closeCodeTexts,
  messageTooBig,
  sendableReason,
  type CloseReason,
  type Fault,
} from './close-codes.ts'
import type { WebsocketConnection } from './connection.ts'
import type { Counts, DropReason } from './counts.ts'
import { escapeText } from '../error-text.ts'
import {
  ClosedError,
  FrameError,
  invalidCall,
  WebsocketError,
  type CallbackError,
} from '../errors.ts'
import type { Keepalive, KeepaliveTarget } from './keepalive.ts'
import { maxByteLength, toBytes, toText, type Data, type PreparedMessage } from './message.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import { PingTracker } from './pings.ts'
import { deferred, markHandled, type Deferred } from '../promises.ts'
import { Emitter, type ErrorSink, type EventSpec } from '../events/emitter.ts'
import type { TransportReceiver, Transport } from '../transport/transport.ts'
import type { DiagnosticsSink } from '../server/diagnostics.ts'

const log = debug('simplewebsockets:connection')

/** The events of a connection. */
export interface ConnectionEvents {
  /** A received message: a string for text, bytes for binary. It waits for a listener. */
  message: Data
  /** A ping from the peer, answered already. */
  ping: Data
  /** A pong from the peer, unless it answers a ping of the keepalive. */
  pong: Data
  /** The end of backpressure: the bytes that wait for the peer are back at the high-water mark. */
  drain: void
  /** A failure: the peer sent something invalid or too much, or one of your listeners failed. */
  error: FrameError | CallbackError
  /** The end of the connection. It comes after the last message. */
  close: CloseReason
}

/** The server or client that made a connection: shared settings, counters and callbacks. */
export interface ConnectionOwner<Context extends {} = {}> extends ErrorSink {
  readonly side: 'server' | 'client'
  readonly settings: ConnectionSettings
  readonly keepalive: Keepalive | undefined
  readonly counts: Counts
  /** Creates the rate limiter of one connection. Missing where the peer's rate is not limited. */
  readonly makeRateLimiter?: (() => RateLimiter) | undefined
  /** The diagnostics channels. Missing in a browser. */
  readonly diagnostics?: DiagnosticsSink | undefined
  /** Sends a message to every other connection. */
  broadcast(from: WebsocketConnection<Context>, data: Data): void
  /** Removes a closed connection from the owner. Called before its `close` event. */
  onClose(connection: WebsocketConnection<Context>, reason: CloseReason): void
}

/** The consumer of a connection's messages that replaces the `message` listeners (channels). */
export interface MessageSink {
  /**
   * Returns whether so much waits that reading has to pause. `isAwaited` says whether a `once` of
   * the connection waits for something to arrive.
   */
  isFull(isAwaited: boolean): boolean
  /** Makes room at once. Called when the sink is full and reading can't pause. */
  overflow(): void
  /**
   * Takes a message.
   *
   * @throws FrameError when the connection has to close because of this message.
   */
  onMessage(data: Data, size: number): void
  /** Handles a ping from the peer. */
  onPing(): void
  /** Handles the end of the connection. */
  onClose(reason: CloseReason): void
}

/** The state of a close. */
interface Closing {
  /** The reason given by the side that closed first. */
  readonly reason: CloseReason
  /** Whether this side closed the connection. */
  isLocal: boolean
  /** The number of messages that waited when `timer` was set. */
  waiting?: number
  timer?: NodeJS.Timeout
  /** Resolves when the transport has closed. */
  completion?: Deferred<CloseReason>
}

const SPEC: EventSpec<ConnectionEvents> = {
  kind: 'connection',
  events: ['message', 'ping', 'pong', 'drain', 'error', 'close'],
  queuedEvent: 'message',
  peerEvents: ['ping', 'pong'],
  terminalEvent: 'close',
}

const MAX_PINGS = 1_000 // pings that may wait for their pong
const TOO_MANY_PINGS = `${MAX_PINGS} pings wait for their pong already`
// Reading pauses when more than this many messages wait for a slow listener, or more than one part
// in PAUSE_SHARE of the bytes that may wait. It resumes at RESUME_AT messages and half those bytes.
const PAUSE_ABOVE = 16
const PAUSE_SHARE = 64
const RESUME_AT = 8
/** Bytes that a waiting message is counted with beside its payload. */
export const MESSAGE_OVERHEAD = 256
const NO_LISTENER: Fault = {
  code: 1008,
  description: 'listen to `message`, even with an empty callback',
  errorCode: 'ERR_NO_LISTENER',
}
const KEEPALIVE_PAYLOAD = toBytes('keepalive')

const OPEN = 0 // both sides may send
const CLOSING = 1 // a close frame was sent or received
const CLOSED = 2 // the transport has ended; messages may still wait for their listeners
const ENDED = 3 // the `close` event was emitted

/**
 * The private half of a connection: its state, its queue of messages, and the methods that its
 * transport, its keepalive, its owner and its channels call. `WebsocketConnection` is the public
 * half.
 */
export class ConnectionCore<Context extends {} = {}>
  extends Emitter<ConnectionEvents>
  implements TransportReceiver, KeepaliveTarget
{
  lastBytesReceived = -1
  lastPinged = false
  readonly #connection: WebsocketConnection<Context>
  readonly #owner: ConnectionOwner<Context>
  readonly #transport: Transport
  #state = OPEN
  #closing: Closing | undefined
  #pings: PingTracker | undefined
  #rateLimiter: RateLimiter | undefined
  #sink: MessageSink | undefined
  #paused = false
  #needsDrain = false
  #hasFailed = false
  #isOverLimit = false // the connection closes because the peer exceeded its rate

  constructor(
    connection: WebsocketConnection<Context>,
    owner: ConnectionOwner<Context>,
    transport: Transport,
  ) {
    super(SPEC)
    this.#connection = connection
    this.#owner = owner
    this.#transport = transport
    owner.keepalive?.add(this)
    transport.start(this)
  }

  override get parent(): ErrorSink {
    return this.#owner
  }

  override get owner(): WebsocketConnection<Context> {
    return this.#connection
  }

  get side(): 'server' | 'client' {
    return this.#owner.side
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

  override assertEvent(event: PropertyKey): void {
    super.assertEvent(event)
    if (event !== 'message' || !this.#sink) return
    throw invalidCall('the messages of this connection are for its channels: listen to those')
  }

  override onListenerFailed(_: unknown, isHeard: boolean): void {
    if (!isHeard) this.fail()
  }

  override closedError(): ClosedError {
    const { code, description } = this.#closing?.reason ?? withDefaultText(1006)
    const text = `the connection has closed: ${code} ${description}`
    return new ClosedError(escapeText(text), { closeCode: code, target: this.#connection })
  }

  /** Passes messages to `sink` instead of `message` listeners. Call it before the first message. */
  setSink(sink: MessageSink): void {
    this.#sink = sink
  }

  /** Sends the caller's message, as bytes when the option `binary` is set. */
  send(data: Data): boolean {
    return this.deliver(this.#owner.settings.binary ? toBytes(data) : data)
  }

  /** Sends a message to every other connection of the server. */
  broadcast(data: Data): void {
    this.#owner.broadcast(this.#connection, data)
  }

  /** Sends a message as it is, without the conversion that `binary` asks for. */
  deliver(message: Data | PreparedMessage): boolean {
    if (this.#state !== OPEN) return false
    const { maxBufferedAmount } = this.#owner.settings
    const transport = this.#transport
    const buffered = transport.bufferedAmount
    if (buffered > 0 && buffered + maxByteLength(message) > maxBufferedAmount) {
      if (buffered + toBytes(message).length > maxBufferedAmount) return this.#dropOverflow()
    }
    transport.send(message)
    this.#owner.counts.sent++
    if (transport.bufferedAmount <= this.#highWaterMark) return true
    this.#awaitDrain()
    return false
  }

  /** Pings the peer with at most 125 bytes. Resolves with the round trip in milliseconds. */
  measureRoundTrip(payload: Uint8Array): Promise<number> {
    const roundTrip = deferred<number>()
    markHandled(roundTrip.promise)
    if (this.#state !== OPEN) roundTrip.reject(this.closedError())
    else if ((this.#pings?.size ?? 0) < MAX_PINGS) this.#sendPing(payload, roundTrip)
    else roundTrip.reject(new WebsocketError(TOO_MANY_PINGS, { code: 'ERR_TOO_MANY_PENDING' }))
    return roundTrip.promise
  }

  /*
   * The closing handshake, RFC 6455 §7.1.2:
   *
   *    this side                          peer
   *    close() ── close frame ─────────▶  CLOSING        this side sends no message after it
   *    CLOSING ◀───────── close frame ──  the answer     messages before it still arrive
   *    CLOSED  ◀─────── TCP ends ──────▶  CLOSED         the server ends TCP first
   *    `close` event                      `close` event  after the messages before it
   *
   * When the peer doesn't answer within `closeTimeout`, this side ends the transport. Both sides
   * report the reason of the side that closed first.
   */

  /**
   * Starts the closing handshake. Resolves with the reason when the transport has closed.
   *
   * @throws TypeError when the description is not a string, RangeError when the code may not be
   * sent.
   */
  close(code: number, description: string): Promise<CloseReason> {
    const reason = sendableReason(code, description)
    this.#startClose(reason)
    const closing = this.#recordReason(reason)
    if (this.#state >= CLOSED) return Promise.resolve(closing.reason)
    return (closing.completion ??= deferred()).promise
  }

  /** Ends the connection at once, without a closing handshake. */
  terminate(): void {
    if (this.#state >= CLOSED) return
    this.#state = CLOSING
    this.#recordReason(withDefaultText(1006)).isLocal = true
    this.onChange()
    this.#transport.terminate()
  }

  /** Closes with 1011 because a listener failed. Delivers no more messages. */
  fail(): void {
    this.#hasFailed = true
    for (let count = this.dropQueued(); count > 0; count--) this.#drop('closing')
    this.#startClose(withDefaultText(1011))
    queueMicrotask(() => this.onChange()) // so that `close` comes just after the failed listener
  }

  /** Ends the transport as a failing network would. */
  cut(): void {
    this.#transport.terminate()
  }

  get #highWaterMark(): number {
    const { highWaterMark, maxBufferedAmount } = this.#owner.settings
    return Math.min(highWaterMark, maxBufferedAmount)
  }

  /** Drops a message because the peer doesn't read and `maxBufferedAmount` is reached. */
  #dropOverflow(): boolean {
    const { slowConsumer, maxBufferedAmount } = this.#owner.settings
    this.#drop('slowConsumer')
    this.#awaitDrain()
    if (slowConsumer === 'close') {
      this.#startClose({
        code: 1013,
        description: `more than ${maxBufferedAmount} bytes wait to be read`,
      })
    }
    return false
  }

  #awaitDrain(): void {
    if (!this.#needsDrain) this.#transport.notify()
    this.#needsDrain = true
  }

  onFlushed(): void {
    if (this.#state !== OPEN) return
    if (this.bufferedAmount > this.#highWaterMark) {
      this.#transport.notify() // more was sent in the meantime
    } else {
      this.#needsDrain = false
      this.emit('drain', undefined)
    }
  }

  onFrame(bytes: number): boolean {
    return this.#checkRateLimit(bytes)
  }

  onMessage(data: Data, size: number): void {
    const maxSize = this.#owner.settings.maxReceivedMessageSize
    if (this.#hasFailed) {
      this.#drop('closing')
    } else if (size > maxSize) {
      this.onInvalid(messageTooBig(maxSize))
    } else if (this.#isOverfull && this.#state !== OPEN) {
      this.#drop('closing') // the connection closes already
    } else {
      this.#receive(data, size)
    }
  }

  /** Whether more bytes wait than allowed. A single message within the size limit always fits. */
  get #isOverfull(): boolean {
    const { queuedCount: waiting, waitingBytes } = this
    return waiting > 1 && waitingBytes > this.#owner.settings.maxWaitingBytes
  }

  #receive(data: Data, size: number): void {
    const { counts, diagnostics: watch, settings } = this.#owner
    counts.received++
    if (watch?.message.hasSubscribers) watch.message.publish({ connection: this.#connection, size })
    if (this.#sink) {
      this.#passToSink(this.#sink, data, size)
    } else {
      const wasPaused = this.#paused
      const willWait = this.queuedCount > 0 || !this.hasListeners('message')
      const value = willWait ? withoutChunk(data) : data
      const wasTaken = this.enqueue(
        settings.binary ? toBytes(value) : value,
        size + MESSAGE_OVERHEAD,
      )
      // The message that makes reading pause always fits, whatever its length.
      if (!wasTaken && this.#isOverfull && wasPaused === this.#paused) {
        this.onInvalid(this.hasListeners('message') ? this.#slowListener : NO_LISTENER)
      }
    }
  }

  #drop(reason: DropReason): void {
    const { counts, diagnostics: watch } = this.#owner
    counts.drops[reason]++
    if (watch?.drop.hasSubscribers) watch.drop.publish({ reason, connection: this.#connection })
  }

  #passToSink(sink: MessageSink, data: Data, size: number): void {
    try {
      sink.onMessage(data, size)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      const { closeCode: code, message: description, code: errorCode, cause } = error
      this.onInvalid({ code, description, errorCode }, cause)
    }
    if (this.#paused && this.#transport.canPause === false) sink.overflow()
  }

  /**
   * Returns whether the peer may send a frame of `size` bytes now. If not, counts a drop, and
   * closes the connection unless the policy is 'drop'.
   */
  #checkRateLimit(size: number): boolean {
    this.#rateLimiter ??= this.#owner.makeRateLimiter?.()
    const refusal = this.#isOverLimit ? '' : this.#rateLimiter?.tryConsume(size)
    if (refusal === undefined) return true
    this.#drop('rateLimit')
    if (this.#isOverLimit || this.#rateLimiter?.drops) return false
    this.#isOverLimit = true
    this.onInvalid({ code: 1008, description: refusal, errorCode: 'ERR_RATE_LIMIT' })
    return false
  }

  get #slowListener(): Fault {
    const { maxWaitingBytes } = this.#owner.settings
    return {
      code: 1008,
      description: `more than ${maxWaitingBytes} bytes wait for a slow listener`,
      errorCode: 'ERR_SLOW_LISTENER',
    }
  }

  /**
   * Pauses reading while too much waits for a slow listener, unless a `once` waits for something to
   * arrive. Resumes it afterwards.
   */
  override onChange(): void {
    if (this.#state === CLOSED) this.#emitCloseWhenRead()
    const paused = this.#state === OPEN && this.#mustPause()
    if (paused === this.#paused) return
    this.#paused = paused
    if (paused) this.#transport.pause()
    else this.#transport.resume()
  }

  #mustPause(): boolean {
    const isAwaited = this.awaitsArrival || this.#pings?.hasWaiter === true
    if (this.#sink) return this.#sink.isFull(isAwaited)
    return !isAwaited && this.#hasBacklog()
  }

  /** Returns whether too much waits. While reading is paused, the lower bounds count. */
  #hasBacklog(): boolean {
    const { queuedCount: waiting, waitingBytes } = this
    if (waiting === 0 || !this.hasListeners('message')) return false
    const maxBytes = this.#owner.settings.maxWaitingBytes / PAUSE_SHARE
    if (this.#paused) return waiting > RESUME_AT || waitingBytes > maxBytes / 2
    return waiting > PAUSE_ABOVE || waitingBytes > maxBytes
  }

  #sendPing(payload: Uint8Array, roundTrip: Deferred<number> | undefined): void {
    this.#transport.ping(payload) // first, as it may throw
    this.#pings ??= new PingTracker()
    this.#pings.add(payload, roundTrip)
    this.onChange()
  }

  onPing(payload: Uint8Array): void {
    if (this.#hasFailed) return
    this.#sink?.onPing()
    if (this.hasListeners('ping')) this.emit('ping', this.#toData(payload))
  }

  onPong(payload: Uint8Array): void {
    const pingedBy = this.#pings?.onPong(payload)
    this.onChange()
    if (pingedBy === 'keepalive' || this.#hasFailed) return
    this.emit('pong', this.#toData(payload))
  }

  /** Checks whether the peer is still there: pings it, and reads one chunk if reading is paused. */
  probe(): void {
    this.#sendPing(KEEPALIVE_PAYLOAD, undefined)
    if (this.#paused) this.#readChunk()
  }

  #readChunk(): void {
    const heldBytes = this.#transport.heldBytes ?? 0
    const isFull = this.waitingBytes + heldBytes > this.#owner.settings.maxWaitingBytes
    if (!isFull) this.#transport.readChunk?.()
    else if (!this.#sink) this.onInvalid(this.#slowListener)
  }

  giveUp(): void {
    const peerSide = this.side === 'client' ? 'server' : 'client'
    this.#recordReason({ code: 1006, description: `could not ping the ${peerSide}.` })
    this.#transport.terminate()
  }

  /** Sends the close frame, unless the connection closes already. */
  #startClose(reason: CloseReason): void {
    if (this.#state !== OPEN) return
    this.#state = CLOSING
    const closing = this.#recordReason(reason)
    closing.isLocal = true
    this.onChange()
    this.#transport.close(reason)
    this.#startCloseTimer(closing)
  }

  onPeerClose(reason: CloseReason): void {
    if (this.#state !== OPEN) return
    this.#state = CLOSING
    const closing = this.#recordReason(withDefaultText(reason.code, reason.description))
    this.onChange()
    this.#startCloseTimer(closing)
  }

  onInvalid({ code, description, errorCode }: Fault, cause?: unknown): void {
    if (this.#state !== OPEN) return
    const error = new FrameError(description, { closeCode: code, code: errorCode, cause })
    this.#startClose({ code, description })
    if (!this.reportError(error))
      log('%s has to close: %d %s', this.#connection.id, code, error.message)
  }

  /**
   * Returns the state of the close. Records `reason` unless one is recorded: the first one wins.
   */
  #recordReason(reason: CloseReason): Closing {
    return (this.#closing ??= { reason, isLocal: false })
  }

  #startCloseTimer(closing: Closing): void {
    closing.timer = setTimeout(() => this.#transport.terminate(), this.#owner.settings.closeTimeout)
  }

  /** Handles the end of the transport. `close` comes after the messages that still wait. */
  onClosed({ code, description }: CloseReason): void {
    const closing = this.#recordReason(withDefaultText(code, description))
    clearTimeout(closing.timer)
    this.#state = CLOSING
    this.#owner.keepalive?.delete(this)
    this.#owner.onClose(this.#connection, closing.reason)
    const { diagnostics: watch } = this.#owner
    if (watch?.close.hasSubscribers)
      watch.close.publish({ connection: this.#connection, ...closing.reason })
    this.#sink?.onClose(closing.reason)
    this.#state = CLOSED
    this.#pings?.reject(this.closedError())
    this.#emitCloseWhenRead()
    if (!this.#hasEnded)
      log('%s has closed: messages wait for a listener of `message`', this.#connection.id)
    closing.completion?.resolve(closing.reason)
  }

  /** Emits `close` when every message is taken, or when the listeners take no more of them. */
  #emitCloseWhenRead(): void {
    const { queuedCount: waiting } = this
    const closing = this.#recordReason(withDefaultText(1006))
    if (waiting === 0 || this.#hasNoReader(closing)) {
      this.#emitClose()
    } else if (waiting !== closing.waiting) {
      clearTimeout(closing.timer)
      closing.waiting = waiting
      closing.timer = setTimeout(() => this.#emitClose(), this.#owner.settings.closeTimeout)
    }
  }

  /** Returns whether the program has shown that it won't read the messages that wait. */
  #hasNoReader({ isLocal }: Closing): boolean {
    if (this.hasListeners('message') || this.awaitsArrival) return false
    return isLocal || (this.awaitsEnd && !this.hadListeners)
  }

  get #hasEnded(): boolean {
    return this.#state === ENDED
  }

  #emitClose(): void {
    if (this.#hasEnded) return
    this.#state = ENDED
    clearTimeout(this.#closing?.timer)
    for (let count = this.dropQueued(); count > 0; count--) this.#drop('unread')
    this.end(this.#closing?.reason)
  }

  #toData(payload: Uint8Array): Data {
    return this.#owner.settings.binary ? payload : toText(payload)
  }
}

function withDefaultText(code: number, description = ''): CloseReason {
  return { code, description: description === '' ? (closeCodeTexts.get(code) ?? '') : description }
}

/** Copies bytes that are only a part of a chunk, so that they don't keep the chunk in memory. */
function withoutChunk(data: Data): Data {
  const isPart = data instanceof Uint8Array && data.length < data.buffer.byteLength
  return isPart ? Uint8Array.from(data) : data
}

import debug from '#debug'
import { ClosedError, FrameError, WebsocketError } from '../errors.ts'
import { Emitter, type ErrorSink, type EventSpec } from '../events/emitter.ts'
import { escapeText } from '../format.ts'
import { deferred, markHandled, rejected, type Deferred } from '../promises.ts'
import type { Transport, TransportReceiver } from '../transport/transport.ts'
import { invalidCall } from '../validation.ts'
import {
  exceedsBuffer,
  highWaterMark,
  isOverfull,
  mustPause,
  NO_LISTENER,
  slowListener,
  slowPeer,
} from './backpressure.ts'
import {
  closeReason,
  messageTooBig,
  sendableReason,
  type CloseReason,
  type Fault,
} from './close-codes.ts'
import { ClosingHandshake, UnreadMessages } from './closing-handshake.ts'
import type { ConnectionOwner } from './connection-owner.ts'
import type { AnyConnection, ConnectionEvents } from './connection.ts'
import type { DropReason } from './counts.ts'
import { MESSAGE_OVERHEAD, type MessageSink } from './message-sink.ts'
import {
  toData,
  toBytes,
  toText,
  withoutChunk,
  type Data,
  type PreparedMessage,
} from './message.ts'
import { PingTracker } from './pings.ts'
import type { RateLimiter } from './rate-limiter.ts'

const log = debug('simplewebsockets:connection')

const SPEC: EventSpec<ConnectionEvents> = {
  kind: 'connection',
  events: ['message', 'ping', 'pong', 'drain', 'error', 'close'],
  queuedEvent: 'message',
  peerEvents: ['ping', 'pong'],
  terminalEvent: 'close',
}

const MAX_PINGS = 1_000 // pings that may wait for their pong
const TOO_MANY_PINGS = `${MAX_PINGS} pings wait for their pong already`
const KEEPALIVE_PAYLOAD = toBytes('keepalive')

/**
 * The private half of a connection: its state, its queue of messages, and the methods that its
 * transport, its keepalive, its owner and its channels call. `WebsocketConnection` is the public
 * half.
 */
export class ConnectionCore extends Emitter<ConnectionEvents> implements TransportReceiver {
  readonly owner: ConnectionOwner
  readonly transport: Transport
  /** The transport's `bytesReceived` at the last check of the keepalive, which writes it. */
  lastBytesReceived = -1
  /** Whether the last check of the keepalive has pinged the peer. */
  lastPinged = false
  readonly #connection: AnyConnection
  #isOpen = true // neither side has sent a close frame
  #closingHandshake: ClosingHandshake | undefined
  #unread: UnreadMessages | undefined // set when the transport has ended
  #pings: PingTracker | undefined
  #rateLimiter: RateLimiter | undefined
  #sink: MessageSink | undefined
  #isPaused = false
  #needsDrain = false
  #hasFailed = false

  constructor(connection: AnyConnection, owner: ConnectionOwner, transport: Transport) {
    super(SPEC)
    this.#connection = connection
    this.owner = owner
    this.transport = transport
    owner.keepalive?.add(this)
  }

  override get parent(): ErrorSink {
    return this.owner
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  get latency(): number | undefined {
    return this.#pings?.latency
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  override assertEvent(event: PropertyKey): void {
    super.assertEvent(event)
    if (event !== 'message' || !this.#sink) return
    throw invalidCall('listen to the channels of this connection')
  }

  override subjects(value: unknown): readonly unknown[] {
    return [this.#connection, value]
  }

  override onListenerFailed(_: unknown, isHeard: boolean): void {
    if (!isHeard) this.fail()
  }

  override closedError(): ClosedError {
    const { code, description } = this.#closingHandshake?.reason ?? closeReason(1006)
    const text = `the connection has closed: ${code} ${description}`
    return new ClosedError(escapeText(text), { closeCode: code, target: this.#connection })
  }

  /** Passes messages to `sink` instead of `message` listeners. Call it before the first message. */
  setSink(sink: MessageSink): void {
    this.#sink = sink
  }

  /**
   * Returns a message of the program as the payload to send.
   *
   * @throws TypeError for what can't be sent.
   */
  encode(message: unknown): Data {
    return toData(message)
  }

  /** Encodes and sends the caller's message, as bytes when the option `binary` is set. */
  send(message: unknown): boolean {
    const data = this.encode(message)
    return this.deliver(this.owner.settings.binary ? toBytes(data) : data)
  }

  /** Sends a message as it is, without the conversion that `binary` asks for. */
  deliver(message: Data | PreparedMessage): boolean {
    if (!this.#isOpen) return false
    const { settings, counts } = this.owner
    const { transport } = this
    if (exceedsBuffer(transport.bufferedAmount, message, settings)) return this.#dropOverflow()
    transport.send(message)
    counts.sent++
    if (transport.bufferedAmount <= highWaterMark(settings)) return true
    this.#awaitDrain()
    return false
  }

  /** Drops a message because the peer doesn't read and `maxBufferedAmount` is reached. */
  #dropOverflow(): boolean {
    const { settings } = this.owner
    this.drop('slowConsumer')
    this.#awaitDrain()
    if (settings.slowConsumer === 'close') this.#startClose(slowPeer(settings))
    return false
  }

  #awaitDrain(): void {
    if (!this.#needsDrain) this.transport.notify()
    this.#needsDrain = true
  }

  onFlushed(): void {
    if (!this.#isOpen) return
    if (this.transport.bufferedAmount > highWaterMark(this.owner.settings)) {
      this.transport.notify() // more was sent in the meantime
    } else {
      this.#needsDrain = false
      this.emit('drain', undefined)
    }
  }

  onFrame(bytes: number): boolean {
    this.#rateLimiter ??= this.owner.makeRateLimiter?.()
    const refusal = this.#rateLimiter?.tryConsume(bytes)
    if (refusal === undefined) return true
    this.drop('rateLimit')
    if (!this.#rateLimiter?.drops) {
      this.onInvalid({ code: 1008, description: refusal, errorCode: 'ERR_RATE_LIMIT' })
    }
    return false
  }

  onMessage(data: Data, size: number): void {
    const { settings } = this.owner
    if (this.#hasFailed) {
      this.drop('closing')
    } else if (size > settings.maxReceivedMessageSize) {
      this.onInvalid(messageTooBig(settings.maxReceivedMessageSize))
    } else if (!this.#isOpen && isOverfull(this, settings)) {
      this.drop('closing') // too late to close because of it
    } else {
      this.#receive(data, size)
    }
  }

  #receive(data: Data, size: number): void {
    const { counts, diagnostics, settings } = this.owner
    counts.received++
    if (diagnostics?.message.hasSubscribers) {
      diagnostics.message.publish({ connection: this.#connection, size })
    }
    if (this.#sink) {
      this.#passToSink(this.#sink, data, size)
      return
    }
    const wasPaused = this.#isPaused
    const willWait = this.queuedCount > 0 || !this.hasListeners('message')
    const value = willWait ? withoutChunk(data) : data
    const wasTaken = this.enqueue(settings.binary ? toBytes(value) : value, size + MESSAGE_OVERHEAD)
    // The message that makes reading pause always fits, whatever its length.
    if (!wasTaken && isOverfull(this, settings) && wasPaused === this.#isPaused) {
      this.onInvalid(this.hasListeners('message') ? slowListener(settings) : NO_LISTENER)
    }
  }

  #passToSink(sink: MessageSink, data: Data, size: number): void {
    try {
      sink.onMessage(data, size)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      const { closeCode: code, message: description, code: errorCode, cause } = error
      this.onInvalid({ code, description, errorCode }, cause)
    }
    if (this.#isPaused && this.transport.canPause === false) sink.overflow()
  }

  /** Counts a dropped message. */
  drop(reason: DropReason): void {
    const { counts, diagnostics } = this.owner
    counts.drops[reason]++
    if (diagnostics?.drop.hasSubscribers) {
      diagnostics.drop.publish({ reason, connection: this.#connection })
    }
  }

  #dropQueued(reason: DropReason): void {
    for (let count = this.dropQueued(); count > 0; count--) this.drop(reason)
  }

  /**
   * Pauses reading while too much waits for a slow listener, unless a `once` waits for something to
   * arrive. Resumes it afterwards.
   */
  override onChange(): void {
    this.#unread?.update()
    const isPaused = this.#isOpen && this.#mustPause()
    if (isPaused === this.#isPaused) return
    this.#isPaused = isPaused
    if (isPaused) this.transport.pause()
    else this.transport.resume()
  }

  #mustPause(): boolean {
    const isAwaited = this.awaitsArrival || this.#pings?.hasWaiter === true
    if (this.#sink) return this.#sink.isFull(isAwaited)
    if (isAwaited || !this.hasListeners('message')) return false
    return mustPause(this, this.owner.settings, this.#isPaused)
  }

  /** Pings the peer with at most 125 bytes. Resolves with the round trip in milliseconds. */
  measureRoundTrip(payload: Uint8Array): Promise<number> {
    if (!this.#isOpen) return rejected(this.closedError())
    if ((this.#pings?.size ?? 0) >= MAX_PINGS) {
      return rejected(new WebsocketError(TOO_MANY_PINGS, { code: 'ERR_TOO_MANY_PENDING' }))
    }
    const roundTrip = deferred<number>()
    this.#sendPing(payload, roundTrip)
    return markHandled(roundTrip.promise)
  }

  #sendPing(payload: Uint8Array, roundTrip: Deferred<number> | undefined): void {
    this.transport.ping(payload) // first: if it throws, no ping is pending
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

  #toData(payload: Uint8Array): Data {
    return this.owner.settings.binary ? payload : toText(payload)
  }

  /** Checks whether the peer is still there: pings it, and reads one chunk if reading is paused. */
  probe(): void {
    this.#sendPing(KEEPALIVE_PAYLOAD, undefined)
    if (!this.#isPaused) return
    const { settings } = this.owner
    const bytes = this.waitingBytes + (this.transport.heldBytes ?? 0)
    if (bytes <= settings.maxWaitingBytes) this.transport.readChunk?.()
    else if (!this.#sink) this.onInvalid(slowListener(settings))
  }

  /** Ends the connection, because the peer doesn't answer the pings of the keepalive. */
  onTimeout(): void {
    const peerSide = this.owner.side === 'client' ? 'server' : 'client'
    this.#recordReason({ code: 1006, description: `could not ping the ${peerSide}.` })
    this.transport.terminate()
  }

  /**
   * Starts the closing handshake. Resolves with the reason when the transport has ended.
   *
   * @throws TypeError when the description is not a string, RangeError when the code may not be
   * sent.
   */
  close(code: number, description: string): Promise<CloseReason> {
    const reason = sendableReason(code, description)
    this.#startClose(reason)
    return this.#recordReason(reason).completion
  }

  /** Ends the connection at once, without a closing handshake. */
  terminate(): void {
    if (this.#unread) return
    this.#isOpen = false
    this.#recordReason(closeReason(1006)).isLocal = true
    this.onChange()
    this.transport.terminate()
  }

  /** Closes with 1011 because a listener failed. Delivers no more messages. */
  fail(): void {
    this.#hasFailed = true
    this.#dropQueued('closing')
    this.#startClose(closeReason(1011))
    queueMicrotask(() => this.onChange()) // `close` comes after the failed listener has returned
  }

  /** Sends the close frame, unless the connection closes already. */
  #startClose(reason: CloseReason): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    const handshake = this.#recordReason(reason)
    handshake.isLocal = true
    this.onChange()
    this.transport.close(reason)
    this.#startCloseTimer(handshake)
  }

  onPeerClose({ code, description }: CloseReason): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    const handshake = this.#recordReason(closeReason(code, description))
    this.onChange()
    this.#startCloseTimer(handshake)
  }

  onInvalid({ code, description, errorCode, issues }: Fault, cause?: unknown): void {
    if (!this.#isOpen) return
    const error = new FrameError(description, { closeCode: code, code: errorCode, cause, issues })
    this.#startClose({ code, description })
    if (!this.reportError(error))
      log('%s has to close: %d %s', this.#connection.id, code, error.message)
  }

  /** Returns the closing handshake. Records `reason` unless an earlier one is recorded. */
  #recordReason(reason: CloseReason): ClosingHandshake {
    return (this.#closingHandshake ??= new ClosingHandshake(reason))
  }

  #startCloseTimer(handshake: ClosingHandshake): void {
    handshake.startTimer(this.owner.settings.closeTimeout, () => this.transport.terminate())
  }

  /** Handles the end of the transport. `close` comes after the messages that still wait. */
  onClosed({ code, description }: CloseReason): void {
    const handshake = this.#recordReason(closeReason(code, description))
    const { reason } = handshake
    const { keepalive, diagnostics, settings } = this.owner
    handshake.stopTimer()
    this.#isOpen = false
    keepalive?.delete(this)
    this.owner.onClose(this.#connection, reason)
    if (diagnostics?.close.hasSubscribers)
      diagnostics.close.publish({ connection: this.#connection, ...reason })
    this.#sink?.onClose(reason)
    this.#unread = new UnreadMessages(this, {
      isLocal: handshake.isLocal,
      timeout: settings.closeTimeout,
      onDone: () => this.#emitClose(reason),
    })
    this.#pings?.reject(this.closedError())
    this.#unread.update()
    if (!this.hasEnded) log('%s closed, messages wait', this.#connection.id)
    handshake.complete()
  }

  #emitClose(reason: CloseReason): void {
    this.#dropQueued('unread')
    this.end(reason)
  }
}

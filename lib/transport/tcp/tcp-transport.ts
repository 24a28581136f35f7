import { isUtf8 } from 'node:buffer'
import type { Duplex } from 'node:stream'
import type { CloseReason, Fault } from '../../connection/close-codes.ts'
import type { Data, PreparedMessage } from '../../connection/message.ts'
import type { ConnectionSettings } from '../../options/connection.ts'
import type { TransportReceiver, Transport } from '../transport.ts'
import { Deflate } from './deflate/deflate.ts'
import type { DeflateParameters } from './deflate/extensions.ts'
import { PING, PONG } from './frames/frame.ts'
import { FrameParser, type FrameListener } from './frames/frame-parser.ts'
import { MessageTimer } from './message-timer.ts'
import { runInNextTurn, spendTurn } from './read-budget.ts'
import { Sender } from './sender.ts'

const ABNORMAL_CLOSURE = 1006
const EMPTY = new Uint8Array(0)
const COST_OF_INFLATION = 4 * 1024 // bytes that could be read in the time of one zlib call
const MAX_UNREAD_PONGS = 64 * 1024 // buffered bytes above which only the latest ping is answered

/** The members of a TCP socket used here. Any stream may replace it and lack the optional ones. */
export interface Tcp extends Duplex {
  readonly bytesRead?: number
  readonly bytesWritten?: number
  setNoDelay?(noDelay?: boolean): unknown
  setTimeout?(milliseconds: number): unknown
}

/** The result of the opening handshake, and the settings of the connection. */
export interface TcpTransportOptions {
  readonly side: 'server' | 'client'
  readonly protocol: string
  readonly settings: ConnectionSettings
  /** Whether the transport asks the receiver for each frame whether it may come. */
  readonly countsFrames?: boolean
  /** The permessage-deflate parameters agreed on; undefined if messages are not compressed. */
  readonly deflate?: DeflateParameters | undefined
}

/** The outcome of inflating a message: its bytes or an error. It waits to be delivered. */
interface Inflated {
  readonly outcome: Buffer | Fault
  readonly isText: boolean
}

/** A `Transport` over a TCP socket whose opening handshake is done. */
export class TcpTransport implements Transport, FrameListener {
  readonly protocol: string
  readonly #tcp: Tcp
  readonly #settings: ConnectionSettings
  readonly #side: 'server' | 'client'
  readonly #parser: FrameParser
  readonly #deflate: Deflate | undefined
  #lazySender: Sender | undefined
  #receiver: TransportReceiver | undefined
  #messageTimer: MessageTimer | undefined
  #messageCount = 0 // received so far
  #frameCount = 0 // pings, pongs and counted frames received so far
  #bytesRead = 0 // used if the stream doesn't count them
  #isPaused = false
  #isInflating = false
  #waitsForTurn = false // whether reading goes on in a later turn of the event loop
  #inflated: Inflated | undefined
  #unansweredPing: Uint8Array | undefined // the latest ping, while the peer doesn't read pongs
  #sentClose = false
  #mustEndTcp = false // whether TCP ends after our close frame
  #hasPeerEnded = false
  #isTcpClosed = false
  #peerReason: CloseReason | undefined // from the peer's close frame

  constructor(tcp: Tcp, { side, protocol, settings, deflate, countsFrames }: TcpTransportOptions) {
    const isMasked = side === 'server'
    const mayCompress = deflate !== undefined
    this.protocol = protocol
    this.#tcp = tcp
    this.#settings = settings
    this.#side = side
    this.#deflate = deflate && new Deflate(deflate, settings)
    this.#parser = new FrameParser({ isMasked, mayCompress, countsFrames, settings }, this)
  }

  get bufferedAmount(): number {
    return this.#tcp.writableLength + (this.#lazySender?.size ?? 0)
  }

  get bytesReceived(): number {
    return this.#tcp.bytesRead ?? this.#bytesRead
  }

  get bytesSent(): number {
    return this.#tcp.bytesWritten ?? this.#lazySender?.bytesWritten ?? 0
  }

  get heldBytes(): number {
    return this.#parser.heldBytes + this.#inflatedBytes
  }

  get #inflatedBytes(): number {
    const { outcome } = this.#inflated ?? {}
    return outcome && 'length' in outcome ? outcome.length : 0
  }

  start(receiver: TransportReceiver): void {
    this.#receiver = receiver
    const tcp: Tcp & SocketWithTransport = Object.assign(this.#tcp, { [TRANSPORT]: this })
    tcp.setTimeout?.(0)
    tcp.setNoDelay?.(!this.#settings.useNagleAlgorithm)
    tcp.on('data', onTcpData).on('end', onTcpEnd).on('close', onTcpClose).on('error', onTcpError)
  }

  send(message: Data | PreparedMessage): void {
    if (!this.#sentClose && !this.#isTcpClosed) this.#sender.sendMessage(message)
  }

  notify(): void {
    this.#sender.notify(() => this.#receiver?.onFlushed())
  }

  ping(payload: Uint8Array): void {
    if (!this.#sentClose) this.#sender.sendControl(PING, payload)
  }

  close(reason: CloseReason): void {
    if (!this.#sentClose) this.#sender.sendClose(reason)
    this.#sentClose = true
    if (this.#mustEndTcp) this.#endTcp()
  }

  terminate(): void {
    this.#lazySender?.flush() // so that everything sent before still leaves
    this.#tcp.destroy()
  }

  pause(): void {
    if (this.#isTcpClosed || this.#parser.isStopped) return
    this.#isPaused = true
    this.#messageTimer?.pause()
    this.#holdReading()
  }

  resume(): void {
    this.#isPaused = false
    this.#messageTimer?.resume()
    // Not at once, because the listener that freed space has not returned yet. But before its
    // answer is written, so that the answers to one chunk leave together.
    if (this.#inflated || this.#parser.hasHeldBytes) queueMicrotask(() => this.#continueReading())
    else this.#continueReading()
  }

  get isBusy(): boolean {
    return this.#isInflating || this.#waitsForTurn
  }

  readChunk(): void {
    // The parser keeps the next chunk, and `read` pauses TCP again.
    if (this.#isPaused) this.#tcp.resume()
  }

  /** Handles a chunk from TCP. */
  read(chunk: Buffer): void {
    this.#bytesRead += chunk.length
    if (spendTurn(chunk.length) && !this.#isReadingHeld) this.#waitForTurn()
    this.#parser.push(chunk)
    this.#timeMessage()
    if (this.#isReadingHeld && !this.#parser.isStopped) this.#tcp.pause()
  }

  /** Handles the end of the peer's TCP stream. */
  handleEnd(): void {
    this.#hasPeerEnded = true
    if (!this.#isReadingHeld) this.#endTcp()
  }

  /** Handles the close of the TCP socket. */
  handleClose(): void {
    const tcp = this.#tcp
    this.#isTcpClosed = true
    this.#messageTimer?.stop()
    this.#isPaused = false
    // Some bytes may have come while reading was paused.
    if (!tcp.readableEnded && tcp.readableLength > 0) {
      this.#parser.push(tcp.read(tcp.readableLength) as Buffer)
    }
    this.#continueReading()
  }

  onFrame(bytes: number): boolean {
    this.#frameCount++
    return this.#receiver?.onFrame?.(bytes) !== false
  }

  onMessage(data: Data, size: number): void {
    this.#messageCount++
    this.#receiver?.onMessage(data, size)
  }

  onCompressedMessage(payload: Uint8Array, isText: boolean): void {
    const outcome = this.#deflate?.inflate(payload)
    if (outcome instanceof Promise) {
      this.#isInflating = true
      this.#holdReading()
      void outcome.then((result) => {
        this.#isInflating = false
        this.#inflated = { outcome: result, isText }
        this.#continueReading()
      })
    } else if (outcome) {
      this.#deliver({ outcome, isText })
      const size = 'length' in outcome ? outcome.length : 0
      if (spendTurn(COST_OF_INFLATION + size)) this.#waitForTurn()
    }
  }

  onPing(payload: Uint8Array): void {
    this.#frameCount++
    if (this.bufferedAmount <= MAX_UNREAD_PONGS) {
      this.#sendPong(payload)
    } else {
      // The callback of an empty write runs once TCP has taken all bytes written before.
      if (!this.#unansweredPing) this.#tcp.write(EMPTY, () => this.#sendPong(this.#unansweredPing))
      this.#unansweredPing = Uint8Array.from(payload) // a copy: a listener may change the payload
    }
    this.#receiver?.onPing(payload)
  }

  onPong(payload: Uint8Array): void {
    this.#frameCount++
    this.#receiver?.onPong(payload)
  }

  onClose(reason: CloseReason): void {
    this.#tcp.resume() // so that the end of TCP is noticed
    this.#mustEndTcp = this.#side === 'server' // RFC 6455 §7.1.1: a client waits for the server
    this.#peerReason = reason
    this.#receiver?.onPeerClose(reason)
    this.close(reason)
  }

  /** Closes the connection because of `reason`. If it is closing already, ends TCP. */
  onInvalid(reason: Fault): void {
    this.#parser.stop()
    this.#messageTimer?.stop()
    this.#tcp.resume() // so that the end of TCP is noticed
    this.#mustEndTcp = true
    if (!this.#isTcpClosed) this.#receiver?.onInvalid(reason, undefined)
    if (this.#sentClose) this.#endTcp()
  }

  /** Times the partial message, or the partial frame between messages, if there is one. */
  #timeMessage(): void {
    const { messageTimeout } = this.#settings
    const isDone = this.#isTcpClosed || this.#parser.isStopped
    if (messageTimeout === false || isDone || !this.#parser.isMidFrame) {
      this.#messageTimer?.stop()
      return
    }
    this.#messageTimer ??= new MessageTimer(messageTimeout, () =>
      this.onInvalid({
        code: 1008,
        description: `a message took more than ${messageTimeout} ms`,
        errorCode: 'ERR_MESSAGE_TIMEOUT',
      }),
    )
    const { partialBytes } = this.#parser
    // Messages get numbers from 0 up, and frames between messages get numbers from -1 down.
    if (partialBytes !== undefined) this.#messageTimer.update(this.#messageCount, partialBytes)
    else this.#messageTimer.update(-1 - this.#messageCount - this.#frameCount, 0)
    if (this.#isPaused) this.#messageTimer.pause()
  }

  get #sender(): Sender {
    const { fragmentationThreshold } = this.#settings
    const options = { isMasked: this.#side === 'client', fragmentationThreshold }
    return (this.#lazySender ??= new Sender(this.#tcp, options, this.#deflate))
  }

  /** Ends TCP after everything that was sent. */
  #endTcp(): void {
    this.#sender.runInOrder(() => {
      this.#sender.flush()
      this.#tcp.end()
    })
  }

  #waitForTurn(): void {
    this.#waitsForTurn = true
    this.#holdReading()
    runInNextTurn(() => {
      this.#waitsForTurn = false
      spendTurn(this.#parser.heldBytes)
      this.#continueReading()
    })
  }

  #holdReading(): void {
    this.#parser.pause()
    this.#tcp.pause()
  }

  /** Delivers what is held back and reads on, as long as nothing holds up reading. */
  #continueReading(): void {
    if (this.#isReadingHeld) return
    const inflated = this.#inflated
    this.#inflated = undefined
    if (inflated) this.#deliver(inflated)
    if (this.#isReadingHeld) return
    this.#parser.resume()
    this.#timeMessage() // the bytes held back may have completed the message
    if (this.#isReadingHeld) return
    if (this.#isTcpClosed) this.#reportClosed()
    else if (this.#hasPeerEnded) this.#endTcp()
    else this.#tcp.resume()
  }

  get #isReadingHeld(): boolean {
    return this.#isPaused || this.#isInflating || this.#waitsForTurn
  }

  #deliver({ outcome, isText }: Inflated): void {
    if ('code' in outcome) {
      this.onInvalid(outcome)
    } else if (isText && !isUtf8(outcome)) {
      this.onInvalid(INVALID_TEXT)
    } else {
      const isBinary = !isText || this.#settings.binary
      this.onMessage(isBinary ? Uint8Array.from(outcome) : outcome.toString(), outcome.length)
    }
  }

  #reportClosed(): void {
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.onClosed(this.#peerReason ?? { code: ABNORMAL_CLOSURE, description: '' })
  }

  #sendPong(payload: Uint8Array | undefined): void {
    this.#unansweredPing = undefined
    if (payload && !this.#sentClose) this.#sender.sendControl(PONG, payload)
  }
}

const INVALID_TEXT: Fault = { code: 1007, description: 'invalid UTF-8 sequence' }

// All connections share these functions. Otherwise each one would need four closures of its own.
const TRANSPORT: unique symbol = Symbol('transport')

interface SocketWithTransport {
  readonly [TRANSPORT]: TcpTransport
}

function onTcpData(this: SocketWithTransport, chunk: Buffer): void {
  this[TRANSPORT].read(chunk)
}

function onTcpEnd(this: SocketWithTransport): void {
  this[TRANSPORT].handleEnd()
}

function onTcpClose(this: SocketWithTransport): void {
  this[TRANSPORT].handleClose()
}

function onTcpError(this: Tcp): void {
  this.destroy()
}

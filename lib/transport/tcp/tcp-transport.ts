import { isUtf8 } from 'node:buffer'
import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../close.ts'
import type { Data, Message } from '../../message.ts'
import type { ConnectionSettings } from '../../options/connection.ts'
import type { Receiver, Transport } from '../transport.ts'
import { Deflate } from './deflate.ts'
import type { DeflateParameters } from './extensions.ts'
import { PING, PONG } from './frame.ts'
import { FrameParser, type FrameListener } from './frame-parser.ts'
import { MessageTimer } from './message-timer.ts'
import { inNextTurn, spendTurn } from './read-budget.ts'
import { Sender } from './sender.ts'

const LOST = 1006
const NOTHING = new Uint8Array(0)
const COST_OF_INFLATION = 4 * 1024 // as many bytes are read in the time that a call of zlib takes
const MAX_UNREAD_PONGS = 64 * 1024 // bytes that wait, above which only the latest ping is answered

/** What is used of a TCP socket. Any stream may take its place, and lack what is optional here. */
export interface Tcp extends Duplex {
  readonly bytesRead?: number
  readonly bytesWritten?: number
  setNoDelay?(noDelay?: boolean): unknown
  setTimeout?(milliseconds: number): unknown
}

/** How a connection was agreed on. */
export interface TcpTransportOptions {
  readonly side: 'server' | 'client'
  readonly protocol: string
  readonly settings: ConnectionSettings
  /** Whether the receiver is asked for each frame whether it may come. */
  readonly countsFrames?: boolean
  /** What was agreed on of permessage-deflate; none where messages are not compressed. */
  readonly deflate?: DeflateParameters | undefined
}

/** A message that was inflated, or could not be, and waits to be delivered. */
interface Inflated {
  readonly outcome: Buffer | CloseReason
  readonly isText: boolean
}

/** A TCP socket, once the opening handshake is done, as a `Transport`. */
export class TcpTransport implements Transport, FrameListener {
  readonly protocol: string
  readonly #tcp: Tcp
  readonly #settings: ConnectionSettings
  readonly #side: 'server' | 'client'
  readonly #parser: FrameParser
  readonly #deflate: Deflate | undefined
  #lazySender: Sender | undefined
  #receiver: Receiver | undefined
  #messageTimer: MessageTimer | undefined
  #messages = 0 // received,
  #frames = 0 // and pings and pongs
  #bytesRead = 0 // for a stream that doesn't count them
  #isPaused = false
  #isInflating = false
  #waitsForTurn = false // of the event loop
  #inflated: Inflated | undefined
  #unanswered: Uint8Array | undefined // the latest ping, where the peer doesn't read pongs
  #sentClose = false
  #endsTcp = false // behind our close frame
  #hasPeerEnded = false
  #isLost = false // TCP has ended
  #reason: CloseReason | undefined // the peer's close frame

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
    return this.#parser.restBytes + this.#inflatedBytes
  }

  get #inflatedBytes(): number {
    const { outcome } = this.#inflated ?? {}
    return outcome && 'length' in outcome ? outcome.length : 0
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    const tcp: Tcp & Owned = Object.assign(this.#tcp, { [TRANSPORT]: this })
    tcp.setTimeout?.(0)
    tcp.setNoDelay?.(!this.#settings.useNagleAlgorithm)
    tcp.on('data', onTcpData).on('end', onTcpEnd).on('close', onTcpClose).on('error', onTcpError)
  }

  send(message: Data | Message): void {
    if (!this.#sentClose && !this.#isLost) this.#sender.message(message)
  }

  notify(): void {
    this.#sender.notify(() => this.#receiver?.written())
  }

  ping(payload: Uint8Array): void {
    if (!this.#sentClose) this.#sender.control(PING, payload)
  }

  close(reason: CloseReason): void {
    if (!this.#sentClose) this.#sender.close(reason)
    this.#sentClose = true
    if (this.#endsTcp) this.#endTcp()
  }

  cut(): void {
    this.#lazySender?.flush() // what was sent before is sent
    this.#tcp.destroy()
  }

  pause(): void {
    if (this.#isLost || this.#parser.isStopped) return
    this.#isPaused = true
    this.#messageTimer?.pause()
    this.#holdReading()
  }

  resume(): void {
    this.#isPaused = false
    this.#messageTimer?.resume()
    // Not at once: the listener that made room has not returned yet. But before what it answers is
    // written, so that the answers to one chunk leave together.
    if (this.#inflated || this.#parser.hasRest) queueMicrotask(() => this.#goOnReading())
    else this.#goOnReading()
  }

  get isBusy(): boolean {
    return this.#isInflating || this.#waitsForTurn
  }

  readChunk(): void {
    if (this.#isPaused) this.#tcp.resume() // until the next chunk, which the parser keeps
  }

  /** @see onTcpData */
  read(chunk: Buffer): void {
    this.#bytesRead += chunk.length
    if (spendTurn(chunk.length) && !this.#isHeldUp) this.#waitForTurn()
    this.#parser.push(chunk)
    this.#timeMessage()
    if (this.#isHeldUp && !this.#parser.isStopped) this.#tcp.pause()
  }

  /** @see onTcpEnd */
  peerEnded(): void {
    this.#hasPeerEnded = true
    if (!this.#isHeldUp) this.#endTcp()
  }

  /** @see onTcpClose */
  lost(): void {
    const tcp = this.#tcp
    this.#isLost = true
    this.#messageTimer?.stop()
    this.#isPaused = false
    // What came while nothing was read.
    if (!tcp.readableEnded && tcp.readableLength > 0) {
      this.#parser.push(tcp.read(tcp.readableLength) as Buffer)
    }
    this.#goOnReading()
  }

  onFrame(bytes: number): boolean {
    this.#frames++
    return this.#receiver?.frame?.(bytes) !== false
  }

  onMessage(data: Data, size: number): void {
    this.#messages++
    this.#receiver?.message(data, size)
  }

  onCompressedMessage(payload: Uint8Array, isText: boolean): void {
    const outcome = this.#deflate?.inflate(payload)
    if (outcome instanceof Promise) {
      this.#isInflating = true
      this.#holdReading()
      void outcome.then((inflated) => {
        this.#isInflating = false
        this.#inflated = { outcome: inflated, isText }
        this.#goOnReading()
      })
    } else if (outcome) {
      this.#deliver({ outcome, isText })
      const size = 'length' in outcome ? outcome.length : 0
      if (spendTurn(COST_OF_INFLATION + size)) this.#waitForTurn()
    }
  }

  onPing(payload: Uint8Array): void {
    this.#frames++
    if (this.bufferedAmount <= MAX_UNREAD_PONGS) {
      this.#pong(payload)
    } else {
      // An empty write ends once TCP has taken what it has been given.
      if (!this.#unanswered) this.#tcp.write(NOTHING, () => this.#pong(this.#unanswered))
      this.#unanswered = Uint8Array.from(payload) // which a listener may change
    }
    this.#receiver?.ping(payload)
  }

  onPong(payload: Uint8Array): void {
    this.#frames++
    this.#receiver?.pong(payload)
  }

  onClose(reason: CloseReason): void {
    this.#tcp.resume() // so that its end is noticed
    this.#endsTcp = this.#side === 'server' // RFC 6455 §7.1.1: a client waits for that
    this.#reason = reason
    this.#receiver?.closing(reason)
    this.close(reason)
  }

  /** The connection closes, unless it does already; then TCP ends. */
  onInvalid(reason: CloseReason): void {
    this.#parser.stop()
    this.#messageTimer?.stop()
    this.#tcp.resume() // so that its end is noticed
    this.#endsTcp = true
    if (!this.#isLost) this.#receiver?.invalid(reason, undefined)
    if (this.#sentClose) this.#endTcp()
  }

  /** Times the message under way, or the frame between messages, if there is one. */
  #timeMessage(): void {
    const { messageTimeout } = this.#settings
    const isOver = this.#isLost || this.#parser.isStopped
    if (messageTimeout === false || isOver || !this.#parser.isMidFrame) {
      this.#messageTimer?.stop()
      return
    }
    this.#messageTimer ??= new MessageTimer(messageTimeout, () =>
      this.onInvalid({ code: 1008, description: `a message took more than ${messageTimeout} ms` }),
    )
    const { partialBytes } = this.#parser
    // Messages count up, and frames between them down.
    if (partialBytes !== undefined) this.#messageTimer.update(this.#messages, partialBytes)
    else this.#messageTimer.update(-1 - this.#messages - this.#frames, 0)
    if (this.#isPaused) this.#messageTimer.pause()
  }

  get #sender(): Sender {
    const { fragmentationThreshold } = this.#settings
    const options = { isMasked: this.#side === 'client', fragmentationThreshold }
    return (this.#lazySender ??= new Sender(this.#tcp, options, this.#deflate))
  }

  /** Ends TCP behind all that was sent. */
  #endTcp(): void {
    this.#sender.inOrder(() => {
      this.#sender.flush()
      this.#tcp.end()
    })
  }

  #waitForTurn(): void {
    this.#waitsForTurn = true
    this.#holdReading()
    inNextTurn(() => {
      this.#waitsForTurn = false
      spendTurn(this.#parser.restBytes)
      this.#goOnReading()
    })
  }

  #holdReading(): void {
    this.#parser.pause()
    this.#tcp.pause()
  }

  /** Delivers what waits and reads on, unless that is held up again. */
  #goOnReading(): void {
    if (this.#isHeldUp) return
    const inflated = this.#inflated
    this.#inflated = undefined
    if (inflated) this.#deliver(inflated)
    if (this.#isHeldUp) return
    this.#parser.resume()
    this.#timeMessage() // what was kept may have ended the message under way
    if (this.#isHeldUp) return
    if (this.#isLost) this.#tellEnd()
    else if (this.#hasPeerEnded) this.#endTcp()
    else this.#tcp.resume()
  }

  get #isHeldUp(): boolean {
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

  #tellEnd(): void {
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.closed(this.#reason ?? { code: LOST, description: '' })
  }

  #pong(payload: Uint8Array | undefined): void {
    this.#unanswered = undefined
    if (payload && !this.#sentClose) this.#sender.control(PONG, payload)
  }
}

const INVALID_TEXT: CloseReason = { code: 1007, description: 'invalid UTF-8 sequence' }

// One function for all connections, where each would need four of its own.
const TRANSPORT: unique symbol = Symbol('transport')

interface Owned {
  readonly [TRANSPORT]: TcpTransport
}

function onTcpData(this: Owned, chunk: Buffer): void {
  this[TRANSPORT].read(chunk)
}

function onTcpEnd(this: Owned): void {
  this[TRANSPORT].peerEnded()
}

function onTcpClose(this: Owned): void {
  this[TRANSPORT].lost()
}

function onTcpError(this: Tcp): void {
  this.destroy()
}

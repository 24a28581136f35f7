import debug from 'debug'
import { WebSocket } from 'ws'
import { messageTooBig, type CloseReason } from '../close.ts'
import { Message, mostBytes, plain, toBytes, type Data } from '../message.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import { deflated, EXTENSION, MOST_DEFLATED, thresholdOf, type Agreement } from './deflate.ts'
import { BINARY, COMPRESSED, TEXT } from './frame.ts'
import { Inflater } from './inflater.ts'
import { frameOf, Outbox, type Tcp } from './outbox.ts'
import { Pongs } from './pongs.ts'
import { FrameScanner } from './scanner.ts'
import type { Receiver, Transport } from './transport.ts'

const log = debug('simplewebsockets:transport')

const AS_TEXT = { binary: false }
const AS_BINARY = { binary: true }
const NOTHING = Buffer.alloc(0)
const LARGEST_WINDOW = 15
const NO_CODE = 1005

// What there is to say where the bytes of TCP don't come by here, as in Bun.
const UNSEEN: CloseReason = {
  code: 1011,
  description: 'this runtime hides its frames: leave `maxReceivedFrameSize` out',
}

/** A `ws` socket that leaves the answer to the peer's close frame, or to a bad one, to its transport. */
export class Socket extends WebSocket {
  transport: WsTransport | undefined
  /** What was agreed on, by name: `ws` has no public way to it. */
  declare readonly _extensions?: Readonly<Record<string, Extension>>
  /** Who reads its frames: that something was wrong with one is told in public only later. */
  declare readonly _receiver?: { readonly errored: unknown }

  /** Hands what happens on without a listener for each: `ws` emits these with these arguments. */
  override emit(event: string | symbol, one?: unknown, two?: unknown): boolean {
    const { transport } = this
    if (!transport) return super.emit(event, one, two)
    if (event === 'message') transport.message(one as Buffer, two as boolean)
    else if (event === 'ping') transport.pinged(one as Buffer)
    else if (event === 'pong') transport.ponged(one as Buffer)
    else if (event === 'error') transport.failed(one as Error)
    else if (event === 'close') transport.closed(one as number, two as Buffer)
    return true
  }

  override close(code?: number, reason?: string | Buffer): void {
    if (this.transport) this.transport.closing(code, reason)
    else super.close(code, reason)
  }

  /** Sends a close frame, or goes on with the closing handshake, as `ws` does. */
  closeItself(code: number, reason: string): void {
    if (code === NO_CODE) super.close()
    else super.close(code, reason)
  }
}

/** What is used here of how `ws` compresses. */
interface Extension {
  readonly params: Readonly<Record<string, number | true>>
  decompress(part: Buffer, last: boolean, done: Decompressed): void
}

type Decompressed = (error: Error | null, data: Buffer) => void

/** What connections have in common that were made in the same way. */
export interface Terms {
  readonly settings: ConnectionSettings
  readonly side: 'server' | 'client'
  /** How messages may be compressed for many peers at once. */
  readonly agreement: Agreement | undefined
  /** Whether messages are framed here: a client's have to be masked, which `ws` does. */
  readonly framing: boolean
}

/** A `ws` socket as a `Transport`. */
export class WsTransport implements Transport {
  readonly #socket: Socket
  readonly #tcp: Tcp
  readonly #terms: Terms
  readonly #scanner: FrameScanner
  #lazyOutbox: Outbox | undefined
  #receiver: Receiver | undefined
  #badFrame: number | undefined
  #pongs: Pongs | undefined
  #compressing = 0 // messages that `ws` has still to compress
  #behind: (() => void)[] = [] // what is to be done when it has
  #notifying = false
  #heard = 0 // bytes of messages, pings and pongs, for a runtime that doesn't count those of TCP
  #bytesRead = 0 // for a stream that doesn't count them,
  #sentByWs = 0 // nor those that it was given: the bytes of messages, as they were before `ws` framed them
  #sentClose = false
  #paused = false
  #deaf = false // a close frame came, or a bad one: nothing more is read
  #ends = false // TCP ends behind our close frame

  constructor(socket: Socket, tcp: Tcp, terms: Terms) {
    this.#socket = socket
    this.#tcp = tcp
    this.#terms = terms
    this.#scanner = new FrameScanner(terms.settings, {
      masked: terms.side === 'server',
      compressed: socket.extensions !== '',
    })
    if (terms.settings.useNagleAlgorithm) tcp.setNoDelay?.(false)
  }

  get protocol(): string {
    return this.#socket.protocol
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount + (this.#lazyOutbox?.size ?? 0)
  }

  get bytesReceived(): number {
    return (this.#tcp.bytesRead ?? this.#bytesRead) || this.#heard
  }

  get bytesSent(): number {
    return this.#tcp.bytesWritten ?? this.#sentByWs + (this.#lazyOutbox?.bytesWritten ?? 0)
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    this.#socket.transport = this
    const extension = this.#socket._extensions?.[EXTENSION]
    if (extension) this.#inflateBy(extension)
    const tcp = this.#tcp
    if (this.#hidden) {
      if (this.#terms.settings.maxReceivedFrameSize === false) return
      queueMicrotask(() => receiver.invalid(UNSEEN, undefined))
      return
    }
    const [deliver] = tcp.listeners('data').slice(-1)
    if (!deliver) return
    const read = (chunk: Buffer): void => {
      this.#read(chunk, (sound) => void deliver.call(tcp, sound))
    }
    tcp.on('data', read).off('data', deliver as () => void)
    // What came while nobody read it.
    tcp.prependListener('close', () => {
      if (!tcp.readableEnded && tcp.readableLength > 0) read(tcp.read() as Buffer)
    })
  }

  send(message: Data | Message): void {
    // Nothing follows a close frame.
    if (this.#sentClose || this.#socket.readyState !== WebSocket.OPEN) return
    if (this.#frame(message)) return
    this.#outbox.yield()
    this.#sendByWs(message)
  }

  notify(): void {
    this.#notifying = this.#compressing > 0 // then it is told when `ws` is done
    if (!this.#notifying) this.#outbox.notify(() => this.#receiver?.written())
  }

  ping(payload: Uint8Array): void {
    if (this.#sentClose) return
    this.#outbox.yield()
    this.#socket.ping(payload)
  }

  close(reason: CloseReason): void {
    if (this.#hidden) {
      this.#outbox.yield()
      this.#socket.closeItself(reason.code, reason.description)
      return
    }
    if (!this.#sentClose) this.#inOrder(() => this.#outbox.close(reason))
    this.#sentClose = true
    if (this.#ends) this.#finish()
  }

  cut(): void {
    this.#lazyOutbox?.flush() // what was sent before is sent
    this.#socket.terminate()
  }

  pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    this.#paused = false
    this.#socket.resume()
  }

  readChunk(): void {
    if (!this.#paused) return
    this.#tcp.once('data', () => {
      if (this.#paused) this.#socket.pause()
    })
    this.#socket.resume()
  }

  /** Inflates in the place of `ws`, which takes half a message for a whole one. */
  #inflateBy(extension: Extension): void {
    const { settings, side } = this.#terms
    const peer = side === 'server' ? 'client' : 'server'
    const windowBits = extension.params[`${peer}_max_window_bits`]
    const inflater = new Inflater({
      windowBits: typeof windowBits === 'number' ? windowBits : LARGEST_WINDOW,
      context: extension.params[`${peer}_no_context_takeover`] !== true,
      most: settings.maxReceivedMessageSize,
    })
    extension.decompress = (part, last, done) => {
      inflater.take(part)
      if (last) void inflater.finish().then((outcome) => this.#inflated(outcome, done))
      else process.nextTick(done, null, NOTHING)
    }
  }

  #inflated(outcome: Buffer | CloseReason, done: Decompressed): void {
    if (Buffer.isBuffer(outcome)) {
      done(null, outcome)
      return
    }
    if (!this.#deaf) this.#refuse(outcome)
    done(new Error(outcome.description), NOTHING)
  }

  /** Lets `ws` read what is sound. */
  #read(chunk: Buffer, deliver: (sound: Buffer) => void): void {
    this.#bytesRead += chunk.length
    if (this.#deaf) return
    const sound = this.#scanner.scan(chunk)
    if (sound > 0) deliver(chunk.subarray(0, sound))
    const { fault } = this.#scanner
    if (fault && !this.#deaf && !this.#socket._receiver?.errored) this.#refuse(fault)
  }

  /** Is asked by `ws` to close: with the peer's reason, or with a code alone for its bad frame. */
  closing(code: number | undefined, reason: string | Buffer | undefined): void {
    this.#deaf = true
    if (this.#ends) return // it is closing for a bad frame already
    if (code !== undefined && reason === undefined) {
      this.#badFrame = code // what was wrong with it follows as an `error`
      return
    }
    const said = { code: code ?? NO_CODE, description: reason?.toString() ?? '' }
    this.#ends = this.#terms.side === 'server' // RFC 6455 §7.1.1: a client waits for that
    this.#receiver?.closing(said)
    this.close(said)
  }

  message(data: Buffer, isBinary: boolean): void {
    this.#heard += 1 + data.length
    const whole = isBinary || this.#terms.settings.binary ? plain(data) : data.toString()
    this.#receiver?.message(whole, data.length)
  }

  pinged(payload: Buffer): void {
    this.#heard++
    if (!this.#sentClose) {
      this.#pongs ??= new Pongs(this.#tcp, (latest) => this.#pong(latest))
      this.#pongs.answer(payload)
    }
    this.#receiver?.ping(plain(payload))
  }

  ponged(payload: Buffer): void {
    this.#heard++
    this.#receiver?.pong(plain(payload))
  }

  failed(error: Error): void {
    const code = this.#badFrame
    if (code === undefined) {
      log('%s', error.message)
      return
    }
    const description = error.message.replace(/^Invalid WebSocket frame: /, '')
    const tooBig = messageTooBig(this.#terms.settings.maxReceivedMessageSize)
    this.#refuse(code === tooBig.code ? tooBig : { code, description }, error)
  }

  closed(code: number, description: Buffer): void {
    this.#receiver?.closed({ code, description: description.toString() })
  }

  /** Whether the runtime keeps TCP to itself, as Bun does: then the closing is its own, too. */
  get #hidden(): boolean {
    return this.#tcp.bytesRead === 0
  }

  get #outbox(): Outbox {
    return (this.#lazyOutbox ??= new Outbox(this.#tcp, this.#terms.side === 'client'))
  }

  /** A bad frame came: the connection closes, unless it does already; then TCP ends. */
  #refuse(reason: CloseReason, cause?: unknown): void {
    this.#deaf = true
    this.#ends = true
    this.#tcp.resume() // so that it hears of its end
    this.#receiver?.invalid(reason, cause)
    if (this.#sentClose) this.#finish()
  }

  #pong(payload: Uint8Array): void {
    if (this.#sentClose) return
    this.#outbox.yield()
    this.#socket.pong(new Uint8Array(payload)) // a listener of `ping` gets the same bytes
  }

  /** Ends TCP behind all that was sent. */
  #finish(): void {
    this.#inOrder(() => {
      this.#lazyOutbox?.flush()
      this.#tcp.end()
    })
  }

  /** Does what must not overtake what `ws` compresses. */
  #inOrder(action: () => void): void {
    if (this.#compressing > 0) this.#behind.push(action)
    else action()
  }

  /** Frames a message here, unless that is left to `ws`, or would overtake what `ws` compresses. */
  #frame(message: Data | Message): boolean {
    const { framing, agreement, settings } = this.#terms
    const { fragmentationThreshold: most } = settings
    if (!framing || this.#compressing > 0) return false
    if (most !== false && mostBytes(message) > most) return false
    const threshold = thresholdOf(settings)
    if (agreement && mostBytes(message) >= threshold) {
      const { length } = toBytes(message)
      if (length > MOST_DEFLATED) return false
      if (length >= threshold) {
        this.#deflate(message, agreement)
        return true
      }
    }
    this.#outbox.message(message)
    return true
  }

  #deflate(message: Data | Message, agreement: Agreement): void {
    const { compression } = this.#terms.settings
    const first = COMPRESSED | (isText(message) ? TEXT : BINARY)
    const make = (): Uint8Array => deflated(toBytes(message), agreement, compression)
    if (message instanceof Message) {
      const { windowBits } = agreement
      const known = message.variant(windowBits)
      this.#outbox.frame(known ?? message.keep(windowBits, frameOf(first, make())))
    } else {
      this.#outbox.bytes(first, make())
    }
  }

  /** Lets `ws` frame a message: masked, in fragments, or compressed beside the event loop. */
  #sendByWs(message: Data | Message): void {
    const { fragmentationThreshold: most } = this.#terms.settings
    const text = isText(message)
    if (this.#tcp.bytesWritten === undefined) this.#sentByWs += sizeOf(message)
    const sent = this.#socket.extensions === '' ? undefined : this.#compressed()
    if (most === false || mostBytes(message) <= most) {
      const whole = typeof message === 'string' ? message : own(message)
      this.#socket.send(whole, text ? AS_TEXT : AS_BINARY, sent)
      return
    }
    const whole = own(message)
    for (let offset = 0; offset === 0 || offset < whole.length; offset += most) {
      const fin = offset + most >= whole.length
      const part = whole.subarray(offset, offset + most)
      this.#socket.send(part, { binary: !text, fin }, fin ? sent : undefined)
    }
  }

  /** Counts a message in that `ws` may compress, and makes what it calls when that is written. */
  #compressed(): () => void {
    this.#compressing++
    return () => {
      this.#compressing--
      if (this.#compressing > 0) return
      for (const action of this.#behind.splice(0)) action()
      if (this.#notifying) this.notify()
    }
  }
}

function sizeOf(message: Data | Message): number {
  return typeof message === 'string' ? Buffer.byteLength(message) : toBytes(message).length
}

/** Returns bytes that the caller can't change before they are written. */
function own(message: Data | Message): Uint8Array {
  if (message instanceof Message) return message.ownBytes
  return typeof message === 'string' ? toBytes(message) : new Uint8Array(message)
}

function isText(message: Data | Message): boolean {
  return typeof message === 'string' || (message instanceof Message && message.isText)
}

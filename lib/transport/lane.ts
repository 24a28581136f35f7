import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import debug from 'debug'
import * as ws from 'ws'
import { messageTooBig, type CloseReason } from '../close.ts'
import { PeerConnectError } from '../errors.ts'
import { plain, toBytes, type Data, type Message } from '../message.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import type { ServerSettings } from '../options/server.ts'
import { PING, PONG, type Stream } from './frame.ts'
import { Outbox, type Tcp } from './outbox.ts'
import { adoptByWs, dialBy } from './dialler.ts'
import { hasParts } from './parts.ts'
import { Pieces } from './pieces.ts'
import { Pongs } from './pongs.ts'
import { Reader, type Reading } from './reader.ts'
import { FrameScanner, mostFragments } from './scanner.ts'
import type { Dial, Receiver, Transport } from './transport.ts'
import { makeUpgrader as makeUpgraderByWs, type Upgrader } from './upgrader.ts'

export { onWake } from './reference.ts'

const log = debug('simplewebsockets:transport')

const OPENING_KEY = /^[+/0-9a-z]{22}==$/i
const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11' // RFC 6455 §1.3
const LOST = 1006
const NOTHING = Buffer.alloc(0)
const MASKED: Stream = { masked: true, compressed: false }
const UNMASKED: Stream = { masked: false, compressed: false }

/** What connections have in common that were made in the same way. */
interface Terms {
  readonly settings: ConnectionSettings
  readonly side: 'server' | 'client'
  /** What the peer sends. */
  readonly stream: Stream
}

/** Who reads the frames that are not read here. */
interface Others {
  readonly scanner: FrameScanner
  readonly pieces: Pieces
  readonly frames: ws.Receiver
}

/**
 * A TCP socket as a `Transport`, for connections without extensions: frames are written and, where
 * they are whole and plain, read here. Everything else is read by the receiver of `ws`, which is made
 * for the first such frame.
 */
export class LaneTransport implements Transport, Reading {
  readonly protocol: string
  readonly #tcp: Tcp
  readonly #terms: Terms
  readonly #reader = new Reader(this)
  #receiver: Receiver | undefined
  #others: Others | undefined
  #lazyOutbox: Outbox | undefined
  #pongs: Pongs | undefined
  #sentClose = false
  #paused = false
  #reading = false
  #peerEnded = false
  #bytesRead = 0 // for a stream that doesn't count them
  #deaf = false // a close frame came, or a bad one: nothing more is read
  #ends = false // TCP ends behind our close frame
  #reason: CloseReason | undefined // what the peer's close frame said

  constructor(tcp: Tcp, protocol: string, terms: Terms) {
    this.protocol = protocol
    this.#tcp = tcp
    this.#terms = terms
  }

  get bufferedAmount(): number {
    return this.#tcp.writableLength + (this.#lazyOutbox?.size ?? 0)
  }

  get bytesReceived(): number {
    return this.#tcp.bytesRead ?? this.#bytesRead
  }

  get bytesSent(): number {
    return this.#tcp.bytesWritten ?? this.#lazyOutbox?.bytesWritten ?? 0
  }

  get heldBytes(): number {
    return this.#reader.heldBytes
  }

  /** @see Reading */
  get stream(): Stream {
    return this.#terms.stream
  }

  /** @see Reading */
  get most(): number {
    const { maxReceivedMessageSize: most, maxReceivedFrameSize: mostOfFrame } = this.#terms.settings
    return mostOfFrame === false ? most : Math.min(most, mostOfFrame)
  }

  start(receiver: Receiver): void {
    const { settings } = this.#terms
    this.#receiver = receiver
    const tcp: Tcp & Laned = Object.assign(this.#tcp, { [LANE]: this })
    tcp.setTimeout?.(0)
    tcp.setNoDelay?.(!settings.useNagleAlgorithm)
    tcp.on('data', tcpData).on('end', tcpEnd).on('close', tcpClose).on('error', tcpError)
  }

  send(message: Data | Message): void {
    if (!this.#sentClose) this.#outbox.message(message)
  }

  notify(): void {
    this.#outbox.notify(() => this.#receiver?.written())
  }

  ping(payload: Uint8Array): void {
    if (!this.#sentClose) this.#outbox.bytes(PING, payload)
  }

  close(reason: CloseReason): void {
    if (!this.#sentClose) this.#outbox.close(reason)
    this.#sentClose = true
    if (this.#ends) this.#finish()
  }

  cut(): void {
    this.#lazyOutbox?.flush() // what was sent before is sent
    this.#tcp.destroy()
  }

  /** @see Reading */
  get paused(): boolean {
    return this.#paused
  }

  pause(): void {
    this.#paused = true
    if (!this.#reading) this.#tcp.pause()
  }

  resume(): void {
    this.#paused = false
    process.nextTick(() => this.#readOn())
  }

  readChunk(): void {
    if (this.#paused) this.#tcp.resume() // until the next chunk
  }

  message(data: Data, size: number): void {
    const { binary } = this.#terms.settings
    this.#receiver?.message(binary ? toBytes(data) : data, size)
  }

  leave(bytes: Buffer, left: number): boolean {
    const { scanner, pieces, frames } = (this.#others ??= this.#makeOthers())
    const sound = scanner.scan(bytes)
    if (sound > 0) pieces.put(bytes.subarray(0, sound), left)
    if (frames.errored) this.#tcp.pause() // until that was told
    if (frames.errored || this.#deaf) return false
    if (scanner.fault) this.#refuse(scanner.fault)
    return !scanner.fault
  }

  /** @see tcpData */
  read(chunk: Buffer): void {
    this.#bytesRead += chunk.length
    if (this.#deaf) return
    this.#reading = true
    this.#reader.read(chunk)
    this.#reading = false
    if (this.#paused && !this.#deaf) this.#tcp.pause()
  }

  /** @see tcpEnd */
  ended(): void {
    this.#peerEnded = true
    if (!this.#paused) this.#finish()
  }

  /** Reads what is left of the chunk in which reading paused, and then goes on. */
  #readOn(): void {
    if (this.#paused || this.#deaf) return
    this.read(NOTHING)
    if (this.#paused) return
    this.#tcp.resume()
    if (this.#peerEnded) this.#finish()
  }

  /** @see tcpClose */
  closed(): void {
    const tcp = this.#tcp
    this.#paused = false
    this.read(NOTHING)
    // What came while nobody read it.
    if (!tcp.readableEnded && tcp.readableLength > 0) {
      this.read(tcp.read(tcp.readableLength) as Buffer)
    }
    this.#receiver?.closed(this.#reason ?? { code: LOST, description: '' })
    this.#receiver = undefined // a bad frame among it would be told of later
  }

  get #outbox(): Outbox {
    return (this.#lazyOutbox ??= new Outbox(this.#tcp, this.#terms.side === 'client'))
  }

  #makeOthers(): Others {
    const { settings, side, stream } = this.#terms
    const frames = new ws.Receiver({
      isServer: side === 'server',
      maxPayload: settings.maxReceivedMessageSize,
      maxFragments: mostFragments(settings),
    })
      .on('message', (data, isBinary) => {
        this.message(isBinary ? plain(data) : data.toString(), data.length)
      })
      .on('ping', (payload) => this.#pinged(payload))
      .on('pong', (payload) => this.#receiver?.pong(plain(payload)))
      .on('conclude', (code, description) => this.#concluded(code, description.toString()))
      .on('error', (error) => this.#failed(error))
    const pieces = new Pieces((bytes) => void frames.write(bytes))
    return { scanner: new FrameScanner(settings, stream), pieces, frames }
  }

  #pinged(payload: Buffer): void {
    this.#pongs ??= new Pongs(this.#tcp, (latest) => this.#pong(latest))
    this.#pongs.answer(payload)
    this.#receiver?.ping(plain(payload))
  }

  #pong(payload: Uint8Array): void {
    if (!this.#sentClose) this.#outbox.bytes(PONG, payload)
  }

  /** The peer's close frame came: it is answered, and a server ends TCP, RFC 6455 §7.1.1. */
  #concluded(code: number, description: string): void {
    this.#stopReading()
    this.#ends = this.#terms.side === 'server'
    this.#reason = { code, description }
    this.#receiver?.closing(this.#reason)
    this.close(this.#reason)
  }

  #failed(error: Error & { code?: string }): void {
    const code = statuses.get(error.code) ?? 1002
    const description = error.message.replace(/^Invalid WebSocket frame: /, '')
    const tooBig = messageTooBig(this.#terms.settings.maxReceivedMessageSize)
    log('%s', error.message)
    this.#refuse(code === tooBig.code ? tooBig : { code, description }, error)
  }

  /** A bad frame came: the connection closes, unless it does already; then TCP ends. */
  #refuse(reason: CloseReason, cause?: unknown): void {
    this.#stopReading()
    this.#ends = true
    this.#receiver?.invalid(reason, cause)
    if (this.#sentClose) this.#finish()
  }

  #stopReading(): void {
    this.#deaf = true
    this.#tcp.resume() // so that it hears of its end
  }

  #finish(): void {
    this.#lazyOutbox?.flush()
    this.#tcp.end()
  }
}

/** What `ws` calls its errors, by what the peer is told; all others are 1002. */
const statuses: ReadonlyMap<string | undefined, number> = new Map([
  ['WS_ERR_INVALID_UTF8', 1007],
  ['WS_ERR_TOO_MANY_BUFFERED_PARTS', 1008],
  ['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 1009],
  ['WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH', 1009],
])

// One function for all connections, where each would need four of its own.
const LANE: unique symbol = Symbol('lane')

interface Laned {
  readonly [LANE]: LaneTransport
}

function tcpData(this: Laned, chunk: Buffer): void {
  this[LANE].read(chunk)
}

function tcpEnd(this: Laned): void {
  this[LANE].ended()
}

function tcpClose(this: Laned): void {
  this[LANE].closed()
}

function tcpError(this: Tcp): void {
  this.destroy()
}

/** Whether connections with these settings may take this lane. */
function fits({ fragmentationThreshold }: ConnectionSettings): boolean {
  return hasParts && fragmentationThreshold === false
}

/** Makes what turns the requests of one server into transports. */
export function makeUpgrader(settings: ServerSettings): Upgrader {
  const byWs = makeUpgraderByWs(settings)
  if (!fits(settings)) return byWs
  const terms: Terms = { settings, side: 'server', stream: MASKED }
  return (request, tcp, head) => {
    const extended = request.headers['sec-websocket-extensions'] !== undefined
    if (extended && settings.compression !== false) return byWs(request, tcp, head)
    const { key, protocol } = checked(request, settings)
    if (!tcp.readable || !tcp.writable) {
      tcp.destroy()
      throw new PeerConnectError('the peer has left', { status: 0, reason: 'left' })
    }
    tcp.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${proofOf(key)}\r\n` +
        (protocol === '' ? '\r\n' : `Sec-WebSocket-Protocol: ${protocol}\r\n\r\n`),
      'latin1',
    )
    if (head.length > 0) tcp.unshift(head)
    return new LaneTransport(request.socket, protocol, terms)
  }
}

/** Reads what is left to check of an opening handshake, RFC 6455 §4.2.1. */
function checked(
  { headers }: IncomingMessage,
  settings: ServerSettings,
): { key: string; protocol: string } {
  const key = headers['sec-websocket-key'] ?? ''
  if (!OPENING_KEY.test(key)) {
    throw new PeerConnectError('Missing or invalid Sec-WebSocket-Key header', {
      status: 400,
      reason: 'request',
    })
  }
  const offer = headers['sec-websocket-protocol']
  if (offer === undefined) return { key, protocol: '' }
  try {
    const offered = [...ws.subprotocol.parse(offer)]
    return { key, protocol: offered.find((name) => settings.protocols.includes(name)) ?? '' }
  } catch {
    throw new PeerConnectError('Invalid Sec-WebSocket-Protocol header', {
      status: 400,
      reason: 'request',
    })
  }
}

/** Is what shows that a request was understood, RFC 6455 §4.2.2. */
function proofOf(key: string): string {
  return createHash('sha1')
    .update(key + KEY_SUFFIX)
    .digest('base64')
}

/** Reaches for a server. */
export const dial: Dial = dialBy((opened) => {
  const { socket, tcp, settings, release } = opened
  if (!tcp || !fits(settings) || socket.extensions !== '') return adoptByWs(opened)
  release()
  return new LaneTransport(tcp, socket.protocol, { settings, side: 'client', stream: UNMASKED })
})

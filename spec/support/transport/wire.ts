import { createHash } from 'node:crypto'
import { Agent, createServer, type IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import type { ConnectionOptions } from '../../../lib/options/connection.ts'
import { resolveClient } from '../../../lib/options/node.ts'
import { resolveServer, type ServerSettings } from '../../../lib/options/server.ts'
import type { Dial, Transport } from '../../../lib/transport/transport.ts'
import type { Upgrader } from '../../../lib/transport/tcp/upgrade.ts'
import { handshake, mask, proofOf } from '../rawpeer.ts'

const HEAD_END = '\r\n\r\n'

/** One of the ways to run a WebSocket over TCP. */
export interface Lane {
  readonly makeUpgrader: (settings: ServerSettings) => Upgrader
  readonly dial: Dial
}

/** A TCP socket without a network: it notes what is written, and takes it only while it flows. */
export class Wire extends Duplex {
  /** The bytes that were written since this was emptied. */
  written: Buffer[] = []
  /** How it ended, in order: our FIN, and the end of all. */
  readonly ends: string[] = []
  noDelay = false
  bytesRead = 0
  #stalled = false
  #finished = false
  #waiting: (() => void) | undefined

  override _read(): void {}

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.#take([chunk], done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      done,
    )
  }

  override _final(done: () => void): void {
    this.ends.push('fin')
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.ends.push('gone')
    done(error)
  }

  /** Takes nothing any more, as a peer that doesn't read. */
  stall(): void {
    this.#stalled = true
  }

  /** Takes everything again. */
  flow(): void {
    const waiting = this.#waiting
    this.#stalled = false
    this.#waiting = undefined
    waiting?.()
  }

  /** Brings bytes from the peer. */
  bring(chunk: Buffer): void {
    if (this.destroyed || this.#finished) return
    this.bytesRead += chunk.length
    this.push(Buffer.from(chunk)) // a reader unmasks in place
  }

  /** Brings the peer's FIN. */
  finish(): void {
    if (!this.destroyed && !this.#finished) this.push(null)
    this.#finished = true
  }

  setNoDelay(noDelay = true): this {
    this.noDelay = noDelay
    return this
  }

  setTimeout(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  #take(chunks: readonly Buffer[], done: () => void): void {
    this.written.push(Buffer.concat(chunks))
    if (this.#stalled) this.#waiting = done
    else done()
  }
}

/** An end that was made on a wire. */
export interface End {
  readonly transport: Transport
  readonly wire: Wire
}

type Upgrade = (request: IncomingMessage, head: Buffer) => void

const upgrades = new Map<Duplex, Upgrade>()
const http = createServer() // takes any stream for a connection
http.on('upgrade', (request: IncomingMessage, tcp: Duplex, head: Buffer) => {
  upgrades.get(tcp)?.(request, head)
  upgrades.delete(tcp)
})

/**
 * Makes a server's end; the bytes behind the handshake come with it. It must be started in the same
 * turn, as any transport.
 */
export function serve(
  lane: Lane,
  options: ConnectionOptions,
  and: Buffer,
  opened: (end: End) => void,
): Promise<void> {
  const upgrade = lane.makeUpgrader(resolveServer(options))
  const wire = new Wire()
  return new Promise((resolve) => {
    upgrades.set(wire, (request, head) => {
      const transport = upgrade(request, wire, head)
      wire.written = []
      opened({ transport, wire })
      resolve()
    })
    http.emit('connection', wire)
    wire.bring(Buffer.concat([Buffer.from(handshake()), and]))
  })
}

/** An agent that has its connection already. */
class WireAgent extends Agent {
  readonly #wire: Wire

  constructor(wire: Wire) {
    super()
    this.#wire = wire
  }

  override createConnection(): Wire {
    return this.#wire
  }
}

/** Makes a client's end, in the same way. */
export function call(
  lane: Lane,
  options: ConnectionOptions,
  and: Buffer,
  opened: (end: End) => void,
): Promise<void> {
  const wire = new Wire({ allowHalfOpen: false })
  return new Promise((resolve, reject) => {
    lane.dial(
      {
        url: new URL('ws://localhost'),
        protocols: [],
        headers: {},
        settings: resolveClient({ ...options, agent: new WireAgent(wire) }),
      },
      {
        onError: reject,
        onOpen: (transport) => {
          wire.written = []
          opened({ transport, wire })
          resolve()
        },
      },
    )
    void answer(wire, and)
  })
}

async function answer(wire: Wire, and: Buffer): Promise<void> {
  while (!Buffer.concat(wire.written).includes(HEAD_END)) await new Promise(setImmediate)
  const lines = Buffer.concat(wire.written).toString().split('\r\n')
  const head =
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${proofOf(lines)}${HEAD_END}`
  wire.bring(Buffer.concat([Buffer.from(head), and]))
}

/** Returns what was written as frames, without their masks: the same for equal messages. */
export function unmasked(bytes: Buffer): string[] {
  const frames: string[] = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const [first = 0, second = 0] = bytes.subarray(at, at + 2)
    const mark = second & 0x7f
    const lengthBytes = mark === 127 ? 8 : mark === 126 ? 2 : 0
    const length =
      lengthBytes === 0
        ? mark
        : lengthBytes === 2
          ? bytes.readUInt16BE(at + 2)
          : Number(bytes.readBigUInt64BE(at + 2))
    const start = at + 2 + lengthBytes + (second >= 0x80 ? 4 : 0)
    const key = bytes.subarray(at + 2 + lengthBytes, start)
    const payload = Buffer.from(bytes.subarray(start, start + length))
    if (key.length > 0) mask(payload, key)
    frames.push(`${first.toString(16)} ${second.toString(16)} ${length} ${digest(payload)}`)
    at = start + length
  }
  if (at !== bytes.length) frames.push(`and ${bytes.length - at} bytes`)
  return frames
}

/** Returns a text that is short, and yet differs wherever the bytes do. */
export function digest(bytes: Uint8Array | string): string {
  if (bytes.length <= 16) return Buffer.from(bytes).toString('hex')
  return createHash('sha1').update(bytes).digest('hex').slice(0, 12)
}

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import {
  FrameError,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type CloseReason,
  type ConnectionOptions,
  type Data,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import {
  closePayload,
  frame,
  RawPeer,
  RawServer,
  type Frame,
  type FrameOptions,
} from '../support/rawpeer.ts'

/** Which end of a connection is ours; the other one is a raw peer. */
export type Role = 'server' | 'client'

const ROLES: readonly Role[] = ['server', 'client']

export const CONTINUATION = 0
export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10

export const KIB = 1024
export const MIB = 1024 * KIB

const KEY = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d)

/** The terms on which two ends meet. */
export interface Terms {
  /** Ours, besides a short `closeTimeout`. */
  options?: ConnectionOptions
  /** The extensions of the raw peer: it offers them as a client, and agrees as a server. */
  extensions?: string
}

const servers = new Map<string, { server: WebsocketServer; port: number }>()
let raw: RawServer | undefined

after(async () => {
  for (const { server } of servers.values()) await server.close()
  await raw?.close()
})

/** Resolves with a server of these options; tests of a file that ask for the same ones share it. */
export async function served(
  options: ServerOptions = {},
): Promise<{ server: WebsocketServer; port: number }> {
  const name = JSON.stringify(options)
  const known = servers.get(name)
  if (known) return known
  const server = new WebsocketServer({ closeTimeout: 500, ...options })
  const { port } = await server.serve(0)
  const made = { server, port }
  servers.set(name, made)
  return made
}

/** Resolves with a raw server, one for a file. */
export async function rawServer(): Promise<RawServer> {
  return (raw ??= await RawServer.listen())
}

/** Lets what is ready in this turn of the event loop happen. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A connection of ours, a raw peer at its other end, and what ours has told. */
export class Meeting implements AsyncDisposable {
  readonly role: Role
  readonly us: WebsocketConnection
  readonly peer: RawPeer
  /** The messages that our end has heard. */
  readonly heard: Data[] = []
  /** The pongs that our end has heard. */
  readonly pongs: Data[] = []
  /** The codes of the errors that our end has told of. */
  readonly errors: number[] = []

  private constructor(role: Role, us: WebsocketConnection, peer: RawPeer) {
    this.role = role
    this.us = us
    this.peer = peer
    peer.tcp.setNoDelay(true)
    listen(us, 'message', (message) => void this.heard.push(message))
    listen(us, 'pong', (payload) => void this.pongs.push(payload))
    listen(us, 'error', (error) => {
      this.errors.push(error instanceof FrameError ? error.closeCode : 0)
    })
  }

  static async of(role: Role, { options, extensions }: Terms = {}): Promise<Meeting> {
    const headers: Record<string, string> =
      extensions === undefined ? {} : { 'Sec-WebSocket-Extensions': extensions }
    if (role === 'server') {
      const { server, port } = await served(options)
      const entered = once(server, 'client')
      const peer = await RawPeer.enter(port, { headers })
      return new Meeting(role, await entered, peer)
    }
    const server = await rawServer()
    const client = new WebsocketClient({ closeTimeout: 500, ...options })
    const [peer, us] = await Promise.all([server.accept(headers), client.open(server.url)])
    return new Meeting(role, us, peer)
  }

  /** Returns a frame as the raw peer has to send it: masked where it is a client. */
  frame(opcode: number, payload?: Uint8Array | string, options: FrameOptions = {}): Buffer {
    return frame(opcode, payload, { masked: this.role === 'server', key: KEY, ...options })
  }

  /** Returns a close frame as the raw peer has to send it. */
  closing(code: number, text?: Uint8Array | string): Buffer {
    return this.frame(CLOSE, closePayload(code, text))
  }

  write(...parts: readonly Uint8Array[]): void {
    this.peer.write(Buffer.concat(parts))
  }

  send(opcode: number, payload?: Uint8Array | string, options?: FrameOptions): void {
    this.peer.write(this.frame(opcode, payload, options))
  }

  /** Writes bytes cut at these places, each piece by itself. */
  async drip(bytes: Buffer, cuts: Iterable<number>): Promise<void> {
    let from = 0
    for (const cut of [...cuts, bytes.length]) {
      this.peer.write(bytes.subarray(from, cut))
      from = cut
      await turn()
    }
  }

  /** Waits until our end has read everything so far, and is what it has sent besides. */
  async settled(): Promise<Frame[]> {
    this.send(PING, 'settled')
    const before: Frame[] = []
    for (;;) {
      const read = await this.peer.frame()
      if (read?.opcode === PONG && read.payload.toString() === 'settled') return before
      if (!read || read.opcode === CLOSE) {
        const code = read && read.payload.length > 1 ? read.payload.readUInt16BE() : 'nothing'
        throw new Error(`expected to go on, got closed with ${code}`)
      }
      before.push(read)
    }
  }

  /** Checks that our end goes on, and has heard exactly these messages. */
  async hears(...messages: readonly Data[]): Promise<void> {
    const besides = await this.settled()
    assert.deepEqual(this.heard, messages.map(plain))
    assert.deepEqual(besides, [])
    assert.deepEqual(this.errors, [])
  }

  /** Checks that our end fails the connection before it answers another ping. */
  async failsAtOnce(code: number): Promise<void> {
    this.send(PING, 'still there?')
    await this.fails(code)
  }

  /** Checks that our end fails the connection, RFC 6455 §7.1.7, and says so everywhere. */
  async fails(code: number): Promise<void> {
    const read = await this.peer.frame()
    assert.ok(read, `expected a close frame with ${code}, got none`)
    assert.equal(read.opcode, CLOSE, `expected a close frame with ${code}, got another one`)
    const said = {
      code: read.payload.readUInt16BE(),
      description: read.payload.subarray(2).toString(),
    }
    assert.equal(said.code, code)
    assert.equal((await this.peer.rest()).length, 0, 'nothing comes after a close frame')
    assert.deepEqual(await once(this.us, 'close'), said)
    assert.deepEqual(this.errors, [code])
  }

  /** Checks that our end answers a close frame as it should, and is how it ended. */
  async closes(code: number): Promise<CloseReason> {
    const said = await this.peer.closed()
    assert.equal(said?.code, code)
    if (this.role === 'client') this.peer.tcp.end()
    assert.equal((await this.peer.rest()).length, 0, 'nothing comes after a close frame')
    assert.deepEqual(this.errors, [])
    return once(this.us, 'close')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.peer.tcp.destroy()
    await once(this.us, 'close')
  }
}

/** Tests what the protocol says of an endpoint, whichever it is. */
export function inBothRoles(
  what: string,
  body: (meeting: Meeting) => Promise<void>,
  terms: Terms = {},
): void {
  test(`${what}, in both roles`, async () => {
    for (const role of ROLES) {
      await using meeting = await Meeting.of(role, terms)
      await body(meeting).catch((cause: unknown) => {
        throw new Error(`as a ${role}: ${String(cause)}`, { cause })
      })
    }
  })
}

/** Bytes as they are heard. */
function plain(message: Data): Data {
  return typeof message === 'string' ? message : Uint8Array.from(message)
}

/** Yields numbers that look like chance, the same for the same seed. */
export function* chance(seed: number): Generator<number, never> {
  let state = seed
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    yield state / 2 ** 32
  }
}

/** Returns places to cut bytes at, in order. */
export function cuts(length: number, count: number, seed: number): number[] {
  const draw = chance(seed)
  return Array.from({ length: count }, () => Math.floor(draw.next().value * length)).sort(
    (one, other) => one - other,
  )
}

/** Returns bytes that don't compress, the same for the same seed. */
export function noise(length: number, seed = 1): Buffer {
  const draw = chance(seed)
  return Buffer.from(Uint8Array.from({ length }, () => draw.next().value * 256))
}

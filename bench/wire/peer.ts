import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { plain, type Dialect } from './dialects.ts'
import { FrameCounter, maskedFrame, takeFrame, TEXT, type Frame } from './frames.ts'
import { request, type Offer } from './handshake.ts'

/** How a connection is made. */
export interface Way {
  readonly port: number
  readonly dialect?: Dialect | undefined
  /** How permessage-deflate is asked for, and must be had. Default: not at all. */
  readonly deflate?: Offer | undefined
  /** true: over TLS, whatever name the certificate of the server has. */
  readonly tls?: boolean
}

const AT_ONCE = 64 // connections being made: more would overflow a server's backlog
const PONG = maskedFrame(0x8a)

const room = Buffer.allocUnsafe(64 * 1024) // what is read, of all connections: it is only counted

/** A client's end that costs little: a plain socket that counts messages by their headers. */
export class Peer {
  /** A callback for the number of messages that have come. */
  heard: (messages: number) => void = () => {}
  /** A callback for a connection that was lost. */
  lost: (error: Error) => void = () => {}

  readonly #tcp: Socket
  readonly #counter = new FrameCounter()
  #gathered: Buffer = Buffer.alloc(0) // what came and was not taken, until messages are counted
  #counting = false
  #error: Error | undefined
  #woken: () => void = () => {}

  private constructor(port: number, tls: boolean) {
    const host = '127.0.0.1'
    const callback = (length: number): boolean => {
      this.#read(room, length)
      return true
    }
    this.#tcp = tls
      ? connectTls({ port, host, rejectUnauthorized: false })
      : connect({ port, host, onread: { buffer: room, callback } })
    if (tls) this.#tcp.on('data', (bytes: Buffer) => this.#read(bytes, bytes.length))
    this.#tcp.setNoDelay(true)
    this.#tcp.on('error', (error) => this.#lose(error))
    this.#tcp.on('close', () => this.#lose(new Error('the server closed a connection')))
    this.#counter.pinged = () => this.#tcp.write(PONG)
  }

  /** Opens a connection, up to where messages can be sent. */
  static async open({ port, dialect = plain, deflate, tls = false }: Way): Promise<Peer> {
    const peer = new Peer(port, tls)
    try {
      peer.#tcp.write(request(port, dialect.path, deflate))
      const answer = await peer.#takeHead()
      if (!answer.startsWith('HTTP/1.1 101')) throw new Error(`answered ${answer.split('\r\n')[0]}`)
      if (deflate && !/^sec-websocket-extensions: *permessage-deflate/im.test(answer)) {
        throw new Error('no permessage-deflate')
      }
      for (const { hears, says } of dialect.greetings) {
        if (hears !== undefined) await peer.#expect(hears)
        if (says !== undefined) peer.write(maskedFrame(TEXT, Buffer.from(says)))
      }
      return peer
    } catch (error) {
      peer.close()
      throw error
    }
  }

  /** Opens many. */
  static async openAll(count: number, way: Way): Promise<Peer[]> {
    const peers: Peer[] = []
    try {
      while (peers.length < count) {
        const some = Array.from({ length: Math.min(AT_ONCE, count - peers.length) }, () =>
          Peer.open(way),
        )
        peers.push(...(await Promise.all(some)))
      }
      return peers
    } catch (error) {
      for (const peer of peers) peer.close()
      throw error
    }
  }

  /** Resolves with the next frame that comes, before messages are counted. */
  async take(): Promise<Frame> {
    for (;;) {
      const taken = takeFrame(this.#gathered)
      if (taken) {
        this.#gathered = taken.rest
        return taken.frame
      }
      await this.#more()
    }
  }

  /** From now on messages are counted, and can't be looked at any more. */
  count(): void {
    this.#counting = true
  }

  write(bytes: Buffer): void {
    this.#tcp.write(bytes)
  }

  close(): void {
    this.#error ??= new Error('closed')
    this.#tcp.destroy()
  }

  async #expect(start: string): Promise<void> {
    const { payload } = await this.take()
    if (!payload.toString().startsWith(start)) throw new Error(`greeted with ${payload}`)
  }

  #read(bytes: Buffer, length: number): void {
    if (!this.#counting) {
      this.#gathered = Buffer.concat([this.#gathered, bytes.subarray(0, length)])
      this.#woken()
      return
    }
    try {
      const messages = this.#counter.count(bytes, length)
      if (messages > 0) this.heard(messages)
    } catch (error) {
      this.#lose(error as Error)
    }
  }

  async #takeHead(): Promise<string> {
    for (;;) {
      const end = this.#gathered.indexOf('\r\n\r\n')
      if (end >= 0) {
        const head = this.#gathered.toString('latin1', 0, end)
        this.#gathered = this.#gathered.subarray(end + 4)
        return head
      }
      await this.#more()
    }
  }

  async #more(): Promise<void> {
    if (!this.#error) await new Promise<void>((resolve) => (this.#woken = resolve))
    if (this.#error) throw this.#error
  }

  #lose(error: Error): void {
    if (this.#error) return
    this.#error = error
    this.#woken()
    this.lost(error)
  }
}

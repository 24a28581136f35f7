import { connect, type Socket } from 'node:net'

/** What is asked of a server. */
export interface Load {
  /** How long a message is. */
  readonly bytes: number
  /** How many messages each connection has under way. */
  readonly inFlight: number
  readonly connections: number
}

const room = Buffer.allocUnsafe(64 * 1024) // what is read, of all connections: it is only counted

/**
 * Makes a server busy for less than that costs the server: plain sockets, frames made beforehand,
 * replies known by their length alone. Each reply brings one new message, and all the replies of a
 * chunk one write.
 */
export class Generator {
  readonly #peers: readonly Peer[]

  private constructor(peers: readonly Peer[]) {
    this.#peers = peers
  }

  /** Connects to a server, and checks once for each connection that it echoes. */
  static async connect(port: number, load: Load): Promise<Generator> {
    const peers = Array.from({ length: load.connections }, () => new Peer(port, load))
    await Promise.all(peers.map((peer) => peer.greet()))
    return new Generator(peers)
  }

  /** How many replies have come. */
  get replies(): number {
    return this.#peers.reduce((sum, peer) => sum + peer.replies, 0)
  }

  /** Keeps the server busy for a while, and resolves with the last reply. */
  async run(milliseconds: number): Promise<void> {
    for (const peer of this.#peers) peer.begin()
    await new Promise((resolve) => setTimeout(resolve, milliseconds))
    await Promise.all(this.#peers.map((peer) => peer.finish()))
  }

  /** Ends all connections. */
  close(): void {
    for (const peer of this.#peers) peer.close()
  }
}

/** One connection. */
class Peer {
  replies = 0

  readonly #tcp: Socket
  readonly #port: number
  readonly #reply: Buffer
  readonly #frames: Buffer // one after the other, as many as may be under way
  readonly #frameLength: number
  readonly #inFlight: number
  #heard: (length: number) => void = () => {}
  #pending = 0 // messages without a reply
  #part = 0 // bytes of a reply that isn't whole yet
  #running = false
  #finished: (() => void) | undefined

  constructor(port: number, { bytes, inFlight }: Load) {
    const text = Buffer.from('The quick brown fox jumps over! '.repeat(bytes / 32 + 1))
    const payload = text.subarray(0, bytes)
    const frame = maskedFrame(payload)
    this.#port = port
    this.#reply = Buffer.concat([header(bytes, 0), payload])
    this.#frames = Buffer.concat(Array.from({ length: inFlight }, () => frame))
    this.#frameLength = frame.length
    this.#inFlight = inFlight
    const callback = (length: number): boolean => {
      this.#heard(length)
      return true
    }
    this.#tcp = connect({ port, host: '127.0.0.1', onread: { buffer: room, callback } })
    this.#tcp.setNoDelay(true)
  }

  /** Opens the connection, and checks that it echoes. */
  async greet(): Promise<void> {
    const answered = this.#collect((bytes) => bytes.includes('\r\n\r\n'))
    this.#tcp.write(
      `GET / HTTP/1.1\r\nHost: 127.0.0.1:${this.#port}\r\n` +
        'Connection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    )
    const answer = await answered
    if (!answer.toString().startsWith('HTTP/1.1 101')) throw new Error(answer.toString())
    const echoed = this.#collect((bytes) => bytes.length >= this.#reply.length)
    this.#tcp.write(this.#frames.subarray(0, this.#frameLength))
    if (!this.#reply.equals(await echoed)) throw new Error('what came back is no echo')
    this.#heard = (length) => this.#count(length)
  }

  /** Begins to send. */
  begin(): void {
    this.#running = true
    this.#send(this.#inFlight)
  }

  /** Ceases to send, and resolves with the last reply. */
  finish(): Promise<void> {
    this.#running = false
    return new Promise((resolve) => {
      if (this.#pending === 0) resolve()
      else this.#finished = resolve
    })
  }

  close(): void {
    this.#tcp.destroy()
  }

  #send(count: number): void {
    this.#pending += count
    this.#tcp.write(this.#frames.subarray(0, count * this.#frameLength))
  }

  #count(length: number): void {
    const bytes = this.#part + length
    const replies = Math.floor(bytes / this.#reply.length)
    this.#part = bytes % this.#reply.length
    this.#pending -= replies
    this.replies += replies
    if (this.#running && replies > 0) this.#send(replies)
    else if (this.#pending === 0) this.#finished?.()
  }

  /** Gathers what comes until it is whole. */
  #collect(isWhole: (bytes: Buffer) => boolean): Promise<Buffer> {
    let bytes = Buffer.alloc(0)
    return new Promise((resolve, reject) => {
      this.#tcp.on('error', reject)
      this.#heard = (length) => {
        bytes = Buffer.concat([bytes, room.subarray(0, length)])
        if (isWhole(bytes)) resolve(bytes)
      }
    })
  }
}

/** The header of a whole text message, RFC 6455 §5.2. */
function header(length: number, mask: 0 | 0x80): Buffer {
  if (length < 126) return Buffer.from([0x81, mask | length])
  return Buffer.from([0x81, mask | 126, length >> 8, length & 0xff])
}

function maskedFrame(payload: Buffer): Buffer {
  const mask = Buffer.from([0x12, 0x34, 0x56, 0x78])
  const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))
  return Buffer.concat([header(payload.length, 0x80), mask, masked])
}

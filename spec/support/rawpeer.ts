import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'

/** A frame as it was read. */
export interface Frame {
  fin: boolean
  /** The three reserved bits, as a number. */
  reserved: number
  opcode: number
  masked: boolean
  /** The bytes it was masked with; none where it was not. */
  key: Buffer
  payload: Buffer
}

/** How a frame is written. */
export interface FrameOptions {
  fin?: boolean
  reserved?: number
  masked?: boolean
  /** The four bytes it is masked with, if it is masked. Default: zeros. */
  key?: Uint8Array
  /** Announces another length than the payload's, in as many bytes. */
  length?: { value: bigint | number; bytes: 1 | 2 | 8 }
}

/** The answer to a handshake: 101, or another. */
export interface Answer {
  status: number
  text: string
  headers: Map<string, string>
  body: string
}

/** The changes to a handshake: a header without a value is left out. */
export interface Shake {
  method?: string
  target?: string
  version?: string
  headers?: Record<string, string | undefined>
  /** Goes out behind the handshake, in the same write. */
  and?: Buffer
}

const PATIENCE = 20_000 // milliseconds: a machine may be busy with much else
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ZEROS = Buffer.alloc(4)

/** Returns an opening handshake, as honest as the caller lets it be. */
export function handshake({ method, target, version, headers }: Shake = {}): string {
  const all: Record<string, string | undefined> = {
    Host: 'localhost',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': KEY,
    ...headers,
  }
  const lines = Object.entries(all).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}\r\n`],
  )
  return `${method ?? 'GET'} ${target ?? '/'} HTTP/${version ?? '1.1'}\r\n${lines.join('')}\r\n`
}

/** Returns the proof that a request was read, RFC 6455 §4.2.2: made of its key. */
export function proofOf(lines: readonly string[]): string {
  const line = lines.find((each) => /^sec-websocket-key:/i.test(each)) ?? ''
  const key = line.slice(line.indexOf(':') + 1).trim()
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

/** Returns the bytes of a frame, masked by zeros unless it is not. */
export function frame(
  opcode: number,
  payload: Uint8Array | string = '',
  { fin = true, reserved = 0, masked = true, key = ZEROS, length }: FrameOptions = {},
): Buffer {
  const body = Buffer.from(payload)
  if (masked) mask(body, key)
  const size = body.length < 126 ? 1 : body.length < 65_536 ? 2 : 8
  const { value, bytes } = length ?? { value: body.length, bytes: size }
  const mark = bytes === 1 ? Number(value) : bytes === 2 ? 126 : 127
  const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode, (masked ? 0x80 : 0) | mark]
  const long = Buffer.alloc(8)
  long.writeBigUInt64BE(BigInt(value))
  const extended = bytes === 1 ? Buffer.alloc(0) : long.subarray(8 - bytes)
  return Buffer.concat([Buffer.from(head), extended, masked ? key : Buffer.alloc(0), body])
}

/** Masks bytes in place, or takes their mask off, RFC 6455 §5.3. */
export function mask(bytes: Buffer, key: Uint8Array): void {
  if (key.every((byte) => byte === 0)) return
  for (let at = 0; at < bytes.length; at++) bytes[at] = (bytes[at] ?? 0) ^ (key[at % 4] ?? 0)
}

/** Returns the payload of a close frame. */
export function closePayload(code: number, text: Uint8Array | string = ''): Buffer {
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(text)])
}

/** Speaks over TCP, byte by byte as it is told, and reads only when it is asked to. */
export class RawPeer {
  readonly tcp: Socket
  #bytes: Buffer = Buffer.alloc(0)
  #ended = false
  #wake: () => void = () => {}

  constructor(tcp: Socket) {
    this.tcp = tcp
    tcp.on('error', () => {})
    for (const event of ['end', 'close']) {
      tcp.on(event, () => {
        this.#ended = true
        this.#wake()
      })
    }
  }

  /** Connects, and says nothing. */
  static async connect(port: number, { tls = false, host = 'localhost' } = {}): Promise<RawPeer> {
    const tcp = tls
      ? connectTls({ port, host, rejectUnauthorized: false })
      : connect({ port, host })
    const peer = new RawPeer(tcp)
    await once(tcp, tls ? 'secureConnect' : 'connect')
    return peer
  }

  /** Connects, and asks for an upgrade. */
  static async knock(port: number, shake: Shake = {}): Promise<RawPeer> {
    const peer = await RawPeer.connect(port)
    peer.write(Buffer.concat([Buffer.from(handshake(shake)), shake.and ?? Buffer.alloc(0)]))
    return peer
  }

  /** Connects, and is let in. */
  static async enter(port: number, shake: Shake = {}): Promise<RawPeer> {
    const peer = await RawPeer.knock(port, shake)
    const { status, body } = await peer.answer()
    if (status !== 101) throw new Error(`expected 101, got ${status} ${body}`)
    return peer
  }

  write(data: Uint8Array | string): void {
    if (this.tcp.writable) this.tcp.write(data)
  }

  send(opcode: number, payload?: Uint8Array | string, options?: FrameOptions): void {
    this.write(frame(opcode, payload, options))
  }

  /** Goes as a process that was killed: the other end gets a RST. */
  async reset(): Promise<void> {
    this.tcp.resetAndDestroy()
    await this.gone()
  }

  /** Waits until TCP has ended both ways. */
  async gone(): Promise<void> {
    this.tcp.resume()
    if (this.tcp.closed) return
    const closed = new Promise((resolve) => this.tcp.once('close', resolve)) // a RST ends it, too
    await this.#patiently('the end of TCP', () => closed)
  }

  /** Reads an answer to a request; fails where it isn't well-formed. */
  async answer(): Promise<Answer> {
    let end = -1
    await this.#until(() => (end = this.#bytes.indexOf('\r\n\r\n')) >= 0)
    if (end < 0)
      throw new Error(`expected an answer, got ${JSON.stringify(this.#take().toString())}`)
    const [line = '', ...fields] = this.#take(end + 4)
      .toString()
      .trimEnd()
      .split('\r\n')
    const [, status = '', text = ''] = /^HTTP\/1\.1 (\d{3}) (.+)$/.exec(line) ?? []
    if (status === '') throw new Error(`expected a status line, got ${line}`)
    const headers = new Map<string, string>()
    for (const field of fields) {
      const [, name = '', value = ''] = /^([\w-]+): ?(.*)$/.exec(field) ?? []
      if (name === '' || headers.has(name.toLowerCase())) throw new Error(`bad header ${field}`)
      headers.set(name.toLowerCase(), value)
    }
    const length = Number(headers.get('content-length') ?? 0)
    await this.#until(() => this.#bytes.length >= length)
    const body = status === '101' ? '' : this.#take(length).toString()
    return { status: Number(status), text, headers, body }
  }

  /** Reads a request's head: its lines. */
  async request(): Promise<string[]> {
    let end = -1
    await this.#until(() => (end = this.#bytes.indexOf('\r\n\r\n')) >= 0)
    return this.#take(end + 4)
      .toString()
      .trimEnd()
      .split('\r\n')
  }

  /** Reads the next frame; undefined where there is none any more. */
  async frame(): Promise<Frame | undefined> {
    await this.#until(() => this.#bytes.length >= 2)
    const [first = 0, second = 0] = this.#bytes
    const mark = second & 0x7f
    const masked = second >= 0x80
    const head = 2 + (mark === 127 ? 8 : mark === 126 ? 2 : 0)
    const start = head + (masked ? 4 : 0)
    await this.#until(() => this.#bytes.length >= start)
    if (this.#bytes.length < start) return undefined
    const length =
      mark < 126 ? mark : this.#bytes.readUIntBE(mark === 126 ? 2 : 4, mark === 126 ? 2 : 6)
    await this.#until(() => this.#bytes.length >= start + length)
    if (this.#bytes.length < start + length) return undefined
    const whole = this.#take(start + length)
    const key = whole.subarray(head, start)
    const payload = Buffer.from(whole.subarray(start))
    mask(payload, key)
    const [reserved, opcode] = [(first >> 4) & 7, first & 15]
    return { fin: first >= 0x80, reserved, opcode, masked, key, payload }
  }

  /** Reads up to a frame of a kind; undefined where none comes. */
  async next(opcode: number): Promise<Frame | undefined> {
    for (;;) {
      const read = await this.frame()
      if (!read || read.opcode === opcode) return read
    }
  }

  /** Reads up to the close frame: its code and text; undefined where TCP ends without one. */
  async closed(): Promise<{ code: number; description: string } | undefined> {
    const read = await this.next(8)
    if (!read) return undefined
    const { payload } = read
    const code = payload.length < 2 ? 1005 : payload.readUInt16BE(0)
    return { code, description: payload.subarray(2).toString() }
  }

  /** Reads everything up to the end. */
  async rest(): Promise<Buffer> {
    await this.#until(() => false)
    return this.#take()
  }

  #take(length = this.#bytes.length): Buffer {
    const taken = this.#bytes.subarray(0, length)
    const isAll = length >= this.#bytes.length
    this.#bytes = isAll ? Buffer.alloc(0) : this.#bytes.subarray(length) // a view keeps all of it
    return taken
  }

  /** Fails, rather than to wait for ever for what doesn't come. */
  async #patiently(what: string, wait: () => Promise<unknown>): Promise<void> {
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.tcp.destroy()
    }, PATIENCE)
    await wait()
    clearTimeout(timer)
    if (late) throw new Error(`expected ${what} within ${PATIENCE} ms`)
  }

  async #until(enough: () => boolean): Promise<void> {
    const read = (chunk: Buffer): void => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      this.#wake()
    }
    if (enough()) return
    this.tcp.on('data', read)
    this.tcp.resume()
    await this.#patiently('more bytes', async () => {
      while (!enough() && !this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve))
    })
    this.tcp.pause()
    this.tcp.off('data', read)
  }
}

/** Accepts over TCP, and speaks as it is told. */
export class RawServer {
  readonly #server: Server
  readonly #all: RawPeer[] = []
  readonly #peers: RawPeer[] = []
  readonly #waiting: ((peer: RawPeer) => void)[] = []

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (tcp) => {
      const peer = new RawPeer(tcp.pause())
      this.#all.push(peer)
      const taker = this.#waiting.shift()
      if (taker) taker(peer)
      else this.#peers.push(peer)
    })
  }

  static async listen(): Promise<RawServer> {
    const server = createServer().listen(0, 'localhost')
    await once(server, 'listening')
    return new RawServer(server)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `ws://localhost:${this.port}`
  }

  /** Waits for the next who connects. */
  peer(): Promise<RawPeer> {
    const peer = this.#peers.shift()
    if (peer) return Promise.resolve(peer)
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Waits for the next who connects, and answers its handshake: with 101, changed as you say. */
  async accept(
    headers: Record<string, string> = {},
    and: Buffer = Buffer.alloc(0),
  ): Promise<RawPeer> {
    const peer = await this.peer()
    const lines = await peer.request()
    const all = {
      Upgrade: 'websocket',
      Connection: 'Upgrade',
      'Sec-WebSocket-Accept': proofOf(lines),
      ...headers,
    }
    const fields = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    const head = `HTTP/1.1 101 Switching Protocols\r\n${fields.join('')}\r\n`
    peer.write(Buffer.concat([Buffer.from(head), and]))
    return peer
  }

  /** Stops to listen, and hangs up on all. */
  async close(): Promise<void> {
    for (const { tcp } of this.#all) tcp.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

let made: { cert: string; key: string } | undefined

/** Returns a certificate for localhost that no other program trusts. */
export function certificate(): { cert: string; key: string } {
  if (made) return made
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'))
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  const kind = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1']
  execFileSync('openssl', [...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  made = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
  rmSync(folder, { recursive: true })
  return made
}

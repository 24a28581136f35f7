import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { frame, TEXT } from '../wire/frames.ts'
import { answer } from '../wire/handshake.ts'
import { Load } from './load.ts'
import { textOf } from './texts.ts'

const PING = frame(0x89)
const PONG = 0x8a
const CHUNK = 64 * 1024

/** A server that sends to its one client as fast as that reads: chunks of frames made beforehand. */
export class FloodLoad extends Load {
  readonly port: number
  readonly #server: Server
  readonly #messages: number // in a chunk
  readonly #chunk: Buffer
  #client: Socket | undefined
  #asked = 0 // messages that the next pong stands for

  private constructor(server: Server, bytes: number) {
    super()
    const message = frame(TEXT, Buffer.from(textOf(bytes)))
    this.port = (server.address() as AddressInfo).port
    this.#server = server
    this.#messages = Math.floor(CHUNK / message.length)
    this.#chunk = Buffer.concat(Array.from({ length: this.#messages }, () => message))
    server.on('connection', (tcp) => this.#welcome(tcp))
  }

  /** Waits for a client, on a port of its own. */
  static async listen(bytes: number): Promise<FloodLoad> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new FloodLoad(server, bytes)
  }

  override close(): void {
    this.#client?.destroy()
    this.#server.close()
  }

  protected override begin(): void {
    this.pending = 1 // the pong
    this.#send()
  }

  #send(): void {
    if (!this.#client) this.fail(new Error('is not connected'))
    else if (this.running) {
      this.#asked += this.#messages
      this.#client.write(this.#chunk, () => this.#send())
    } else this.#client.write(PING) // it is answered when all before it has been read
  }

  #welcome(tcp: Socket): void {
    this.#client = tcp
    tcp.on('error', (error) => this.fail(error))
    tcp.on('close', () => this.fail(new Error('closed the connection')))
    tcp.once('data', (request) => {
      tcp.write(answer(request.toString()))
      tcp.on('data', ([first]: Buffer) => {
        if (first === PONG) this.#answered()
      })
    })
  }

  #answered(): void {
    this.done += this.#asked
    this.#asked = 0
    this.pending = 0
    this.finish()
  }
}

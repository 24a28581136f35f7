import { connect } from 'node:net'
import { plain } from '../wire/dialects.ts'
import { request } from '../wire/handshake.ts'
import type { Way } from '../wire/peer.ts'
import { Load } from './load.ts'

const room = Buffer.allocUnsafe(64 * 1024)

/** Connects, is let in, ends the TCP connection, and once the server has too, begins anew. */
export class HandshakeLoad extends Load {
  readonly #port: number
  readonly #request: string
  readonly #atOnce: number

  constructor({ port, dialect = plain }: Way, atOnce: number) {
    super()
    this.#port = port
    this.#request = request(port, dialect.path)
    this.#atOnce = atOnce
  }

  override close(): void {
    // Each turn ends its own connections.
  }

  protected override begin(): void {
    for (let i = 0; i < this.#atOnce; i++) this.#visit()
  }

  #visit(): void {
    let welcome = false
    this.pending++
    const callback = (length: number): boolean => {
      if (welcome || !room.subarray(0, length).includes('\r\n\r\n')) return true
      welcome = room.toString('latin1', 0, 12) === 'HTTP/1.1 101'
      tcp.end()
      return true
    }
    const tcp = connect({
      port: this.#port,
      host: '127.0.0.1',
      onread: { buffer: room, callback },
    })
    tcp.write(this.#request)
    tcp.on('error', (error) => this.fail(error))
    tcp.on('close', () => {
      if (!welcome) this.fail(new Error('did not let a visitor in'))
      this.done++
      this.pending--
      if (this.running) this.#visit()
      else this.finish()
    })
  }
}

import type { CloseReason } from './close.ts'
import { ConnectionCore, type ConnectionEvents, type Maker } from './connection-core.ts'
import { DELIVER, toData, type Data, type Message, type SendData } from './message.ts'
import { pingPayload } from './pings.ts'
import type { RequestDetails } from './request.ts'
import { SIGNALS, type Target } from './signals.ts'
import type { Transport } from './transport/transport.ts'

/**
 * One end of a connection, the same on a server and on a client: send with its methods, and `listen`
 * to its events.
 */
export class WebsocketConnection<Context extends {} = {}> implements Target<ConnectionEvents> {
  /** The request that opened it: as received on a server, as dialled on a client. */
  readonly request: RequestDetails
  /** false: it may send and receive, but `emit` and `broadcast` skip it. */
  valid = true

  readonly #core: ConnectionCore<Context>
  #context: Context | undefined
  #id: string | undefined

  /** @internal */
  constructor(
    maker: Maker<Context>,
    transport: Transport,
    request: RequestDetails,
    context?: Context,
  ) {
    this.request = request
    this.#context = context
    this.#core = new ConnectionCore(this, maker, transport)
  }

  /** @hidden */
  get [SIGNALS](): ConnectionCore<Context> {
    return this.#core
  }

  /** Which end this is. */
  get side(): 'server' | 'client' {
    return this.#core.side
  }

  /** What `authorize` returned; without one, an empty object. */
  get context(): Context {
    return (this.#context ??= {} as Context) // which is then what its type says
  }

  /** A name that nobody can guess. */
  get id(): string {
    return (this.#id ??= newId())
  }

  /** The subprotocol agreed on, or nothing. */
  get protocol(): string {
    return this.#core.protocol
  }

  /** Whether messages can be sent: no close frame went or came. */
  get isOpen(): boolean {
    return this.#core.isOpen
  }

  /** Bytes accepted by `send` and not yet handed to the kernel. */
  get bufferedAmount(): number {
    return this.#core.bufferedAmount
  }

  /** Milliseconds of the last round trip that a ping measured; the keepalive's count too. */
  get latency(): number | undefined {
    return this.#core.latency
  }

  /**
   * Sends a message: text as a text frame, bytes as a binary one, a number as its decimal text. Bytes
   * stay yours: change them as soon as this has returned.
   *
   * false means: wait for `drain`, more than `highWaterMark` bytes wait for the peer; or it has
   * closed, and nothing is sent. It never throws for the state of the connection.
   *
   * @throws TypeError for anything but a string, bytes or a finite number.
   */
  send(data: SendData): boolean {
    return this.#core.send(toData(data))
  }

  /**
   * Sends a message to every other valid connection of this server, on every node; from a client's
   * connection it reaches nobody.
   *
   * @throws TypeError for anything but a string, bytes or a finite number.
   */
  broadcast(data: SendData): void {
    this.#core.broadcast(toData(data))
  }

  /**
   * Pings the peer, with a payload cut to 125 bytes, and resolves with the round trip in
   * milliseconds. A pong answers its ping and all earlier ones, RFC 6455 §5.5.3.
   *
   * It rejects with a `ClosedError` when the connection closes first.
   */
  ping(data: SendData = ''): Promise<number> {
    return this.#core.measure(pingPayload(toData(data)))
  }

  /**
   * Closes: sends a close frame and resolves once the peer has answered it, or was cut after
   * `closeTimeout`. An empty description gets the code's standard text; it is cut to 123 bytes.
   * Closing twice sends one frame, and both resolve with the reason of the end that closed first.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(code = 1000, description = ''): Promise<CloseReason> {
    return this.#core.close(code, description)
  }

  /**
   * Ends the connection at once, without a closing handshake: both ends get a `close` event with
   * 1006, the peer when it sees that TCP has ended. What the kernel has not taken yet is lost.
   *
   * On a connection that is closing already it ends the wait for the peer, and the reason stays. A
   * browser can't end TCP: there this end gets its `close` event at once, and the browser says
   * goodbye to the server with 1005.
   */
  terminate(): void {
    this.#core.terminate()
  }

  /** Closes with 1000 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [DELIVER](message: Data | Message): boolean {
    return this.#core.deliver(message)
  }
}

/** Makes an id; a page that came without TLS has no `randomUUID`, but the bytes to make one of. */
function newId(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID()
  const digits = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  )
  return digits.join('')
}

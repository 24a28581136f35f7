import type { CallbackError, FrameError } from '../errors.ts'
import type { Listenable } from '../events/listenable.ts'
import { inspectLine } from '../format.ts'
import { CODEC, DELIVER, EMITTER, INSPECT, type EVENTS } from '../internal.ts'
import type { RequestDetails } from '../server/handshake/request.ts'
import type { Transport } from '../transport/transport.ts'
import type { CloseReason } from './close-codes.ts'
import { ConnectionCore } from './connection-core.ts'
import type { ConnectionOwner } from './connection-owner.ts'
import { toData, type Data, type PreparedMessage, type SendData } from './message.ts'
import { pingPayload } from './pings.ts'

/** The events of a connection. */
export interface ConnectionEvents<In = Data> {
  /**
   * A received message: a string for text, bytes for binary; with `messages`, what the format
   * decodes. It waits for a listener.
   */
  message: In
  /** A ping from the peer, answered already. */
  ping: Data
  /** A pong from the peer, unless it answers a ping of the keepalive. */
  pong: Data
  /** The end of backpressure: the bytes that wait for the peer are back at the high-water mark. */
  drain: void
  /** A failure: the peer sent something invalid or too much, or one of your listeners failed. */
  error: FrameError | CallbackError
  /** The end of the connection. It comes after the last message. */
  close: CloseReason
}

/**
 * A connection of any server or client, whatever its context, its messages and its path: the type
 * for functions that take every connection.
 */
export type AnyConnection = WebsocketConnection<any, any, any, any>

/** The type of the connections of a server or a client: `ConnectionOf<typeof server>`. */
export type ConnectionOf<Owner> =
  Owner extends Listenable<infer Events>
    ? Extract<Events['client' & keyof Events] | Events['connect' & keyof Events], AnyConnection>
    : never

/**
 * One side of a connection, the same class on a server and on a client. Send with its methods, and
 * `listen` to its events.
 *
 * Its types are those of the server's options: the context that `authorize` returns, the messages
 * that it receives (`In`) and sends (`Out`), and the path.
 */
export class WebsocketConnection<
  Context extends object = {},
  In = Data,
  Out = SendData,
  Path extends string = string,
> implements Listenable<ConnectionEvents<In>> {
  /** The request that opened the connection: received on a server, sent on a client. */
  readonly request: RequestDetails<Path>
  /** Whether `emit` and `broadcast` reach this connection. It sends and receives either way. */
  valid = true

  /** @hidden */
  declare readonly [EVENTS]?: ConnectionEvents<In>
  readonly #core: ConnectionCore
  #context: Context | undefined
  #id: string | undefined

  /** @internal */
  constructor(
    owner: ConnectionOwner,
    transport: Transport,
    request: RequestDetails<Path>,
    context?: Context,
  ) {
    this.request = request
    this.#context = context
    const { messages } = owner.settings
    this.#core = messages
      ? messages[CODEC].createCore(this, owner, transport)
      : new ConnectionCore(this, owner, transport)
    transport.start(this.#core)
  }

  /** @hidden */
  get [EMITTER](): ConnectionCore {
    return this.#core
  }

  /** The side of the connection that this object is. */
  get side(): 'server' | 'client' {
    return this.#core.owner.side
  }

  /** The object that `authorize` returned; without `authorize`, an empty object. */
  get context(): Context {
    return (this.#context ??= {} as Context) // without `authorize` the type is `{}`
  }

  /** A random id that can't be guessed. */
  get id(): string {
    return (this.#id ??= newId())
  }

  /** The negotiated subprotocol, or an empty string. */
  get protocol(): string {
    return this.#core.transport.protocol
  }

  /** Whether messages can be sent: no close frame was sent or received yet. */
  get isOpen(): boolean {
    return this.#core.isOpen
  }

  /** Bytes that `send` has accepted and that are not yet handed to the kernel. */
  get bufferedAmount(): number {
    return this.#core.transport.bufferedAmount
  }

  /** Milliseconds of the last round trip that a ping measured, also a ping of the keepalive. */
  get latency(): number | undefined {
    return this.#core.latency
  }

  /**
   * Sends a message: text as a text frame, bytes as a binary frame, a number as its decimal text.
   * You may change the bytes as soon as the call has returned.
   *
   * Returns false when more than `highWaterMark` bytes wait for the peer: wait for `drain`. Returns
   * false, too, when the connection has closed: nothing is sent then. Check `isOpen` to tell the two
   * apart. The state of the connection never makes it throw.
   *
   * @throws TypeError for anything but a string, bytes or a finite number; with `messages`, for
   * what the format can't encode.
   */
  send(data: Out): boolean {
    return this.#core.send(data)
  }

  /**
   * Sends a message to every other `valid` connection of this server, on every node. On a client's
   * connection it does nothing.
   *
   * @throws TypeError as `send` does.
   */
  broadcast(data: Out): void {
    this.#core.owner.broadcast(this, this.#core.encode(data))
  }

  /**
   * Pings the peer and resolves with the round trip in milliseconds. The payload is cut to 125
   * bytes. A pong answers its ping and all earlier ones, RFC 6455 §5.5.3.
   *
   * Rejects with a `ClosedError` when the connection closes first.
   */
  ping(data: SendData = ''): Promise<number> {
    return this.#core.measureRoundTrip(pingPayload(toData(data)))
  }

  /**
   * Closes the connection: sends a close frame, and resolves when the peer has answered it or when
   * `closeTimeout` has ended the wait. An empty description is replaced by the code's standard
   * text; a long one is cut to 123 bytes. Closing twice sends one frame, and both calls resolve
   * with the reason of the side that closed first.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; the connection is unchanged
   * then.
   */
  close(code = 1000, description = ''): Promise<CloseReason> {
    return this.#core.close(code, description)
  }

  /**
   * Ends the connection at once, without a closing handshake. Both sides get a `close` event with
   * 1006, the peer when it sees that TCP has ended. Bytes that the kernel has not taken yet are
   * lost.
   *
   * On a connection that closes already it ends the wait for the peer, and the reason stays. A
   * browser can't end TCP: there this side gets its `close` event at once, and the browser closes
   * the connection to the server with 1005.
   */
  terminate(): void {
    this.#core.terminate()
  }

  /** Closes the connection with 1000 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  get [Symbol.toStringTag](): string {
    return 'WebsocketConnection'
  }

  /** @internal */
  [INSPECT](): string {
    return inspectLine(
      this,
      `${this.side} side, ${this.isOpen ? 'open' : 'closed'}, ${this.id}, path ${this.request.path}`,
    )
  }

  /** @internal */
  [DELIVER](message: Data | PreparedMessage): boolean {
    return this.#core.deliver(message)
  }
}

/** Returns a random id. A page loaded without TLS has `getRandomValues`, but no `randomUUID`. */
function newId(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID()
  const digits = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  )
  return digits.join('')
}

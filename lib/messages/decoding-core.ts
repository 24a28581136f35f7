import type { ConnectionOwner } from '../connection/connection-owner.ts'
import type { AnyConnection } from '../connection/connection.ts'
import { ConnectionCore } from '../connection/connection-core.ts'
import { toData, type Data } from '../connection/message.ts'
import { deferred, isPromise } from '../promises.ts'
import type { Transport } from '../transport/transport.ts'
import { InvalidMessage } from './invalid-message.ts'
import { OrderedResults } from './ordered-results.ts'

/** How a connection encodes and decodes its messages. */
export interface Codec {
  /** Encodes a message that is sent. */
  encode(message: never): unknown
  /**
   * Decodes received data.
   *
   * @throws InvalidMessage for data that the connection refuses.
   */
  decode(data: Data): unknown
  /** Whether a message that a schema refuses is dropped, instead of closing the connection. */
  readonly dropsInvalid: boolean
  /** Milliseconds that the decoding of one message may take. */
  readonly timeout: number
}

/** The private half of a connection with `messages`: it decodes messages in their order. */
export class DecodingCore extends ConnectionCore {
  readonly #codec: Codec
  readonly #results = new OrderedResults()
  readonly #timers = new Set<NodeJS.Timeout>()
  /** Whether a message was refused, or the connection failed or ended: no later one is delivered. */
  #isStopped = false

  constructor(
    codec: Codec,
    connection: AnyConnection,
    owner: ConnectionOwner,
    transport: Transport,
  ) {
    super(connection, owner, transport)
    this.#codec = codec
  }

  /** The messages that wait: for their decoding, and for their listeners. */
  override get queuedCount(): number {
    return super.queuedCount + this.#results.waitingCount
  }

  override get waitingBytes(): number {
    return super.waitingBytes + this.#results.waitingBytes
  }

  override encode(message: unknown): Data {
    return toData(this.#codec.encode(message as never))
  }

  /** Decodes a message, and enqueues it in its turn. Returns false: listeners may get it later. */
  override enqueue(data: Data, size: number): boolean {
    if (this.#isStopped) {
      this.drop('closing')
      return true
    }
    this.#results.run(() => this.#decode(data), {
      size,
      onResult: (message) => this.#onDecoded(message, size),
      onError: (cause) => this.#onError(cause),
      onWaiting: () => this.onChange(),
    })
    return false
  }

  /** Drops also the messages that wait for their decoding. */
  override dropQueued(): number {
    return super.dropQueued() + this.#stop()
  }

  /** Stops decoding. Returns the number of messages that wait for it. */
  #stop(): number {
    const count = this.#isStopped ? 0 : this.#results.waitingCount
    this.#isStopped = true
    for (const timer of this.#timers) clearTimeout(timer)
    return count
  }

  #decode(data: Data): unknown {
    const message = this.#codec.decode(data)
    return isPromise(message) ? this.#withTimeout(message) : message
  }

  #withTimeout(message: PromiseLike<unknown>): Promise<unknown> {
    const { timeout } = this.#codec
    const { promise, resolve, reject } = deferred<unknown>()
    const timer = setTimeout(
      () => reject(new Error(`decoding a message took more than ${timeout} ms`)),
      timeout,
    )
    this.#timers.add(timer)
    const stopTimer = (): void => {
      clearTimeout(timer)
      this.#timers.delete(timer)
    }
    message.then(resolve, reject)
    promise.then(stopTimer, stopTimer)
    return promise
  }

  #onDecoded(message: unknown, size: number): void {
    if (!this.#isStopped) super.enqueue(message as Data, size) // of the type of the format
  }

  #onError(cause: unknown): void {
    if (this.#isStopped) return
    if (!(cause instanceof InvalidMessage)) {
      this.drop('invalid')
      this.handleListenerFailure('message', cause, undefined)
    } else if (cause.closeCode === 1008 && this.#codec.dropsInvalid) {
      this.drop('invalid')
    } else {
      this.#refuse(cause)
    }
  }

  /** Closes because of a message. Delivers no later one. */
  #refuse({ closeCode: code, message: description, issues, cause }: InvalidMessage): void {
    for (let count = this.#stop(); count > 0; count--) this.drop('closing')
    this.onInvalid({ code, description, errorCode: 'ERR_MESSAGE_INVALID', issues }, cause)
  }
}

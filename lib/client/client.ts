import { resolveClient } from '#options'
import * as defaultNetwork from '#transport'
import { sendableReason, type CloseReason } from '../connection/close-codes.ts'
import { WebsocketConnection } from '../connection/connection.ts'
import type { Data, SendData } from '../connection/message.ts'
import { ConnectError, type WebsocketError } from '../errors.ts'
import { Emitter, type ErrorSink, type EventSpec } from '../events/emitter.ts'
import type { Listenable } from '../events/listenable.ts'
import { inspectLine } from '../format.ts'
import { EMITTER, INSPECT, OPEN_WITH, type EVENTS } from '../internal.ts'
import type { ClientOptions, ClientSettings } from '../options/client.ts'
import { deferred, DONE, markHandled } from '../promises.ts'
import type { Network } from '../transport/transport.ts'
import { checkNames, checkSignal } from '../validation.ts'
import type { UrlSource } from './connect.ts'
import type { Retry } from './reconnect.ts'
import { Session } from './session.ts'

/** The events of a client. */
export interface ClientEvents<In = Data, Out = SendData> {
  /** A connection to the server that has just opened. */
  connect: WebsocketConnection<{}, In, Out>
  /** The error of an attempt to connect that has failed. */
  connectError: ConnectError
  /** The next attempt that the client waits for, with `reconnect`. */
  retry: Retry
  /** An error of a listener or a connection that had no `error` listener of its own. */
  error: WebsocketError
  /** The end: the connection has closed or could not be opened, and the client won't try again. */
  closed: CloseReason
}

const SPEC: EventSpec<ClientEvents> = {
  kind: 'client',
  reopens: true,
  events: ['connect', 'connectError', 'retry', 'error', 'closed'],
  terminalEvent: 'closed',
}

export class ClientEmitter extends Emitter<ClientEvents> {
  /** The target that receives errors when the client has no `error` listener: a `ChannelClient`. */
  errorSink: ErrorSink | undefined

  constructor() {
    super(SPEC)
  }

  override get parent(): ErrorSink | undefined {
    return this.errorSink
  }

  /**
   * Closes the connection whose `connect` listener failed, even if an `error` listener got the
   * error: the connection was never set up.
   */
  override onListenerFailed(value: unknown): void {
    if (value instanceof WebsocketConnection) value[EMITTER].fail()
  }
}

/** A WebSocket client: `open` connects to a server and emits `connect` with the connection. */
export class WebsocketClient<In = Data, Out = SendData> implements Listenable<
  ClientEvents<In, Out>
> {
  /** @hidden */
  declare readonly [EVENTS]?: ClientEvents<In, Out>
  readonly #settings: ClientSettings
  readonly #emitter = new ClientEmitter()
  #session: Session | undefined

  /**
   * Creates a client.
   *
   * @throws TypeError for an option that is unknown or invalid.
   */
  constructor(options?: ClientOptions<In, Out>) {
    this.#settings = resolveClient(options)
  }

  /** @hidden */
  get [EMITTER](): Emitter<ClientEvents> {
    return this.#emitter
  }

  /** The current connection, if there is one. */
  get connection(): WebsocketConnection<{}, In, Out> | undefined {
    return this.#session?.connection
  }

  /** Whether the client has a connection that is open. */
  get isOpen(): boolean {
    return this.connection?.isOpen === true
  }

  /**
   * Connects to a server. Resolves with the connection, which the `connect` event carries, too.
   *
   * Rejects with a `ConnectError` when the client can't connect; with `reconnect`, when it stops
   * trying. Await the promise or listen to `connectError`, so that the error doesn't go unhandled.
   * Aborting the signal ends the attempts at once. A connection that is open by then stays open,
   * and the client doesn't reconnect after it.
   *
   * @throws TypeError for an option that is unknown or invalid; the client is unchanged then.
   */
  open(
    url: UrlSource,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<WebsocketConnection<{}, In, Out>> {
    checkNames(options, ['signal'])
    return this[OPEN_WITH](defaultNetwork, url, options.signal)
  }

  /**
   * Closes the connection, or stops the attempt to open one, and resolves when that is done, after
   * `closeTimeout` at the latest if the peer does not answer. The client doesn't connect again, even
   * with `reconnect`.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; the client is unchanged
   * then.
   */
  close(code = 1000, description = ''): Promise<void> {
    const reason = sendableReason(code, description)
    return this.#session?.close(reason) ?? DONE
  }

  /** Closes the client with 1000 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  get [Symbol.toStringTag](): string {
    return 'WebsocketClient'
  }

  /** @internal */
  [INSPECT](): string {
    return inspectLine(this, this.isOpen ? 'open' : 'closed')
  }

  /** @hidden */
  [OPEN_WITH](
    network: Network,
    url: UrlSource,
    signal?: AbortSignal,
  ): Promise<WebsocketConnection<{}, In, Out>> {
    checkSignal(signal)
    if (this.#session?.canReopen === false) return this.#refuseOpen(this.#session)
    const emitter = this.#emitter
    emitter.reopen()
    const session = new Session({ network, url, signal, settings: this.#settings, emitter })
    this.#session = session
    const connected = session.start((reason) => {
      if (this.#session !== session) return // the client was opened again
      this.#session = undefined
      emitter.end(reason)
    })
    return connected as Promise<WebsocketConnection<{}, In, Out>>
  }

  #refuseOpen({ connection }: Session): Promise<never> {
    const { promise, reject } = deferred<never>()
    const state = connection ? 'open' : 'opening'
    const error = new ConnectError(`the client is ${state} already: close it first`, {
      code: 'ERR_INVALID_CALL',
    })
    if (this.#emitter.emit('connectError', error)) markHandled(promise)
    reject(error)
    return promise
  }
}

import { resolveClient } from '#options'
import * as network from '#transport'
import debug from '#debug'
import {
  PermanentConnectError,
  PostponedAttempt,
  connectOnce,
  ConnectAborted,
  abortErrorOf,
  type UrlSource,
} from './connect.ts'
import { closeReason, sendableReason, type CloseReason } from '../connection/close-codes.ts'
import type { ConnectionOwner } from '../connection/connection-core.ts'
import { WebsocketConnection } from '../connection/connection.ts'
import { newCounts } from '../connection/counts.ts'
import { escapeText, formatLogLine } from '../error-text.ts'
import { ConnectError, type WebsocketError } from '../errors.ts'
import { Keepalive } from '../connection/keepalive.ts'
import { once } from '../events/listen.ts'
import type { ClientOptions, ClientSettings } from '../options/client.ts'
import { checkNames, checkSignal } from '../validation.ts'
import { deferred, markHandled, type Deferred } from '../promises.ts'
import { requestHeaders, RequestDetails } from '../server/handshake/request.ts'
import { ReconnectSchedule, type Retry } from './reconnect.ts'
import {
  EMITTER,
  Emitter,
  type ErrorSink,
  type EventSpec,
  type Listenable,
} from '../events/emitter.ts'
import type { DialRequest, Network, Transport } from '../transport/transport.ts'

const log = debug('simplewebsockets:client')

/** The events of a client. */
export interface ClientEvents {
  /** A connection to the server that has just opened. */
  connect: WebsocketConnection
  /** The error of an attempt to connect that has failed. */
  connectError: ConnectError
  /** The next attempt that the client waits for, with `reconnect`. */
  retry: Retry
  /** An error of a listener or a connection that had no `error` listener of its own. */
  error: WebsocketError
  /** The end: the connection has closed or could not be opened, and the client won't try again. */
  closed: CloseReason
}

/** The name of the method that opens a connection over a given network. */
export const OPEN_WITH: unique symbol = Symbol('open by')

/** The name of the method that sets what receives errors when a client has no `error` listener. */
export const REPORT_TO: unique symbol = Symbol('reportTo')

/** The name of the property that says whether the program itself closed the client. */
export const STOPPED: unique symbol = Symbol('stopped')

/** A client that can also connect over another network than the real one, as in tests. */
export interface Connectable {
  /** Connects over the given network. */
  [OPEN_WITH](network: Network, url: UrlSource, signal?: AbortSignal): Promise<WebsocketConnection>
}

const SPEC: EventSpec<ClientEvents> = {
  kind: 'client',
  reopens: true,
  events: ['connect', 'connectError', 'retry', 'error', 'closed'],
  terminalEvent: 'closed',
}

class ClientEmitter extends Emitter<ClientEvents> {
  /** The target that receives errors when the client has no `error` listener. */
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

/** The state of a client from `open` to `closed`. */
interface Session {
  readonly network: Network
  readonly url: UrlSource
  readonly abortController: AbortController
  readonly opening: Deferred<WebsocketConnection>
  /** Lets the program's own signal abort the session, from now on. */
  readonly bindAbort: () => void
  /** Ends the effect of `bindAbort`. */
  readonly unbindAbort: () => void
  readonly schedule: ReconnectSchedule
  /** Checks whether the peer of the connection is still there. */
  probe: () => void
  /** Whether a `connectError` listener received the error of the last failed attempt. */
  wasReported: boolean
  /** Whether only the `closed` event is outstanding: the client may be opened again. */
  canReopen: boolean
  /** Resolves when the session has ended; never rejects. */
  completion: Promise<void>
}

/** A WebSocket client: `open` connects to a server and emits `connect` with the connection. */
export class WebsocketClient implements Listenable<ClientEvents>, Connectable {
  readonly #settings: ClientSettings
  readonly #emitter = new ClientEmitter()
  readonly #connectionOwner: ConnectionOwner
  #connection: WebsocketConnection | undefined
  #session: Session | undefined

  /**
   * Creates a client.
   *
   * @throws TypeError for an option that is unknown or invalid.
   */
  constructor(options?: ClientOptions) {
    const settings = resolveClient(options)
    const { keepaliveTimeout } = settings
    this.#settings = settings
    this.#connectionOwner = {
      side: 'client',
      settings,
      keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
      counts: newCounts(),
      reportError: (error) => this.#emitter.reportError(error),
      broadcast: () => {},
      onClose: (_, reason) => this.#onConnectionClosed(reason),
    }
  }

  /** @internal */
  [STOPPED] = false

  /** @hidden */
  get [EMITTER](): Emitter<ClientEvents> {
    return this.#emitter
  }

  /** The current connection, if there is one. */
  get connection(): WebsocketConnection | undefined {
    return this.#connection
  }

  /** Whether the client has a connection that is open. */
  get isOpen(): boolean {
    return this.#connection?.isOpen === true
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
  ): Promise<WebsocketConnection> {
    checkNames(options, ['signal'])
    return this[OPEN_WITH](network, url, options.signal)
  }

  /**
   * Closes the connection, or stops the attempt to open one, and resolves when that is done. The
   * client doesn't connect again, even with `reconnect`.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; the client is unchanged
   * then.
   */
  close(code = 1000, description = ''): Promise<void> {
    const reason = sendableReason(code, description)
    const session = this.#session
    const connection = this.#connection
    session?.abortController.abort(new ConnectAborted(reason))
    return this.#waitForEnd(session, connection, connection?.close(code, description))
  }

  /** Closes the client with 1000 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [REPORT_TO](errorSink: ErrorSink): void {
    this.#emitter.errorSink = errorSink
  }

  /** @hidden */
  [OPEN_WITH](
    network: Network,
    url: UrlSource,
    signal?: AbortSignal,
  ): Promise<WebsocketConnection> {
    checkSignal(signal)
    const opening = deferred<WebsocketConnection>()
    if (this.#session?.canReopen === false) {
      const state = this.#connection ? 'open' : 'opening'
      const text = `the client is ${state} already: close it first`
      const error = new ConnectError(text, { code: 'ERR_INVALID_CALL' })
      if (this.#emitter.emit('connectError', error)) markHandled(opening.promise)
      opening.reject(error)
      return opening.promise
    }
    this.#emitter.reopen()
    const abortController = new AbortController()
    const session: Session = {
      network,
      url,
      opening,
      abortController,
      ...makeAbortBinding(signal, abortController),
      schedule: new ReconnectSchedule(this.#settings.reconnect, (cause) =>
        this.#emitter.handleListenerFailure('retry', cause, undefined),
      ),
      probe: () => {},
      wasReported: false,
      canReopen: false,
      completion: Promise.resolve(),
    }
    this.#session = session
    session.bindAbort()
    const unsubscribe = network.onWake(() => this.#onNetworkWake(session))
    session.completion = this.#runSession(session).then((cause) => {
      unsubscribe()
      session.unbindAbort()
      this.#endSession(session, cause)
    })
    return opening.promise
  }

  async #waitForEnd(
    session: Session | undefined,
    connection: WebsocketConnection | undefined,
    closing: Promise<unknown> | undefined,
  ): Promise<void> {
    await closing
    // If a listener still takes messages, that listener may be what waits for this promise.
    if (!connection || connection[EMITTER].hasEnded) await session?.completion
  }

  /**
   * Connects and reconnects until stopped, or until it is useless. Resolves with the last cause.
   */
  async #runSession(session: Session): Promise<ConnectError | CloseReason> {
    const { signal } = session.abortController
    for (;;) {
      const cause = await this.#runAttempt(session)
      const isLast = signal.aborted || cause instanceof PermanentConnectError
      const retry = isLast ? undefined : session.schedule.next(cause)
      if (!retry) return cause
      await this.#waitForRetry(session, retry)
      const abortError = abortErrorOf(signal)
      if (abortError) return abortError
    }
  }

  /** Makes one attempt. Resolves with its error, or with the reason its connection closed for. */
  async #runAttempt(session: Session): Promise<ConnectError | CloseReason> {
    const { abortController } = session
    const result = await this.#connect(session)
    if (!(result instanceof ConnectError)) return once(result, 'close')
    session.canReopen = this.#isLast(session)
    if (result instanceof ConnectAborted) return result
    log('could not connect: %s', formatLogLine(result))
    session.wasReported = this.#emitter.emit('connectError', result)
    return abortErrorOf(abortController.signal) ?? result
  }

  /** Connects to the server that the url names, as soon as that server may be dialled. */
  async #connect(session: Session): Promise<WebsocketConnection | ConnectError> {
    const { network, url, abortController, schedule } = session
    for (;;) {
      schedule.begin()
      const result = await connectOnce({
        dial: network.dial,
        url,
        settings: this.#settings,
        signal: abortController.signal,
        remainingDelay: (server) => schedule.remaining(server),
        onOpen: (transport, request) => this.#onConnected(session, transport, request),
      })
      if (!(result instanceof PostponedAttempt)) return result
      await this.#waitForRetry(session, schedule.postpone(result.milliseconds))
    }
  }

  /** Emits `retry`, and waits until the next attempt is due. */
  async #waitForRetry(session: Session, retry: Retry): Promise<void> {
    const { abortController, schedule } = session
    const { signal } = abortController
    log('tries again in %d ms, attempt %d', retry.delay, retry.attempt)
    if (!signal.aborted) this.#emitter.emit('retry', retry)
    await schedule.wait(retry, signal)
  }

  #onConnected(
    session: Session,
    transport: Transport,
    { url, headers, protocols }: DialRequest,
  ): WebsocketConnection {
    const request = new RequestDetails({
      url: url.href,
      rawHeaders: requestHeaders(url, headers, protocols),
      remoteAddress: url.hostname,
    })
    const connection = new WebsocketConnection(this.#connectionOwner, transport, request)
    this.#connection = connection
    session.unbindAbort()
    session.schedule.connected()
    session.probe = makeProbe(transport, connection)
    log('connected to %s', url.host)
    this.#emitter.emit('connect', connection)
    session.opening.resolve(connection)
    return connection
  }

  /** Handles the end of the connection's transport, before the connection's `close` event. */
  #onConnectionClosed({ code, description }: CloseReason): void {
    log('closed: %d %s', code, escapeText(description))
    const session = this.#session
    this.#connection = undefined
    if (!session) return
    session.bindAbort()
    session.schedule.lost()
    session.canReopen = this.#isLast(session)
  }

  /** Returns whether this attempt or connection is the last one, whatever its result. */
  #isLast({ abortController }: Session): boolean {
    return this.#settings.reconnect === false || abortController.signal.aborted
  }

  /** Handles a sign that the network may have come back. */
  #onNetworkWake({ schedule, probe }: Session): void {
    if (this.#connection) probe()
    else schedule.wake()
  }

  /** Settles `open`, and emits `closed` unless the client was opened again. */
  #endSession(session: Session, cause: ConnectError | CloseReason): void {
    const isFailure = cause instanceof ConnectError
    if (session.wasReported || cause instanceof ConnectAborted) markHandled(session.opening.promise)
    if (isFailure) session.opening.reject(cause)
    if (this.#session !== session) return
    this.#session = undefined
    this[STOPPED] = session.abortController.signal.aborted
    if (cause instanceof ConnectAborted) this.#emitter.end(cause.reason)
    else this.#emitter.end(isFailure ? closeReason(1006, cause.message) : cause)
  }
}

/**
 * Creates the functions that add and remove the listener of the program's signal. The listener is
 * only there while there is something to abort, as many connections may share one signal.
 */
function makeAbortBinding(
  signal: AbortSignal | undefined,
  abortController: AbortController,
): Pick<Session, 'bindAbort' | 'unbindAbort'> {
  const onAbort = (): void => {
    abortController.abort(new ConnectAborted(closeReason(1006, 'aborted'), signal?.reason))
  }
  return {
    bindAbort: () => {
      signal?.addEventListener('abort', onAbort, { once: true })
      if (signal?.aborted) onAbort()
    },
    unbindAbort: () => signal?.removeEventListener('abort', onAbort),
  }
}

/** Returns a function that checks whether the peer is still there, with one ping at a time. */
function makeProbe(transport: Transport, connection: WebsocketConnection): () => void {
  if (transport.probe) return () => transport.probe?.()
  let isPinging = false
  const onSettled = (): void => {
    isPinging = false
  }
  return () => {
    if (isPinging) return
    isPinging = true
    connection.ping().then(onSettled, onSettled)
  }
}

import debug from '#debug'
import { closeReason, type CloseReason } from '../connection/close-codes.ts'
import type { ConnectionOwner } from '../connection/connection-owner.ts'
import { WebsocketConnection, type AnyConnection } from '../connection/connection.ts'
import { newCounts } from '../connection/counts.ts'
import { Keepalive } from '../connection/keepalive.ts'
import { ConnectError } from '../errors.ts'
import type { Emitter } from '../events/emitter.ts'
import { once } from '../events/once.ts'
import { escapeText, formatLogLine } from '../format.ts'
import { EMITTER } from '../internal.ts'
import type { ClientSettings } from '../options/client.ts'
import { deferred, DONE, markHandled } from '../promises.ts'
import { RequestDetails, requestHeaders } from '../server/handshake/request.ts'
import type { DialRequest, Network, Transport } from '../transport/transport.ts'
import type { ClientEvents } from './client.ts'
import {
  abortErrorOf,
  ConnectAborted,
  connectOnce,
  PermanentConnectError,
  PostponedAttempt,
  type UrlSource,
} from './connect.ts'
import { ReconnectSchedule, type Retry } from './reconnect.ts'

const log = debug('simplewebsockets:client')

/** The parameters of a session. */
export interface SessionParams {
  readonly network: Network
  readonly url: UrlSource
  /** The program's signal that ends the session. */
  readonly signal: AbortSignal | undefined
  readonly settings: ClientSettings
  /** The emitter of the client. The session emits every event of it but `closed`. */
  readonly emitter: Emitter<ClientEvents>
}

/** The attempts and connections of a client, from `open` to `closed`. */
export class Session {
  readonly #params: SessionParams
  readonly #connectionOwner: ConnectionOwner
  readonly #schedule: ReconnectSchedule
  readonly #abortController = new AbortController()
  readonly #firstConnection = deferred<AnyConnection>()
  #connection: AnyConnection | undefined
  /** Checks whether the peer of the connection is still there. */
  #probe = (): void => {}
  /** Whether a `connectError` listener received the error of the last failed attempt. */
  #wasReported = false
  #canReopen = false
  #completion = DONE

  constructor(params: SessionParams) {
    const { settings, emitter } = params
    const { keepaliveTimeout, reconnect } = settings
    this.#params = params
    this.#connectionOwner = {
      side: 'client',
      settings,
      keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
      counts: newCounts(),
      reportError: (error) => emitter.reportError(error),
      broadcast: () => {},
      onClose: (_, reason) => this.#onConnectionClosed(reason),
    }
    this.#schedule = new ReconnectSchedule(reconnect, (cause) =>
      emitter.handleListenerFailure('retry', cause, undefined),
    )
  }

  /** The current connection, if there is one. */
  get connection(): AnyConnection | undefined {
    return this.#connection
  }

  /** Whether the client may be opened again: no attempt or connection follows in this session. */
  get canReopen(): boolean {
    return this.#canReopen
  }

  /**
   * Connects, and reconnects, until the session ends. Resolves with the first connection, and calls
   * `onEnd` at the end.
   */
  start(onEnd: (reason: CloseReason) => void): Promise<AnyConnection> {
    this.#bindSignal()
    const unsubscribe = this.#params.network.onWake(() => this.#onNetworkWake())
    this.#completion = this.#run().then((cause) => {
      unsubscribe()
      this.#unbindSignal()
      this.#rejectOpening(cause)
      onEnd(reasonOf(cause))
    })
    return this.#firstConnection.promise
  }

  /** Closes the connection, or stops the attempt to open one. Resolves when that is done. */
  async close(reason: CloseReason): Promise<void> {
    const connection = this.#connection
    this.#abortController.abort(new ConnectAborted(reason))
    await connection?.close(reason.code, reason.description)
    // Otherwise a listener still takes messages, and that listener may be waiting for this promise.
    if (!connection || connection[EMITTER].hasEnded) await this.#completion
  }

  /**
   * Connects and reconnects until the session is stopped, or no further attempt is due. Resolves
   * with the reason.
   */
  async #run(): Promise<ConnectError | CloseReason> {
    const { signal } = this.#abortController
    for (;;) {
      const cause = await this.#runAttempt()
      const isLast = signal.aborted || cause instanceof PermanentConnectError
      const retry = isLast ? undefined : this.#schedule.next(cause)
      if (!retry) return cause
      await this.#waitForRetry(retry)
      const abortError = abortErrorOf(signal)
      if (abortError) return abortError
    }
  }

  /** Connects once. Resolves with the error, or with the close reason once that connection ends. */
  async #runAttempt(): Promise<ConnectError | CloseReason> {
    const result = await this.#connect()
    if (!(result instanceof ConnectError)) return once(result, 'close')
    this.#canReopen = this.#isLast()
    if (result instanceof ConnectAborted) return result
    log('could not connect: %s', formatLogLine(result))
    this.#wasReported = this.#params.emitter.emit('connectError', result)
    return abortErrorOf(this.#abortController.signal) ?? result
  }

  /** Connects to the server that the url names, as soon as that server may be dialled. */
  async #connect(): Promise<AnyConnection | ConnectError> {
    const { network, url, settings } = this.#params
    for (;;) {
      this.#schedule.begin()
      const result = await connectOnce({
        dial: network.dial,
        url,
        settings,
        signal: this.#abortController.signal,
        remainingDelay: (server) => this.#schedule.remaining(server),
        onOpen: (transport, request) => this.#onConnected(transport, request),
      })
      if (!(result instanceof PostponedAttempt)) return result
      await this.#waitForRetry(this.#schedule.postpone(result.milliseconds))
    }
  }

  /** Emits `retry`, and waits until the next attempt is due. */
  async #waitForRetry(retry: Retry): Promise<void> {
    const { signal } = this.#abortController
    log('tries again in %d ms, attempt %d', retry.delay, retry.attempt)
    if (!signal.aborted) this.#params.emitter.emit('retry', retry)
    await this.#schedule.wait(retry, signal)
  }

  #onConnected(transport: Transport, { url, headers, protocols }: DialRequest): AnyConnection {
    const request = new RequestDetails({
      url: url.href,
      rawHeaders: requestHeaders(url, headers, protocols),
      remoteAddress: url.hostname,
    })
    const connection = new WebsocketConnection(this.#connectionOwner, transport, request)
    this.#connection = connection
    this.#unbindSignal()
    this.#schedule.connected()
    this.#probe = makeProbe(transport, connection)
    log('connected to %s', url.host)
    this.#params.emitter.emit('connect', connection)
    this.#firstConnection.resolve(connection)
    return connection
  }

  /** Handles the end of the connection's transport, before the connection's `close` event. */
  #onConnectionClosed({ code, description }: CloseReason): void {
    log('closed: %d %s', code, escapeText(description))
    this.#connection = undefined
    this.#bindSignal()
    this.#schedule.lost()
    this.#canReopen = this.#isLast()
  }

  /** Returns whether this attempt or connection is the last one, whatever its result. */
  #isLast(): boolean {
    return this.#params.settings.reconnect === false || this.#abortController.signal.aborted
  }

  /** Handles a sign that the network may have come back. */
  #onNetworkWake(): void {
    if (this.#connection) this.#probe()
    else this.#schedule.wake()
  }

  /** Rejects `open` if there was no connection. */
  #rejectOpening(cause: ConnectError | CloseReason): void {
    const needsNoReport = this.#wasReported || cause instanceof ConnectAborted
    if (needsNoReport) markHandled(this.#firstConnection.promise)
    if (cause instanceof ConnectError) this.#firstConnection.reject(cause)
  }

  /**
   * Lets the program's signal abort the session, from now on. The listener is only there while
   * there is something to abort, as many connections may share one signal.
   */
  #bindSignal(): void {
    const { signal } = this.#params
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (signal?.aborted) this.#onAbort()
  }

  #unbindSignal(): void {
    this.#params.signal?.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => {
    const { signal } = this.#params
    this.#abortController.abort(new ConnectAborted(closeReason(1006, 'aborted'), signal?.reason))
  }
}

function reasonOf(cause: ConnectError | CloseReason): CloseReason {
  if (cause instanceof ConnectAborted) return cause.reason
  return cause instanceof ConnectError ? closeReason(1006, cause.message) : cause
}

/** Returns a function that checks whether the peer is still there, with one ping at a time. */
function makeProbe(transport: Transport, connection: AnyConnection): () => void {
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

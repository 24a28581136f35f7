import debug from 'debug'
import type { WebsocketConnection } from '../connection/connection.ts'
import { newCounts } from '../connection/counts.ts'
import type { Data, SendData } from '../connection/message.ts'
import { ConnectError } from '../errors.ts'
import type { Emitter } from '../events/emitter.ts'
import type { Listenable } from '../events/listenable.ts'
import { formatCount, inspectLine } from '../format.ts'
import { ADMISSION, EMITTER, INSPECT, type EVENTS } from '../internal.ts'
import { resolveClose, type CloseOptions } from '../options/close.ts'
import { resolveServer, type AnyContext, type ServerOptions } from '../options/server.ts'
import { deferred, markHandled } from '../promises.ts'
import type { ReadonlyRoom, Room } from '../rooms/room.ts'
import { invalidValue } from '../validation.ts'
import { Admission } from './admission.ts'
import { Connections } from './connections.ts'
import { diagnostics } from './diagnostics.ts'
import { AddressLimit } from './handshake/address-limit.ts'
import { PeerConnectError } from './handshake/peer-connect-error.ts'
import { HttpServers } from './http-servers.ts'
import type { AnyHttpServer } from './http/http.ts'
import { Refusals } from './refusals.ts'
import { RollingClose, type PendingClose } from './rolling-close.ts'
import { ServerEmitter, type Address, type ServerEvents } from './server-emitter.ts'
import { readStats, type ServerStats } from './stats.ts'

const log = debug('simplewebsockets:server')

/** A server of any context, messages and path: the type for functions that take every server. */
export type AnyServer = WebsocketServer<any, any, any, any>

/**
 * A server that clients connect to: each one causes a `client` event with its connection.
 *
 * The compiler infers its types from the options: the context from `authorize`, the messages that
 * it receives (`In`) and sends (`Out`) from `messages`, and the params from `path`.
 */
export class WebsocketServer<
  Context extends AnyContext = {},
  In = Data,
  Out = SendData,
  Path extends string = string,
> implements Listenable<ServerEvents<Context, In, Out, Path>> {
  /** @hidden */
  declare readonly [EVENTS]?: ServerEvents<Context, In, Out, Path>
  /** The connections to this node. Only the server adds and removes them. */
  readonly clients: ReadonlyRoom<WebsocketConnection<Context, In, Out, Path>, Out>

  readonly #counts = newCounts()
  readonly #emitter = new ServerEmitter(this.#counts)
  readonly #refusals = new Refusals((error) => this.#emitter.emit('peerError', error))
  readonly #connections: Connections
  readonly #admission: Admission
  readonly #httpServers: HttpServers
  /** Whether the last call of `serve` or `close` was a `serve` that has not failed. */
  #isServing = false
  /** Resolves, and never rejects, when the last `serve` listens or has failed. */
  #lastServe: Promise<void> | undefined
  #pendingClose: PendingClose | undefined
  #isOpen = false

  /**
   * Creates a server, which does not listen yet.
   *
   * @throws TypeError for an option that is unknown or invalid.
   */
  constructor(options?: ServerOptions<Context, In, Out, Path>) {
    const resolved = resolveServer(options)
    const settings = { ...resolved, protocols: [...resolved.protocols], suffixes: [''] }
    const addressLimit = new AddressLimit(settings.maxConnectionsPerAddress)
    this.#connections = new Connections(settings, this.#emitter, this.#counts, addressLimit)
    this.clients = this.#connections.clients as typeof this.clients
    this.#admission = new Admission({
      settings,
      counts: this.#counts,
      emitter: this.#emitter,
      connections: this.#connections,
      addressLimit,
      refusals: this.#refusals,
      host: () => this.#httpServers.host,
      closingError: () => this.#closingError(),
      isOpen: () => this.#isOpen,
      markOpen: () => this.#markOpen(),
    })
    this.#httpServers = new HttpServers({
      settings,
      addressLimit,
      onUpgrade: (upgrade, details) => this.#admission.handleHttp(upgrade, details),
      onRejected: (error) => this.#refusals.add(error),
      onFailure: (error) => this.#emitter.reportFailure(error),
    })
    settings.backplane?.listen?.((state, refused = []) => {
      if (diagnostics.backplane.hasSubscribers) diagnostics.backplane.publish({ state, refused })
      this.#emitter.emit('backplane', { state, refused })
    })
  }

  /** @hidden */
  get [EMITTER](): Emitter<ServerEvents> {
    return this.#emitter
  }

  /** Whether the server listens, or is attached to an HTTP server. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  /**
   * Listens on a port, by default 8080 on localhost; 0 picks a free port. With `tls`, the server
   * speaks wss. Resolves when the server listens. While the server is closing, it listens after the
   * close.
   *
   * Rejects with a `ConnectError` when the server can't listen. Handle this error: await the
   * promise, or listen to `connectError`.
   */
  serve(port = 8080, host = 'localhost'): Promise<Address> {
    const { promise, resolve, reject } = deferred<Address>()
    const fail = (cause: unknown): void => {
      const isOurs = cause instanceof ConnectError
      const error = isOurs ? cause : new ConnectError(cause, { code: 'ERR_LISTEN_FAILED' })
      if (this.#emitter.emit('connectError', error)) markHandled(promise)
      reject(error)
    }
    if (this.#isServing) {
      fail(new ConnectError('the server serves already', { code: 'ERR_INVALID_CALL' }))
      return promise
    }
    this.#isServing = true
    // A `once` that begins from here on waits for the events of this start.
    const previousClose = this.#pendingClose
    if (!previousClose) this.#emitter.reopen()
    this.#lastServe = this.#listen(port, host, previousClose).then(resolve, (cause: unknown) => {
      this.#isServing = false
      fail(cause)
    })
    return promise
  }

  /**
   * Handles the upgrades of your own HTTP server that go to the `path` of this server. Several
   * servers may share one HTTP server, each with its own path. `close` stops handling upgrades, and
   * leaves the HTTP server running.
   *
   * @throws TypeError when another server claims an overlapping path there, ConnectError while this
   * server is closing.
   */
  attach(server: AnyHttpServer): this {
    if (typeof server?.listenerCount !== 'function')
      throw invalidValue('what is attached to', 'an http.Server or an https.Server', server)
    if (this.#pendingClose) {
      throw new ConnectError('the server is closing', { code: 'ERR_SERVER_CLOSING' })
    }
    this.#httpServers.attach(server)
    this.#markOpen()
    return this
  }

  /**
   * Returns a handle to a room. The same name is the same room, on every node.
   *
   * @throws TypeError for a name that is not a string.
   */
  room(name: string): Room<WebsocketConnection<Context, In, Out, Path>, Out> {
    if (typeof name !== 'string') throw invalidValue('the name of a room', 'a string', name)
    const room = this.#connections.rooms.room(name)
    return room as Room<WebsocketConnection<Context, In, Out, Path>, Out>
  }

  /**
   * Sends a message to every valid client, on every node.
   *
   * @throws TypeError for anything but a string, bytes or a finite number; with `messages`, for
   * what the format can't encode.
   */
  emit(data: Out): void {
    this.clients.emit(data)
  }

  /**
   * Stops accepting peers and closes every connection, by default with 1001. Resolves when all
   * connections have ended; a connection whose peer doesn't answer is cut after `closeTimeout`.
   *
   * With `within`, the server closes the connections over that period, for a restart under load: in
   * batches, with 1012, and with `retry=MS` in the close text, which tells a client with
   * `reconnect` when to reconnect. A peer that connects meanwhile gets 503 with Retry-After. A
   * second `close` without `within` ends this: it closes all remaining connections at once.
   *
   * @throws TypeError for an option that is unknown or invalid, RangeError for a code that may not
   * be sent, RFC 6455 §7.4. Nothing is changed then.
   */
  close(options: CloseOptions = {}): Promise<void> {
    const settings = resolveClose(options) // throws before anything is changed
    const previousClose = this.#pendingClose
    if (settings.within === 0) previousClose?.rolling?.stop(settings.reason)
    if (previousClose && !this.#isServing) return previousClose.completion.promise
    // This close may be for a `serve` that starts only after the previous close has ended.
    this.#isServing = false
    const pendingClose: PendingClose = {
      reason: settings.reason,
      rolling: settings.within > 0 ? new RollingClose(settings) : undefined,
      completion: deferred(),
    }
    this.#pendingClose = pendingClose
    void this.#close(pendingClose)
    return pendingClose.completion.promise
  }

  /** Returns the counters of the server. */
  stats(): ServerStats {
    return readStats({
      clients: this.clients,
      handshakes: this.#admission.pendingCount,
      counts: this.#counts,
      refusals: this.#refusals.counts,
    })
  }

  /** Closes the server with 1001 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @hidden */
  get [ADMISSION](): Admission {
    return this.#admission
  }

  /** @internal */
  get [Symbol.toStringTag](): string {
    return 'WebsocketServer'
  }

  /** @internal */
  [INSPECT](): string {
    const { port } = this.#httpServers.address
    const state = this.#isOpen ? (port > 0 ? `open, port ${port}` : 'open') : 'closed'
    return inspectLine(this, `${state}, ${formatCount(this.clients.size, 'client')}`)
  }

  #markOpen(): void {
    if (!this.#isOpen) this.#emitter.reopen()
    this.#isOpen = true
  }

  async #listen(port: number, host: string, previousClose?: PendingClose): Promise<Address> {
    if (previousClose) {
      await previousClose.completion.promise
      this.#emitter.reopen()
    }
    const address = await this.#httpServers.listen(port, host)
    this.#markOpen()
    log('listens on %s port %d', address.address, address.port)
    this.#emitter.emit('listening', address)
    return address
  }

  #closingError(): PeerConnectError | undefined {
    if (!this.#pendingClose) return undefined
    return new PeerConnectError('the server is closing', {
      status: 503,
      reason: 'closing',
      retryAfter: this.#pendingClose.rolling?.retryAfter,
    })
  }

  async #close(pendingClose: PendingClose): Promise<void> {
    await this.#lastServe
    const wasOpen = this.#isOpen
    this.#isOpen = false
    const { address } = this.#httpServers
    if (wasOpen) {
      await this.#emitter.attempt(() => this.#closeClients(pendingClose))
      // Routes are removed only now: until here, a new peer is told to retry, instead of being told
      // that no WebSocket is served.
      this.#httpServers.release()
      await this.#emitter.attempt(() => this.#connections.rooms.end())
      await this.#emitter.attempt(() => this.#admission.onClosed())
      log('has closed')
    }
    if (this.#pendingClose === pendingClose) this.#pendingClose = undefined
    if (wasOpen) this.#emitter.end(address)
    pendingClose.completion.resolve()
  }

  async #closeClients({ reason, rolling }: PendingClose): Promise<void> {
    if (rolling) {
      this.#admission.rejectPending()
      await rolling.run([...this.clients], (client, retryReason) => {
        void this.#connections.close(client, retryReason)
      })
    }
    this.#admission.rejectPending()
    const listeningStopped = this.#httpServers.stopListening()
    await this.#connections.closeAll(rolling?.reason ?? reason)
    this.#httpServers.destroySockets()
    await listeningStopped
  }
}

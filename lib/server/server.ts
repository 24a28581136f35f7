import { makeUpgrader } from '#transport'
import debug from 'debug'
import type { Duplex } from 'node:stream'
import { AddressLimit } from './handshake/address-limit.ts'
import {
  CurableRefusal,
  checkAdmission,
  parseRequest,
  tooManyOfAddress,
  type HandshakeContext,
} from './handshake/handshake.ts'
import { RateLimiter } from '../connection/rate-limiter.ts'
import { runAuthorize, AuthorizeError, queryCure } from './handshake/authorize.ts'
import type { RefusedChannel } from '../backplane/backplane.ts'
import type { CloseReason } from '../connection/close-codes.ts'
import type { ConnectionOwner } from '../connection/connection-core.ts'
import { WebsocketConnection } from '../connection/connection.ts'
import { newCounts, type Counts, type DropReason } from '../connection/counts.ts'
import { diagnostics, recordDrop } from './diagnostics.ts'
import { errorLog } from '../error-log.ts'
import { escapeText, formatLogLine } from '../error-text.ts'
import { ConnectError, invalidCall, invalidValue, WebsocketError } from '../errors.ts'
import { INSTALL, type ServerExtension, type ExtensionHost, type PendingPeer } from './extension.ts'
import {
  boundAddress,
  listenOn,
  createHttpServer,
  rejectEarly,
  closeHttp,
  type AnyHttpServer,
} from './http.ts'
import { Keepalive } from '../connection/keepalive.ts'
import { PreparedMessage, toBytes, type SendData } from '../connection/message.ts'
import { resolveClose, type CloseOptions } from '../options/close.ts'
import { resolveServer, type ServerOptions, type ServerSettings } from '../options/server.ts'
import { joinPath, type RouteConfig, type RouteMatch } from './handshake/path.ts'
import { PendingSockets } from './pending-sockets.ts'
import {
  PeerConnectError,
  type PeerConnectErrorInit,
  type RefusalReason,
} from './handshake/peer-connect-error.ts'
import { deferred, markHandled, type Deferred } from '../promises.ts'
import { roomName, Rooms, type ReadonlyRoom, type Room } from '../rooms/room.ts'
import { RollingClose } from './rolling-close.ts'
import {
  EMITTER,
  Emitter,
  type ErrorSink,
  type EventSpec,
  type Listenable,
} from '../events/emitter.ts'
import type { Upgrader } from '../transport/tcp/upgrade.ts'
import type { Transport } from '../transport/transport.ts'
import { addUpgradeRoute, type UpgradeRoute, type Upgrade } from './upgrade-router.ts'
import {
  fromHttp,
  HANDLE_UPGRADE,
  type PendingUpgrade,
  type HandleUpgrade,
} from './pending-upgrade.ts'

const log = debug('simplewebsockets:server')

/** The port and address that a server listens on. */
export interface Address {
  /** The port that the server is bound to. */
  readonly port: number
  /** The host as it was passed to `serve`. */
  readonly host: string
  /** The address that the server is bound to. */
  readonly address: string
}

/** The state of the connection to the other nodes. */
export interface BackplaneState {
  /** 'up' while the other nodes can be reached, otherwise 'down'. */
  readonly state: 'up' | 'down'
  /**
   * The channels that the broker's access rules deny to this node: it can't receive, or can't send,
   * on them.
   */
  readonly refused: readonly RefusedChannel[]
}

/** The events of a server. */
export interface ServerEvents<Context extends {} = {}> {
  /** The address that the server now listens on. */
  listening: Address
  /** The connection of a client that the server has accepted. */
  client: WebsocketConnection<Context>
  /** The error when the server could not listen. */
  connectError: ConnectError
  /** The error of a peer that the server has rejected. */
  peerError: PeerConnectError
  /** A failure that no listener received where it happened. */
  error: WebsocketError
  /**
   * The new state of the backplane: its network failed or recovered, or the set of refused channels
   * changed.
   */
  backplane: BackplaneState
  /** The address of a server that has closed; its connections have closed, too. */
  closed: Address
}

/** The counters of a server since its creation. */
export interface ServerStats {
  /** The connections that are open or closing. */
  readonly connections: number
  /** The pending handshakes: peers that the server has not accepted yet. */
  readonly handshakes: number
  /** The messages received from peers. */
  readonly received: number
  /** The messages sent to peers, counted once for each peer. */
  readonly sent: number
  /**
   * The bytes received, as on the wire: handshakes and frame headers included, compressed data in
   * its compressed size.
   */
  readonly bytesReceived: number
  /**
   * The bytes sent, or waiting for the peer to read them, as on the wire: frame headers included,
   * compressed data in its compressed size. For a stream that doesn't count its bytes, at least the
   * bytes of the messages.
   */
  readonly bytesSent: number
  /** The total of dropped messages, and of dropped events in loops that are too slow. */
  readonly dropped: number
  /** The dropped messages, and the dropped events in loops that are too slow, by reason. */
  readonly drops: Readonly<Record<DropReason, number>>
  /** The total of rejected peers. */
  readonly refused: number
  /** The rejected peers, by reason. */
  readonly refusals: Readonly<Record<RefusalReason, number>>
}

const MAX_RETRY_AFTER = 5 // seconds that a peer is asked to wait while a loop is too slow

const SLOW_LOOP =
  'a peer was refused with 503, because a loop over `client` has as many connections waiting as it ' +
  "may. Don't await the work of one client in the loop's body, or use a callback."

const SPEC: EventSpec<ServerEvents> = {
  kind: 'server',
  reopens: true,
  events: ['listening', 'client', 'connectError', 'peerError', 'error', 'backplane', 'closed'],
  terminalEvent: 'closed',
  admissionEvent: 'client',
}

class ServerEmitter<Context extends {}> extends Emitter<ServerEvents<Context>> {
  readonly #counts: Counts

  constructor(counts: Counts) {
    super(SPEC)
    this.#counts = counts
  }

  override onDropped(): void {
    recordDrop(this.#counts, 'slowLoop')
  }

  /**
   * Closes the connection for which a `client` listener failed, because it was never set up. An
   * `error` listener makes no difference.
   */
  override onListenerFailed(value: unknown): void {
    if (value instanceof WebsocketConnection) value[EMITTER].fail()
  }
}

/** A close in progress. */
interface Closing {
  readonly reason: CloseReason
  /** The schedule that closes the clients over a period; undefined closes all at once. */
  readonly rolling: RollingClose | undefined
  readonly completion: Deferred<void>
}

/** A server that clients connect to: each one causes a `client` event with its connection. */
export class WebsocketServer<Context extends {} = {}> implements Listenable<ServerEvents<Context>> {
  /** The connections to this node. Only the server adds and removes them. */
  readonly clients: ReadonlyRoom<WebsocketConnection<Context>>

  readonly #settings: ServerSettings & RouteConfig
  readonly #counts = newCounts()
  readonly #emitter = new ServerEmitter<Context>(this.#counts)
  readonly #errorSink: ErrorSink = {
    reportError: (error) => this.#emitter.reportError(error),
    onDropped: () => this.#emitter.onDropped(),
  }
  readonly #refusals = noRefusals()
  readonly #printedCures = new Set<RefusalReason>()
  readonly #rooms: Rooms<WebsocketConnection<Context>>
  readonly #connectionOwner: ConnectionOwner<Context>
  /** The settings of the transports. With channels they differ: channels tell text from bytes. */
  #transportSettings: ServerSettings
  #upgrader: Upgrader
  /** The handshakes that wait for `authorize`. Aborting one rejects it with the abort reason. */
  readonly #pendingHandshakes = new Set<AbortController>()
  readonly #addressLimit: AddressLimit
  readonly #routes = new Map<AnyHttpServer, readonly (() => void)[]>()
  readonly #pathSuffixes: string[] = ['']
  readonly #protocols: string[]
  #extension: ServerExtension<Context> | undefined
  /** Whether the last call of `serve` or `close` was a `serve` that has not failed. */
  #isServing = false
  #http: AnyHttpServer | undefined
  /** The sockets of `#http` without a complete request. */
  #pendingSockets: PendingSockets | undefined
  /** Resolves, and never rejects, when the last `serve` listens or has failed. */
  #lastServe: Promise<void> | undefined
  #closing: Closing | undefined
  #address: Address = { port: 0, host: '', address: '' }
  #isOpen = false

  /**
   * Creates a server, which does not listen yet.
   *
   * @throws TypeError for an option that is unknown or invalid.
   */
  constructor(options?: ServerOptions<Context>) {
    const { protocols, ...rest } = resolveServer(options)
    // An extension, if one is installed, appends to both lists, once.
    this.#protocols = [...protocols]
    const settings = { ...rest, protocols: this.#protocols, suffixes: this.#pathSuffixes }
    const { keepaliveTimeout, backplane, binary, rateLimit } = settings
    const errorSink = this.#errorSink
    this.#settings = settings
    this.#addressLimit = new AddressLimit(settings.maxConnectionsPerAddress)
    this.#transportSettings = settings
    this.#upgrader = makeUpgrader(settings)
    this.#rooms = new Rooms({
      backplane,
      prepare: (data) => new PreparedMessage(binary ? toBytes(data) : data),
      ...errorSink,
      isMember: (member) => this.clients.has(member),
      reportFailure: (error) => this.#reportFailure(error),
      countDrop: () => recordDrop(this.#counts, 'backplane'),
      onMembershipChange: (change, topic, connection) => {
        if (!diagnostics[change].hasSubscribers) return
        const room = roomName(topic)
        if (room !== undefined) diagnostics[change].publish({ room, connection })
      },
    })
    this.clients = this.#rooms.allMembers()
    this.#connectionOwner = {
      side: 'server',
      settings,
      keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
      counts: this.#counts,
      diagnostics: diagnostics,
      makeRateLimiter: rateLimit ? () => new RateLimiter(rateLimit) : undefined,
      ...errorSink,
      broadcast: (from, data) => this.clients.emit(data, { except: from }),
      onClose: (connection, reason) => this.#onConnectionClosed(connection, reason),
    }
    backplane?.listen?.((state, refused = []) => {
      if (diagnostics.backplane.hasSubscribers) diagnostics.backplane.publish({ state, refused })
      this.#emitter.emit('backplane', { state, refused })
    })
  }

  /** @hidden */
  get [EMITTER](): Emitter<ServerEvents<Context>> {
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
      const error =
        cause instanceof ConnectError
          ? cause
          : new ConnectError(cause, { code: 'ERR_LISTEN_FAILED' })
      if (this.#emitter.emit('connectError', error)) markHandled(promise)
      reject(error)
    }
    if (this.#isServing) {
      fail(new ConnectError('the server serves already', { code: 'ERR_INVALID_CALL' }))
      return promise
    }
    this.#isServing = true
    // A `once` that begins from here on waits for the events of this start.
    if (!this.#closing) this.#emitter.reopen()
    this.#lastServe = this.#listen(port, host, this.#closing).then(resolve, (cause: unknown) => {
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
    if (typeof server?.listenerCount !== 'function') {
      throw invalidValue('what is attached to', 'an http.Server or an https.Server', server)
    }
    if (this.#closing) {
      throw new ConnectError('the server is closing', { code: 'ERR_SERVER_CLOSING' })
    }
    if (!this.#routes.has(server)) this.#addRoutes(server, this.#routesFor(server))
    return this
  }

  /**
   * Returns a handle to a room. The same name is the same room, on every node.
   *
   * @throws TypeError for a name that is not a string.
   */
  room(name: string): Room<WebsocketConnection<Context>> {
    if (typeof name !== 'string') throw invalidValue('the name of a room', 'a string', name)
    return this.#rooms.room(name)
  }

  /**
   * Sends a message to every valid client, on every node.
   *
   * @throws TypeError for anything but a string, bytes or a finite number.
   */
  emit(data: SendData): void {
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
    const running = this.#closing
    if (settings.within === 0) running?.rolling?.stop(settings.reason)
    if (running && !this.#isServing) return running.completion.promise
    // This close may be for a `serve` that starts only after the running close has ended.
    this.#isServing = false
    const closing: Closing = {
      reason: settings.reason,
      rolling: settings.within > 0 ? new RollingClose(settings) : undefined,
      completion: deferred(),
    }
    this.#closing = closing
    void this.#close(closing)
    return closing.completion.promise
  }

  /** Returns the counters of the server. */
  stats(): ServerStats {
    const { received, sent, drops } = this.#counts
    let { bytesReceived, bytesSent } = this.#counts // of closed connections
    for (const client of this.clients) {
      bytesReceived += client[EMITTER].bytesReceived
      bytesSent += client[EMITTER].bytesSent
    }
    return {
      connections: this.clients.size,
      handshakes: this.#pendingHandshakes.size,
      ...{ received, sent, bytesReceived, bytesSent },
      dropped: sum(drops),
      drops: { ...drops },
      refused: sum(this.#refusals),
      refusals: { ...this.#refusals },
    }
  }

  /** Closes the server with 1001 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [HANDLE_UPGRADE](upgrade: PendingUpgrade): HandleUpgrade<Context> {
    try {
      const { authorize } = this.#settings
      if (this.#closing) throw this.#closingError()
      upgrade.check()
      const { request, suffix } = parseRequest(upgrade.source, this.#settings)
      const pendingPeer = this.#extension?.negotiate(request, suffix)
      const handshake = {
        request,
        incoming: upgrade.incoming,
        timeLeft: upgrade.timeLeft,
        settings: this.#settings,
        binding: { address: upgrade.boundAddress, name: this.#address.host },
        connections: this.clients.size + this.#pendingHandshakes.size,
        connectionsOfAddress: this.#addressLimit.count(request.remoteAddress),
        denial: pendingPeer?.rejection ?? { status: 401 },
      }
      checkAdmission(handshake)
      this.#checkLoops()
      this.#markOpen() // the first client without a port opens a server that doesn't listen
      // Without `authorize` the peer is accepted synchronously.
      if (!authorize) return this.#accept(upgrade, handshake, pendingPeer, undefined)
      const accepted = this.#authorize(authorize, upgrade, handshake, pendingPeer)
      return accepted.catch((cause: unknown) => {
        this.#reject(upgrade, cause)
        this.#printCure('authorize', queryCure(request, cause))
        return undefined
      })
    } catch (cause) {
      this.#reject(upgrade, cause)
      return undefined
    }
  }

  /** @internal */
  [INSTALL](extension: ServerExtension<Context>): ExtensionHost {
    if (this.#extension) throw invalidCall('this server has a ChannelServer already')
    if (this.#isOpen) {
      throw invalidCall('make the ChannelServer before its server serves or is attached')
    }
    this.#extension = extension
    this.#transportSettings = { ...this.#settings, binary: false }
    this.#upgrader = makeUpgrader(this.#transportSettings)
    const ownProtocols = [...this.#protocols]
    this.#pathSuffixes.push(...extension.pathSuffixes.filter((suffix) => suffix !== ''))
    this.#protocols.push(...extension.protocols.filter((name) => !ownProtocols.includes(name)))
    return {
      counts: this.#counts,
      closeTimeout: this.#settings.closeTimeout,
      maxWaitingBytes: this.#settings.maxWaitingBytes,
      protocols: ownProtocols,
      backplane: this.#settings.backplane,
      ...this.#errorSink,
      reportFailure: (error) => this.#reportFailure(error),
    }
  }

  /**
   * Accepts a peer if `authorize` does. While it decides, the peer may disconnect and the server
   * may close.
   */
  async #authorize(
    authorize: NonNullable<ServerSettings['authorize']>,
    upgrade: PendingUpgrade,
    handshake: HandshakeContext,
    pendingPeer: PendingPeer<Context> | undefined,
  ): Promise<WebsocketConnection<Context>> {
    const aborter = new AbortController()
    const unwatch = upgrade.onAbort(() => {
      aborter.abort(new PeerConnectError('the peer has left', { status: 0, reason: 'left' }))
    })
    this.#pendingHandshakes.add(aborter)
    this.#addressLimit.add(handshake.request.remoteAddress)
    try {
      // `authorize` returned the context. Its type says so, but the settings don't keep that type.
      const context = (await runAuthorize(authorize, handshake, aborter)) as Context
      aborter.signal.throwIfAborted() // the server may have closed in a microtask
      unwatch()
      return this.#accept(upgrade, handshake, pendingPeer, context)
    } finally {
      unwatch()
      this.#pendingHandshakes.delete(aborter)
      this.#addressLimit.delete(handshake.request.remoteAddress)
    }
  }

  #accept(
    upgrade: PendingUpgrade,
    { request }: HandshakeContext,
    pendingPeer: PendingPeer<Context> | undefined,
    context: Context | undefined,
  ): WebsocketConnection<Context> {
    this.#checkLoops() // again: other clients may have been accepted while `authorize` was pending
    const transport = upgrade.accept(request, this.#transportSettings)
    request.pack()
    const connection = new WebsocketConnection(this.#connectionOwner, transport, request, context)
    if (pendingPeer) connection[EMITTER].setSink(pendingPeer.accept(connection))
    this.#addressLimit.add(request.remoteAddress)
    if (log.enabled) log('%s connected from %s', connection.id, request.remoteAddress)
    this.#rooms.admit(connection)
    if (diagnostics.open.hasSubscribers) diagnostics.open.publish({ connection })
    this.#emitter.emit('client', connection)
    return connection
  }

  /** Throws a `PeerConnectError` while a loop over `client` has the maximum number waiting. */
  #checkLoops(): void {
    if (!this.#emitter.isFull) return
    const denial: PeerConnectErrorInit = {
      status: 503,
      reason: 'slowLoop',
      body: 'the server is busy',
      // Random, so that the peers don't all return at once.
      retryAfter: 1 + Math.floor(Math.random() * MAX_RETRY_AFTER),
    }
    throw new CurableRefusal('a loop over `client` is too slow', denial, SLOW_LOOP)
  }

  #reject(upgrade: PendingUpgrade, cause: unknown): void {
    const error = cause instanceof PeerConnectError ? cause : new PeerConnectError(cause)
    this.#onRejected(error)
    upgrade.reject(error)
  }

  /** Reports a failure that belongs to no connection. */
  #reportFailure(error: WebsocketError): void {
    if (!this.#emitter.reportError(error)) log('%s: %s', error.message, formatLogLine(error.cause))
  }

  #addRoutes(http: AnyHttpServer, routes: readonly UpgradeRoute[]): void {
    const releases: (() => void)[] = []
    try {
      for (const route of routes) releases.push(addUpgradeRoute(http, route))
    } catch (error) {
      for (const release of releases) release()
      throw error
    }
    this.#routes.set(http, releases)
    this.#markOpen()
  }

  /** Returns the routes for an attached HTTP server: one for each path that this server serves. */
  #routesFor(http: AnyHttpServer): readonly UpgradeRoute[] {
    const { path } = this.#settings
    if (path === undefined) return [this.#catchAllRoute(http)]
    return this.#pathSuffixes.map((suffix) => ({
      path: joinPath(path, suffix),
      onUpgrade: (upgrade, params = new Map()) =>
        this.#onUpgrade(http, upgrade, { suffix, params }),
    }))
  }

  #catchAllRoute(http: AnyHttpServer): UpgradeRoute {
    return {
      path: undefined,
      onUpgrade: (upgrade) => this.#onUpgrade(http, upgrade),
    }
  }

  #markOpen(): void {
    if (!this.#isOpen) this.#emitter.reopen()
    this.#isOpen = true
  }

  #onRejected(error: PeerConnectError): void {
    const { reason } = error
    // An untyped program may set any `reason`.
    this.#refusals[Object.hasOwn(this.#refusals, reason) ? reason : 'authorize']++
    if (diagnostics.refusal.hasSubscribers) diagnostics.refusal.publish({ error })
    if (error instanceof CurableRefusal) this.#printCure(reason, error.cure)
    if (this.#emitter.emit('peerError', error)) return
    log('refused: %d %s', error.status, formatLogLine(error))
    if (error instanceof AuthorizeError) errorLog.print(error, '`authorize`')
  }

  /** Prints the cure of the first rejection for a reason only, so that peers can't fill the log. */
  #printCure(reason: RefusalReason, cure: string | undefined): void {
    if (cure === undefined || this.#printedCures.has(reason)) return
    this.#printedCures.add(reason)
    console.error(`simplewebsockets: ${cure} Printed once; each refusal is a \`peerError\`.`)
  }

  #onConnectionClosed(
    connection: WebsocketConnection<Context>,
    { code, description }: CloseReason,
  ): void {
    if (log.enabled) log('%s closed: %d %s', connection.id, code, escapeText(description))
    this.#counts.bytesReceived += connection[EMITTER].bytesReceived
    this.#counts.bytesSent += connection[EMITTER].bytesSent
    this.#addressLimit.delete(connection.request.remoteAddress)
    this.#rooms.removeFromAll(connection)
  }

  #onUpgrade(http: AnyHttpServer, [request, tcp, head]: Upgrade, match?: RouteMatch): void {
    const { trustProxy } = this.#settings
    const pendingSockets = http === this.#http ? this.#pendingSockets : undefined
    const timeLeft = pendingSockets?.onRequest(request.socket)
    const open = (): Transport => this.#upgrader(request, tcp, head)
    void this[HANDLE_UPGRADE](fromHttp(request, tcp, { http, trustProxy, match, timeLeft, open }))
  }

  #closingError(): PeerConnectError {
    const retryAfter = this.#closing?.rolling?.retryAfter
    return new PeerConnectError('the server is closing', {
      ...{ status: 503, reason: 'closing' },
      retryAfter,
    })
  }

  /** Rejects the handshakes that wait for `authorize`. */
  #rejectPending(): void {
    for (const handshake of this.#pendingHandshakes) handshake.abort(this.#closingError())
  }

  async #listen(port: number, host: string, previousClose: Closing | undefined): Promise<Address> {
    if (previousClose) {
      await previousClose.completion.promise
      this.#emitter.reopen()
    }
    const http = createHttpServer(this.#settings, {
      onRejected: (tcp, error) => this.#rejectEarly(tcp, error),
      onFailure: (cause) => this.#reportFailure(new WebsocketError(cause)),
    })
    this.#pendingSockets = this.#watchSockets(http)
    const address = { ...(await listenOn(http, port, host)), host }
    this.#http = http
    this.#address = address
    // Every path, so that this server also rejects and reports the paths that it doesn't serve.
    this.#addRoutes(http, [this.#catchAllRoute(http)])
    log('listens on %s port %d', address.address, address.port)
    this.#emitter.emit('listening', address)
    return address
  }

  #watchSockets(http: AnyHttpServer): PendingSockets {
    const { handshakeTimeout, maxConnectionsPerAddress, trustProxy } = this.#settings
    // Behind proxies the addresses of the sockets are those of the proxies: they don't count.
    const addresses = Number(trustProxy) > 0 ? undefined : this.#addressLimit
    return new PendingSockets(
      http,
      { handshakeTimeout, addresses },
      {
        onTooMany: (tcp) =>
          this.#rejectEarly(tcp, tooManyOfAddress(Number(maxConnectionsPerAddress))),
        onTimeout: (tcp) => {
          const text = `no request came within ${handshakeTimeout} ms`
          const denial: PeerConnectErrorInit = { status: 408, reason: 'handshakeTimeout' }
          this.#rejectEarly(tcp, new PeerConnectError(text, denial))
        },
      },
    )
  }

  #rejectEarly(tcp: Duplex, error: PeerConnectError): void {
    this.#onRejected(error)
    rejectEarly(tcp, error, this.#settings.tls !== undefined)
  }

  async #close(closing: Closing): Promise<void> {
    await this.#lastServe
    const wasOpen = this.#isOpen
    this.#isOpen = false
    const http = this.#http
    const address = http ? this.#address : boundAddress([...this.#routes.keys()][0])
    if (wasOpen) {
      await this.#attempt(() => this.#closeClients(closing, http))
      // Routes are removed only now: until here, a new peer is told to retry, instead of being told
      // that no WebSocket is served.
      for (const releases of this.#routes.values()) for (const release of releases) release()
      this.#routes.clear()
      this.#http = undefined
      this.#pendingSockets = undefined
      await this.#attempt(() => this.#rooms.end())
      await this.#attempt(() => this.#extension?.onClosed())
      log('has closed')
    }
    if (this.#closing === closing) this.#closing = undefined
    if (wasOpen) this.#emitter.end(address)
    closing.completion.resolve()
  }

  async #closeClients(
    { reason, rolling }: Closing,
    http: AnyHttpServer | undefined,
  ): Promise<void> {
    if (rolling) {
      this.#rejectPending()
      await rolling.run([...this.clients], (client, retryReason) => {
        void this.#closeClient(client, retryReason)
      })
    }
    this.#rejectPending()
    const httpClosed = http && closeHttp(http, this.#settings.closeTimeout)
    const finalReason = rolling?.reason ?? reason
    await Promise.all([...this.clients].map((client) => this.#closeClient(client, finalReason)))
    this.#pendingSockets?.destroy()
    http?.closeAllConnections()
    await httpClosed
  }

  /** Closes a client. If its transport fails, the client is cut, so that the others still close. */
  async #closeClient(
    client: WebsocketConnection<Context>,
    { code, description }: CloseReason,
  ): Promise<void> {
    await this.#attempt(async () => {
      try {
        await client.close(code, description)
      } catch (cause) {
        client[EMITTER].cut()
        throw cause
      }
    })
  }

  /** Runs one step of closing. A failure is reported, and the other steps follow. */
  async #attempt(step: () => unknown): Promise<void> {
    try {
      await step()
    } catch (cause) {
      this.#reportFailure(new WebsocketError(cause))
    }
  }
}

function noRefusals(): Record<RefusalReason, number> {
  return {
    ...{ request: 0, path: 0, host: 0, origin: 0, maxConnections: 0, maxConnectionsPerAddress: 0 },
    ...{ handshakeTimeout: 0, authorize: 0, channels: 0, closing: 0, left: 0, slowLoop: 0 },
  }
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}

import { makeUpgrader } from '#transport'
import debug from 'debug'
import type { Duplex } from 'node:stream'
import { AddressLimit } from './address-limit.ts'
import { CurableRefusal, judge, received, tooManyOfAddress, type Knock } from './admission.ts'
import { Allowance } from './allowance.ts'
import { authorized, AuthorizeError, queryCure } from './authorize.ts'
import type { RefusedChannel } from './backplane.ts'
import type { CloseReason } from './close.ts'
import type { Maker } from './connection-core.ts'
import { WebsocketConnection } from './connection.ts'
import { newCounts, type Counts, type DropReason } from './counts.ts'
import { diagnostics, dropped } from './diagnostics.ts'
import { errorLog } from './error-log.ts'
import { escaped, logTextOf } from './error-text.ts'
import {
  ConnectError,
  PeerConnectError,
  unexpected,
  WebsocketError,
  type Denial,
  type RefusalReason,
} from './errors.ts'
import { BUILD, type Floor, type Ground, type Guest } from './floor.ts'
import { boundTo, listening, makeHttp, refuseEarly, stop, type AnyHttpServer } from './http.ts'
import { Keepalive } from './keepalive.ts'
import { Message, toBytes, type SendData } from './message.ts'
import { resolveClose, type CloseOptions } from './options/close.ts'
import { resolveServer, type ServerOptions, type ServerSettings } from './options/server.ts'
import { below, type Place, type Spot } from './path.ts'
import { PendingSockets } from './pending-sockets.ts'
import { deferred, handled, type Deferred } from './promises.ts'
import { nameOf, Rooms, type ReadonlyRoom, type Room } from './room.ts'
import { RollingClose } from './rolling-close.ts'
import { SIGNALS, Signals, type Hearer, type Plan, type Target } from './signals.ts'
import type { Upgrader } from './transport/tcp/upgrade.ts'
import type { Transport } from './transport/transport.ts'
import { claimUpgrades, type Door, type Upgrade } from './upgrades.ts'
import { visitOf, WELCOME, type Visit, type Welcome } from './visit.ts'

const log = debug('simplewebsockets:server')

/** Where a server listens. */
export interface Address {
  /** The port it is bound to. */
  readonly port: number
  /** The host as it was passed. */
  readonly host: string
  /** The address it is bound to. */
  readonly address: string
}

/** Whether the other nodes can be reached. */
export interface BackplaneState {
  /** 'down' while they can't. */
  readonly state: 'up' | 'down'
  /** Channels that the broker refuses to this node, by its access rules: it is deaf or mute there. */
  readonly refused: readonly RefusedChannel[]
}

/** The events of a server. */
export interface ServerEvents<Context extends {} = {}> {
  /** It listens. */
  listening: Address
  /** A client was let in. */
  client: WebsocketConnection<Context>
  /** It could not listen. */
  connectError: ConnectError
  /** A peer was not let in. */
  peerError: PeerConnectError
  /** Something failed that nobody heard of where it happened. */
  error: WebsocketError
  /** The network behind its backplane went, or came back, or it refuses other channels than before. */
  backplane: BackplaneState
  /** It has closed, and so have its connections. */
  closed: Address
}

/** What a server has counted since it was made. */
export interface ServerStats {
  /** Connections that are open or closing. */
  readonly connections: number
  /** Peers at the door, not let in yet. */
  readonly handshakes: number
  /** Messages received from peers. */
  readonly received: number
  /** Messages sent to peers, one for each. */
  readonly sent: number
  /** Bytes received, as they came: handshakes, frame headers and all, compressed where it was. */
  readonly bytesReceived: number
  /**
   * Bytes sent, or waiting to be read, as they go: frame headers and all, compressed where it is. Of
   * a stream that doesn't count its bytes those of the messages, at least.
   */
  readonly bytesSent: number
  /** Messages, and events in loops that are too slow, dropped in all. */
  readonly dropped: number
  /** Messages, and events in loops that are too slow, dropped by reason. */
  readonly drops: Readonly<Record<DropReason, number>>
  /** Peers that were not let in, in all. */
  readonly refused: number
  /** Peers that were not let in, by reason. */
  readonly refusals: Readonly<Record<RefusalReason, number>>
}

const MOST_RETRY_AFTER = 5 // seconds that a peer is asked to wait for a loop that is too slow

const SLOW_LOOP =
  'a peer was refused with 503, because a loop over `client` has as many connections waiting as it ' +
  "may. Don't await the work of one client in the loop's body, or use a callback."

const PLAN: Plan<ServerEvents> = {
  kind: 'server',
  revives: true,
  events: ['listening', 'client', 'connectError', 'peerError', 'error', 'backplane', 'closed'],
  end: 'closed',
  admits: 'client',
}

class ServerSignals<Context extends {}> extends Signals<ServerEvents<Context>> {
  readonly #counts: Counts

  constructor(counts: Counts) {
    super(PLAN)
    this.#counts = counts
  }

  override missed(): void {
    dropped(this.#counts, 'slowLoop')
  }

  /** A connection whose `client` listener failed was never set up, whether that was heard or not. */
  override listenerFailed(value: unknown): void {
    if (value instanceof WebsocketConnection) value[SIGNALS].fail()
  }
}

/** A close that is under way. */
interface Closing {
  readonly reason: CloseReason
  /** Closes the clients over a time; undefined: all at once. */
  readonly rolling: RollingClose | undefined
  readonly over: Deferred<void>
}

/** Is where clients connect: each yields a `client` event with its connection. */
export class WebsocketServer<Context extends {} = {}> implements Target<ServerEvents<Context>> {
  /** The connections to this node. Only the server adds and removes. */
  readonly clients: ReadonlyRoom<WebsocketConnection<Context>>

  readonly #settings: ServerSettings & Place
  readonly #counts = newCounts()
  readonly #signals = new ServerSignals<Context>(this.#counts)
  readonly #hearer: Hearer = {
    report: (error) => this.#signals.report(error),
    missed: () => this.#signals.missed(),
  }
  readonly #refusals = noRefusals()
  readonly #printed = new Set<RefusalReason>()
  readonly #rooms: Rooms<WebsocketConnection<Context>>
  readonly #maker: Maker<Context>
  /** The settings of the connections' transports: channels tell text from bytes by themselves. */
  #transportSettings: ServerSettings
  #upgrade: Upgrader
  /** The handshakes that `authorize` decides about; one that is aborted is refused with the reason. */
  readonly #visitors = new Set<AbortController>()
  readonly #addresses: AddressLimit
  readonly #doors = new Map<AnyHttpServer, readonly (() => void)[]>()
  readonly #endings: string[] = ['']
  readonly #protocols: string[]
  #floor: Floor<Context> | undefined
  /** Whether the last call of `serve` and `close` was a `serve` that has not failed. */
  #serves = false
  #http: AnyHttpServer | undefined
  /** The sockets of `#http` without a whole request. */
  #pending: PendingSockets | undefined
  /** Settles, always well, when the last `serve` listens or has failed. */
  #serving: Promise<void> | undefined
  #closing: Closing | undefined
  #address: Address = { port: 0, host: '', address: '' }
  #open = false

  /** @throws TypeError for an option that is unknown or can't be. */
  constructor(options?: ServerOptions<Context>) {
    const { protocols, ...rest } = resolveServer(options)
    // Both lists grow, once, with the floor that is put on it.
    this.#protocols = [...protocols]
    const settings = { ...rest, protocols: this.#protocols, endings: this.#endings }
    const { keepaliveTimeout, backplane, binary, rateLimit } = settings
    const hearer = this.#hearer
    this.#settings = settings
    this.#addresses = new AddressLimit(settings.maxConnectionsPerAddress)
    this.#transportSettings = settings
    this.#upgrade = makeUpgrader(settings)
    this.#rooms = new Rooms({
      backplane,
      prepared: (data) => new Message(binary ? toBytes(data) : data),
      ...hearer,
      has: (member) => this.clients.has(member),
      failed: (error) => this.#report(error),
      dropped: () => dropped(this.#counts, 'backplane'),
      moved: (how, topic, connection) => {
        if (!diagnostics[how].hasSubscribers) return
        const room = nameOf(topic)
        if (room !== undefined) diagnostics[how].publish({ room, connection })
      },
    })
    this.clients = this.#rooms.everyone()
    this.#maker = {
      side: 'server',
      settings,
      keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
      counts: this.#counts,
      watch: diagnostics,
      allowance: rateLimit ? () => new Allowance(rateLimit) : undefined,
      ...hearer,
      broadcast: (from, data) => this.clients.emit(data, { except: from }),
      gone: (connection, reason) => this.#gone(connection, reason),
    }
    backplane?.listen?.((state, refused = []) => {
      if (diagnostics.backplane.hasSubscribers) diagnostics.backplane.publish({ state, refused })
      this.#signals.emit('backplane', { state, refused })
    })
  }

  /** @hidden */
  get [SIGNALS](): Signals<ServerEvents<Context>> {
    return this.#signals
  }

  /** Whether it serves, or is attached. */
  get isOpen(): boolean {
    return this.#open
  }

  /**
   * Listens on a port, 8080 on localhost unless you say otherwise; 0 picks a free one. With `tls` it
   * speaks wss. Resolves when it listens; while the server closes, it listens after that.
   *
   * It rejects with a `ConnectError` when it can't. Don't leave that unseen: await it, or listen to
   * `connectError`.
   */
  serve(port = 8080, host = 'localhost'): Promise<Address> {
    const { promise, resolve, reject } = deferred<Address>()
    const failed = (cause: unknown): void => {
      const error = cause instanceof ConnectError ? cause : new ConnectError(cause)
      if (this.#signals.emit('connectError', error)) handled(promise)
      reject(error)
    }
    if (this.#serves) {
      failed(new ConnectError('the server serves already'))
      return promise
    }
    this.#serves = true
    if (!this.#closing) this.#signals.revive() // a wait that begins from here on is of this life
    this.#serving = this.#listen(port, host, this.#closing).then(resolve, (cause: unknown) => {
      this.#serves = false
      failed(cause)
    })
    return promise
  }

  /**
   * Takes the upgrades of an http server of yours, those to its `path`; several servers may share
   * one by paths of their own. `close` gives them back and leaves the http server running.
   *
   * @throws TypeError when another server claims an overlapping path there, ConnectError while this
   * one is closing.
   */
  attach(server: AnyHttpServer): this {
    if (typeof server?.listenerCount !== 'function') {
      throw unexpected('what is attached to', 'an http.Server or an https.Server', server)
    }
    if (this.#closing) throw new ConnectError('the server is closing')
    if (!this.#doors.has(server)) this.#enterBy(server, this.#paths(server))
    return this
  }

  /** Is a handle to a room: the same name is the same room, on every node. */
  room(name: string): Room<WebsocketConnection<Context>> {
    if (typeof name !== 'string') throw unexpected('the name of a room', 'a string', name)
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
   * Lets nobody in any more, closes every connection, with 1001 unless you say otherwise, and
   * resolves when all have ended: those that don't answer are cut after `closeTimeout`.
   *
   * With `within` it does so over that time, for a restart under load: in batches, with 1012, and
   * `retry=MS` in its text, which tells a client with `reconnect` when to come back; who comes
   * meanwhile gets 503 with Retry-After. A second `close` without `within` ends that: it closes all
   * that are left at once.
   *
   * @throws TypeError for an option that is unknown or can't be, RangeError for a code that may not be
   * sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(options: CloseOptions = {}): Promise<void> {
    const settings = resolveClose(options) // throws now or never
    const running = this.#closing
    if (settings.within === 0) running?.rolling?.stop(settings.reason)
    if (running && !this.#serves) return running.over.promise
    // What it closes may be a life that only begins when the close before it has ended.
    this.#serves = false
    const closing: Closing = {
      reason: settings.reason,
      rolling: settings.within > 0 ? new RollingClose(settings) : undefined,
      over: deferred(),
    }
    this.#closing = closing
    void this.#close(closing)
    return closing.over.promise
  }

  /** Is what it has counted. */
  stats(): ServerStats {
    const { received, sent, drops } = this.#counts
    let { bytesReceived, bytesSent } = this.#counts // of those who have gone
    for (const client of this.clients) {
      bytesReceived += client[SIGNALS].bytesReceived
      bytesSent += client[SIGNALS].bytesSent
    }
    return {
      connections: this.clients.size,
      handshakes: this.#visitors.size,
      ...{ received, sent, bytesReceived, bytesSent },
      dropped: sum(drops),
      drops: { ...drops },
      refused: sum(this.#refusals),
      refusals: { ...this.#refusals },
    }
  }

  /** Closes with 1001 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [WELCOME](visit: Visit): Welcome<Context> {
    try {
      const { authorize } = this.#settings
      if (this.#closing) throw this.#isClosing()
      visit.check()
      const { request, ending } = received(visit.source, this.#settings)
      const guest = this.#floor?.admit(request, ending)
      const knock = {
        request,
        incoming: visit.incoming,
        timeLeft: visit.timeLeft,
        settings: this.#settings,
        binding: { address: visit.boundTo, name: this.#address.host },
        connections: this.clients.size + this.#visitors.size,
        fromAddress: this.#addresses.count(request.remoteAddress),
        denial: guest?.denial ?? { status: 401 },
      }
      judge(knock)
      this.#checkLoops()
      this.#begin() // a server that doesn't serve is opened by its first client without a port
      if (!authorize) return this.#enter(visit, knock, guest, undefined) // nobody to ask: in at once
      return this.#ask(authorize, visit, knock, guest).catch((cause: unknown) => {
        this.#refuse(visit, cause)
        this.#printCure('authorize', queryCure(request, cause))
        return undefined
      })
    } catch (cause) {
      this.#refuse(visit, cause)
      return undefined
    }
  }

  /** @internal */
  [BUILD](floor: Floor<Context>): Ground {
    if (this.#floor) throw new TypeError('this server has a ChannelServer already')
    if (this.#open) {
      throw new TypeError('make the ChannelServer before its server serves or is attached')
    }
    this.#floor = floor
    this.#transportSettings = { ...this.#settings, binary: false }
    this.#upgrade = makeUpgrader(this.#transportSettings)
    const own = [...this.#protocols]
    this.#endings.push(...floor.endings.filter((ending) => ending !== ''))
    this.#protocols.push(...floor.protocols.filter((name) => !own.includes(name)))
    return {
      counts: this.#counts,
      closeTimeout: this.#settings.closeTimeout,
      maxWaitingBytes: this.#settings.maxWaitingBytes,
      protocols: own,
      backplane: this.#settings.backplane,
      ...this.#hearer,
      failed: (error) => this.#report(error),
    }
  }

  /** Lets `authorize` decide, while the peer may leave and the server may close. */
  async #ask(
    authorize: NonNullable<ServerSettings['authorize']>,
    visit: Visit,
    knock: Knock,
    guest: Guest<Context> | undefined,
  ): Promise<WebsocketConnection<Context>> {
    const leaving = new AbortController()
    const unwatch = visit.watch(() => {
      leaving.abort(new PeerConnectError('the peer has left', { status: 0, reason: 'left' }))
    })
    this.#visitors.add(leaving)
    this.#addresses.add(knock.request.remoteAddress)
    try {
      // What `authorize` returned is the context, which its type says and this code can't see.
      const context = (await authorized(authorize, knock, leaving)) as Context
      leaving.signal.throwIfAborted() // the server may have closed in the microtasks since
      unwatch()
      return this.#enter(visit, knock, guest, context)
    } finally {
      unwatch()
      this.#visitors.delete(leaving)
      this.#addresses.delete(knock.request.remoteAddress)
    }
  }

  #enter(
    visit: Visit,
    { request }: Knock,
    guest: Guest<Context> | undefined,
    context: Context | undefined,
  ): WebsocketConnection<Context> {
    this.#checkLoops() // again: others may have come in while `authorize` was asked
    const transport = visit.enter(request, this.#transportSettings)
    request.pack()
    const connection = new WebsocketConnection(this.#maker, transport, request, context)
    if (guest) connection[SIGNALS].readWith(guest.enter(connection))
    this.#addresses.add(request.remoteAddress)
    if (log.enabled) log('%s connected from %s', connection.id, request.remoteAddress)
    this.#rooms.admit(connection)
    if (diagnostics.open.hasSubscribers) diagnostics.open.publish({ connection })
    this.#signals.emit('client', connection)
    return connection
  }

  /** Throws a `PeerConnectError` while a loop over `client` has as many waiting as it may. */
  #checkLoops(): void {
    if (!this.#signals.isFull) return
    const denial: Denial = {
      status: 503,
      reason: 'slowLoop',
      body: 'the server is busy',
      retryAfter: 1 + Math.floor(Math.random() * MOST_RETRY_AFTER), // so that not all come at once
    }
    throw new CurableRefusal('a loop over `client` is too slow', denial, SLOW_LOOP)
  }

  #refuse(visit: Visit, cause: unknown): void {
    const error = cause instanceof PeerConnectError ? cause : new PeerConnectError(cause)
    this.#turnedAway(error)
    visit.refuse(error)
  }

  /** Tells of what failed beside any connection. */
  #report(error: WebsocketError): void {
    if (!this.#signals.report(error)) log('%s: %s', error.message, logTextOf(error.cause))
  }

  #enterBy(http: AnyHttpServer, doors: readonly Door[]): void {
    const releases: (() => void)[] = []
    try {
      for (const door of doors) releases.push(claimUpgrades(http, door))
    } catch (error) {
      for (const release of releases) release()
      throw error
    }
    this.#doors.set(http, releases)
    this.#begin()
  }

  /** Its doors at an http server of the caller's: one for each path that it serves. */
  #paths(http: AnyHttpServer): readonly Door[] {
    const { path } = this.#settings
    if (path === undefined) return [this.#everyPath(http)]
    return this.#endings.map((ending) => ({
      path: below(path, ending),
      enter: (upgrade, params = new Map()) => this.#knocked(http, upgrade, { ending, params }),
    }))
  }

  #everyPath(http: AnyHttpServer): Door {
    return {
      path: undefined,
      enter: (upgrade) => this.#knocked(http, upgrade),
    }
  }

  #begin(): void {
    if (!this.#open) this.#signals.revive()
    this.#open = true
  }

  #turnedAway(error: PeerConnectError): void {
    const { reason } = error
    // One of a program without types may be anything.
    this.#refusals[Object.hasOwn(this.#refusals, reason) ? reason : 'authorize']++
    if (diagnostics.refusal.hasSubscribers) diagnostics.refusal.publish({ error })
    if (error instanceof CurableRefusal) this.#printCure(reason, error.cure)
    if (this.#signals.emit('peerError', error)) return
    log('refused: %d %s', error.status, logTextOf(error))
    if (error instanceof AuthorizeError) errorLog.print(error, '`authorize`')
  }

  /** Prints the cure of the first refusal for a reason: a peer must not fill a log. */
  #printCure(reason: RefusalReason, cure: string | undefined): void {
    if (cure === undefined || this.#printed.has(reason)) return
    this.#printed.add(reason)
    console.error(`simplewebsockets: ${cure} Printed once; each refusal is a \`peerError\`.`)
  }

  #gone(connection: WebsocketConnection<Context>, { code, description }: CloseReason): void {
    if (log.enabled) log('%s closed: %d %s', connection.id, code, escaped(description))
    this.#counts.bytesReceived += connection[SIGNALS].bytesReceived
    this.#counts.bytesSent += connection[SIGNALS].bytesSent
    this.#addresses.delete(connection.request.remoteAddress)
    this.#rooms.leaveAll(connection)
  }

  #knocked(http: AnyHttpServer, [request, tcp, head]: Upgrade, spot?: Spot): void {
    const { trustProxy } = this.#settings
    const timeLeft = http === this.#http ? this.#pending?.requested(request.socket) : undefined
    const open = (): Transport => this.#upgrade(request, tcp, head)
    void this[WELCOME](visitOf(request, tcp, { http, trustProxy, spot, timeLeft, open }))
  }

  #isClosing(): PeerConnectError {
    const retryAfter = this.#closing?.rolling?.retryAfter
    return new PeerConnectError('the server is closing', {
      ...{ status: 503, reason: 'closing' },
      retryAfter,
    })
  }

  /** Refuses those who wait for `authorize`. */
  #turnAway(): void {
    for (const visitor of this.#visitors) visitor.abort(this.#isClosing())
  }

  async #listen(port: number, host: string, before: Closing | undefined): Promise<Address> {
    if (before) {
      await before.over.promise
      this.#signals.revive()
    }
    const http = makeHttp(this.#settings, {
      refused: (tcp, error) => this.#refuseEarly(tcp, error),
      failed: (cause) => this.#report(new WebsocketError(cause)),
    })
    this.#pending = this.#watch(http)
    const address = { ...(await listening(http, port, host)), host }
    this.#http = http
    this.#address = address
    this.#enterBy(http, [this.#everyPath(http)]) // any other path is refused, and told of, here
    log('listens on %s port %d', address.address, address.port)
    this.#signals.emit('listening', address)
    return address
  }

  #watch(http: AnyHttpServer): PendingSockets {
    const { handshakeTimeout, maxConnectionsPerAddress, trustProxy } = this.#settings
    const addresses = Number(trustProxy) > 0 ? undefined : this.#addresses // proxies' own count not
    return new PendingSockets(
      http,
      { handshakeTimeout, addresses },
      {
        tooMany: (tcp) =>
          this.#refuseEarly(tcp, tooManyOfAddress(Number(maxConnectionsPerAddress))),
        late: (tcp) => {
          const text = `no request came within ${handshakeTimeout} ms`
          const denial: Denial = { status: 408, reason: 'handshakeTimeout' }
          this.#refuseEarly(tcp, new PeerConnectError(text, denial))
        },
      },
    )
  }

  #refuseEarly(tcp: Duplex, error: PeerConnectError): void {
    this.#turnedAway(error)
    refuseEarly(tcp, error, this.#settings.tls !== undefined)
  }

  async #close(closing: Closing): Promise<void> {
    await this.#serving
    const wasOpen = this.#open
    this.#open = false
    const http = this.#http
    const address = http ? this.#address : boundTo([...this.#doors.keys()][0])
    if (wasOpen) {
      await this.#attempt(() => this.#closeClients(closing, http))
      // Not before: who comes meanwhile is told to come again, not that there is no WebSocket.
      for (const releases of this.#doors.values()) for (const release of releases) release()
      this.#doors.clear()
      this.#http = undefined
      this.#pending = undefined
      await this.#attempt(() => this.#rooms.end())
      await this.#attempt(() => this.#floor?.closed())
      log('has closed')
    }
    if (this.#closing === closing) this.#closing = undefined
    if (wasOpen) this.#signals.end(address)
    closing.over.resolve()
  }

  async #closeClients(
    { reason, rolling }: Closing,
    http: AnyHttpServer | undefined,
  ): Promise<void> {
    if (rolling) {
      this.#turnAway()
      await rolling.run([...this.clients], (client, told) => void this.#closeClient(client, told))
    }
    this.#turnAway()
    const stopped = http && stop(http, this.#settings.closeTimeout)
    const told = rolling?.reason ?? reason
    await Promise.all([...this.clients].map((client) => this.#closeClient(client, told)))
    this.#pending?.destroy()
    http?.closeAllConnections()
    await stopped
  }

  /** Closes a client; one whose transport fails at that is cut, and keeps none of the others open. */
  async #closeClient(
    client: WebsocketConnection<Context>,
    { code, description }: CloseReason,
  ): Promise<void> {
    await this.#attempt(async () => {
      try {
        await client.close(code, description)
      } catch (cause) {
        client[SIGNALS].cut()
        throw cause
      }
    })
  }

  /** Does a part of closing; a failure is told, and the other parts follow. */
  async #attempt(part: () => unknown): Promise<void> {
    try {
      await part()
    } catch (cause) {
      this.#report(new WebsocketError(cause))
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
  return Object.values(counts).reduce((all, one) => all + one, 0)
}

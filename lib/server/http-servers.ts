import type { Duplex } from 'node:stream'
import { WebsocketError } from '../errors.ts'
import type { ServerSettings } from '../options/server.ts'
import type { AddressLimit } from './handshake/address-limit.ts'
import { tooManyOfAddress } from './handshake/handshake.ts'
import { joinPath, type RouteConfig, type RouteMatch } from './handshake/path.ts'
import { PeerConnectError } from './handshake/peer-connect-error.ts'
import {
  boundAddress,
  closeHttp,
  createHttpServer,
  listenOn,
  rejectEarly,
  type AnyHttpServer,
} from './http/http.ts'
import { PendingSockets } from './http/pending-sockets.ts'
import { addUpgradeRoute, type Upgrade, type UpgradeRoute } from './http/upgrade-router.ts'
import type { UpgradeDetails } from './pending-upgrade.ts'
import type { Address } from './server-emitter.ts'

/** The services that the HTTP servers need from the server that they serve. */
export interface HttpServersOwner {
  readonly settings: ServerSettings & RouteConfig
  readonly addressLimit: AddressLimit
  /** Accepts or rejects an upgrade. */
  readonly onUpgrade: (upgrade: Upgrade, details: UpgradeDetails) => void
  /** Records a peer that was refused before it sent a complete request. */
  readonly onRejected: (error: PeerConnectError) => void
  /** Reports a failure of the HTTP server that `listen` created. */
  readonly onFailure: (error: WebsocketError) => void
}

/**
 * The HTTP servers whose upgrades a server handles: the one that it listens with, and those that it
 * is attached to.
 */
export class HttpServers {
  readonly #owner: HttpServersOwner
  /** The functions that remove the routes of each HTTP server. */
  readonly #routes = new Map<AnyHttpServer, readonly (() => void)[]>()
  /** The HTTP server that `listen` created. */
  #ownServer: AnyHttpServer | undefined
  /** The sockets of `#ownServer` without a complete request. */
  #pendingSockets: PendingSockets | undefined
  #ownAddress: Address = { port: 0, host: '', address: '' }

  constructor(owner: HttpServersOwner) {
    this.#owner = owner
  }

  /** The address that the server listens on; else that of the first attached HTTP server. */
  get address(): Address {
    return this.#ownServer ? this.#ownAddress : boundAddress([...this.#routes.keys()][0])
  }

  /** The host that was passed to the last `listen`; an empty string where there was none. */
  get host(): string {
    return this.#ownAddress.host
  }

  /**
   * Listens with an HTTP server of its own. It claims every path, so that upgrades of paths that
   * aren't served are rejected and reported, too.
   */
  async listen(port: number, host: string): Promise<Address> {
    const { settings, onFailure } = this.#owner
    const http = createHttpServer(settings, {
      onRejected: (tcp, error) => this.#rejectEarly(tcp, error),
      onFailure: (cause) => onFailure(new WebsocketError(cause)),
    })
    this.#pendingSockets = this.#watchSockets(http)
    const address = await listenOn(http, port, host)
    this.#ownServer = http
    this.#ownAddress = address
    this.#addRoutes(http, [this.#catchAllRoute(http)])
    return address
  }

  /**
   * Handles the upgrades of an HTTP server of the program.
   *
   * @throws TypeError when another server claims an overlapping path there.
   */
  attach(http: AnyHttpServer): void {
    if (!this.#routes.has(http)) this.#addRoutes(http, this.#pathRoutes(http))
  }

  /** Stops listening. Resolves when the last connection has closed, or after `closeTimeout`. */
  async stopListening(): Promise<void> {
    if (this.#ownServer) await closeHttp(this.#ownServer, this.#owner.settings.closeTimeout)
  }

  /** Destroys the sockets of the own HTTP server that are not WebSocket connections. */
  destroySockets(): void {
    this.#pendingSockets?.destroy()
    this.#ownServer?.closeAllConnections()
  }

  /** Stops handling upgrades. Attached HTTP servers stay open. */
  release(): void {
    for (const removals of this.#routes.values()) for (const remove of removals) remove()
    this.#routes.clear()
    this.#ownServer = undefined
    this.#pendingSockets = undefined
  }

  #addRoutes(http: AnyHttpServer, routes: readonly UpgradeRoute[]): void {
    const removals: (() => void)[] = []
    try {
      for (const route of routes) removals.push(addUpgradeRoute(http, route))
    } catch (error) {
      for (const remove of removals) remove()
      throw error
    }
    this.#routes.set(http, removals)
  }

  /** Returns the routes for an attached HTTP server: one for each path that is served. */
  #pathRoutes(http: AnyHttpServer): readonly UpgradeRoute[] {
    const { path, suffixes = [''] } = this.#owner.settings
    if (path === undefined) return [this.#catchAllRoute(http)]
    return suffixes.map((suffix) => ({
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

  #onUpgrade(http: AnyHttpServer, upgrade: Upgrade, match?: RouteMatch): void {
    const [{ socket }] = upgrade
    const pendingSockets = http === this.#ownServer ? this.#pendingSockets : undefined
    const timeLeft = pendingSockets?.onRequest(socket)
    this.#owner.onUpgrade(upgrade, { http, match, timeLeft })
  }

  #watchSockets(http: AnyHttpServer): PendingSockets {
    const { settings, addressLimit } = this.#owner
    const { handshakeTimeout, maxConnectionsPerAddress, trustProxy } = settings
    // Behind proxies the addresses of the sockets are those of the proxies: they don't count.
    const addresses = Number(trustProxy) > 0 ? undefined : addressLimit
    return new PendingSockets(
      http,
      { handshakeTimeout, addresses },
      {
        onTooMany: (tcp) =>
          this.#rejectEarly(tcp, tooManyOfAddress(Number(maxConnectionsPerAddress))),
        onTimeout: (tcp) => {
          const text = `no request came within ${handshakeTimeout} ms`
          const error = new PeerConnectError(text, { status: 408, reason: 'handshakeTimeout' })
          this.#rejectEarly(tcp, error)
        },
      },
    )
  }

  #rejectEarly(tcp: Duplex, error: PeerConnectError): void {
    this.#owner.onRejected(error)
    rejectEarly(tcp, error, this.#owner.settings.tls !== undefined)
  }
}

import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { invalidArgument } from '../../validation.ts'
import { matchPath, pathOf, pathsOverlap } from '../handshake/path.ts'
import { destroyOnError, watchDisconnect, writeResponse, type AnyHttpServer } from './http.ts'

/** The arguments that Node passes to a listener of `upgrade`. */
export type Upgrade = readonly [request: IncomingMessage, tcp: Duplex, head: Buffer]

/** A route to one of our servers behind an HTTP server. */
export interface UpgradeRoute {
  /** The path pattern that the route claims; undefined claims every path. */
  readonly path: string | undefined
  /** Handles an upgrade of a claimed path. `params` are those of the path, where one is claimed. */
  readonly onUpgrade: (upgrade: Upgrade, params: ReadonlyMap<string, string> | undefined) => void
}

const MAX_WAIT = 10_000 // milliseconds for the responses to earlier requests

const routers = new WeakMap<AnyHttpServer, UpgradeRouter>()

/**
 * Claims the upgrades of a path on an HTTP server, until the returned function is called.
 *
 * An upgrade of an unclaimed path gets 404 if every `upgrade` listener is ours. Otherwise it is not
 * answered, because another listener may handle it.
 *
 * @throws TypeError when the path overlaps a path that is claimed already.
 */
export function addUpgradeRoute(http: AnyHttpServer, route: UpgradeRoute): () => void {
  const router = routers.get(http) ?? new UpgradeRouter(http)
  router.add(route)
  routers.set(http, router)
  return () => router.delete(route)
}

/** The routes to our servers behind one HTTP server. */
class UpgradeRouter {
  readonly #http: AnyHttpServer
  readonly #routes = new Set<UpgradeRoute>()

  constructor(http: AnyHttpServer) {
    this.#http = http
  }

  add(route: UpgradeRoute): void {
    const other = [...this.#routes].find(({ path }) => pathsOverlap(path, route.path))
    if (other) {
      throw invalidArgument(
        `expected a \`path\` of its own on this http server, got ${nameOf(route)} beside ${nameOf(other)}`,
      )
    }
    if (this.#routes.size === 0) this.#http.on('upgrade', this.#onUpgrade)
    this.#routes.add(route)
  }

  delete(route: UpgradeRoute): void {
    this.#routes.delete(route)
    if (this.#routes.size === 0) this.#http.off('upgrade', this.#onUpgrade)
  }

  readonly #onUpgrade = (request: IncomingMessage, tcp: Duplex, head: Buffer): void => {
    const isOnlyListener = this.#http.listenerCount('upgrade') === 1
    // Also for an upgrade that another listener handles: that listener may not handle errors.
    tcp.on('error', destroyOnError)
    if (!isOnlyListener && !isWebsocket(request)) return
    afterEarlierResponses(tcp, () => this.#dispatch([request, tcp, head], isOnlyListener))
  }

  #dispatch(upgrade: Upgrade, isOnlyListener: boolean): void {
    const [request, tcp] = upgrade
    const path = pathOf(request.url ?? '')
    for (const route of this.#routes) {
      // A route that claims every path rejects invalid paths itself.
      const hasPath = route.path !== undefined
      const params = hasPath && path !== undefined ? matchPath(route.path, path) : undefined
      if (hasPath && !params) continue
      route.onUpgrade(upgrade, params)
      return
    }
    if (isOnlyListener) {
      writeResponse(tcp, path === undefined ? 400 : 404, 'no WebSocket is served at this path')
    }
  }
}

/**
 * Calls back once the requests that the peer sent earlier on the same socket have been answered.
 * Anything written sooner would be taken for a response to them, RFC 9112 §9.3.2.
 */
function afterEarlierResponses(tcp: Duplex, callback: () => void): void {
  const response: unknown = Reflect.get(tcp, '_httpMessage') // Node has no public API for it
  if (tcp.destroyed || !(response instanceof ServerResponse)) {
    callback()
    return
  }
  const destroy = (): void => void tcp.destroy()
  const timer = setTimeout(destroy, MAX_WAIT)
  const stopWatching = watchDisconnect(tcp, destroy)
  response.once('close', () => {
    clearTimeout(timer)
    stopWatching()
    afterEarlierResponses(tcp, callback) // more responses may be pending
  })
}

function isWebsocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket'
}

function nameOf({ path }: UpgradeRoute): string {
  return path === undefined ? 'every path' : JSON.stringify(path)
}

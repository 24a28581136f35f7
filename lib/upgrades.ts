import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { answer, destroyOnError, watchLeaving, type AnyHttpServer } from './http.ts'
import { matchPath, pathOf, pathsOverlap } from './path.ts'

/** What Node hands to a listener of `upgrade`. */
export type Upgrade = readonly [request: IncomingMessage, tcp: Duplex, head: Buffer]

/** One of our servers behind an http server. */
export interface Door {
  /** The path it claims; none claims every path. */
  readonly path: string | undefined
  /** Takes an upgrade of a path that is its own, with the params of that path where it claims one. */
  readonly enter: (upgrade: Upgrade, params: ReadonlyMap<string, string> | undefined) => void
}

const MAX_WAIT = 10_000 // milliseconds for the answers to requests that came before

const registries = new WeakMap<AnyHttpServer, Registry>()

/**
 * Claims the upgrades of a path on an http server, until the returned function is called.
 *
 * What nobody claims is answered with 404 if every `upgrade` listener is ours; otherwise it is left
 * alone, for somebody else may want it.
 *
 * @throws TypeError when the path overlaps one that is claimed already.
 */
export function claimUpgrades(http: AnyHttpServer, door: Door): () => void {
  const registry = registries.get(http) ?? new Registry(http)
  registry.add(door)
  registries.set(http, registry)
  return () => registry.delete(door)
}

/** Our servers behind one http server. */
class Registry {
  readonly #http: AnyHttpServer
  readonly #doors = new Set<Door>()

  constructor(http: AnyHttpServer) {
    this.#http = http
  }

  add(door: Door): void {
    const other = [...this.#doors].find(({ path }) => pathsOverlap(path, door.path))
    if (other) {
      throw new TypeError(
        `expected a \`path\` of its own on this http server, got ${named(door)} beside ${named(other)}`,
      )
    }
    if (this.#doors.size === 0) this.#http.on('upgrade', this.#upgraded)
    this.#doors.add(door)
  }

  delete(door: Door): void {
    this.#doors.delete(door)
    if (this.#doors.size === 0) this.#http.off('upgrade', this.#upgraded)
  }

  readonly #upgraded = (request: IncomingMessage, tcp: Duplex, head: Buffer): void => {
    const alone = this.#http.listenerCount('upgrade') === 1
    // Also where it is meant for another listener, which may not care for it either.
    tcp.on('error', destroyOnError)
    if (!alone && !isWebsocket(request)) return
    inTurn(tcp, () => this.#enter([request, tcp, head], alone))
  }

  #enter(upgrade: Upgrade, alone: boolean): void {
    const [request, tcp] = upgrade
    const path = pathOf(request.url ?? '')
    for (const door of this.#doors) {
      // One that claims every path says by itself what makes no sense.
      const claims = door.path !== undefined
      const params = claims && path !== undefined ? matchPath(door.path, path) : undefined
      if (claims && !params) continue
      door.enter(upgrade, params)
      return
    }
    if (alone) answer(tcp, path === undefined ? 400 : 404, 'no WebSocket is served at this path')
  }
}

/**
 * Calls back once the requests that a peer sent before on the same socket have been answered: what is
 * written sooner would be taken for an answer to them, RFC 9112 §9.3.2.
 */
function inTurn(tcp: Duplex, callback: () => void): void {
  const response: unknown = Reflect.get(tcp, '_httpMessage') // Node tells of it in no other way
  if (tcp.destroyed || !(response instanceof ServerResponse)) {
    callback()
    return
  }
  const leave = (): void => void tcp.destroy()
  const timer = setTimeout(leave, MAX_WAIT)
  const unwatch = watchLeaving(tcp, leave)
  response.once('close', () => {
    clearTimeout(timer)
    unwatch()
    inTurn(tcp, callback) // there may be more of them
  })
}

function isWebsocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket'
}

function named({ path }: Door): string {
  return path === undefined ? 'every path' : JSON.stringify(path)
}

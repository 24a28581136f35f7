import { CUT, WebsocketConnection, type Maker } from './connection.ts'
import { Keepalive } from './keepalive.ts'
import { resolveClient, resolveServer, type ConnectionOptions } from './options.ts'
import { RequestDetails } from './request.ts'
import { joinInMemory } from './transport/memory.ts'

/** How a pair is made. */
export interface PairOptions {
  /** The options of the server's end. Default: a server's. */
  server?: ConnectionOptions | undefined
  /** The options of the client's end. Default: a client's. */
  client?: ConnectionOptions | undefined
  /** The context of the server's end. Default: none. */
  context?: {} | undefined
}

/**
 * Makes the two ends of a connection without a network, a server or a client: what one sends, the
 * other receives. Its `broadcast` reaches nobody.
 */
export function pair(
  options: PairOptions = {},
): [server: WebsocketConnection, client: WebsocketConnection] {
  const [one, other] = joinInMemory()
  const request = new RequestDetails({
    url: '/',
    rawHeaders: ['host', 'localhost'],
    remoteAddress: '127.0.0.1',
  })
  const server = loneMaker('server', resolveServer(options.server))
  const client = loneMaker('client', resolveClient(options.client))
  return [
    new WebsocketConnection(server, one, request, options.context ?? {}),
    new WebsocketConnection(client, other, request, {}),
  ]
}

/** Cuts a connection off as a failing network would: no handshake, 1006 on both ends. */
export function cut(connection: WebsocketConnection): void {
  connection[CUT]()
}

function loneMaker(side: Maker['side'], settings: Maker['settings']): Maker {
  const { keepaliveTimeout } = settings
  return {
    side,
    settings,
    keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
    counts: { received: 0, sent: 0, dropped: 0 },
    report: () => false,
    broadcast: () => {},
    gone: () => {},
  }
}

export {
  historyContract,
  type HistoryContractOptions,
  type HistoryPair,
  type MakeHistory,
} from './channels/history/history-contract.ts'
export { backplaneContract, type Joint, type Proof } from './proof.ts'

import type { Url } from './attempt.ts'
import { OPEN_BY, type Opener } from './client.ts'
import type { Maker } from './connection-core.ts'
import { WebsocketConnection } from './connection.ts'
import { newCounts } from './counts.ts'
import { ConnectError } from './errors.ts'
import { Keepalive } from './keepalive.ts'
import type { ConnectionOptions } from './options/connection.ts'
import { resolveClient } from './options/node.ts'
import { checkNames } from './options/rules.ts'
import { resolveServer } from './options/server.ts'
import { deferred } from './promises.ts'
import { dialledHeaders, RequestDetails } from './request.ts'
import type { WebsocketServer } from './server.ts'
import { SIGNALS } from './signals.ts'
import { WELCOME, type Visit } from './visit.ts'
import { joinInMemory } from './transport/memory.ts'
import type { Dial } from './transport/transport.ts'

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
  checkNames(options, ['server', 'client', 'context'])
  const request = new RequestDetails({
    url: '/',
    rawHeaders: ['host', 'localhost'],
    remoteAddress: '127.0.0.1',
  })
  const server = loneMaker('server', resolveServer(options.server))
  const client = loneMaker('client', resolveClient(options.client))
  const [one, other] = joinInMemory({ server: server.settings, client: client.settings })
  return [
    new WebsocketConnection(server, one, request, options.context),
    new WebsocketConnection(client, other, request),
  ]
}

/** Cuts a connection off as a failing network would: no handshake, 1006 on both ends. */
export function cut(connection: WebsocketConnection): void {
  connection[SIGNALS].cut()
}

/**
 * Connects a client to a server without a port: paths, origins, `authorize`, subprotocols and all.
 *
 * It rejects with a `ConnectError` when the server doesn't let it in.
 */
export async function link<Context extends {}>(
  server: WebsocketServer<Context>,
  client: Opener,
  url: Url = 'ws://localhost/',
): Promise<[server: WebsocketConnection<Context>, client: WebsocketConnection]> {
  const entered = deferred<WebsocketConnection<Context>>()
  const network = { dial: dialTo(server, entered.resolve), onWake: () => () => {} }
  const end = await client[OPEN_BY](network, url)
  return [await entered.promise, end]
}

/** Reaches for a server in the same process. */
function dialTo<Context extends {}>(
  server: WebsocketServer<Context>,
  entered: (connection: WebsocketConnection<Context>) => void,
): Dial {
  return ({ url, headers, protocols, settings: client }, { opened, failed }) => {
    const gone = new AbortController()
    const visit: Visit = {
      source: {
        url: url.pathname + url.search,
        rawHeaders: dialledHeaders(url, headers, protocols),
        remoteAddress: '127.0.0.1',
      },
      incoming: undefined,
      boundTo: '',
      check: () => {},
      watch: (left) => {
        gone.signal.addEventListener('abort', left)
        return () => gone.signal.removeEventListener('abort', left)
      },
      enter: (request, server) => {
        const protocol = request.protocols.find((name) => server.protocols.includes(name))
        const [here, there] = joinInMemory({ server, client, protocol })
        queueMicrotask(() => {
          if (!gone.signal.aborted && (protocol !== undefined || request.protocols.length === 0)) {
            opened(there)
            return
          }
          there.cut()
          // As browsers do, and `ws`: what was offered must be answered.
          failed(new ConnectError('the server speaks none of the subprotocols'))
        })
        return here
      },
      refuse: ({ status, message }) =>
        failed(new ConnectError(`the server answered ${status}: ${message}`, { status })),
    }
    void Promise.resolve(server[WELCOME](visit)).then(
      (connection) => connection && entered(connection),
    )
    return () => gone.abort()
  }
}

function loneMaker(side: Maker['side'], settings: Maker['settings']): Maker {
  const { keepaliveTimeout } = settings
  return {
    side,
    settings,
    keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
    counts: newCounts(),
    report: () => false,
    broadcast: () => {},
    gone: () => {},
  }
}

/**
 * Connections without a network, and suites for backplanes and history stores of your own.
 *
 * @module simplewebsockets/testing
 */

import { ADMISSION, OPEN_WITH, EMITTER } from '../internal.ts'
export {
  historyContract,
  type HistoryContractOptions,
  type HistoryPair,
  type MakeHistory,
} from './history-contract.ts'
export { backplaneContract, type BackplanePair, type ContractTest } from './backplane-contract.ts'

import type { UrlSource } from '../client/connect.ts'
import type { ConnectionOwner } from '../connection/connection-owner.ts'
import { WebsocketConnection, type AnyConnection } from '../connection/connection.ts'
import type { Data, SendData } from '../connection/message.ts'
import { newCounts } from '../connection/counts.ts'
import { ConnectError } from '../errors.ts'
import { Keepalive } from '../connection/keepalive.ts'
import type { ConnectionOptions } from '../options/connection.ts'
import { resolveClient } from '../options/node.ts'
import { checkNames } from '../validation.ts'
import { resolveServer } from '../options/server.ts'
import { deferred } from '../promises.ts'
import { requestHeaders, RequestDetails } from '../server/handshake/request.ts'
import type { AnyServer, WebsocketServer } from '../server/server.ts'
import type { PendingUpgrade } from '../server/pending-upgrade.ts'
import { memoryPair } from './memory-transport.ts'
import type { Dial, Network } from '../transport/transport.ts'

/** The options of `pair`. */
export interface PairOptions<Context extends object, ServerIn, ServerOut, ClientIn, ClientOut> {
  /**
   * The connection options of the server's end.
   *
   * @default those of a server
   */
  server?: ConnectionOptions<ServerIn, ServerOut> | undefined
  /**
   * The connection options of the client's end.
   *
   * @default those of a client
   */
  client?: ConnectionOptions<ClientIn, ClientOut> | undefined
  /**
   * The context of the server's end.
   *
   * @default none
   */
  context?: Context | undefined
}

/**
 * Creates the two ends of a connection without a network, a server or a client. Each end receives
 * the messages that the other one sends. `broadcast` reaches no other connection.
 */
export function pair<
  Context extends object = {},
  ServerIn = Data,
  ServerOut = SendData,
  ClientIn = Data,
  ClientOut = SendData,
>(
  options: PairOptions<Context, ServerIn, ServerOut, ClientIn, ClientOut> = {},
): [
  server: WebsocketConnection<Context, ServerIn, ServerOut>,
  client: WebsocketConnection<{}, ClientIn, ClientOut>,
] {
  checkNames(options, ['server', 'client', 'context'])
  const request = new RequestDetails({
    url: '/',
    rawHeaders: ['host', 'localhost'],
    remoteAddress: '127.0.0.1',
  })
  const server = createOwner('server', resolveServer(options.server))
  const client = createOwner('client', resolveClient(options.client))
  const [serverTransport, clientTransport] = memoryPair({
    server: server.settings,
    client: client.settings,
  })
  return [
    new WebsocketConnection(server, serverTransport, request, options.context),
    new WebsocketConnection(client, clientTransport, request),
  ]
}

/**
 * Terminates a connection as a failing network would: without a closing handshake, with close code
 * 1006 on both ends.
 */
export function cut(connection: AnyConnection): void {
  connection[EMITTER].transport.terminate()
}

/** A client that can connect over a given network: a `WebsocketClient` or a `ChannelClient`. */
interface Connectable<In, Out> {
  /** Connects over the given network. */
  [OPEN_WITH](
    network: Network,
    url: UrlSource,
    signal?: AbortSignal,
  ): Promise<WebsocketConnection<{}, In, Out>>
}

/**
 * Connects a client to a server without a port. The handshake includes all checks: paths,
 * origins, `authorize`, subprotocols.
 *
 * Rejects with a `ConnectError` when the server rejects the handshake.
 */
export async function link<
  Context extends object = {},
  In = Data,
  Out = SendData,
  Path extends string = string,
  ClientIn = Data,
  ClientOut = SendData,
>(
  server: WebsocketServer<Context, In, Out, Path>,
  client: Connectable<ClientIn, ClientOut>,
  url: UrlSource = 'ws://localhost/',
): Promise<
  [
    server: WebsocketConnection<Context, In, Out, Path>,
    client: WebsocketConnection<{}, ClientIn, ClientOut>,
  ]
> {
  const accepted = deferred<WebsocketConnection<Context, In, Out, Path>>()
  const network = { dial: dialTo(server, accepted.resolve), onWake: () => () => {} }
  const connection = await client[OPEN_WITH](network, url)
  return [await accepted.promise, connection]
}

/** Creates a `Dial` that connects to a server in the same process. */
function dialTo(server: AnyServer, onAccepted: (connection: AnyConnection) => void): Dial {
  return ({ url, headers, protocols, settings: client }, { onOpen, onError }) => {
    const abortController = new AbortController()
    const upgrade: PendingUpgrade = {
      source: {
        url: url.pathname + url.search,
        rawHeaders: requestHeaders(url, headers, protocols),
        remoteAddress: '127.0.0.1',
      },
      incoming: undefined,
      boundAddress: '',
      check: () => {},
      onAbort: (listener) => {
        abortController.signal.addEventListener('abort', listener)
        return () => abortController.signal.removeEventListener('abort', listener)
      },
      accept: (request, server) => {
        const protocol = request.protocols.find((name) => server.protocols.includes(name))
        const [serverTransport, clientTransport] = memoryPair({ server, client, protocol })
        queueMicrotask(() => {
          const isAgreed = protocol !== undefined || request.protocols.length === 0
          if (!abortController.signal.aborted && isAgreed) {
            onOpen(clientTransport)
            return
          }
          clientTransport.terminate()
          // Browsers and `ws` also fail when the server selects none of the offered subprotocols.
          onError(
            new ConnectError('the server speaks none of the subprotocols', {
              code: 'ERR_INVALID_HANDSHAKE',
            }),
          )
        })
        return serverTransport
      },
      reject: ({ status, message }) =>
        onError(
          new ConnectError(`the server answered ${status}: ${message}`, {
            code: 'ERR_HANDSHAKE_REFUSED',
            status,
          }),
        ),
    }
    void Promise.resolve(server[ADMISSION].handle(upgrade)).then(
      (connection) => connection && onAccepted(connection),
    )
    return () => abortController.abort()
  }
}

function createOwner(
  side: ConnectionOwner['side'],
  settings: ConnectionOwner['settings'],
): ConnectionOwner {
  const { keepaliveTimeout } = settings
  return {
    side,
    settings,
    keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
    counts: newCounts(),
    reportError: () => false,
    broadcast: () => {},
    onClose: () => {},
  }
}

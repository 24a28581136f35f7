import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { extension, WebSocketServer, type WebSocket } from 'ws'
import { PeerConnectError } from '../errors.ts'
import type { ServerSettings } from '../options/server.ts'
import { agreement, EXTENSION, makesSense } from './deflate.ts'
import type { Transport } from './transport.ts'
import { Socket, WsTransport, type Terms } from './ws.ts'
import { listed, shared } from './wsoptions.ts'

/**
 * Turns the request for an upgrade into a transport, which must be started in the same turn.
 *
 * @throws PeerConnectError 400 where it asks for what makes no sense, 0 where the peer has gone.
 */
export type Upgrader = (request: IncomingMessage, tcp: Duplex, head: Buffer) => Transport

/** Makes what turns the requests of one server into transports. */
export function makeUpgrader(settings: ServerSettings): Upgrader {
  const server = new WebSocketServer({
    ...shared(settings),
    noServer: true,
    clientTracking: false,
    WebSocket: Socket,
    handleProtocols: (offered) =>
      [...offered].find((name) => settings.protocols.includes(name)) ?? false,
  })
  const outcomes: (WebSocket | Error)[] = [] // `ws` answers in the same turn, if the peer is there
  server.on('wsClientError', (error) => void outcomes.push(error))
  const plain: Terms = { settings, side: 'server', agreement: undefined, framing: true }
  const extended: Terms = { ...plain, framing: false } // only `ws` knows how
  const agreements = new Map<number, Terms>()
  const termsOf = (headers: readonly string[]): Terms => {
    const agreed = agreement(headers)
    if (!agreed) return extended
    const { windowBits } = agreed
    const terms = agreements.get(windowBits) ?? { ...plain, agreement: agreed }
    agreements.set(windowBits, terms)
    return terms
  }
  let answered: readonly string[] = []
  if (settings.compression !== false) server.on('headers', (headers) => (answered = headers))
  return (request, tcp, head) => {
    if (settings.compression !== false) decline(request)
    server.handleUpgrade(request, tcp, head, (socket) => void outcomes.push(socket))
    const outcome = outcomes.pop()
    if (outcome instanceof Socket) {
      const terms = outcome.extensions === '' ? plain : termsOf(answered)
      return new WsTransport(outcome, request.socket, terms)
    }
    throw outcome instanceof Error
      ? new PeerConnectError(outcome.message, { status: 400, reason: 'request' })
      : new PeerConnectError('the peer has left', { status: 0, reason: 'left' })
  }
}

/** Takes the offers off a request that make no sense: `ws` would refuse it, RFC 7692 §7.1 doesn't. */
function decline({ headers }: IncomingMessage): void {
  const offers = listed(headers)
  const sensible = offers.filter((offer) => makesSense(offer, 'client'))
  if (sensible.length === offers.length) return
  headers['sec-websocket-extensions'] = extension.format({ [EXTENSION]: sensible })
  if (sensible.length === 0) delete headers['sec-websocket-extensions']
}

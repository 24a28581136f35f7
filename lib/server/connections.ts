import debug from 'debug'
import type { CloseReason } from '../connection/close-codes.ts'
import type { ConnectionOwner } from '../connection/connection-owner.ts'
import { WebsocketConnection, type AnyConnection } from '../connection/connection.ts'
import type { Counts } from '../connection/counts.ts'
import { Keepalive } from '../connection/keepalive.ts'
import { PreparedMessage, toBytes, toData, type Data } from '../connection/message.ts'
import { RateLimiter } from '../connection/rate-limiter.ts'
import { WebsocketError } from '../errors.ts'
import { escapeText } from '../format.ts'
import { CODEC, EMITTER } from '../internal.ts'
import type { ServerSettings } from '../options/server.ts'
import { RoomRegistry } from '../rooms/registry.ts'
import type { ReadonlyRoom } from '../rooms/room.ts'
import type { Transport } from '../transport/transport.ts'
import { diagnostics, recordDrop } from './diagnostics.ts'
import type { PendingPeer } from './extension.ts'
import type { AddressLimit } from './handshake/address-limit.ts'
import type { RequestDetails } from './handshake/request.ts'
import type { ServerEmitter } from './server-emitter.ts'

const log = debug('simplewebsockets:server')

/** An accepted peer, before its connection exists. */
interface AcceptedPeer {
  readonly transport: Transport
  readonly request: RequestDetails
  readonly context: object | undefined
  /** The peer as the server's extension knows it. */
  readonly pendingPeer: PendingPeer | undefined
}

/** The connections of a server, and the rooms that they are in. */
export class Connections {
  readonly rooms: RoomRegistry<AnyConnection>
  /** The room of all connections. */
  readonly clients: ReadonlyRoom<AnyConnection, unknown>
  readonly #emitter: ServerEmitter
  readonly #counts: Counts
  readonly #addressLimit: AddressLimit
  readonly #connectionOwner: ConnectionOwner

  constructor(
    settings: ServerSettings,
    emitter: ServerEmitter,
    counts: Counts,
    addressLimit: AddressLimit,
  ) {
    const { keepaliveTimeout, backplane, binary, messages, rateLimit } = settings
    const prepare = (data: Data): PreparedMessage =>
      new PreparedMessage(binary ? toBytes(data) : data)
    this.#emitter = emitter
    this.#counts = counts
    this.#addressLimit = addressLimit
    this.rooms = new RoomRegistry({
      backplane,
      encode: messages && ((message) => toData(messages[CODEC].encode(message))),
      prepare,
      ...emitter.errorSink,
      reportFailure: (error) => emitter.reportFailure(error),
      countDrop: () => recordDrop(counts, 'backplane'),
      onMembershipChange: (change, room, connection) => {
        if (!diagnostics[change].hasSubscribers || room.name === undefined) return
        diagnostics[change].publish({ room: room.name, connection })
      },
    })
    this.clients = this.rooms.clients()
    this.#connectionOwner = {
      side: 'server',
      settings,
      keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
      counts,
      diagnostics,
      makeRateLimiter: rateLimit ? () => new RateLimiter(rateLimit) : undefined,
      ...emitter.errorSink,
      broadcast: (from, data) => this.rooms.emitToClients(prepare(data), from),
      onClose: (connection, reason) => this.#onClosed(connection, reason),
    }
  }

  /** Opens the connection of an accepted peer, and emits `client`. */
  open(peer: AcceptedPeer): AnyConnection {
    const { transport, request, context, pendingPeer } = peer
    const connection = new WebsocketConnection(this.#connectionOwner, transport, request, context)
    if (pendingPeer) connection[EMITTER].setSink(pendingPeer.accept(connection))
    this.#addressLimit.add(request.remoteAddress)
    if (log.enabled) log('%s connected from %s', connection.id, request.remoteAddress)
    this.rooms.admit(connection)
    if (diagnostics.open.hasSubscribers) diagnostics.open.publish({ connection })
    this.#emitter.emit('client', connection)
    return connection
  }

  /** Closes all connections. Resolves when they have closed. */
  async closeAll(reason: CloseReason): Promise<void> {
    await Promise.all([...this.clients].map((client) => this.close(client, reason)))
  }

  /** Closes a connection. If that fails, terminates its transport and reports the failure. */
  async close(client: AnyConnection, { code, description }: CloseReason): Promise<void> {
    try {
      await client.close(code, description)
    } catch (cause) {
      client[EMITTER].transport.terminate()
      this.#emitter.reportFailure(new WebsocketError(cause))
    }
  }

  #onClosed(connection: AnyConnection, { code, description }: CloseReason): void {
    if (log.enabled) log('%s closed: %d %s', connection.id, code, escapeText(description))
    this.#counts.bytesReceived += connection[EMITTER].transport.bytesReceived
    this.#counts.bytesSent += connection[EMITTER].transport.bytesSent ?? 0
    this.#addressLimit.delete(connection.request.remoteAddress)
    this.rooms.removeFromAll(connection)
  }
}

import debug from 'debug'
import type { RefusedChannel } from '../backplane/backplane.ts'
import { WebsocketConnection } from '../connection/connection.ts'
import type { Counts } from '../connection/counts.ts'
import type { Data, SendData } from '../connection/message.ts'
import { WebsocketError, type ConnectError } from '../errors.ts'
import { Emitter, type ErrorSink, type EventSpec } from '../events/emitter.ts'
import { formatLogLine } from '../format.ts'
import { EMITTER } from '../internal.ts'
import { recordDrop } from './diagnostics.ts'
import type { PeerConnectError } from './handshake/peer-connect-error.ts'

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
export interface ServerEvents<
  Context extends object = {},
  In = Data,
  Out = SendData,
  Path extends string = string,
> {
  /** The address that the server now listens on. */
  listening: Address
  /** The connection of a client that the server has accepted. */
  client: WebsocketConnection<Context, In, Out, Path>
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

const SPEC: EventSpec<ServerEvents> = {
  kind: 'server',
  reopens: true,
  events: ['listening', 'client', 'connectError', 'peerError', 'error', 'backplane', 'closed'],
  terminalEvent: 'closed',
  admissionEvent: 'client',
}

/** The emitter of a server, where the failures of all its parts arrive. */
export class ServerEmitter extends Emitter<ServerEvents> {
  /** The sink for the errors of the server's connections and rooms. */
  readonly errorSink: ErrorSink = {
    reportError: (error) => this.reportError(error),
    onDropped: () => this.onDropped(),
  }
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

  /** Reports a failure that belongs to no connection. */
  reportFailure(error: WebsocketError): void {
    if (!this.reportError(error)) log('%s: %s', error.message, formatLogLine(error.cause))
  }

  /** Runs one step of closing. A failure is reported, and the other steps follow. */
  async attempt(step: () => unknown): Promise<void> {
    try {
      await step()
    } catch (cause) {
      this.reportFailure(new WebsocketError(cause))
    }
  }
}

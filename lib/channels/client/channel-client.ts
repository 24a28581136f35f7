import { resolveClient } from '#options'
import * as defaultNetwork from '#transport'
import { WebsocketClient, ClientEmitter } from '../../client/client.ts'
import { ConnectAborted, type UrlSource } from '../../client/connect.ts'
import type { CloseReason } from '../../connection/close-codes.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import type { WebsocketError } from '../../errors.ts'
import { Emitter, type EventSpec } from '../../events/emitter.ts'
import { listen } from '../../events/listen.ts'
import type { Listenable } from '../../events/listenable.ts'
import { inspectLine } from '../../format.ts'
import { OPEN_WITH, INSPECT, EMITTER, type EVENTS } from '../../internal.ts'
import { deferred, markHandled } from '../../promises.ts'
import type { Network } from '../../transport/transport.ts'
import { checkNames, invalidValue } from '../../validation.ts'
import type { Channel, AnyEvents } from '../channel.ts'
import type { InferInput, StandardSchema } from '../../messages/standard-schema.ts'
import type { Contract, InferInputs, InferOutputs } from '../contract/contract.ts'
import type { ServerFrame } from '../protocol/serializer.ts'
import { ClientChannel } from './client-channel.ts'
import { endpointUrl } from './endpoint-url.ts'
import {
  resolveChannelClient,
  type ChannelClientOptions,
  type ChannelClientSettings,
} from './options.ts'
import type { Credentials } from './retry-policy.ts'
import { ClientSocket } from './socket.ts'

/** The events of a channel client. */
export interface ChannelClientEvents {
  /** Emitted each time the client has connected to its server. */
  open: void
  /** A frame of the server, decoded. */
  message: ServerFrame
  /**
   * The error of a failed attempt to connect or of an invalid frame of the server, or an error that
   * no listener of its channel received.
   */
  error: WebsocketError
  /** The reason why the connection was lost or closed, each time. */
  close: CloseReason
  /**
   * The reason why the client doesn't connect again: `close()` was called, or the client has given
   * up, which closes its channels. Emitted once for each `open`.
   */
  closed: CloseReason
}

/** The payload type of a join, as the schema of a contract accepts it. */
export type JoinPayload<Schema> = [Schema] extends [StandardSchema] ? InferInput<Schema> : unknown

const EVENT_SPEC: EventSpec<ChannelClientEvents> = {
  kind: 'channel client',
  reopens: true,
  events: ['open', 'message', 'error', 'close', 'closed'],
  terminalEvent: 'closed',
}

/**
 * A client that joins channels: of a `ChannelServer`, of Phoenix, or of Amber.
 *
 * It connects again by itself, and then its channels join again.
 */
export class ChannelClient implements Listenable<ChannelClientEvents> {
  /** @hidden */
  declare readonly [EVENTS]?: ChannelClientEvents
  readonly #settings: ChannelClientSettings
  readonly #emitter = new Emitter<ChannelClientEvents>(EVENT_SPEC)
  readonly #client: WebsocketClient
  readonly #socket: ClientSocket
  readonly #credentials: Credentials
  /** Whether the credentials in the options may change. `open` also considers the url. */
  readonly #optionsMayChange: boolean
  /** Whether a listener received the error of the last attempt. */
  #hasReportedError = false
  /** Whether the program has called `close` since the client was opened. */
  #wasClosed = false
  /** The program's signal that ends the client. */
  #signal: AbortSignal | undefined

  /** @throws TypeError for an unknown option, and for an invalid value. */
  constructor(options?: ChannelClientOptions) {
    const { settings, clientOptions, credentials } = resolveChannelClient(options)
    const client = new WebsocketClient(clientOptions)
    this.#settings = settings
    this.#client = client
    this.#credentials = credentials
    this.#optionsMayChange = credentials.mayChange
    this.#socket = new ClientSocket(settings, resolveClient(clientOptions), this.#emitter)
    listen(client, 'connect', (connection) => this.#socket.onConnected(connection))
    listen(client, 'connectError', (error) => {
      this.#socket.log('transport', error.message, error)
      this.#hasReportedError = this.#emitter.reportError(error)
    })
    // Its declared type is plainer, because the types of a page's listeners are inferred from it.
    const clientEmitter = client[EMITTER]
    if (clientEmitter instanceof ClientEmitter) clientEmitter.errorSink = this.#emitter
    listen(client, 'closed', (reason) => {
      // Without `reconnect`, the program decides when to open again, so the channels wait for that.
      const isStopped = this.#wasClosed || this.#signal?.aborted === true
      if (clientOptions.reconnect !== false && !isStopped) this.#socket.onGaveUp(reason)
      this.#socket.keepAlive(false)
      this.#emitter.end(reason)
    })
  }

  /** @hidden */
  get [EMITTER](): Emitter<ChannelClientEvents> {
    return this.#emitter
  }

  /** Whether the client is connected. */
  get isOpen(): boolean {
    return this.#client.isOpen
  }

  /**
   * Connects to the url where a server mounts its channels, and resolves once the client is
   * connected. The client adds to the url what the protocol needs: for Phoenix, `/websocket` and
   * `vsn`. In a page the url may be relative.
   *
   * The promise rejects with a `ConnectError` when the client gives up. By itself the client gives
   * up only without `reconnect`, or when the server answers with an HTTP status that is final (see
   * `reconnect`). Don't ignore that rejection: await the promise, or listen to `error`. When the
   * signal is aborted, the client gives up at once.
   */
  open(url: UrlSource, options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    checkNames(options, ['signal'])
    const { promise, resolve, reject } = deferred<void>()
    const onFailure = (error: unknown): void => {
      if (this.#hasReportedError || error instanceof ConnectAborted) markHandled(promise)
      reject(error)
    }
    this[OPEN_WITH](defaultNetwork, url, options.signal).then(() => resolve(), onFailure)
    return promise
  }

  /**
   * Closes the connection, or stops connecting. The channels wait until the client is opened again.
   * Joins and pushes that wait meanwhile don't keep the process alive.
   */
  close(): Promise<void> {
    // A client that was never opened emits no `closed`, so this can't wait for that event.
    this.#socket.keepAlive(false)
    this.#wasClosed = true
    return this.#client.close()
  }

  /** Closes the client at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Creates a channel of a topic. Its `join` sends the payload; a function is called at every join
   * and returns the payload.
   *
   * `In` maps the events that the server sends to their payloads, and `Out` those that it receives.
   */
  channel<In extends object = AnyEvents, Out extends object = AnyEvents>(
    topic: string,
    payload?: unknown,
  ): Channel<In, Out>
  /**
   * Creates a channel with the contract of the server's topic. The contract gives the types of both
   * directions, and its `out` schemas check what arrives: an invalid message becomes an `error` of
   * the channel.
   *
   * @throws TypeError for a value that isn't a contract.
   */
  channel<const TopicContract extends Contract>(
    topic: string,
    payload:
      | JoinPayload<TopicContract['join']>
      | (() => JoinPayload<TopicContract['join']> | Promise<JoinPayload<TopicContract['join']>>),
    contract: TopicContract,
  ): Channel<InferOutputs<TopicContract['out']>, InferInputs<TopicContract['in']>>
  channel(topic: string, payload?: unknown, contract?: Contract): Channel {
    if (typeof topic !== 'string') throw invalidValue('a topic', 'a string', topic)
    return new ClientChannel(this.#socket, topic, payload, contract)
  }

  /** @internal */
  get [Symbol.toStringTag](): string {
    return 'ChannelClient'
  }

  /** @internal */
  [INSPECT](): string {
    return inspectLine(this, this.isOpen ? 'open' : 'closed')
  }

  /** @hidden */
  [OPEN_WITH](
    network: Network,
    url: UrlSource,
    signal?: AbortSignal,
  ): Promise<WebsocketConnection> {
    const { params, serializer } = this.#settings
    return this.#client[OPEN_WITH](
      {
        dial: network.dial,
        // The client calls this once it has begun to open. Before that, a failed `open` must not
        // change the state of this client.
        onWake: (callback) => {
          this.#credentials.mayChange = this.#optionsMayChange || typeof url === 'function'
          this.#wasClosed = false
          this.#signal = signal
          this.#emitter.reopen()
          this.#socket.keepAlive(true)
          return network.onWake(() => {
            this.#socket.onNetworkWake()
            callback()
          })
        },
      },
      endpointUrl(url, params, serializer),
      signal,
    )
  }
}

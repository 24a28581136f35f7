import { resolveClient } from '#options'
import * as network from '#transport'
import { Stopped, type Url } from '../attempt.ts'
import { OPEN_BY, REPORT_TO, STOPPED, WebsocketClient, type Opener } from '../client.ts'
import type { WebsocketConnection } from '../connection.ts'
import { unexpected } from '../errors.ts'
import { listen } from '../listen.ts'
import { checkNames } from '../options/rules.ts'
import { deferred, handled } from '../promises.ts'
import { SIGNALS, Signals, type Plan, type Target } from '../signals.ts'
import type { Network } from '../transport/transport.ts'
import { addressOf } from './address.ts'
import {
  resolveChannelClient,
  type ChannelClientOptions,
  type ChannelClientSettings,
  type Credentials,
} from './asking.ts'
import type { Channel, Loose } from './channel.ts'
import type { Contract, Input, Inputs, Outputs, StandardSchema } from './contract.ts'
import { ClientChannel } from './member.ts'
import { Wire, type ChannelClientEvents } from './wire.ts'

/** What a client joins with, as the schema of a contract takes it. */
export type JoinPayload<Schema> = [Schema] extends [StandardSchema] ? Input<Schema> : unknown

const PLAN: Plan<ChannelClientEvents> = {
  kind: 'channel client',
  revives: true,
  events: ['open', 'message', 'error', 'close', 'closed'],
  end: 'closed',
}

/**
 * Is what joins channels: of a `ChannelServer`, of Phoenix, or of Amber.
 *
 * It connects again by itself, and its channels join again.
 */
export class ChannelClient implements Target<ChannelClientEvents>, Opener {
  readonly #settings: ChannelClientSettings
  readonly #signals = new Signals<ChannelClientEvents>(PLAN)
  readonly #client: WebsocketClient
  readonly #wire: Wire
  readonly #credentials: Credentials
  /** Whether the credentials that its options give may change; those of a url are told by `open`. */
  readonly #mayChange: boolean
  /** Whether somebody heard that an attempt failed. */
  #heard = false

  /** @throws TypeError for an option that is unknown or can't be. */
  constructor(options?: ChannelClientOptions) {
    const { settings, dialling, credentials } = resolveChannelClient(options)
    const client = new WebsocketClient(dialling)
    this.#settings = settings
    this.#client = client
    this.#credentials = credentials
    this.#mayChange = credentials.mayChange
    this.#wire = new Wire(settings, resolveClient(dialling), this.#signals)
    listen(client, 'connect', (connection) => this.#wire.connected(connection))
    listen(client, 'connectError', (error) => {
      this.#wire.log('transport', error.message, error)
      this.#heard = this.#signals.report(error)
    })
    client[REPORT_TO](this.#signals)
    listen(client, 'closed', (reason) => {
      // Where it doesn't connect again by itself, the channels wait for the program to open it.
      const hasGivenUp = dialling.reconnect !== false && !client[STOPPED]
      if (hasGivenUp) this.#wire.gaveUp(reason)
      this.#wire.keepAlive(false)
      this.#signals.end(reason)
    })
  }

  /** @hidden */
  get [SIGNALS](): Signals<ChannelClientEvents> {
    return this.#signals
  }

  /** Whether it is connected. */
  get isOpen(): boolean {
    return this.#client.isOpen
  }

  /**
   * Connects to where a server's channels are mounted, and resolves once that is done; what the
   * dialect wants is added to the url, in Phoenix `/websocket` and `vsn`. In a page the url may be
   * relative.
   *
   * It rejects with a `ConnectError` when it gives up: by itself only without `reconnect`, or when the
   * server answers with an HTTP status that is final, as `reconnect` says. Don't leave that unseen:
   * await it, or listen to `error`. An aborted signal gives up at once.
   */
  open(url: Url, options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    checkNames(options, ['signal'])
    const { promise, resolve, reject } = deferred<void>()
    const failed = (error: unknown): void => {
      if (this.#heard || error instanceof Stopped) handled(promise)
      reject(error)
    }
    this[OPEN_BY](network, url, options.signal).then(() => resolve(), failed)
    return promise
  }

  /**
   * Closes the connection, or gives up to open one; the channels wait until it is opened again. Joins
   * and pushes that wait meanwhile don't keep the process alive.
   */
  close(): Promise<void> {
    this.#wire.keepAlive(false) // also where it was never opened, so that `closed` doesn't come
    return this.#client.close()
  }

  /** Closes at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Makes a channel of a topic, to be joined with a payload; a function is asked for it at every join.
   *
   * `In` is what the server sends and `Out` what it is sent, by their events.
   */
  channel<In extends object = Loose, Out extends object = Loose>(
    topic: string,
    payload?: unknown,
  ): Channel<In, Out>
  /**
   * Makes a channel with the contract of its server's topic: both ends are typed by it, and what
   * arrives is checked by `out`. What isn't as it says is an `error` of the channel.
   *
   * @throws TypeError for what isn't a contract.
   */
  channel<const Terms extends Contract>(
    topic: string,
    payload:
      | JoinPayload<Terms['join']>
      | (() => JoinPayload<Terms['join']> | Promise<JoinPayload<Terms['join']>>),
    contract: Terms,
  ): Channel<Outputs<Terms['out']>, Inputs<Terms['in']>>
  channel(topic: string, payload?: unknown, contract?: Contract): Channel {
    if (typeof topic !== 'string') throw unexpected('a topic', 'a string', topic)
    return new ClientChannel(this.#wire, topic, payload, contract)
  }

  /** @hidden */
  [OPEN_BY](by: Network, url: Url, signal?: AbortSignal): Promise<WebsocketConnection> {
    const { params, serializer } = this.#settings
    return this.#client[OPEN_BY](
      {
        dial: by.dial,
        // The client asks for this once it has begun to open: before that nothing may change.
        onWake: (callback) => {
          this.#credentials.mayChange = this.#mayChange || typeof url === 'function'
          this.#signals.revive()
          this.#wire.keepAlive(true)
          return by.onWake(() => {
            this.#wire.woken()
            callback()
          })
        },
      },
      addressOf(url, params, serializer),
      signal,
    )
  }
}

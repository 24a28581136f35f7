import { resolveClient } from '#options'
import * as network from '#transport'
import debug from '#debug'
import { Impossible, Postponed, reach, Stopped, stoppedBy, type Url } from './attempt.ts'
import { closeReason, sendableReason, type CloseReason } from './close.ts'
import type { Maker } from './connection-core.ts'
import { WebsocketConnection } from './connection.ts'
import { newCounts } from './counts.ts'
import { escaped, logTextOf } from './error-text.ts'
import { ConnectError, type WebsocketError } from './errors.ts'
import { Keepalive } from './keepalive.ts'
import { once } from './listen.ts'
import type { ClientOptions, ClientSettings } from './options/client.ts'
import { checkNames, checkSignal } from './options/rules.ts'
import { deferred, handled, type Deferred } from './promises.ts'
import { dialledHeaders, RequestDetails } from './request.ts'
import { Retries, type Retry } from './retries.ts'
import { SIGNALS, Signals, type Hearer, type Plan, type Target } from './signals.ts'
import type { Call, Network, Transport } from './transport/transport.ts'

const log = debug('simplewebsockets:client')

/** The events of a client. */
export interface ClientEvents {
  /** It has reached its server. */
  connect: WebsocketConnection
  /** It could not reach its server: an attempt has failed. */
  connectError: ConnectError
  /** It waits to connect again, with `reconnect`. */
  retry: Retry
  /** Something failed that nobody heard of where it happened. */
  error: WebsocketError
  /** Its connection has closed or it gave up to open one, and it doesn't connect again. */
  closed: CloseReason
}

/** Names the method that opens by another way than the network. */
export const OPEN_BY: unique symbol = Symbol('open by')

/** Names the method that says what receives errors when a client has no `error` listener. */
export const REPORT_TO: unique symbol = Symbol('reportTo')

/** Names the property that tells whether a client closed because the program wanted it to. */
export const STOPPED: unique symbol = Symbol('stopped')

/** What opens by another way than the network, too. */
export interface Opener {
  /** Connects by a network. */
  [OPEN_BY](network: Network, url: Url, signal?: AbortSignal): Promise<WebsocketConnection>
}

const PLAN: Plan<ClientEvents> = {
  kind: 'client',
  revives: true,
  events: ['connect', 'connectError', 'retry', 'error', 'closed'],
  end: 'closed',
}

class ClientSignals extends Signals<ClientEvents> {
  /** The target that receives errors when the client has no `error` listener. */
  hearer: Hearer | undefined

  constructor() {
    super(PLAN)
  }

  override get parent(): Hearer | undefined {
    return this.hearer
  }

  /** A connection whose `connect` listener failed was never set up, whether that was heard or not. */
  override listenerFailed(value: unknown): void {
    if (value instanceof WebsocketConnection) value[SIGNALS].fail()
  }
}

/** What goes on from `open` to `closed`. */
interface Life {
  readonly network: Network
  readonly url: Url
  readonly stop: AbortController
  readonly opening: Deferred<WebsocketConnection>
  /** Lets the program's own signal stop it, from now on. */
  readonly heed: () => void
  readonly ignore: () => void
  readonly retries: Retries
  /** Finds out whether the peer of the connection is still there. */
  probe: () => void
  /** Whether somebody heard that an attempt failed. */
  heard: boolean
  /** Whether all that is left of it is to tell its end: the client may be opened again. */
  mayFollow: boolean
  /** Settles, always well, when it is over. */
  over: Promise<void>
}

/** Is what connects to a server: `open` yields a `connect` event with the connection. */
export class WebsocketClient implements Target<ClientEvents>, Opener {
  readonly #settings: ClientSettings
  readonly #signals = new ClientSignals()
  readonly #maker: Maker
  #connection: WebsocketConnection | undefined
  #life: Life | undefined

  /** @throws TypeError for an option that is unknown or can't be. */
  constructor(options?: ClientOptions) {
    const settings = resolveClient(options)
    const { keepaliveTimeout } = settings
    this.#settings = settings
    this.#maker = {
      side: 'client',
      settings,
      keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
      counts: newCounts(),
      report: (error) => this.#signals.report(error),
      broadcast: () => {},
      gone: (_, reason) => this.#gone(reason),
    }
  }

  /** @internal */
  [STOPPED] = false

  /** @hidden */
  get [SIGNALS](): Signals<ClientEvents> {
    return this.#signals
  }

  /** The connection, while there is one. */
  get connection(): WebsocketConnection | undefined {
    return this.#connection
  }

  /** Whether there is a connection, and it is open. */
  get isOpen(): boolean {
    return this.#connection?.isOpen === true
  }

  /**
   * Connects to a server, and resolves with the connection; `connect` has it too.
   *
   * It rejects with a `ConnectError` when it can't; with `reconnect`, when it gives up to try. Don't
   * leave that unseen: await it, or listen to `connectError`. An aborted signal gives up at once; a
   * connection that there is then goes on, and is the last one.
   *
   * @throws TypeError for an option that is unknown or can't be; nothing is changed then.
   */
  open(url: Url, options: { signal?: AbortSignal | undefined } = {}): Promise<WebsocketConnection> {
    checkNames(options, ['signal'])
    return this[OPEN_BY](network, url, options.signal)
  }

  /**
   * Closes the connection, or gives up to open one, and resolves when that is done. It doesn't
   * connect again, whatever `reconnect` says.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(code = 1000, description = ''): Promise<void> {
    const reason = sendableReason(code, description)
    const life = this.#life
    const connection = this.#connection
    life?.stop.abort(new Stopped(reason))
    return this.#waitForEnd(life, connection, connection?.close(code, description))
  }

  /** Closes with 1000 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [REPORT_TO](hearer: Hearer): void {
    this.#signals.hearer = hearer
  }

  /** @hidden */
  [OPEN_BY](network: Network, url: Url, signal?: AbortSignal): Promise<WebsocketConnection> {
    checkSignal(signal)
    const opening = deferred<WebsocketConnection>()
    if (this.#life?.mayFollow === false) {
      const state = this.#connection ? 'open' : 'opening'
      const error = new ConnectError(`the client is ${state} already: close it first`)
      if (this.#signals.emit('connectError', error)) handled(opening.promise)
      opening.reject(error)
      return opening.promise
    }
    this.#signals.revive()
    const stop = new AbortController()
    const life: Life = {
      network,
      url,
      opening,
      stop,
      ...heeding(signal, stop),
      retries: new Retries(this.#settings.reconnect, (cause) =>
        this.#signals.failed('retry', cause, undefined),
      ),
      probe: () => {},
      heard: false,
      mayFollow: false,
      over: Promise.resolve(),
    }
    this.#life = life
    life.heed()
    const sleep = network.onWake(() => this.#woken(life))
    life.over = this.#live(life).then((cause) => {
      sleep()
      life.ignore()
      this.#end(life, cause)
    })
    return opening.promise
  }

  async #waitForEnd(
    life: Life | undefined,
    connection: WebsocketConnection | undefined,
    closing: Promise<unknown> | undefined,
  ): Promise<void> {
    await closing
    // Where a listener still takes messages it may be the one that waits for this.
    if (!connection || connection[SIGNALS].over) await life?.over
  }

  /** Connects, and again, until that is of no use or is stopped; resolves with what it ended with. */
  async #live(life: Life): Promise<ConnectError | CloseReason> {
    const { signal } = life.stop
    for (;;) {
      const cause = await this.#attempt(life)
      const isLast = signal.aborted || cause instanceof Impossible
      const retry = isLast ? undefined : life.retries.next(cause)
      if (!retry) return cause
      await this.#wait(life, retry)
      const stopped = stoppedBy(signal)
      if (stopped) return stopped
    }
  }

  /** Makes one attempt, and waits for the end of what it came to. */
  async #attempt(life: Life): Promise<ConnectError | CloseReason> {
    const { stop } = life
    const reached = await this.#reach(life)
    if (!(reached instanceof ConnectError)) return once(reached, 'close')
    life.mayFollow = this.#isLast(life)
    if (reached instanceof Stopped) return reached
    log('could not connect: %s', logTextOf(reached))
    life.heard = this.#signals.emit('connectError', reached)
    return stoppedBy(stop.signal) ?? reached
  }

  /** Reaches a server, as soon as the one that the url names may be dialled. */
  async #reach(life: Life): Promise<WebsocketConnection | ConnectError> {
    const { network, url, stop, retries } = life
    for (;;) {
      retries.begin()
      const reached = await reach({
        dial: network.dial,
        url,
        settings: this.#settings,
        signal: stop.signal,
        remaining: (server) => retries.remaining(server),
        opened: (transport, call) => this.#connected(life, transport, call),
      })
      if (!(reached instanceof Postponed)) return reached
      await this.#wait(life, retries.postpone(reached.milliseconds))
    }
  }

  /** Waits for the next attempt, and tells of it. */
  async #wait({ stop: { signal }, retries }: Life, retry: Retry): Promise<void> {
    log('tries again in %d ms, attempt %d', retry.delay, retry.attempt)
    if (!signal.aborted) this.#signals.emit('retry', retry)
    await retries.wait(retry, signal)
  }

  #connected(
    life: Life,
    transport: Transport,
    { url, headers, protocols }: Call,
  ): WebsocketConnection {
    const request = new RequestDetails({
      url: url.href,
      rawHeaders: dialledHeaders(url, headers, protocols),
      remoteAddress: url.hostname,
    })
    const connection = new WebsocketConnection(this.#maker, transport, request)
    this.#connection = connection
    life.ignore()
    life.retries.connected()
    life.probe = prober(transport, connection)
    log('connected to %s', url.host)
    this.#signals.emit('connect', connection)
    life.opening.resolve(connection)
    return connection
  }

  /** The transport of its connection has ended; the `close` event is still to come. */
  #gone({ code, description }: CloseReason): void {
    log('closed: %d %s', code, escaped(description))
    const life = this.#life
    this.#connection = undefined
    if (!life) return
    life.heed()
    life.retries.lost()
    life.mayFollow = this.#isLast(life)
  }

  /** Tells whether nothing comes after this attempt, or this connection, whatever becomes of it. */
  #isLast({ stop }: Life): boolean {
    return this.#settings.reconnect === false || stop.signal.aborted
  }

  /** There is reason to believe that the network came back. */
  #woken({ retries, probe }: Life): void {
    if (this.#connection) probe()
    else retries.wake()
  }

  /** After everything else the client has closed, unless it was opened again. */
  #end(life: Life, cause: ConnectError | CloseReason): void {
    const failed = cause instanceof ConnectError
    if (life.heard || cause instanceof Stopped) handled(life.opening.promise)
    if (failed) life.opening.reject(cause)
    if (this.#life !== life) return
    this.#life = undefined
    this[STOPPED] = life.stop.signal.aborted
    if (cause instanceof Stopped) this.#signals.end(cause.reason)
    else this.#signals.end(failed ? closeReason(1006, cause.message) : cause)
  }
}

/** A signal is listened to while there is something to stop: many connections may share one. */
function heeding(
  signal: AbortSignal | undefined,
  stop: AbortController,
): Pick<Life, 'heed' | 'ignore'> {
  const aborted = (): void => {
    stop.abort(new Stopped(closeReason(1006, 'aborted'), signal?.reason))
  }
  return {
    heed: () => {
      signal?.addEventListener('abort', aborted, { once: true })
      if (signal?.aborted) aborted()
    },
    ignore: () => signal?.removeEventListener('abort', aborted),
  }
}

/** Makes what finds out whether a peer is still there; asked often, it pings once at a time. */
function prober(transport: Transport, connection: WebsocketConnection): () => void {
  if (transport.probe) return () => transport.probe?.()
  let pinging = false
  const answered = (): void => {
    pinging = false
  }
  return () => {
    if (pinging) return
    pinging = true
    connection.ping().then(answered, answered)
  }
}

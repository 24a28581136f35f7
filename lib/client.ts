import { dial as dialHere } from '#transport'
import debug from 'debug'
import { closeReason, sendableReason, type CloseReason } from './close.ts'
import { WebsocketConnection, type Maker } from './connection.ts'
import {
  ConnectError,
  messageOf,
  unexpected,
  type CallbackError,
  type WebsocketError,
} from './errors.ts'
import { Keepalive } from './keepalive.ts'
import { once } from './listen.ts'
import {
  areHeaders,
  areProtocols,
  checkNames,
  resolveClient,
  type Asked,
  type ClientOptions,
  type ClientSettings,
} from './options.ts'
import { deferred, handled } from './promises.ts'
import { dialledHeaders, RequestDetails } from './request.ts'
import { SIGNALS, Signals, type Plan, type Target } from './signals.ts'
import type { Call, Dial, Transport } from './transport/transport.ts'

const log = debug('simplewebsockets:client')

/** The events of a client. */
export interface ClientEvents {
  /** It has reached its server. */
  connect: WebsocketConnection
  /** It could not reach its server. */
  connectError: ConnectError
  /** Something failed that nobody heard of where it happened. */
  error: WebsocketError
  /** Its connection has closed, or it gave up to open one. */
  closed: CloseReason
}

/** Where a server is: a url, or a function asked for it at every attempt, so it can be fresh. */
export type Url = Asked<string | URL>

/** Names the method that opens by another way than the network. */
export const OPEN_BY: unique symbol = Symbol('open by')

const PLAN: Plan<ClientEvents> = {
  kind: 'client',
  revives: true,
  events: ['connect', 'connectError', 'error', 'closed'],
  end: 'closed',
}

// Those of the handshake itself are made anew for each.
const OWN_HEADERS = /^(?:connection|upgrade|sec-websocket-.*)$/i

class ClientSignals extends Signals<ClientEvents> {
  constructor() {
    super(PLAN)
  }

  /** A connection whose listener failed unheard is without what the listener was to do for it. */
  override unheard(_: CallbackError, value: unknown): void {
    if (value instanceof WebsocketConnection) value.close(1011)
  }
}

/** Why an attempt was stopped from here: nobody has to be told that it failed. */
class Stopped extends ConnectError {
  readonly reason: CloseReason

  constructor(reason: CloseReason, cause?: unknown) {
    super(`gave up to connect: ${cause === undefined ? reason.description : messageOf(cause)}`, {
      cause,
    })
    this.reason = reason
  }
}

/** Is what connects to a server: `open` yields a `connect` event with the connection. */
export class WebsocketClient implements Target<ClientEvents> {
  readonly #settings: ClientSettings
  readonly #signals = new ClientSignals()
  readonly #maker: Maker
  #connection: WebsocketConnection | undefined
  #attempt: AbortController | undefined
  #opening: Promise<void> | undefined // settles, always well, when the attempt has ended

  /** @throws TypeError for an option that is unknown or can't be. */
  constructor(options?: ClientOptions) {
    const settings = resolveClient(options)
    const { keepaliveTimeout } = settings
    this.#settings = settings
    this.#maker = {
      side: 'client',
      settings,
      keepalive: keepaliveTimeout === false ? undefined : new Keepalive(keepaliveTimeout),
      counts: { received: 0, sent: 0, dropped: 0 },
      report: (error) => this.#signals.report(error),
      broadcast: () => {},
      gone: (connection) => this.#gone(connection),
    }
  }

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
   * Connects to a server, and resolves with the connection; `connect` has it too. An aborted signal
   * gives up.
   *
   * It rejects with a `ConnectError` when it can't. Don't leave that unseen: await it, or listen to
   * `connectError`.
   */
  open(url: Url, options: { signal?: AbortSignal | undefined } = {}): Promise<WebsocketConnection> {
    checkNames(options, ['signal'])
    return this[OPEN_BY](dialHere, url, options.signal)
  }

  /**
   * Closes the connection, or gives up to open one, and resolves when that is done.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(code = 1000, description = ''): Promise<void> {
    const reason = sendableReason(code, description)
    this.#attempt?.abort(new Stopped(reason))
    const closing = this.#connection?.close(code, description) ?? this.#opening
    return Promise.resolve(closing).then(() => {})
  }

  /** Closes with 1000 at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [OPEN_BY](dial: Dial, url: Url, signal?: AbortSignal): Promise<WebsocketConnection> {
    const { promise, resolve, reject } = deferred<WebsocketConnection>()
    const state = this.#attempt ? 'opening' : this.#connection && 'open'
    if (state) {
      const error = new ConnectError(`the client is ${state} already: close it first`)
      if (this.#signals.emit('connectError', error)) handled(promise)
      reject(error)
      return promise
    }
    this.#signals.revive()
    const attempt = (this.#attempt = new AbortController())
    const aborted = (): void =>
      attempt.abort(new Stopped(closeReason(1006, 'aborted'), signal?.reason))
    signal?.addEventListener('abort', aborted, { once: true })
    if (signal?.aborted) aborted()
    this.#opening = this.#reach(dial, url, attempt)
      .finally(() => signal?.removeEventListener('abort', aborted))
      .then(resolve, (cause: unknown) => {
        this.#attempt = undefined
        const error = cause instanceof ConnectError ? cause : new ConnectError(cause)
        log('could not connect: %s', error.message)
        const seen = error instanceof Stopped || this.#signals.emit('connectError', error)
        if (seen) handled(promise)
        reject(error)
        this.#signals.end(
          error instanceof Stopped ? error.reason : closeReason(1006, error.message),
        )
      })
    return promise
  }

  /** Makes one attempt to connect, unless it is aborted. */
  #reach(dial: Dial, url: Url, attempt: AbortController): Promise<WebsocketConnection> {
    const { connectTimeout } = this.#settings
    const { promise, resolve, reject } = deferred<WebsocketConnection>()
    const late = (): void =>
      attempt.abort(new ConnectError(`no answer within ${connectTimeout} ms`))
    const timer = setTimeout(late, connectTimeout)
    let giveUp = (): void => {}
    const stop = (): void => {
      giveUp()
      reject(attempt.signal.reason)
    }
    attempt.signal.addEventListener('abort', stop, { once: true })
    const prepared = (call: Call): void => {
      if (attempt.signal.aborted) return
      giveUp = dial(call, {
        opened: (transport) => resolve(this.#connected(transport, call)),
        failed: reject,
      })
      if (attempt.signal.aborted) giveUp() // while it dialled
    }
    if (attempt.signal.aborted) stop()
    else this.#prepare(url).then(prepared, reject)
    return promise.finally(() => {
      clearTimeout(timer)
      attempt.signal.removeEventListener('abort', stop)
    })
  }

  /** Asks for whatever is to be asked anew at every attempt. */
  async #prepare(url: Url): Promise<Call> {
    const settings = this.#settings
    const protocols = await answered(settings.protocols)
    const headers = await answered(settings.headers)
    if (!areProtocols(protocols)) {
      throw unexpected('`protocols`', 'an array of different subprotocol names', protocols)
    }
    if (!areHeaders(headers)) throw unexpected('`headers`', 'a plain object of strings', headers)
    const extra = Object.entries(headers).filter(([name]) => !OWN_HEADERS.test(name))
    return {
      url: parsed(await answered(url)),
      protocols,
      headers: Object.fromEntries(extra),
      settings,
    }
  }

  /** Runs in the turn in which the transport opened: nothing it brings is lost. */
  #connected(transport: Transport, { url, headers, protocols }: Call): WebsocketConnection {
    this.#attempt = undefined
    const request = new RequestDetails({
      url: url.href,
      rawHeaders: dialledHeaders(url, headers, protocols),
      remoteAddress: url.hostname,
    })
    const connection = new WebsocketConnection(this.#maker, transport, request)
    this.#connection = connection
    log('connected to %s', url.host)
    this.#signals.emit('connect', connection)
    return connection
  }

  /** After the last event of its connection the client has closed, unless it opened again. */
  #gone(connection: WebsocketConnection): void {
    this.#connection = undefined
    void once(connection, 'close').then((reason) => {
      if (!this.#attempt && !this.#connection) this.#signals.end(reason)
    })
  }
}

function answered<Value>(asked: Asked<Value>): Value | Promise<Value> {
  // A value that is asked for is never a function itself: the options' rules see to that.
  return typeof asked === 'function' ? (asked as () => Value | Promise<Value>)() : asked
}

const SCHEMES = new Map([
  ['ws:', 'ws:'],
  ['wss:', 'wss:'],
  ['http:', 'ws:'],
  ['https:', 'wss:'],
])

function parsed(given: string | URL): URL {
  const text = String(given)
  const url = URL.canParse(text) ? new URL(text) : undefined
  const scheme = SCHEMES.get(url?.protocol ?? '')
  if (!url || scheme === undefined) {
    throw new ConnectError(`expected a url like ws://localhost:8080, got ${JSON.stringify(text)}`)
  }
  url.protocol = scheme
  return url
}

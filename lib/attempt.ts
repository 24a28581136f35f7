import type { CloseReason } from './close.ts'
import { ConnectError, messageOf, unexpected } from './errors.ts'
import { areHeaders, areProtocols, type Asked } from './options/asked.ts'
import type { ClientSettings } from './options/client.ts'
import { deferred } from './promises.ts'
import type { Call, Caller, Dial, Transport } from './transport/transport.ts'

/** Where a server is: a url, or a function asked for it at every attempt, so it can be fresh. */
export type Url = Asked<string | URL>

/** Tells that it was stopped from here: nobody has to hear that it failed. */
export class Stopped extends ConnectError {
  readonly reason: CloseReason

  constructor(reason: CloseReason, cause?: unknown) {
    super(`gave up to connect: ${cause === undefined ? reason.description : messageOf(cause)}`, {
      cause,
    })
    this.reason = reason
  }
}

/** Is what stopped, where a signal was aborted for that. */
export function stoppedBy({ reason }: AbortSignal): Stopped | undefined {
  return reason instanceof Stopped ? reason : undefined
}

/** Tells of what would fail in the same way for ever. */
export class Impossible extends ConnectError {}

/** An attempt that was not made: the server that it is with wants to be left alone. */
export class Postponed {
  /** For how much longer. */
  readonly milliseconds: number

  constructor(milliseconds: number) {
    this.milliseconds = milliseconds
  }
}

/** What an attempt is made with. */
export interface Attempt<Result> {
  readonly dial: Dial
  readonly url: Url
  readonly settings: ClientSettings
  /** Gives the attempt up, with the signal's reason. */
  readonly signal: AbortSignal
  /** Returns for how many milliseconds a server that a function has named wants to be left alone. */
  readonly remaining?: (server: URL) => number
  /** Makes its result, in the turn in which the transport opened: nothing it brings is lost. */
  readonly opened: (transport: Transport, call: Call) => Result
}

// Those of the handshake itself are made anew for each.
const OWN_HEADERS = /^(?:connection|upgrade|sec-websocket-.*)$/i

/** Makes one attempt to reach a server; resolves with its result, or with why there is none. */
export function reach<Result>(
  attempt: Attempt<Result>,
): Promise<Result | ConnectError | Postponed> {
  const { settings, signal, opened, remaining } = attempt
  const { promise, resolve } = deferred<Result | ConnectError | Postponed>()
  let over = false
  let giveUp = (): void => {}
  const settle = (): void => {
    over = true
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
  const fail = (error: unknown): void => {
    if (over) return
    settle()
    resolve(error instanceof ConnectError ? error : new ConnectError(error))
  }
  const drop = (error: unknown): void => {
    fail(error)
    giveUp()
  }
  const stop = (): void => drop(signal.reason)
  const late = (): void => drop(new ConnectError(`no answer within ${settings.connectTimeout} ms`))
  const timer = setTimeout(late, settings.connectTimeout)
  const prepared = (call: Call): void => {
    if (over) return
    const milliseconds = isFunction(attempt.url) ? (remaining?.(call.url) ?? 0) : 0
    if (milliseconds > 0) {
      settle()
      resolve(new Postponed(milliseconds))
      return
    }
    giveUp = dialled(attempt, call, {
      failed: fail,
      opened: (transport) => {
        settle() // who closes in a listener of the connection doesn't stop the attempt any more
        resolve(opened(transport, call))
      },
    })
    if (signal.aborted) giveUp() // while it dialled
  }
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  else prepare(attempt).then(prepared).catch(fail)
  return promise
}

/** Asks for whatever is to be asked anew at every attempt. */
async function prepare({ url, settings }: Attempt<unknown>): Promise<Call> {
  const fixed = isFunction(url) ? undefined : parsed(url, Impossible)
  const protocols = await answered(settings.protocols)
  const headers = await answered(settings.headers)
  if (!areProtocols(protocols)) {
    throw unexpected('`protocols`', 'an array of different subprotocol names', protocols)
  }
  if (!areHeaders(headers)) throw unexpected('`headers`', 'a plain object of strings', headers)
  const extra = Object.entries(headers).filter(([name]) => !OWN_HEADERS.test(name))
  return {
    url: fixed ?? parsed(await answered(url), ConnectError),
    protocols,
    headers: Object.fromEntries(extra),
    settings,
  }
}

/** Dials; what can't be dialled never will be, unless a function gives something else next time. */
function dialled(
  { dial, url, settings }: Attempt<unknown>,
  call: Call,
  caller: Caller,
): () => void {
  try {
    return dial(call, caller)
  } catch (cause) {
    const mayChange = [url, settings.headers, settings.protocols].some(isFunction)
    throw mayChange ? cause : new Impossible(cause)
  }
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function'
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

function parsed(given: unknown, Failure: typeof ConnectError): URL {
  const text = String(given)
  const url = URL.canParse(text) ? new URL(text) : undefined
  const scheme = SCHEMES.get(url?.protocol ?? '')
  if (!url || scheme === undefined) {
    const got = JSON.stringify(withoutSecrets(text))
    throw new Failure(`expected a url like ws://localhost:8080, got ${got}`)
  }
  url.protocol = scheme
  return url
}

/** Cuts a password and a query out of a url, which may hold a token: its text stands in logs. */
function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^/?#]*@/, '//…@').replace(/[?#][^]*/, '?…')
}

import type { CloseReason } from '../connection/close-codes.ts'
import { ConnectError } from '../errors.ts'
import { messageOf } from '../format.ts'
import type { ClientSettings } from '../options/client.ts'
import { areHeaders, areProtocols, type ValueOrProvider } from '../options/value-or-provider.ts'
import { deferred } from '../promises.ts'
import type { Dial, DialCallbacks, DialRequest, Transport } from '../transport/transport.ts'
import { invalidValue } from '../validation.ts'

/** The url of a server, or a function that returns it, called at every attempt for a fresh url. */
export type UrlSource = ValueOrProvider<string | URL>

/** The error of an attempt that the program has stopped. It isn't reported as a failure. */
export class ConnectAborted extends ConnectError {
  readonly reason: CloseReason

  constructor(reason: CloseReason, cause?: unknown) {
    super(`gave up to connect: ${cause === undefined ? reason.description : messageOf(cause)}`, {
      code: 'ERR_HANDSHAKE_ABORTED',
      cause,
    })
    this.reason = reason
  }
}

/** Returns the `ConnectAborted` that a signal was aborted with, if it was. */
export function abortErrorOf({ reason }: AbortSignal): ConnectAborted | undefined {
  return reason instanceof ConnectAborted ? reason : undefined
}

/** An error that every further attempt would meet, too. */
export class PermanentConnectError extends ConnectError {}

/** The result of an attempt that was not made, because its server has asked clients to wait. */
export class PostponedAttempt {
  /** Milliseconds until the server may be dialled. */
  readonly milliseconds: number

  constructor(milliseconds: number) {
    this.milliseconds = milliseconds
  }
}

/** The parameters of one attempt. */
export interface ConnectParams<Result> {
  readonly dial: Dial
  readonly url: UrlSource
  readonly settings: ClientSettings
  /** A signal that aborts the attempt, with the signal's reason. */
  readonly signal: AbortSignal
  /** Returns the milliseconds until a server that the url function returned may be dialled. */
  readonly remainingDelay: (server: URL) => number
  /** Creates the result in the turn in which the transport opened, so that no message is lost. */
  readonly onOpen: (transport: Transport, request: DialRequest) => Result
}

// The headers of the handshake itself: each attempt sends its own.
const RESERVED_HEADERS = /^(?:connection|upgrade|sec-websocket-.*)$/i

/** Tries once to connect. Resolves with the result of `onOpen`, or with the error. */
export function connectOnce<Result>(
  params: ConnectParams<Result>,
): Promise<Result | ConnectError | PostponedAttempt> {
  const { settings, signal, onOpen, remainingDelay } = params
  const { promise, resolve } = deferred<Result | ConnectError | PostponedAttempt>()
  let isSettled = false
  let cancelDial = (): void => {}
  const settle = (): void => {
    isSettled = true
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
  const fail = (error: unknown): void => {
    if (isSettled) return
    settle()
    resolve(error instanceof ConnectError ? error : new ConnectError(error))
  }
  const cancel = (error: unknown): void => {
    fail(error)
    cancelDial()
  }
  const onAbort = (): void => cancel(signal.reason)
  const onTimeout = (): void => {
    const text = `no answer within ${settings.connectTimeout} ms`
    cancel(new ConnectError(text, { code: 'ERR_HANDSHAKE_TIMEOUT' }))
  }
  const timer = setTimeout(onTimeout, settings.connectTimeout)
  const onPrepared = (request: DialRequest): void => {
    if (isSettled) return
    const milliseconds = isFunction(params.url) ? remainingDelay(request.url) : 0
    if (milliseconds > 0) {
      settle()
      resolve(new PostponedAttempt(milliseconds))
      return
    }
    cancelDial = startDial(params, request, {
      onError: fail,
      onOpen: (transport) => {
        // Settles first, so that a listener of the connection can't abort this attempt by closing.
        settle()
        resolve(onOpen(transport, request))
      },
    })
    if (signal.aborted) cancelDial() // the signal was aborted during the call
  }
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  else prepare(params).then(onPrepared).catch(fail)
  return promise
}

/** Resolves the url, the subprotocols and the headers, calling those that are functions. */
async function prepare({ url, settings }: ConnectParams<unknown>): Promise<DialRequest> {
  const staticUrl = isFunction(url) ? undefined : parseUrl(url, PermanentConnectError)
  const protocols = await resolveValue(settings.protocols)
  const headers = await resolveValue(settings.headers)
  if (!areProtocols(protocols)) {
    throw invalidValue(
      '`protocols`',
      'an array of different names without space, / and =',
      protocols,
    )
  }
  if (!areHeaders(headers)) throw invalidValue('`headers`', 'a plain object of strings', headers)
  const customHeaders = Object.entries(headers).filter(([name]) => !RESERVED_HEADERS.test(name))
  return {
    url: staticUrl ?? parseUrl(await resolveValue(url), ConnectError),
    protocols,
    headers: Object.fromEntries(customHeaders),
    settings,
  }
}

/**
 * Dials, and returns the function that cancels it. Throws a `PermanentConnectError` for a request
 * that can't be dialled, unless a function may return another value at the next attempt.
 */
function startDial(
  { dial, url, settings }: ConnectParams<unknown>,
  request: DialRequest,
  callbacks: DialCallbacks,
): () => void {
  try {
    return dial(request, callbacks)
  } catch (cause) {
    const mayChange = [url, settings.headers, settings.protocols].some(isFunction)
    throw mayChange ? cause : new PermanentConnectError(cause, { code: 'ERR_INVALID_ARGUMENT' })
  }
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}

function resolveValue<Value>(source: ValueOrProvider<Value>): Value | Promise<Value> {
  // The rules of the options make sure that a value is never a function itself.
  return typeof source === 'function' ? (source as () => Value | Promise<Value>)() : source
}

const SCHEMES = new Map([
  ['ws:', 'ws:'],
  ['wss:', 'wss:'],
  ['http:', 'ws:'],
  ['https:', 'wss:'],
])

function parseUrl(value: unknown, ErrorClass: typeof ConnectError): URL {
  const text = String(value)
  const url = URL.canParse(text) ? new URL(text) : undefined
  const scheme = SCHEMES.get(url?.protocol ?? '')
  if (!url || scheme === undefined) {
    const safeText = JSON.stringify(withoutSecrets(text))
    throw new ErrorClass(`expected a url like ws://localhost:8080, got ${safeText}`, {
      code: 'ERR_INVALID_ARGUMENT',
    })
  }
  url.protocol = scheme
  return url
}

/** Removes password and query, which may contain a token, from a url that appears in logs. */
function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^/?#]*@/, '//…@').replace(/[?#][^]*/, '?…')
}

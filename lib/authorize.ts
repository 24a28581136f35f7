import { STATUS_CODES, type IncomingMessage } from 'node:http'
import { messageOf, PeerConnectError, unexpected, type Denial } from './errors.ts'
import type { AuthorizeDetails, ServerSettings } from './options/server.ts'
import type { RequestDetails } from './request.ts'

type Authorize = NonNullable<ServerSettings['authorize']>

/** A handshake that `authorize` decides about. */
export interface Handshake {
  readonly request: RequestDetails
  /** Node's own request, where there is one. */
  readonly incoming: IncomingMessage | undefined
  /** Milliseconds left of `handshakeTimeout`; undefined: all of it. */
  readonly timeLeft?: number | undefined
  readonly settings: Pick<ServerSettings, 'handshakeTimeout'>
  /** The answer where `authorize` knows no such peer. */
  readonly denial: Denial
}

/** An answer, or a failure, of `authorize` that is the program's mistake and not the peer's. */
export class AuthorizeError extends PeerConnectError {}

/**
 * Asks `authorize` for a context, until `leaving` is aborted with the reason of a refusal; it is
 * aborted here once `handshakeTimeout` is over.
 *
 * It rejects with a `PeerConnectError` that carries the status of the answer.
 */
export async function authorized(
  authorize: Authorize,
  handshake: Handshake,
  leaving: AbortController,
): Promise<{}> {
  const { handshakeTimeout } = handshake.settings
  const timer = setTimeout(() => {
    const text = `\`authorize\` did not answer within ${handshakeTimeout} ms of the connection`
    leaving.abort(new PeerConnectError(text, { status: 503, reason: 'handshakeTimeout' }))
  }, handshake.timeLeft ?? handshakeTimeout)
  try {
    const verdict = await Promise.race([ask(authorize, handshake, leaving), aborted(leaving)])
    return contextOf(verdict, handshake.denial)
  } finally {
    clearTimeout(timer)
  }
}

/** Returns the cure where `authorize` refused a peer whose credentials in the url it did not read. */
export function queryCure({ ignoredQuery }: RequestDetails, refusal: unknown): string | undefined {
  const isAnswer = refusal instanceof PeerConnectError && refusal.reason === 'authorize'
  if (ignoredQuery === undefined || !isAnswer) return undefined
  return (
    `\`authorize\` refused a peer that has credentials in its url. Urls end up in logs, so ` +
    `send them in a header or a subprotocol; or read them with \`${ignoredQuery}({ query: true })\`.`
  )
}

async function ask(
  authorize: Authorize,
  { request, incoming }: Handshake,
  { signal }: AbortController,
): Promise<unknown> {
  try {
    const details: AuthorizeDetails = { signal, incoming }
    return await authorize(request, details)
  } catch (cause) {
    if (cause instanceof PeerConnectError) throw cause
    const status = statusOf(cause)
    if (status !== undefined) throw new PeerConnectError(messageOf(cause), { cause, status })
    throw new AuthorizeError(messageOf(cause), { cause, status: 500 })
  }
}

/** Rejects with the reason once a signal is aborted. */
function aborted({ signal }: AbortController): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as PeerConnectError)
    else signal.addEventListener('abort', () => reject(signal.reason as PeerConnectError))
  })
}

function contextOf(verdict: unknown, denial: Denial): {} {
  if (verdict === true) return {}
  if (verdict === false || verdict === null || verdict === undefined) {
    throw new PeerConnectError('not authorized', denial)
  }
  if (isContext(verdict)) return verdict
  const wanted = 'a context such as { user }, true or false (throw an error, do not return it)'
  const cause = unexpected('the answer of `authorize`', wanted, verdict)
  throw new AuthorizeError('not authorized', { cause, ...denial })
}

/** Whether an answer can be meant as a context: a list, an error or a `Response` is a slip. */
function isContext(verdict: unknown): verdict is {} {
  if (typeof verdict !== 'object' || verdict === null) return false
  if (Array.isArray(verdict) || ArrayBuffer.isView(verdict)) return false
  return !(verdict instanceof Error || verdict instanceof Response)
}

/** Returns the status that an error carries, if it is one of HTTP's. */
function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('status' in error)) return undefined
  const { status } = error
  return typeof status === 'number' && status >= 400 && status in STATUS_CODES ? status : undefined
}

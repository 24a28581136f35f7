import { STATUS_CODES, type IncomingMessage } from 'node:http'
import { messageOf } from '../../format.ts'
import type { AuthorizeDetails, ServerSettings } from '../../options/server.ts'
import { invalidValue } from '../../validation.ts'
import { PeerConnectError, type PeerConnectErrorInit } from './peer-connect-error.ts'
import type { RequestDetails } from './request.ts'

type Authorize = NonNullable<ServerSettings['authorize']>

/** A handshake that `authorize` decides about. */
export interface Handshake {
  readonly request: RequestDetails
  /** Node's own request, where there is one. */
  readonly incoming: IncomingMessage | undefined
  /** Milliseconds left of `handshakeTimeout`; undefined means the whole time. */
  readonly timeLeft?: number | undefined
  readonly settings: Pick<ServerSettings, 'handshakeTimeout'>
  /** The answer when `authorize` doesn't know the peer. */
  readonly denial: PeerConnectErrorInit
}

/** A wrong answer, or a failure, of `authorize`: the program's mistake, not the peer's. */
export class AuthorizeError extends PeerConnectError {
  constructor(message: string, details: PeerConnectErrorInit) {
    super(message, { ...details, code: 'ERR_AUTHORIZE_FAILED' })
  }
}

/**
 * Calls `authorize` and resolves with the context, unless `aborter` is aborted first with
 * the error of a rejection. This function aborts it once `handshakeTimeout` is over.
 *
 * Rejects with a `PeerConnectError` that carries the status of the answer.
 */
export async function runAuthorize(
  authorize: Authorize,
  handshake: Handshake,
  aborter: AbortController,
): Promise<{}> {
  const { handshakeTimeout } = handshake.settings
  const timer = setTimeout(() => {
    const text = `\`authorize\` did not answer within ${handshakeTimeout} ms of the connection`
    aborter.abort(new PeerConnectError(text, { status: 503, reason: 'handshakeTimeout' }))
  }, handshake.timeLeft ?? handshakeTimeout)
  try {
    const result = await Promise.race([
      callAuthorize(authorize, handshake, aborter),
      rejectOnAbort(aborter),
    ])
    return toContext(result, handshake.denial)
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Returns the cure when `authorize` rejected a peer that sent credentials in its URL which were not
 * read; otherwise undefined.
 */
export function queryCure(
  { ignoredQuery }: RequestDetails,
  rejection: unknown,
): string | undefined {
  const isAnswer = rejection instanceof PeerConnectError && rejection.reason === 'authorize'
  if (ignoredQuery === undefined || !isAnswer) return undefined
  return (
    `\`authorize\` refused a peer that has credentials in its url. Urls end up in logs, so ` +
    `send them in a header or a subprotocol; or read them with \`${ignoredQuery}({ query: true })\`.`
  )
}

async function callAuthorize(
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

/** Rejects with the reason once the signal is aborted. */
function rejectOnAbort({ signal }: AbortController): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as PeerConnectError)
    else signal.addEventListener('abort', () => reject(signal.reason as PeerConnectError))
  })
}

function toContext(result: unknown, denial: PeerConnectErrorInit): {} {
  if (result === true) return {}
  if (result === false || result === null || result === undefined) {
    throw new PeerConnectError('not authorized', denial)
  }
  if (isContext(result)) return result
  const expected = 'a context such as { user }, true or false (throw an error, do not return it)'
  const cause = invalidValue('the answer of `authorize`', expected, result)
  throw new AuthorizeError('not authorized', { cause, ...denial })
}

/** Returns whether an answer can be a context. An array, an error or a `Response` is a mistake. */
function isContext(result: unknown): result is {} {
  if (typeof result !== 'object' || result === null) return false
  if (Array.isArray(result) || ArrayBuffer.isView(result)) return false
  return !(result instanceof Error || result instanceof Response)
}

/** Returns the `status` of an error, if it is an HTTP error status. */
function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('status' in error)) return undefined
  const { status } = error
  return typeof status === 'number' && status >= 400 && status in STATUS_CODES ? status : undefined
}

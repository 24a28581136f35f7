import debug from 'debug'
import { errorLog } from '../error-log.ts'
import { formatLogLine } from '../format.ts'
import { diagnostics } from './diagnostics.ts'
import { AuthorizeError } from './handshake/authorize.ts'
import { CurableRefusal } from './handshake/handshake.ts'
import type { PeerConnectError, RefusalReason } from './handshake/peer-connect-error.ts'

const log = debug('simplewebsockets:server')

/** The peers that a server has refused: counts them, reports them, and prints cures. */
export class Refusals {
  readonly #counts: Record<RefusalReason, number> = {
    request: 0,
    path: 0,
    host: 0,
    origin: 0,
    maxConnections: 0,
    maxConnectionsPerAddress: 0,
    handshakeTimeout: 0,
    authorize: 0,
    channels: 0,
    closing: 0,
    left: 0,
    slowLoop: 0,
  }
  readonly #printedCures = new Set<RefusalReason>()
  readonly #report: (error: PeerConnectError) => boolean

  /** `report` passes an error to the listeners, and returns whether there are any. */
  constructor(report: (error: PeerConnectError) => boolean) {
    this.#report = report
  }

  /** The number of refused peers by reason. */
  get counts(): Readonly<Record<RefusalReason, number>> {
    return this.#counts
  }

  /** Counts a refused peer and reports its error. */
  add(error: PeerConnectError): void {
    const { reason } = error
    // An untyped program may set any `reason`.
    this.#counts[Object.hasOwn(this.#counts, reason) ? reason : 'authorize']++
    if (diagnostics.refusal.hasSubscribers) diagnostics.refusal.publish({ error })
    if (error instanceof CurableRefusal) this.printCure(reason, error.cure)
    if (this.#report(error)) return
    log('refused: %d %s', error.status, formatLogLine(error))
    if (error instanceof AuthorizeError) errorLog.print(error, '`authorize`')
  }

  /** Prints the cure of the first refusal for a reason only, so that peers can't fill the log. */
  printCure(reason: RefusalReason, cure: string | undefined): void {
    if (cure === undefined || this.#printedCures.has(reason)) return
    this.#printedCures.add(reason)
    console.error(`simplewebsockets: ${cure} Printed once; each refusal is a \`peerError\`.`)
  }
}

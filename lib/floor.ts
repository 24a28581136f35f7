import type { Backplane } from './backplane.ts'
import type { Reader } from './connection-core.ts'
import type { WebsocketConnection } from './connection.ts'
import type { Counts } from './counts.ts'
import type { Denial, WebsocketError } from './errors.ts'
import type { RequestDetails } from './request.ts'
import type { Hearer } from './signals.ts'

/** Somebody whom the upper floor expects, before and after they are let in. */
export interface Guest<Context extends {}> {
  /** What is answered when `authorize` doesn't know them. */
  readonly denial: Denial
  /** Takes their connection, before anybody else sees it, and reads what it receives. */
  enter(connection: WebsocketConnection<Context>): Reader
}

/** What stands on a server: it has a say in who is let in, and reads what they send. */
export interface Floor<Context extends {}> {
  /** What its paths end with, behind that of the server. */
  readonly endings: readonly string[]
  /** The subprotocols that it answers with. */
  readonly protocols: readonly string[]
  /** Looks at a request that the server would let in; throws a `PeerConnectError`. */
  admit(request: RequestDetails, ending: string): Guest<Context>
  /** Hears that the server has closed. */
  closed(): void
}

/** What a server lends to the floor above it. */
export interface Ground extends Hearer {
  readonly counts: Counts
  readonly closeTimeout: number
  readonly maxWaitingBytes: number
  readonly protocols: readonly string[]
  readonly backplane: Backplane | undefined
  /** Tells of what failed beside any connection. */
  failed(error: WebsocketError): void
}

/** Names the method that puts a floor on a server. */
export const BUILD: unique symbol = Symbol('build')

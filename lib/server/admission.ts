import { makeUpgrader } from '#transport'
import type { AnyConnection } from '../connection/connection.ts'
import type { Counts } from '../connection/counts.ts'
import type { ServerSettings } from '../options/server.ts'
import type { Upgrader } from '../transport/tcp/upgrade.ts'
import { invalidCall } from '../validation.ts'
import type { Connections } from './connections.ts'
import type { ExtensionHost, PendingPeer, ServerExtension } from './extension.ts'
import type { AddressLimit } from './handshake/address-limit.ts'
import { queryCure, runAuthorize } from './handshake/authorize.ts'
import {
  checkAdmission,
  CurableRefusal,
  parseRequest,
  type HandshakeContext,
} from './handshake/handshake.ts'
import { PeerConnectError, type PeerConnectErrorInit } from './handshake/peer-connect-error.ts'
import type { RequestDetails } from './handshake/request.ts'
import type { Upgrade } from './http/upgrade-router.ts'
import {
  fromHttp,
  type UpgradeResult,
  type PendingUpgrade,
  type UpgradeDetails,
} from './pending-upgrade.ts'
import type { Refusals } from './refusals.ts'
import type { ServerEmitter } from './server-emitter.ts'

const MAX_RETRY_AFTER = 5 // seconds that a peer is asked to wait while a loop is too slow

const SLOW_LOOP =
  'a peer was refused with 503, because a loop over `client` has as many connections waiting as it ' +
  "may. Don't await the work of one client in the loop's body, or use a callback."

const NO_PROTOCOL =
  'simplewebsockets: a peer that offers subprotocols was accepted, but none of them is in ' +
  '`protocols`. Browsers close such a connection. Let the page offer a name beside its token, and ' +
  "give the server the same name: { protocols: ['chat'] }. Printed once."

/** A server's settings, with the lists that an extension appends to. */
interface AdmissionSettings extends ServerSettings {
  readonly protocols: string[]
  readonly suffixes: string[]
}

/** The parts of a server that its admission checks a peer with, and opens its connection with. */
export interface AdmissionOwner {
  readonly settings: AdmissionSettings
  readonly counts: Counts
  readonly emitter: ServerEmitter
  readonly connections: Connections
  readonly addressLimit: AddressLimit
  readonly refusals: Refusals
  /** The host that was passed to `serve`; an empty string where there was none. */
  readonly host: () => string
  /** Returns the error for a peer that comes while the server is closing; otherwise undefined. */
  readonly closingError: () => PeerConnectError | undefined
  readonly isOpen: () => boolean
  /** Marks the server as open, at its first handshake if it neither listens nor is attached. */
  readonly markOpen: () => void
}

/** The admission of peers: from an upgrade to a connection, or to a refusal. */
export class Admission {
  readonly #owner: AdmissionOwner
  /** The handshakes that wait for `authorize`. Aborting one rejects it with the abort reason. */
  readonly #pendingHandshakes = new Set<AbortController>()
  #extension: ServerExtension | undefined
  #hasPrintedProtocolCure = false
  /** The settings of the transports. With channels `binary` is off: they tell text from bytes. */
  #transportSettings: ServerSettings
  #upgrader: Upgrader

  constructor(owner: AdmissionOwner) {
    this.#owner = owner
    this.#transportSettings = owner.settings
    this.#upgrader = makeUpgrader(owner.settings)
  }

  /** The number of handshakes that wait for `authorize`. */
  get pendingCount(): number {
    return this.#pendingHandshakes.size
  }

  /**
   * Installs an extension. Its path suffixes and its subprotocols are served from then on.
   *
   * @throws TypeError where the server has one already, and while the server is open.
   */
  install(extension: ServerExtension): ExtensionHost {
    const { settings, counts, emitter } = this.#owner
    if (this.#extension) throw invalidCall('this server has a ChannelServer already')
    if (settings.messages) {
      throw invalidCall('a server with `messages` has no channels: a topic has its own contract')
    }
    if (this.#owner.isOpen())
      throw invalidCall('make the ChannelServer before its server serves or is attached')
    this.#extension = extension
    this.#transportSettings = { ...settings, binary: false }
    this.#upgrader = makeUpgrader(this.#transportSettings)
    const ownProtocols = [...settings.protocols]
    settings.suffixes.push(...extension.pathSuffixes.filter((suffix) => suffix !== ''))
    settings.protocols.push(...extension.protocols.filter((name) => !ownProtocols.includes(name)))
    return {
      counts,
      closeTimeout: settings.closeTimeout,
      maxWaitingBytes: settings.maxWaitingBytes,
      protocols: ownProtocols,
      backplane: settings.backplane,
      ...emitter.errorSink,
      reportFailure: (error) => emitter.reportFailure(error),
    }
  }

  /** Handles an upgrade that an HTTP server received. */
  handleHttp(upgrade: Upgrade, details: UpgradeDetails): void {
    const { trustProxy } = this.#owner.settings
    void this.handle(fromHttp(upgrade, details, trustProxy, this.#upgrader))
  }

  /** Accepts or rejects a peer. Without `authorize` that is done when the call returns. */
  handle(upgrade: PendingUpgrade): UpgradeResult {
    try {
      const { settings, refusals } = this.#owner
      const closingError = this.#owner.closingError()
      if (closingError) throw closingError
      upgrade.check()
      const { request, suffix } = parseRequest(upgrade.source, settings)
      const pendingPeer = this.#extension?.negotiate(request, suffix)
      const handshake = this.#handshakeOf(upgrade, request, pendingPeer)
      checkAdmission(handshake)
      this.#checkLoops()
      this.#owner.markOpen()
      if (!settings.authorize) return this.#accept(upgrade, handshake, pendingPeer, undefined)
      const connection = this.#authorize(settings.authorize, upgrade, handshake, pendingPeer)
      return connection.catch((cause: unknown) => {
        this.#reject(upgrade, cause)
        refusals.printCure('authorize', queryCure(request, cause))
        return undefined
      })
    } catch (cause) {
      this.#reject(upgrade, cause)
      return undefined
    }
  }

  /** Rejects the handshakes that wait for `authorize`, because the server is closing. */
  rejectPending(): void {
    for (const aborter of this.#pendingHandshakes) aborter.abort(this.#owner.closingError())
  }

  /** Ends the extension after the server has closed. */
  onClosed(): void {
    this.#extension?.onClosed()
  }

  #handshakeOf(
    { incoming, timeLeft, boundAddress }: PendingUpgrade,
    request: HandshakeContext['request'],
    pendingPeer: PendingPeer | undefined,
  ): HandshakeContext {
    const { settings, connections, addressLimit, host } = this.#owner
    return {
      request,
      incoming,
      timeLeft,
      settings,
      binding: { address: boundAddress, name: host() },
      connections: connections.clients.size + this.#pendingHandshakes.size,
      connectionsOfAddress: addressLimit.count(request.remoteAddress),
      denial: pendingPeer?.rejection ?? { status: 401 },
    }
  }

  /**
   * Accepts a peer if `authorize` does. While it decides, the peer may disconnect and the server
   * may close.
   */
  async #authorize(
    authorize: NonNullable<ServerSettings['authorize']>,
    upgrade: PendingUpgrade,
    handshake: HandshakeContext,
    pendingPeer: PendingPeer | undefined,
  ): Promise<AnyConnection> {
    const { addressLimit } = this.#owner
    const { remoteAddress } = handshake.request
    const aborter = new AbortController()
    const stopWatching = upgrade.onAbort(() => {
      aborter.abort(new PeerConnectError('the peer has left', { status: 0, reason: 'left' }))
    })
    this.#pendingHandshakes.add(aborter)
    addressLimit.add(remoteAddress)
    try {
      const context = await runAuthorize(authorize, handshake, aborter)
      aborter.signal.throwIfAborted() // the server may have closed in a microtask
      stopWatching()
      return this.#accept(upgrade, handshake, pendingPeer, context)
    } finally {
      stopWatching()
      this.#pendingHandshakes.delete(aborter)
      addressLimit.delete(remoteAddress)
    }
  }

  #accept(
    upgrade: PendingUpgrade,
    { request }: HandshakeContext,
    pendingPeer: PendingPeer | undefined,
    context: object | undefined,
  ): AnyConnection {
    this.#checkLoops() // again: other clients may have been accepted while `authorize` was pending
    const transport = upgrade.accept(request, this.#transportSettings)
    if (transport.protocol === '') this.#printProtocolCure(request)
    request.pack()
    return this.#owner.connections.open({ transport, request, context, pendingPeer })
  }

  /**
   * Prints the cure once if a peer offers subprotocols, because a browser doesn't tell why it
   * closes. Omits the offered names: a token may be one of them.
   */
  #printProtocolCure(request: RequestDetails): void {
    if (this.#hasPrintedProtocolCure) return
    if (request.header('sec-websocket-protocol') === undefined) return
    this.#hasPrintedProtocolCure = true
    console.error(NO_PROTOCOL)
  }

  /** Throws a `PeerConnectError` while a loop over `client` has the maximum number waiting. */
  #checkLoops(): void {
    if (!this.#owner.emitter.isFull) return
    const details: PeerConnectErrorInit = {
      status: 503,
      reason: 'slowLoop',
      body: 'the server is busy',
      // Random, so that the peers don't all return at once.
      retryAfter: 1 + Math.floor(Math.random() * MAX_RETRY_AFTER),
    }
    throw new CurableRefusal('a loop over `client` is too slow', details, SLOW_LOOP)
  }

  #reject(upgrade: PendingUpgrade, cause: unknown): void {
    const error = cause instanceof PeerConnectError ? cause : new PeerConnectError(cause)
    this.#owner.refusals.add(error)
    upgrade.reject(error)
  }
}

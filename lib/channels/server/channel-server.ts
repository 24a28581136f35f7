import { diagnostics, recordDrop } from '../../server/diagnostics.ts'
import { invalidCall, invalidValue, type WebsocketError } from '../../errors.ts'
import {
  PeerConnectError,
  type PeerConnectErrorInit,
} from '../../server/handshake/peer-connect-error.ts'
import { DONE } from '../../promises.ts'
import type { Data } from '../../connection/message.ts'
import { flag, resolveOptions } from '../../validation.ts'
import type { RequestDetails } from '../../server/handshake/request.ts'
import { Rooms, type RoomMember } from '../../rooms/room.ts'
import {
  INSTALL,
  type ServerExtension,
  type ExtensionHost,
  type PendingPeer,
} from '../../server/extension.ts'
import type { WebsocketServer } from '../../server/server.ts'
import {
  EMITTER,
  Emitter,
  type ErrorSink,
  type EventSpec,
  type Listenable,
} from '../../events/emitter.ts'
import { decodeBroadcast, createBroadcast, type Broadcast } from '../protocol/broadcast.ts'
import type { AnyEvents } from '../channel.ts'
import {
  checkContract,
  type Contract,
  type InferInputs,
  type InferJoin,
  type InferOutputs,
} from '../contract/contract.ts'
import { memoryHistory } from '../history/memory-history.ts'
import { resolveHistory, type HistoryOptions, type HistorySettings } from '../history/options.ts'
import type { HistoryHost } from '../history/history-host.ts'
import { ReadQueue } from '../history/read-queue.ts'
import { toRecordable, TopicHistory } from '../history/topic-history.ts'
import { ServerChannel } from './server-channel.ts'
import { PresenceReplicator } from '../presence/replicator.ts'
import {
  resolveChannelOptions,
  type ChannelServerOptions,
  type ChannelServerSettings,
} from './options.ts'
import { ServerSocket, topicRoom, type ChannelServerContext } from './socket.ts'
import { assertBroadcastEvent, phoenix } from '../protocol/phoenix.ts'
import { checkPattern, Topic, type TopicTransport } from './topic.ts'

/** The options of a topic, beside its contract. */
export interface TopicOptions {
  /**
   * Whether every client may join while the topic has no `join` listener. Once there is a listener,
   * it decides.
   *
   * @default false: without a `join` listener every join is refused
   */
  readonly open?: boolean | undefined
  /**
   * The history: how the latest messages are kept, so that rejoining members get what they missed.
   *
   * @default undefined: no messages are kept
   */
  readonly history?: HistoryOptions | undefined
}

const topicRules = { open: flag() }

/** The events of a channel server. */
export interface ChannelServerEvents {
  /** A failure that no `error` listener received on the channel or topic where it happened. */
  error: WebsocketError
}

const EVENT_SPEC: EventSpec<ChannelServerEvents> = { kind: 'channel server', events: ['error'] }
const HEARTBEAT_CHECK_INTERVAL = 5_000 // milliseconds; shorter where a serializer's timings are
const FORBIDDEN: PeerConnectErrorInit = { status: 403, body: '' }
const NO_SERIALIZER: PeerConnectErrorInit = { ...FORBIDDEN, reason: 'channels' }

class ChannelServerEmitter extends Emitter<ChannelServerEvents> {
  readonly #getParent: () => ErrorSink

  constructor(getParent: () => ErrorSink) {
    super(EVENT_SPEC)
    this.#getParent = getParent
  }

  override get parent(): ErrorSink {
    return this.#getParent()
  }
}

/**
 * A channel server: adds channels to a `WebsocketServer`, for the clients of Phoenix and Amber. The
 * `path` of the server is the path where the channels are mounted. You serve, attach and close the
 * server yourself.
 */
export class ChannelServer<Context extends {} = {}> implements Listenable<ChannelServerEvents> {
  readonly #emitter: ChannelServerEmitter
  readonly #core: ChannelServerCore<Context>

  /**
   * Adds channels to `server`.
   *
   * @throws TypeError for an unknown or invalid option, for a server that serves already, and for a
   * server that has a channel server already.
   */
  constructor(server: WebsocketServer<Context>, options?: ChannelServerOptions) {
    if (typeof server?.[INSTALL] !== 'function') {
      throw invalidValue('what channels stand on', 'a WebsocketServer', server)
    }
    const settings = resolveChannelOptions(options)
    this.#emitter = new ChannelServerEmitter(() => this.#core.host)
    this.#core = new ChannelServerCore(server, settings, this.#emitter)
  }

  /** @hidden */
  get [EMITTER](): Emitter<ChannelServerEvents> {
    return this.#emitter
  }

  /**
   * Declares the topics that match a pattern: a name matches only itself, `room:*` matches every
   * name that starts with `room:`, and `*` matches every name. When several patterns match a name,
   * the one declared first counts. A topic without a `join` listener refuses every join, unless it
   * is declared with `{ open: true }`.
   *
   * `In` maps the events that members send to their payloads, and `Out` the events that members
   * receive. With a contract, its schemas give both types, and every payload that arrives is
   * checked before a listener sees it.
   *
   * @throws TypeError for an invalid pattern, for a pattern that was declared already, and for an
   * unknown or invalid option, such as a `history` with a store for one node on a server with a
   * backplane. Nothing is declared then.
   */
  topic<In extends object = AnyEvents, Out extends object = AnyEvents>(
    pattern: string,
    options?: TopicOptions,
  ): Topic<In, Out, Context>
  /** Declares topics with a contract: schemas for what members send, receive, and join with. */
  topic<const Terms extends Contract & TopicOptions>(
    pattern: string,
    contract: Terms,
  ): Topic<InferOutputs<Terms['in']>, InferInputs<Terms['out']>, Context, InferJoin<Terms['join']>>
  topic(pattern: string, contract?: Contract & TopicOptions): Topic<AnyEvents, AnyEvents, Context> {
    checkPattern(pattern)
    if (contract !== undefined) checkContract(contract)
    const { open: isOpen } = resolveOptions(topicRules, { open: contract?.open })
    this.#core.assertNew(pattern)
    const { host, transport } = this.#core
    const { history: options } = contract ?? {}
    const settings = options && resolveHistory(options, host.backplane !== undefined)
    const history = settings && this.#core.newHistory(settings)
    const config = { contract, history, isOpen }
    const topic = new Topic<AnyEvents, AnyEvents, Context>(
      pattern,
      config,
      this.#emitter,
      transport,
    )
    this.#core.declare(topic)
    return topic
  }

  /**
   * Sends an event to every member of a topic, on every node.
   *
   * Resolves at once. On a topic with a `history`, resolves once the store has the message, and
   * rejects with a `HistoryError` when the store fails or takes too long. Then no member gets it.
   *
   * @throws TypeError for a payload that is neither JSON nor bytes, and for an event that Phoenix
   * reserves, `presence_state` and `presence_diff` among them. With a `history` also for a payload
   * that is no plain object.
   */
  emit(topic: string, event: string, payload: unknown): Promise<void> {
    if (typeof topic !== 'string') throw invalidValue('a topic', 'a string', topic)
    return this.#core.emit(topic, event, payload)
  }
}

/** The internals of a channel server, which its `WebsocketServer` and its sockets call. */
class ChannelServerCore<Context extends {}>
  implements ServerExtension<Context>, ChannelServerContext<Context>
{
  readonly pathSuffixes: readonly string[]
  readonly protocols: readonly string[]
  readonly settings: ChannelServerSettings
  readonly errorSink: Emitter<ChannelServerEvents>
  readonly rooms: Rooms<RoomMember>
  readonly serializer = phoenix
  readonly host: ExtensionHost
  readonly transport: TopicTransport = {
    broadcastLocal: (topic, event, payload) => {
      const broadcast = createBroadcast(this.serializer, { topic, event, payload })
      this.rooms.deliver(topicRoom(topic), broadcast)
      return broadcast
    },
    deliver: (topic, broadcast) => this.rooms.deliver(topicRoom(topic), broadcast),
    connectPresence: (pattern, source) => {
      const { link: relay } = this.rooms
      const read = (data: string): Broadcast => decodeBroadcast(this.serializer, data)
      return relay.isClustered
        ? new PresenceReplicator(relay, pattern, { ...source, read })
        : undefined
    },
    countDrop: () => recordDrop(this.host.counts, 'backplane'),
  }
  readonly #topics: Topic<AnyEvents, AnyEvents, Context>[] = []
  /** The history store of topics without a store of their own. */
  readonly #memoryStore = memoryHistory()
  readonly #readQueue = new ReadQueue()
  readonly #sockets = new Set<ServerSocket<Context>>()
  readonly #checkInterval: number
  #timer: NodeJS.Timeout | undefined

  constructor(
    server: WebsocketServer<Context>,
    settings: ChannelServerSettings,
    errorSink: Emitter<ChannelServerEvents>,
  ) {
    const { serializers } = settings
    this.settings = settings
    this.errorSink = errorSink
    this.pathSuffixes = [...new Set(['', ...serializers.map(({ path }) => path)])]
    this.protocols = [...new Set(serializers.flatMap(({ protocol }) => protocol ?? []))]
    const timings = serializers.flatMap(({ signs: { pingInterval, serverTimeout } }) => [
      pingInterval,
      serverTimeout,
    ])
    this.#checkInterval = Math.min(
      HEARTBEAT_CHECK_INTERVAL,
      ...timings.filter((timing) => timing !== false),
    )
    this.host = server[INSTALL](this)
    const { backplane, counts } = this.host
    this.rooms = new Rooms<RoomMember>({
      backplane,
      prepare: (data: Data) => decodeBroadcast(this.serializer, data),
      reportError: (error) => this.errorSink.reportError(error),
      isMember: () => true,
      reportFailure: (error) => this.host.reportFailure(error),
      countDrop: () => recordDrop(counts, 'backplane'),
      onMembershipChange: (change, _, channel) => {
        const diagnosticsChannel = diagnostics[change]
        if (!diagnosticsChannel.hasSubscribers || !(channel instanceof ServerChannel)) return
        diagnosticsChannel.publish({ topic: channel.topic, channel })
      },
    })
  }

  assertNew(pattern: string): void {
    if (!this.#topics.some((topic) => topic.pattern === pattern)) return
    throw invalidCall(`the topic \`${pattern}\` was declared already`)
  }

  declare(topic: Topic<AnyEvents, AnyEvents, Context>): void {
    this.#topics.push(topic)
  }

  emit(
    topic: string,
    event: string,
    payload: unknown,
    from?: ServerChannel<Context>,
  ): Promise<void> {
    assertBroadcastEvent(event)
    const history = this.topicOf(topic)?.history
    const sentPayload = history ? toRecordable(payload) : payload
    const message = createBroadcast(this.serializer, { topic, event, payload: sentPayload })
    if (history) return history.append(topic, from?.sender ?? '', String(message.data))
    this.rooms.emit(topicRoom(topic), message, from)
    return DONE
  }

  newHistory(settings: HistorySettings): TopicHistory {
    const membersOf = (topic: string): ReadonlySet<RoomMember> =>
      this.rooms.state(topicRoom(topic)).members
    const host: HistoryHost = {
      reads: this.#readQueue,
      hasMembers: (topic) => membersOf(topic).size > 0,
      deliver: (topic, message) => this.rooms.deliver(topicRoom(topic), message),
      endMemberships: (topic) => {
        for (const member of [...membersOf(topic)]) {
          if (member instanceof ServerChannel) member.loseHistory()
        }
      },
      countDrop: () => recordDrop(this.host.counts, 'history'),
      reportFailure: (error) => this.host.reportFailure(error),
    }
    return new TopicHistory(settings, settings.store ?? this.#memoryStore, host)
  }

  topicOf(name: string): Topic<AnyEvents, AnyEvents, Context> | undefined {
    return this.#topics.find((topic) => topic.matches(name))
  }

  negotiate(request: RequestDetails, pathSuffix: string): PendingPeer<Context> {
    const { queries, protocols } = request
    const serializer = this.settings.serializers.find(
      ({ path, matches }) => path === pathSuffix && matches(queries),
    )
    if (!serializer) {
      throw new PeerConnectError('it asks for no dialect that is spoken here', NO_SERIALIZER)
    }
    const hostProtocols = this.host.protocols
    const supported = [...hostProtocols, ...this.protocols]
    if (
      hostProtocols.length > 0 &&
      protocols.length > 0 &&
      !protocols.some((name) => supported.includes(name))
    ) {
      throw new PeerConnectError('none of its subprotocols is spoken here', NO_SERIALIZER)
    }
    return new ServerSocket(this, serializer)
  }

  addSocket(socket: ServerSocket<Context>): void {
    this.#sockets.add(socket)
    if (this.#timer) return
    this.#timer = setInterval(() => this.#checkHeartbeats(), this.#checkInterval)
    this.#timer.unref?.()
  }

  removeSocket(socket: ServerSocket<Context>): void {
    if (!this.#sockets.delete(socket) || this.#sockets.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  onClosed(): void {
    for (const topic of this.#topics) topic.onServerClosed()
    void this.#memoryStore.close?.()
    this.errorSink.endWaits()
  }

  #checkHeartbeats(): void {
    for (const socket of this.#sockets) socket.checkHeartbeat(this.#checkInterval)
  }
}

import type { Data } from '../../connection/message.ts'
import type { Emitter } from '../../events/emitter.ts'
import { ADMISSION } from '../../internal.ts'
import { DONE } from '../../promises.ts'
import { RoomRegistry } from '../../rooms/registry.ts'
import type { RoomMember } from '../../rooms/room.ts'
import { diagnostics, recordDrop } from '../../server/diagnostics.ts'
import {
  type ServerExtension,
  type ExtensionHost,
  type PendingPeer,
} from '../../server/extension.ts'
import {
  PeerConnectError,
  type PeerConnectErrorInit,
} from '../../server/handshake/peer-connect-error.ts'
import type { RequestDetails } from '../../server/handshake/request.ts'
import type { AnyServer } from '../../server/server.ts'
import { invalidCall } from '../../validation.ts'
import type { AnyEvents } from '../channel.ts'
import { memoryHistory } from '../history/memory-history.ts'
import type { HistorySettings } from '../history/options.ts'
import { ReadQueue } from '../history/read-queue.ts'
import { toRecordable, TopicHistory, type TopicHistoryOwner } from '../history/topic-history.ts'
import { PresenceReplicator, type PresenceSource } from '../presence/presence-replicator.ts'
import { decodeBroadcast, createBroadcast, type Broadcast } from '../protocol/broadcast.ts'
import { assertBroadcastEvent, phoenix } from '../protocol/phoenix.ts'
import type { ChannelServerEvents } from './channel-server.ts'
import type { ChannelServerSettings } from './options.ts'
import { ServerChannel } from './server-channel.ts'
import { ServerSocket, topicRoom } from './socket.ts'
import type { Topic } from './topic.ts'

const HEARTBEAT_CHECK_INTERVAL = 5_000 // milliseconds; shorter where a serializer's timings are
const FORBIDDEN: PeerConnectErrorInit = { status: 403, body: '' }
const NO_SERIALIZER: PeerConnectErrorInit = { ...FORBIDDEN, reason: 'channels' }

/** The internals of a channel server, which its `WebsocketServer` and its sockets call. */
export class ChannelServerCore<Context extends object> implements ServerExtension {
  readonly pathSuffixes: readonly string[]
  readonly protocols: readonly string[]
  readonly settings: ChannelServerSettings
  readonly errorSink: Emitter<ChannelServerEvents>
  /** The members of each topic: one room for each. */
  readonly rooms: RoomRegistry<RoomMember>
  readonly serializer = phoenix
  readonly host: ExtensionHost
  readonly #topics: Topic<AnyEvents, AnyEvents, Context>[] = []
  /** The history store of topics without a store of their own. */
  readonly #memoryStore = memoryHistory()
  readonly #readQueue = new ReadQueue()
  readonly #sockets = new Set<ServerSocket<Context>>()
  readonly #checkInterval: number
  #timer: NodeJS.Timeout | undefined

  constructor(
    server: AnyServer,
    settings: ChannelServerSettings,
    errorSink: Emitter<ChannelServerEvents>,
  ) {
    const { serializers } = settings
    this.settings = settings
    this.errorSink = errorSink
    this.pathSuffixes = [...new Set(['', ...serializers.map(({ path }) => path)])]
    this.protocols = [...new Set(serializers.flatMap(({ protocol }) => protocol ?? []))]
    const timings = serializers.flatMap(({ keepaliveTimings: { pingInterval, serverTimeout } }) => [
      pingInterval,
      serverTimeout,
    ])
    this.#checkInterval = Math.min(
      HEARTBEAT_CHECK_INTERVAL,
      ...timings.filter((timing) => timing !== false),
    )
    this.host = server[ADMISSION].install(this)
    const { backplane, counts } = this.host
    this.rooms = new RoomRegistry<RoomMember>({
      backplane,
      prepare: (data: Data) => decodeBroadcast(this.serializer, data),
      reportError: (error) => this.errorSink.reportError(error),
      reportFailure: (error) => this.host.reportFailure(error),
      countDrop: () => recordDrop(counts, 'backplane'),
      onMembershipChange: (change, _, channel) => {
        const diagnosticsChannel = diagnostics[change]
        if (!diagnosticsChannel.hasSubscribers || !(channel instanceof ServerChannel)) return
        diagnosticsChannel.publish({ topic: channel.topic, channel })
      },
    })
  }

  get topicCount(): number {
    return this.#topics.length
  }

  get socketCount(): number {
    return this.#sockets.size
  }

  /** @throws TypeError for a pattern that was declared already. */
  assertNew(pattern: string): void {
    if (!this.#topics.some((topic) => topic.pattern === pattern)) return
    throw invalidCall(`the topic \`${pattern}\` was declared already`)
  }

  declare(topic: Topic<AnyEvents, AnyEvents, Context>): void {
    this.#topics.push(topic)
  }

  /** Sends an event to all members of a topic but `from`, on every node. */
  emit(
    topic: string,
    event: string,
    payload: unknown,
    from?: ServerChannel<Context>,
  ): Promise<void> {
    assertBroadcastEvent(event)
    const history = this.topicOf(topic)?.history
    const checkedPayload = history ? toRecordable(payload) : payload
    const message = createBroadcast(this.serializer, { topic, event, payload: checkedPayload })
    if (history) return history.append(topic, from?.sender ?? '', String(message.data))
    this.rooms.emit(topicRoom(topic), message, from)
    return DONE
  }

  /** Sends an event to the members of a topic on this node. Returns it as it was sent. */
  broadcastLocal(topic: string, event: string, payload: unknown): Broadcast {
    const broadcast = createBroadcast(this.serializer, { topic, event, payload })
    this.deliver(topic, broadcast)
    return broadcast
  }

  /** Sends a prepared broadcast to the members of a topic on this node. */
  deliver(topic: string, broadcast: Broadcast): void {
    this.rooms.deliver(topicRoom(topic), broadcast)
  }

  /** Creates the replicator of a topic's presence. Returns undefined without a backplane. */
  connectPresence(
    pattern: string,
    source: Omit<PresenceSource, 'read' | 'countDrop'>,
  ): PresenceReplicator | undefined {
    const { link } = this.rooms
    if (!link.isClustered) return undefined
    return new PresenceReplicator(link, pattern, {
      ...source,
      read: (data) => decodeBroadcast(this.serializer, data),
      countDrop: () => recordDrop(this.host.counts, 'backplane'),
    })
  }

  newHistory(settings: HistorySettings): TopicHistory {
    const membersOf = (topic: string): ReadonlySet<RoomMember> =>
      this.rooms.get(topicRoom(topic)).members
    const owner: TopicHistoryOwner = {
      reads: this.#readQueue,
      hasMembers: (topic) => membersOf(topic).size > 0,
      deliver: (topic, message) => this.deliver(topic, message),
      endMemberships: (topic) => {
        for (const member of [...membersOf(topic)]) {
          if (!(member instanceof ServerChannel)) continue
          member.fail('history lost', 'historyLost', 'its history was lost')
        }
      },
      countDrop: () => recordDrop(this.host.counts, 'history'),
      reportFailure: (error) => this.host.reportFailure(error),
    }
    return new TopicHistory(settings, settings.store ?? this.#memoryStore, owner)
  }

  /** Returns the declared topic that a name matches. */
  topicOf(name: string): Topic<AnyEvents, AnyEvents, Context> | undefined {
    return this.#topics.find((topic) => topic.matches(name))
  }

  negotiate(request: RequestDetails, pathSuffix: string): PendingPeer {
    const { query, protocols } = request
    const serializer = this.settings.serializers.find(
      ({ path, matches }) => path === pathSuffix && matches(query),
    )
    if (!serializer) {
      throw new PeerConnectError('it asks for no dialect that is spoken here', NO_SERIALIZER)
    }
    const hostProtocols = this.host.protocols
    const allProtocols = [...hostProtocols, ...this.protocols]
    if (
      hostProtocols.length > 0 &&
      protocols.length > 0 &&
      !protocols.some((name) => allProtocols.includes(name))
    ) {
      throw new PeerConnectError('none of its subprotocols is spoken here', NO_SERIALIZER)
    }
    return new ServerSocket(this, serializer)
  }

  /** Adds a socket, whose heartbeats are checked from now on. */
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

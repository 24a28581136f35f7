import type { CloseReason } from '../../connection/close-codes.ts'
import { MESSAGE_OVERHEAD, type MessageSink } from '../../connection/connection-core.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import { recordDrop } from '../../server/diagnostics.ts'
import { invalidCall } from '../../errors.ts'
import type { PeerConnectErrorInit } from '../../server/handshake/peer-connect-error.ts'
import { listen } from '../../events/listen.ts'
import type { Data, PreparedMessage } from '../../connection/message.ts'
import type { RoomMember, Rooms } from '../../rooms/room.ts'
import type { ExtensionHost, PendingPeer } from '../../server/extension.ts'
import { EMITTER, type ErrorSink } from '../../events/emitter.ts'
import { Backlog } from '../messages/backlog.ts'
import type { Broadcast } from '../protocol/broadcast.ts'
import type {
  ClientFrame,
  JoinFrame,
  LeaveFrame,
  PushFrame,
  Ref,
  Serializer,
  ServerFrame,
} from '../protocol/serializer.ts'
import type { AnyEvents } from '../channel.ts'
import { JoinQueue } from './join-queue.ts'
import { ServerChannel, type ServerChannelOwner } from './server-channel.ts'
import type { ChannelServerSettings } from './options.ts'
import { parsedBytes } from '../protocol/json.ts'
import type { Topic } from './topic.ts'

/** The parts of a channel server that its sockets share. */
export interface ChannelServerContext<Context extends {}> {
  readonly settings: ChannelServerSettings
  readonly host: ExtensionHost
  readonly errorSink: ErrorSink
  readonly rooms: Rooms<RoomMember>
  /** Returns the declared topic that a name matches. */
  topicOf(name: string): Topic<AnyEvents, AnyEvents, Context> | undefined
  /** Sends an event to all members of a topic but `from`, on every node. */
  emit(topic: string, event: string, payload: unknown, from: ServerChannel<Context>): Promise<void>
  /** Adds a socket, whose heartbeats are checked from now on. */
  addSocket(socket: ServerSocket<Context>): void
  /** Removes a socket. */
  removeSocket(socket: ServerSocket<Context>): void
}

const UNMATCHED = { reason: 'unmatched topic' }
const TOO_MANY = { reason: 'too many channels joined' }

/** Returns the room of a topic. The prefix keeps it apart from the server's own rooms. */
export function topicRoom(topic: string): string {
  return `topic:${topic}`
}

/** One connection of a channel server, with its serializer and its channels. */
export class ServerSocket<Context extends {}>
  implements MessageSink, PendingPeer<Context>, ServerChannelOwner<Context>
{
  readonly countsUnlistened = true
  readonly serializer: Serializer
  readonly #context: ChannelServerContext<Context>
  readonly #channels = new Map<string, ServerChannel<Context>>()
  readonly #backlog: Backlog
  readonly #joins: JoinQueue
  /** Whether more data than the high-water mark waits for the peer: `drain` follows. */
  #needsDrain = false
  #connection: WebsocketConnection<Context> | undefined
  /** The number of pending `once`, which keep reading going. */
  #pendingWaits = 0
  /** Whether the peer has sent an invalid frame, for which the connection closes. */
  #isInvalid = false
  #silentFor = 0 // milliseconds
  #sincePing = 0 // milliseconds

  constructor(context: ChannelServerContext<Context>, serializer: Serializer) {
    this.#context = context
    this.serializer = serializer
    this.#backlog = new Backlog(
      { onChange: () => this.#updateFlowControl(), endSlowest: () => this.#endSlowest() },
      context.host.maxWaitingBytes,
    )
    this.#joins = new JoinQueue(this, context.settings)
  }

  get rejection(): PeerConnectErrorInit {
    // The refusal of a Phoenix client has no body.
    return this.serializer.path === '' ? { status: 401 } : { status: 403, body: '' }
  }

  get connection(): WebsocketConnection<Context> {
    if (!this.#connection) throw invalidCall('nobody is let in yet')
    return this.#connection
  }

  get errorSink(): ErrorSink {
    return this.#context.errorSink
  }

  get joinTimeout(): number {
    return this.#context.settings.joinTimeout
  }

  get closeTimeout(): number {
    return this.#context.host.closeTimeout
  }

  accept(connection: WebsocketConnection<Context>): MessageSink {
    this.#connection = connection
    this.#context.addSocket(this)
    return this
  }

  onMessage(data: Data, size: number): void {
    this.#silentFor = 0
    if (this.#isInvalid) {
      this.countDropped()
      return
    }
    let frame: ClientFrame
    try {
      frame = this.serializer.server.decode(data)
    } catch (error) {
      this.#isInvalid = true
      throw error
    }
    const memorySize = size + MESSAGE_OVERHEAD + parsedBytes(data)
    if (frame.kind === 'heartbeat') this.#sendFrame({ kind: 'heartbeatReply', ref: frame.ref })
    else if (frame.kind === 'join') this.#join(frame, memorySize)
    else this.#dispatch(frame, memorySize)
  }

  isFull(isAwaited: boolean): boolean {
    return this.#backlog.isFull(isAwaited || this.#pendingWaits > 0)
  }

  overflow(): void {
    this.#endSlowest()
  }

  onPing(): void {
    this.#silentFor = 0
  }

  onClose(reason: CloseReason): void {
    this.#backlog.stop()
    this.#joins.stop()
    this.#context.removeSocket(this)
    for (const channel of [...this.#channels.values()]) channel.handleDisconnect(reason)
  }

  /**
   * Pings the peer, or closes the connection when nothing came from the peer for too long. Called
   * every `period` milliseconds.
   */
  checkHeartbeat(period: number): void {
    const { pingInterval, serverTimeout } = this.serializer.signs
    this.#sincePing += period
    if (pingInterval !== false && this.#sincePing >= pingInterval) {
      this.#sincePing = 0
      this.#sendFrame({ kind: 'ping' })
    }
    // While reading is paused, the peer's frames can't arrive.
    this.#silentFor = this.isFull(false) ? 0 : this.#silentFor + period
    if (serverTimeout === false || this.#silentFor < serverTimeout) return
    void this.connection.close(1002, `nothing came for ${serverTimeout / 1_000} seconds`)
  }

  encode(frame: ServerFrame): Data | undefined {
    const data = this.serializer.server.encode(frame)
    if (data === undefined && (frame.kind === 'push' || frame.kind === 'reply')) this.countDropped()
    return data
  }

  send(data: Data | PreparedMessage): void {
    if (this.connection[EMITTER].deliver(data) || this.#needsDrain) return
    this.#needsDrain = true
    this.#joins.pause()
    const stop = listen(this.connection, 'drain', () => {
      stop()
      this.#needsDrain = false
      this.#joins.resume()
    })
  }

  encodeBroadcast(broadcast: Broadcast): PreparedMessage | undefined {
    const message = broadcast.encodedFor(this.serializer)
    if (!message) this.countDropped()
    return message
  }

  countDropped(count = 1): void {
    for (; count > 0; count--) recordDrop(this.#context.host.counts, 'channels', this.connection)
  }

  addBacklog(messages: number, bytes: number): void {
    this.#backlog.add(messages, bytes)
  }

  wait(step: 1 | -1): void {
    this.#pendingWaits += step
    this.#updateFlowControl()
  }

  addToRoom(channel: ServerChannel<Context>): void {
    this.#context.rooms.state(topicRoom(channel.topic)).add(channel)
  }

  onJoinAnswered(channel: ServerChannel<Context>): void {
    this.#joins.finish(channel)
  }

  removeChannel(channel: ServerChannel<Context>): void {
    const { topic } = channel
    this.#joins.remove(channel)
    if (this.#channels.get(topic) === channel) this.#channels.delete(topic)
    const state = this.#context.rooms.state(topicRoom(topic))
    if (state.members.has(channel)) state.delete(channel)
    channel.history?.releaseIfUnused(topic)
  }

  broadcast(from: ServerChannel<Context>, event: string, payload: unknown): Promise<void> {
    return this.#context.emit(from.topic, event, payload, from)
  }

  #join(frame: JoinFrame, size: number): void {
    const { topic, joinRef, ref, payload } = frame
    const topicHandler = this.#context.topicOf(topic)
    const old = this.#channels.get(topic)
    const { maxChannels } = this.#context.settings
    if (!topicHandler) {
      this.#replyError(topic, null, ref, UNMATCHED)
    } else if (!old && maxChannels !== false && this.#channels.size >= maxChannels) {
      this.#replyError(topic, joinRef, ref, TOO_MANY)
    } else {
      const channel = new ServerChannel(this, topicHandler, frame)
      this.#channels.set(topic, channel)
      // Before `replace`, which would remove the old join: so the new one keeps its turn.
      this.#joins.enqueue(channel, payload, size)
      if (old) channel.replace(old)
      this.#joins.startNext()
    }
  }

  #dispatch(frame: LeaveFrame | PushFrame, size: number): void {
    const { topic, joinRef, ref } = frame
    const channel = this.#channels.get(topic)
    if (!channel && frame.kind === 'leave') {
      this.#sendFrame({ kind: 'reply', topic, joinRef, ref, status: 'ok', payload: {} })
    } else if (!channel) {
      this.#replyError(topic, null, ref, UNMATCHED)
    } else if (!channel.matchesJoinRef(joinRef)) {
      this.countDropped()
    } else if (frame.kind === 'leave') {
      channel.handleLeave(ref)
    } else {
      channel.handlePush(frame, size)
    }
  }

  #replyError(topic: string, joinRef: Ref, ref: Ref, payload: unknown): void {
    if (ref === null) this.countDropped()
    else this.#sendFrame({ kind: 'reply', topic, joinRef, ref, status: 'error', payload })
  }

  #sendFrame(frame: ServerFrame): void {
    const data = this.encode(frame)
    if (data !== undefined) this.send(data)
  }

  /** Ends the channel with the most waiting bytes, so that the others go on. */
  #endSlowest(): void {
    const channels = [...this.#channels.values()]
    const waiting = channels.map(({ waitingBytes }) => waitingBytes)
    const sum = waiting.reduce((bytes, more) => bytes + more, 0)
    // When most bytes belong to joins or to closed channels, no open channel is to blame.
    if (2 * sum >= this.#backlog.bytes)
      channels[waiting.indexOf(Math.max(...waiting))]?.endAsTooSlow()
  }

  /** Lets the connection pause or resume reading. */
  #updateFlowControl(): void {
    this.connection[EMITTER].onChange()
  }
}

import type { CloseReason } from '../../connection/close-codes.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import type { Data, PreparedMessage } from '../../connection/message.ts'
import { MESSAGE_OVERHEAD, type MessageSink } from '../../connection/message-sink.ts'
import type { ErrorSink } from '../../events/emitter.ts'
import { listen } from '../../events/listen.ts'
import { EMITTER } from '../../internal.ts'
import { recordDrop } from '../../server/diagnostics.ts'
import type { PendingPeer } from '../../server/extension.ts'
import type { PeerConnectErrorInit } from '../../server/handshake/peer-connect-error.ts'
import { invalidCall } from '../../validation.ts'
import { Backlog } from '../messages/backlog.ts'
import type { BacklogListener } from '../messages/message-queue.ts'
import type { Broadcast } from '../protocol/broadcast.ts'
import { parsedBytes } from '../protocol/json.ts'
import type {
  ClientFrame,
  JoinFrame,
  LeaveFrame,
  PushFrame,
  Ref,
  Serializer,
  ServerFrame,
} from '../protocol/serializer.ts'
import type { ChannelServerCore } from './channel-server-core.ts'
import { JoinQueue } from './join-queue.ts'
import { ServerChannel } from './server-channel.ts'

const UNMATCHED = { reason: 'unmatched topic' }
const TOO_MANY = { reason: 'too many channels joined' }

/** Returns the room of a topic. The prefix keeps it apart from the server's own rooms. */
export function topicRoom(topic: string): string {
  return `topic:${topic}`
}

/** One connection of a channel server, with its serializer and its channels. */
export class ServerSocket<Context extends object>
  implements MessageSink, PendingPeer, BacklogListener
{
  readonly countsUnlistened = true
  readonly serializer: Serializer
  readonly #core: ChannelServerCore<Context>
  readonly #channels = new Map<string, ServerChannel<Context>>()
  readonly #backlog: Backlog
  readonly #joins: JoinQueue
  /** Whether more data than the high-water mark waits for the peer: `drain` follows. */
  #needsDrain = false
  #connection: WebsocketConnection<Context> | undefined
  /** The number of pending `once` calls. Reading goes on for them although messages wait. */
  #pendingWaits = 0
  /** Whether the peer has sent an invalid frame, for which the connection closes. */
  #isInvalid = false
  #silentFor = 0 // milliseconds
  #sincePing = 0 // milliseconds

  constructor(core: ChannelServerCore<Context>, serializer: Serializer) {
    this.#core = core
    this.serializer = serializer
    this.#backlog = new Backlog(
      { onChange: () => this.#updateFlowControl(), endSlowest: () => this.#endSlowest() },
      core.host.maxWaitingBytes,
    )
    this.#joins = new JoinQueue(this, core.settings)
  }

  get rejection(): PeerConnectErrorInit {
    // Phoenix refuses with 403 and without a body. Only Amber has an empty path.
    return this.serializer.path === '' ? { status: 401 } : { status: 403, body: '' }
  }

  get connection(): WebsocketConnection<Context> {
    if (!this.#connection) throw invalidCall('the peer is not accepted yet')
    return this.#connection
  }

  /** The target that receives errors when a channel has no `error` listener. */
  get errorSink(): ErrorSink {
    return this.#core.errorSink
  }

  get joinTimeout(): number {
    return this.#core.settings.joinTimeout
  }

  get closeTimeout(): number {
    return this.#core.host.closeTimeout
  }

  accept(connection: WebsocketConnection<Context>): MessageSink {
    this.#connection = connection
    this.#core.addSocket(this)
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
    if (frame.kind === 'heartbeat') this.sendFrame({ kind: 'heartbeatReply', ref: frame.ref })
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
    this.#core.removeSocket(this)
    for (const channel of [...this.#channels.values()]) channel.handleDisconnect(reason)
  }

  /**
   * Pings the peer, or closes the connection when nothing came from the peer for too long. Called
   * every `period` milliseconds.
   */
  checkHeartbeat(period: number): void {
    const { pingInterval, serverTimeout } = this.serializer.keepaliveTimings
    this.#sincePing += period
    if (pingInterval !== false && this.#sincePing >= pingInterval) {
      this.#sincePing = 0
      this.sendFrame({ kind: 'ping' })
    }
    // While reading is paused, the peer's frames can't arrive.
    this.#silentFor = this.isFull(false) ? 0 : this.#silentFor + period
    if (serverTimeout === false || this.#silentFor < serverTimeout) return
    void this.connection.close(1002, `nothing came for ${serverTimeout / 1_000} seconds`)
  }

  /** Encodes a frame. Returns undefined, and counts a drop, when the protocol has no such frame. */
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

  sendFrame(frame: ServerFrame): void {
    const data = this.encode(frame)
    if (data !== undefined) this.send(data)
  }

  /** Refuses a frame of the peer for a topic of which the peer has no channel. */
  replyUnmatched(topic: string, ref: Ref): void {
    this.#replyError(topic, null, ref, UNMATCHED)
  }

  /**
   * Encodes a broadcast for the protocol of the connection. Returns undefined, and counts a drop,
   * when the protocol can't express it.
   */
  encodeBroadcast(broadcast: Broadcast): PreparedMessage | undefined {
    const message = broadcast.encodedFor(this.serializer)
    if (!message) this.countDropped()
    return message
  }

  /** Counts dropped messages: one, or `count`. */
  countDropped(count = 1): void {
    for (; count > 0; count--) recordDrop(this.#core.host.counts, 'channels', this.connection)
  }

  addBacklog(messages: number, bytes: number): void {
    this.#backlog.add(messages, bytes)
  }

  /** Adds `step` to the number of pending `once` calls, for which reading goes on. */
  pinReading(step: 1 | -1): void {
    this.#pendingWaits += step
    this.#updateFlowControl()
  }

  /** Adds a channel to the members of its topic. */
  addToRoom(channel: ServerChannel<Context>): void {
    this.#core.rooms.get(topicRoom(channel.topic)).add(channel)
  }

  /** Ends a join in the queue: its listeners have answered, or it has timed out. */
  onJoinAnswered(channel: ServerChannel<Context>): void {
    this.#joins.finish(channel)
  }

  removeChannel(channel: ServerChannel<Context>): void {
    const { topic } = channel
    this.#joins.remove(channel)
    if (this.#channels.get(topic) === channel) this.#channels.delete(topic)
    this.#core.rooms.get(topicRoom(topic)).delete(channel)
    channel.topicHandler.history?.releaseIfUnused(topic)
  }

  /** Sends an event to all other members of a topic, on every node. */
  broadcast(from: ServerChannel<Context>, event: string, payload: unknown): Promise<void> {
    return this.#core.emit(from.topic, event, payload, from)
  }

  #join(frame: JoinFrame, size: number): void {
    const { topic, joinRef, ref, payload } = frame
    const topicHandler = this.#core.topicOf(topic)
    const oldChannel = this.#channels.get(topic)
    const { maxChannels } = this.#core.settings
    if (!topicHandler) {
      this.replyUnmatched(topic, ref)
    } else if (!oldChannel && maxChannels !== false && this.#channels.size >= maxChannels) {
      this.#replyError(topic, joinRef, ref, TOO_MANY)
    } else {
      const channel = new ServerChannel(this, topicHandler, frame)
      this.#channels.set(topic, channel)
      // Enqueued before `replace` removes the old join: so the new one gets its place in the queue.
      this.#joins.enqueue(channel, payload, size)
      if (oldChannel) channel.replace(oldChannel)
      this.#joins.startNext()
    }
  }

  #dispatch(frame: LeaveFrame | PushFrame, size: number): void {
    const { topic, joinRef, ref } = frame
    const channel = this.#channels.get(topic)
    if (!channel && frame.kind === 'leave') {
      this.sendFrame({ kind: 'reply', topic, joinRef, ref, status: 'ok', payload: {} })
    } else if (!channel) {
      this.replyUnmatched(topic, ref)
    } else if (joinRef !== null && joinRef !== channel.joinRef) {
      this.countDropped()
    } else if (frame.kind === 'leave') {
      channel.handleLeave(ref)
    } else {
      channel.handlePush(frame, size)
    }
  }

  #replyError(topic: string, joinRef: Ref, ref: Ref, payload: unknown): void {
    if (ref === null) this.countDropped()
    else this.sendFrame({ kind: 'reply', topic, joinRef, ref, status: 'error', payload })
  }

  /** Ends the channel with the most waiting bytes, so that the others go on. */
  #endSlowest(): void {
    const channels = [...this.#channels.values()]
    const sizes = channels.map(({ waitingBytes }) => waitingBytes)
    const sum = sizes.reduce((bytes, size) => bytes + size, 0)
    // When most bytes belong to joins or to closed channels, no open channel is to blame.
    if (2 * sum >= this.#backlog.bytes) channels[sizes.indexOf(Math.max(...sizes))]?.endAsTooSlow()
  }

  /** Lets the connection pause or resume reading. */
  #updateFlowControl(): void {
    this.connection[EMITTER].onChange()
  }
}

import type { CloseReason } from '../close.ts'
import { MESSAGE_OVERHEAD, type Reader } from '../connection-core.ts'
import type { WebsocketConnection } from '../connection.ts'
import { dropped } from '../diagnostics.ts'
import type { Denial } from '../errors.ts'
import { listen } from '../listen.ts'
import type { Data, Message } from '../message.ts'
import type { RoomMember, Rooms } from '../room.ts'
import type { Ground, Guest } from '../floor.ts'
import { SIGNALS, type Hearer } from '../signals.ts'
import { Backlog } from './backlog.ts'
import type { Broadcast } from './broadcast.ts'
import type {
  ClientFrame,
  JoinFrame,
  LeaveFrame,
  PushFrame,
  Ref,
  Serializer,
  ServerFrame,
} from './frame.ts'
import type { Loose } from './channel.ts'
import { JoinQueue } from './join-queue.ts'
import { ServerChannel, type Host } from './membership.ts'
import type { ChannelServerSettings } from './options.ts'
import { parsedBytes } from './text.ts'
import type { Topic } from './topic.ts'

/** What the clients of a channel server share. */
export interface Hall<Context extends {}> {
  readonly settings: ChannelServerSettings
  readonly ground: Ground
  readonly hearer: Hearer
  readonly rooms: Rooms<RoomMember>
  /** Is the topic that a name belongs to. */
  topicOf(name: string): Topic<Loose, Loose, Context> | undefined
  /** Sends an event to all members of a topic but one, on every node. */
  emit(topic: string, event: string, payload: unknown, from: ServerChannel<Context>): Promise<void>
  /** Begins to watch a client. */
  entered(peer: Peer<Context>): void
  /** Forgets a client. */
  left(peer: Peer<Context>): void
}

const UNMATCHED = { reason: 'unmatched topic' }
const TOO_MANY = { reason: 'too many channels joined' }

/** Is what the members of a topic are called on the backplane, beside the rooms of its server. */
export function roomOf(topic: string): string {
  return `topic:${topic}`
}

/** A client of a channel server: its connection, its dialect, its channels. */
export class Peer<Context extends {}> implements Reader, Guest<Context>, Host<Context> {
  readonly countsUnheard = true
  readonly serializer: Serializer
  readonly #hall: Hall<Context>
  readonly #channels = new Map<string, ServerChannel<Context>>()
  readonly #backlog: Backlog
  readonly #joins: JoinQueue
  /** Whether more waits for the peer than its high-water mark: `drain` follows. */
  #hasMuchToRead = false
  #connection: WebsocketConnection<Context> | undefined
  #waits = 0
  /** Whether it sent what its connection closes for. */
  #invalid = false
  #silence = 0
  #sincePing = 0

  constructor(hall: Hall<Context>, serializer: Serializer) {
    this.#hall = hall
    this.serializer = serializer
    this.#backlog = new Backlog(
      { changed: () => this.#flow(), endSlowest: () => this.#endSlowest() },
      hall.ground.maxWaitingBytes,
    )
    this.#joins = new JoinQueue(this, hall.settings)
  }

  get denial(): Denial {
    // Phoenix's clients are told no more than that.
    return this.serializer.path === '' ? { status: 401 } : { status: 403, body: '' }
  }

  get connection(): WebsocketConnection<Context> {
    if (!this.#connection) throw new TypeError('nobody is let in yet')
    return this.#connection
  }

  get hearer(): Hearer {
    return this.#hall.hearer
  }

  get joinTimeout(): number {
    return this.#hall.settings.joinTimeout
  }

  get closeTimeout(): number {
    return this.#hall.ground.closeTimeout
  }

  enter(connection: WebsocketConnection<Context>): Reader {
    this.#connection = connection
    this.#hall.entered(this)
    return this
  }

  read(data: Data, size: number): void {
    this.#silence = 0
    if (this.#invalid) {
      this.dropped()
      return
    }
    let frame: ClientFrame
    try {
      frame = this.serializer.server.decode(data)
    } catch (error) {
      this.#invalid = true
      throw error
    }
    const taken = size + MESSAGE_OVERHEAD + parsedBytes(data)
    if (frame.kind === 'heartbeat') this.#say({ kind: 'heartbeatReply', ref: frame.ref })
    else if (frame.kind === 'join') this.#join(frame, taken)
    else this.#hand(frame, taken)
  }

  isFull(isAwaited: boolean): boolean {
    return this.#backlog.isFull(isAwaited || this.#waits > 0)
  }

  overflow(): void {
    this.#endSlowest()
  }

  pinged(): void {
    this.#silence = 0
  }

  ended(reason: CloseReason): void {
    this.#backlog.stop()
    this.#joins.stop()
    this.#hall.left(this)
    for (const channel of [...this.#channels.values()]) channel.closed(reason)
  }

  /** Some time has gone by. */
  beat(period: number): void {
    const { ping, serverPatience } = this.serializer.signs
    this.#sincePing += period
    if (ping !== false && this.#sincePing >= ping) {
      this.#sincePing = 0
      this.#say({ kind: 'ping' })
    }
    // Nothing comes while reading is paused.
    this.#silence = this.isFull(false) ? 0 : this.#silence + period
    if (serverPatience === false || this.#silence < serverPatience) return
    void this.connection.close(1002, `nothing came for ${serverPatience / 1_000} seconds`)
  }

  written(frame: ServerFrame): Data | undefined {
    const data = this.serializer.server.encode(frame)
    if (data === undefined && (frame.kind === 'push' || frame.kind === 'reply')) this.dropped()
    return data
  }

  send(data: Data | Message): void {
    if (this.connection[SIGNALS].deliver(data) || this.#hasMuchToRead) return
    this.#hasMuchToRead = true
    this.#joins.hold()
    const stop = listen(this.connection, 'drain', () => {
      stop()
      this.#hasMuchToRead = false
      this.#joins.release()
    })
  }

  inDialect(broadcast: Broadcast): Message | undefined {
    const message = broadcast.in(this.serializer)
    if (!message) this.dropped()
    return message
  }

  dropped(count = 1): void {
    for (; count > 0; count--) dropped(this.#hall.ground.counts, 'channels', this.connection)
  }

  tally(messages: number, bytes: number): void {
    this.#backlog.add(messages, bytes)
  }

  wait(step: 1 | -1): void {
    this.#waits += step
    this.#flow()
  }

  entered(channel: ServerChannel<Context>): void {
    this.#hall.rooms.state(roomOf(channel.topic)).add(channel)
  }

  answered(channel: ServerChannel<Context>): void {
    this.#joins.answered(channel)
  }

  gone(channel: ServerChannel<Context>): void {
    const { topic } = channel
    this.#joins.remove(channel)
    if (this.#channels.get(topic) === channel) this.#channels.delete(topic)
    const state = this.#hall.rooms.state(roomOf(topic))
    if (state.members.has(channel)) state.delete(channel)
    channel.history?.left(topic)
  }

  broadcast(from: ServerChannel<Context>, event: string, payload: unknown): Promise<void> {
    return this.#hall.emit(from.topic, event, payload, from)
  }

  #join(frame: JoinFrame, size: number): void {
    const { topic, joinRef, ref, payload } = frame
    const of = this.#hall.topicOf(topic)
    const old = this.#channels.get(topic)
    const { maxChannels } = this.#hall.settings
    if (!of) {
      this.#refuse(topic, null, ref, UNMATCHED)
    } else if (!old && maxChannels !== false && this.#channels.size >= maxChannels) {
      this.#refuse(topic, joinRef, ref, TOO_MANY)
    } else {
      const channel = new ServerChannel(this, of, frame)
      this.#channels.set(topic, channel)
      this.#joins.put(channel, payload, size) // first, so that it takes the place of one that waits
      if (old) channel.replace(old)
      this.#joins.run()
    }
  }

  #hand(frame: LeaveFrame | PushFrame, size: number): void {
    const { topic, joinRef, ref } = frame
    const channel = this.#channels.get(topic)
    if (!channel && frame.kind === 'leave') {
      this.#say({ kind: 'reply', topic, joinRef, ref, status: 'ok', payload: {} })
    } else if (!channel) {
      this.#refuse(topic, null, ref, UNMATCHED)
    } else if (!channel.isMeant(joinRef)) {
      this.dropped()
    } else if (frame.kind === 'leave') {
      channel.left(ref)
    } else {
      channel.arrive(frame, size)
    }
  }

  #refuse(topic: string, joinRef: Ref, ref: Ref, payload: unknown): void {
    if (ref === null) this.dropped()
    else this.#say({ kind: 'reply', topic, joinRef, ref, status: 'error', payload })
  }

  #say(frame: ServerFrame): void {
    const data = this.written(frame)
    if (data !== undefined) this.send(data)
  }

  /** Ends the membership with most waiting, so that the others go on. */
  #endSlowest(): void {
    const channels = [...this.#channels.values()]
    const waiting = channels.map(({ waitingBytes }) => waitingBytes)
    const sum = waiting.reduce((bytes, more) => bytes + more, 0)
    // Where most of it are joins, or messages of memberships that ended, none of these is to blame.
    if (2 * sum >= this.#backlog.bytes) channels[waiting.indexOf(Math.max(...waiting))]?.tooSlow()
  }

  /** Too much waits, or not any more. */
  #flow(): void {
    this.connection[SIGNALS].changed()
  }
}

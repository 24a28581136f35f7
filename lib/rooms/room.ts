import type { Backplane } from '../backplane/backplane.ts'
import { isSendableCloseCode, sendableReason } from '../connection/close-codes.ts'
import { invalidValue, type WebsocketError } from '../errors.ts'
import {
  DELIVER,
  toBytes,
  toData,
  toText,
  type Data,
  type PreparedMessage,
  type SendData,
} from '../connection/message.ts'
import { checkNames } from '../validation.ts'
import { BackplaneLink, type Subscription } from '../backplane/backplane-link.ts'
import {
  EMITTER,
  Emitter,
  type ErrorSink,
  type EventSpec,
  type Listenable,
} from '../events/emitter.ts'

/** The events of a room. They are about the members on this node. */
export interface RoomEvents<Member> {
  /** The member that was added. */
  join: Member
  /** The member that was removed, or whose connection has closed. */
  leave: Member
}

/** A member of a room: a connection, or a channel of one. */
export interface RoomMember {
  /** Whether it is open: only then it can be added. */
  readonly isOpen: boolean
  /** Whether `emit` sends to it. */
  readonly valid: boolean
  /** Closes its connection. */
  close(code?: number, description?: string): unknown
  /** @internal */
  [DELIVER](message: PreparedMessage): boolean
}

/** The services that the rooms of one server need from it. */
export interface RoomsOwner<Member> extends ErrorSink {
  readonly backplane: Backplane | undefined
  /**
   * Prepares data, sent here or received from another node, for sending to many members.
   *
   * @throws where the data makes no sense.
   */
  prepare(data: Data): PreparedMessage
  /** Returns whether a value may be a member of this server's rooms. */
  isMember(member: Member): boolean
  /** Reports a failure of the backplane. */
  reportFailure(error: WebsocketError): void
  /** Counts a message that the backplane could not take, or that makes no sense here. */
  countDrop(): void
  /** Records that a member joined or left a room; `roomName` returns the room's name. */
  onMembershipChange(change: 'join' | 'leave', topic: string, member: Member): void
}

const CLIENTS_TOPIC = 'clients'
const ROOM_PREFIX = 'room:'

/** Returns the name of the room that a topic stands for; undefined for the room of all clients. */
export function roomName(topic: string): string | undefined {
  return topic === CLIENTS_TOPIC ? undefined : topic.slice(ROOM_PREFIX.length)
}

const ROOM_SPEC: EventSpec<RoomEvents<unknown>> = { kind: 'room', events: ['join', 'leave'] }

/** The members and the listeners of a room on this node. Kept only while there are any. */
class RoomState<Member extends RoomMember> extends Emitter<RoomEvents<Member>> {
  readonly members = new Set<Member>()
  readonly #rooms: Rooms<Member>
  readonly #topic: string
  #unsubscribe: Subscription | undefined

  constructor(rooms: Rooms<Member>, topic: string) {
    super(ROOM_SPEC)
    this.#rooms = rooms
    this.#topic = topic
  }

  override get parent(): ErrorSink {
    return this.#rooms.owner
  }

  /**
   * Closes the member's connection, as other targets do, if no `error` listener got the failure.
   */
  override onListenerFailed(value: unknown, isHeard: boolean): void {
    if (!isHeard) (value as Member).close(1011)
  }

  override onChange(): void {
    const isUsed = this.members.size > 0 || this.hasListeners('join') || this.hasListeners('leave')
    this.#rooms.keep(this.#topic, this, isUsed)
  }

  add(member: Member): void {
    this.members.add(member)
    // First: a listener that hears of a failure of the backplane may look this room up.
    this.onChange()
    if (this.members.size === 1) this.#unsubscribe = this.#rooms.subscribe(this.#topic, this)
    this.#notify('join', member)
  }

  delete(member: Member): void {
    this.members.delete(member)
    if (this.members.size === 0) this.#unsubscribe?.()
    this.onChange()
    this.#notify('leave', member)
  }

  #notify(change: 'join' | 'leave', member: Member): void {
    this.#rooms.owner.onMembershipChange(change, this.#topic, member)
    this.emit(change, member)
  }

  deliver(message: PreparedMessage, except?: unknown): void {
    for (const member of this.members) {
      if (member.valid && member !== except) member[DELIVER](message)
    }
  }
}

/**
 * A set of connections that only the server fills: its `clients`. Programs may read it, emit to it
 * and close it.
 */
export class ReadonlyRoom<Member extends RoomMember>
  implements Listenable<RoomEvents<Member>>, Iterable<Member>
{
  /** The name of the room. The room of a server's `clients` has the name `clients`. */
  readonly name: string
  readonly #rooms: Rooms<Member>
  readonly #topic: string

  /** @internal */
  constructor(rooms: Rooms<Member>, name: string, topic: string) {
    this.name = name
    this.#rooms = rooms
    this.#topic = topic
  }

  /** @hidden */
  get [EMITTER](): Emitter<RoomEvents<Member>> {
    return this.#rooms.state(this.#topic)
  }

  /** The number of members on this node. */
  get size(): number {
    return this.#rooms.state(this.#topic).members.size
  }

  /** Returns whether the room has a member. */
  has(member: Member): boolean {
    return this.#rooms.state(this.#topic).members.has(member)
  }

  /** Iterates over the members on this node. */
  [Symbol.iterator](): Iterator<Member> {
    return this.#rooms.state(this.#topic).members.values()
  }

  /**
   * Sends a message to every valid member, on every node. `except` names a member on this node that
   * doesn't get it.
   *
   * @throws TypeError for anything but a string, bytes or a finite number.
   */
  emit(data: SendData, options: { except?: RoomMember | undefined } = {}): void {
    checkNames(options, ['except'])
    this.#rooms.emit(this.#topic, this.#rooms.owner.prepare(toData(data)), options.except)
  }

  /**
   * Closes the connection of every member, on every node. Use it to disconnect a user from
   * anywhere.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(code = 1000, description = ''): void {
    const reason = sendableReason(code, description)
    this.#rooms.close(this.#topic, reason.code, reason.description)
  }
}

/**
 * A set of connections that the program fills. It is a handle: the same name is the same room, on
 * every node. Its memory is released when the room is empty and has no listeners.
 */
export class Room<Member extends RoomMember> extends ReadonlyRoom<Member> {
  readonly #rooms: Rooms<Member>
  readonly #topic: string

  /** @internal */
  constructor(rooms: Rooms<Member>, name: string, topic: string) {
    super(rooms, name, topic)
    this.#rooms = rooms
    this.#topic = topic
  }

  /**
   * Adds a member. Does nothing if its connection has closed.
   *
   * @throws TypeError for a value that isn't a client of this room's server.
   */
  add(member: Member): this {
    if (member?.isOpen ?? true) this.#rooms.add(this.#topic, member)
    return this
  }

  /** Removes a member. Returns whether it was in the room. */
  delete(member: Member): boolean {
    return this.#rooms.remove(this.#topic, member)
  }
}

const TEXT = 0
const BINARY = 1
const CLOSE = 2

/** The rooms of one server, and their link to the other nodes. */
export class Rooms<Member extends RoomMember> {
  readonly owner: RoomsOwner<Member>
  /** The link to the other nodes. */
  readonly link: BackplaneLink
  readonly #states = new Map<string, RoomState<Member>>()
  readonly #topicsOf = new Map<Member, Set<string>>()

  /** Creates the rooms of a server. */
  constructor(owner: RoomsOwner<Member>) {
    this.owner = owner
    this.link = new BackplaneLink(
      owner.backplane,
      (error) => owner.reportFailure(error),
      () => owner.countDrop(),
    )
  }

  /** Returns the room with a name. */
  room(name: string): Room<Member> {
    return new Room(this, name, ROOM_PREFIX + name)
  }

  /** Returns the room of all members, which only `admit` fills. */
  allMembers(): ReadonlyRoom<Member> {
    return new ReadonlyRoom(this, 'clients', CLIENTS_TOPIC)
  }

  /** Returns the state of a room, or a new one, which is kept as soon as it is used. */
  state(topic: string): RoomState<Member> {
    return this.#states.get(topic) ?? new RoomState(this, topic)
  }

  /** Keeps the state of a room while it is used, and removes it when it no longer is. */
  keep(topic: string, state: RoomState<Member>, isUsed: boolean): void {
    if (isUsed) this.#states.set(topic, state)
    else if (this.#states.get(topic) === state) this.#states.delete(topic)
  }

  /** Adds a new member to the room of all members. */
  admit(member: Member): void {
    this.state(CLIENTS_TOPIC).add(member)
  }

  /**
   * Adds a member to the room of a topic.
   *
   * @throws TypeError for a value that isn't a client of this server.
   */
  add(topic: string, member: Member): void {
    const state = this.state(topic)
    if (state.members.has(member)) return
    if (!this.owner.isMember(member)) {
      // It would stay for ever: these rooms are not notified when it closes.
      throw invalidValue('the member of a room', 'a client of its own server', member)
    }
    this.#topicsOf.set(member, (this.#topicsOf.get(member) ?? new Set()).add(topic))
    state.add(member)
  }

  /** Removes a member from a room. Returns whether it was in the room. */
  remove(topic: string, member: Member): boolean {
    const state = this.state(topic)
    if (!state.members.has(member)) return false
    const topics = this.#topicsOf.get(member)
    topics?.delete(topic)
    if (topics?.size === 0) this.#topicsOf.delete(member)
    state.delete(member)
    return true
  }

  /** Removes a member from all rooms. */
  removeFromAll(member: Member): void {
    for (const topic of [CLIENTS_TOPIC, ...(this.#topicsOf.get(member) ?? [])]) {
      this.remove(topic, member)
    }
  }

  /** Ends the loops and waits of all rooms. */
  end(): void {
    for (const state of [...this.#states.values()]) state.endWaits()
  }

  /** Sends to the members of a room: first directly to those on this node, then to other nodes. */
  emit(topic: string, message: PreparedMessage, except: unknown): void {
    this.deliver(topic, message, except)
    if (!this.link.isClustered) return
    this.link.publish(topic, message.isText ? TEXT : BINARY, message.bytes)
  }

  /** Sends to the members of a room on this node only. */
  deliver(topic: string, message: PreparedMessage, except?: unknown): void {
    this.#states.get(topic)?.deliver(message, except)
  }

  /** Closes the connections of the members of a room, on this node and on other nodes. */
  close(topic: string, code: number, description: string): void {
    closeAll(this.state(topic).members, code, description)
    const text = toBytes(description)
    this.link.publish(topic, CLOSE, Uint8Array.of(code >> 8, code & 0xff, ...text))
  }

  /** Receives what other nodes send to a room, until the returned function is called. */
  subscribe(topic: string, state: RoomState<Member>): Subscription {
    return this.link.subscribe(topic, (kind, payload) => this.#receive(state, kind, payload))
  }

  #receive(state: RoomState<Member>, kind: number, payload: Uint8Array): void {
    const text = kind === BINARY ? payload : toText(kind === CLOSE ? payload.subarray(2) : payload)
    const [high = 0, low] = payload
    if (kind === CLOSE && low !== undefined && isSendableCloseCode(high * 256 + low)) {
      closeAll(state.members, high * 256 + low, String(text))
    } else if (kind === BINARY) {
      this.#deliver(state, payload)
    } else if (kind === TEXT && typeof text === 'string') {
      this.#deliver(state, text)
    } else {
      this.owner.countDrop()
    }
  }

  #deliver(state: RoomState<Member>, data: Data): void {
    let message: PreparedMessage
    try {
      message = this.owner.prepare(data)
    } catch {
      this.owner.countDrop()
      return
    }
    state.deliver(message)
  }
}

function closeAll(members: Iterable<RoomMember>, code: number, description: string): void {
  for (const member of [...members]) member.close(code, description)
}

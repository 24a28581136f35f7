import type { Backplane } from './backplane.ts'
import { maySend, sendableReason } from './close.ts'
import { unexpected, type WebsocketError } from './errors.ts'
import {
  DELIVER,
  toBytes,
  toData,
  toText,
  type Data,
  type Message,
  type SendData,
} from './message.ts'
import { checkNames } from './options/rules.ts'
import { Relay, type Subscription } from './relay.ts'
import { SIGNALS, Signals, type Hearer, type Plan, type Target } from './signals.ts'

/** The events of a room, about this node's members. */
export interface RoomEvents<Member> {
  /** Somebody came in. */
  join: Member
  /** Somebody went, or its connection has closed. */
  leave: Member
}

/** Who can be in a room. */
export interface RoomMember {
  /** Whether it may come in. */
  readonly isOpen: boolean
  /** Whether `emit` reaches it. */
  readonly valid: boolean
  /** Ends its connection. */
  close(code?: number, description?: string): unknown
  /** @internal */
  [DELIVER](message: Message): boolean
}

/** What the rooms of one server share. */
export interface House<Member> extends Hearer {
  readonly backplane: Backplane | undefined
  /** Prepares for many what is sent, or what came from another node; throws where it makes no sense. */
  prepared(data: Data): Message
  /** Tells whether somebody may come in. */
  has(member: Member): boolean
  /** Is told when the backplane failed. */
  failed(error: WebsocketError): void
  /** Is told of a message that the backplane could not take, or that makes no sense here. */
  dropped(): void
  /** Is told of who comes into a room, and who goes; `nameOf` has the name. */
  moved(how: 'join' | 'leave', topic: string, member: Member): void
}

const EVERYONE = 'clients'
const PREFIX = 'room:'

/** Is the name of a room by its topic; undefined for the room of all. */
export function nameOf(topic: string): string | undefined {
  return topic === EVERYONE ? undefined : topic.slice(PREFIX.length)
}

const PLAN: Plan<RoomEvents<unknown>> = { kind: 'room', events: ['join', 'leave'] }

/** Who is in a room, and who listens to it: kept only while there is somebody. */
class State<Member extends RoomMember> extends Signals<RoomEvents<Member>> {
  readonly members = new Set<Member>()
  readonly #rooms: Rooms<Member>
  readonly #topic: string
  #unsubscribe: Subscription | undefined

  constructor(rooms: Rooms<Member>, topic: string) {
    super(PLAN)
    this.#rooms = rooms
    this.#topic = topic
  }

  override get parent(): Hearer {
    return this.#rooms.house
  }

  /** The connection of a member pays for a listener that failed unheard, as everywhere. */
  override listenerFailed(value: unknown, isHeard: boolean): void {
    if (!isHeard) (value as Member).close(1011)
  }

  override changed(): void {
    const used = this.members.size > 0 || this.listens('join') || this.listens('leave')
    this.#rooms.keep(this.#topic, this, used)
  }

  add(member: Member): void {
    this.members.add(member)
    this.changed() // first: whoever hears that the backplane failed may ask for this room
    if (this.members.size === 1) this.#unsubscribe = this.#rooms.subscribe(this.#topic, this)
    this.#moved('join', member)
  }

  delete(member: Member): void {
    this.members.delete(member)
    if (this.members.size === 0) this.#unsubscribe?.()
    this.changed()
    this.#moved('leave', member)
  }

  #moved(how: 'join' | 'leave', member: Member): void {
    this.#rooms.house.moved(how, this.#topic, member)
    this.emit(how, member)
  }

  deliver(message: Message, except?: unknown): void {
    for (const member of this.members) {
      if (member.valid && member !== except) member[DELIVER](message)
    }
  }
}

/**
 * A set of connections to look at, to emit to and to close, which the server alone fills: its `clients`.
 */
export class ReadonlyRoom<Member extends RoomMember>
  implements Target<RoomEvents<Member>>, Iterable<Member>
{
  /** The name of the room; that of a server's `clients` is `clients`. */
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
  get [SIGNALS](): Signals<RoomEvents<Member>> {
    return this.#rooms.state(this.#topic)
  }

  /** How many members it has on this node. */
  get size(): number {
    return this.#rooms.state(this.#topic).members.size
  }

  /** Tells whether a member is in. */
  has(member: Member): boolean {
    return this.#rooms.state(this.#topic).members.has(member)
  }

  /** Iterates over the members on this node. */
  [Symbol.iterator](): Iterator<Member> {
    return this.#rooms.state(this.#topic).members.values()
  }

  /**
   * Sends a message to every valid member, on every node; on this node `except` one.
   *
   * @throws TypeError for anything but a string, bytes or a finite number.
   */
  emit(data: SendData, options: { except?: RoomMember | undefined } = {}): void {
    checkNames(options, ['except'])
    this.#rooms.emit(this.#topic, this.#rooms.house.prepared(toData(data)), options.except)
  }

  /**
   * Closes the connection of every member, on every node: how to disconnect a user from anywhere.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(code = 1000, description = ''): void {
    const reason = sendableReason(code, description)
    this.#rooms.close(this.#topic, reason.code, reason.description)
  }
}

/**
 * A set of connections that you fill. It is a handle: the same name is the same room, on every node;
 * what it holds goes when it is empty and has no listeners.
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
   * Adds a member; one whose connection has closed stays out.
   *
   * @throws TypeError for what isn't a client of this room's server.
   */
  add(member: Member): this {
    if (member?.isOpen ?? true) this.#rooms.enter(this.#topic, member)
    return this
  }

  /** Removes a member. Returns whether it was in. */
  delete(member: Member): boolean {
    return this.#rooms.leave(this.#topic, member)
  }
}

const TEXT = 0
const BINARY = 1
const CLOSE = 2

/** The rooms of one server, and their way to the other nodes. */
export class Rooms<Member extends RoomMember> {
  readonly house: House<Member>
  /** Their way to the other nodes. */
  readonly relay: Relay
  readonly #states = new Map<string, State<Member>>()
  readonly #entered = new Map<Member, Set<string>>()

  /** Makes the rooms of a house. */
  constructor(house: House<Member>) {
    this.house = house
    this.relay = new Relay(house.backplane, house)
  }

  /** Is a room by its name. */
  room(name: string): Room<Member> {
    return new Room(this, name, PREFIX + name)
  }

  /** Returns the room of all members, which `admit` alone fills. */
  everyone(): ReadonlyRoom<Member> {
    return new ReadonlyRoom(this, 'clients', EVERYONE)
  }

  /** Is what is kept of a room, or an empty one: it is kept once it is used. */
  state(topic: string): State<Member> {
    return this.#states.get(topic) ?? new State(this, topic)
  }

  /** Keeps a state while it is used. */
  keep(topic: string, state: State<Member>, used: boolean): void {
    if (used) this.#states.set(topic, state)
    else if (this.#states.get(topic) === state) this.#states.delete(topic)
  }

  /** Adds a new member to the room of all. */
  admit(member: Member): void {
    this.state(EVERYONE).add(member)
  }

  /** Adds a member to a room with a name. */
  enter(topic: string, member: Member): void {
    const state = this.state(topic)
    if (state.members.has(member)) return
    if (!this.house.has(member)) {
      // It would stay for ever: its end isn't told here.
      throw unexpected('the member of a room', 'a client of its own server', member)
    }
    this.#entered.set(member, (this.#entered.get(member) ?? new Set()).add(topic))
    state.add(member)
  }

  /** Sends a member out of a room. */
  leave(topic: string, member: Member): boolean {
    const state = this.state(topic)
    if (!state.members.has(member)) return false
    const topics = this.#entered.get(member)
    topics?.delete(topic)
    if (topics?.size === 0) this.#entered.delete(member)
    state.delete(member)
    return true
  }

  /** Sends a member out of all rooms. */
  leaveAll(member: Member): void {
    for (const topic of [EVERYONE, ...(this.#entered.get(member) ?? [])]) this.leave(topic, member)
  }

  /** Ends the loops and waits on all rooms. */
  end(): void {
    for (const state of [...this.#states.values()]) state.endWaits()
  }

  /** Sends to the members of a room: here first and directly, then on the other nodes. */
  emit(topic: string, message: Message, except: unknown): void {
    this.deliver(topic, message, except)
    if (!this.relay.leads) return
    this.relay.publish(topic, message.isText ? TEXT : BINARY, message.bytes)
  }

  /** Sends to the members of a room on this node alone. */
  deliver(topic: string, message: Message, except?: unknown): void {
    this.#states.get(topic)?.deliver(message, except)
  }

  /** Closes the connections of the members of a room, here and on the other nodes. */
  close(topic: string, code: number, description: string): void {
    closeAll(this.state(topic).members, code, description)
    const text = toBytes(description)
    this.relay.publish(topic, CLOSE, Uint8Array.of(code >> 8, code & 0xff, ...text))
  }

  /** Receives what other nodes send to a room, until the returned function is called. */
  subscribe(topic: string, state: State<Member>): Subscription {
    return this.relay.subscribe(topic, (kind, payload) => this.#receive(state, kind, payload))
  }

  #receive(state: State<Member>, kind: number, payload: Uint8Array): void {
    const text = kind === BINARY ? payload : toText(kind === CLOSE ? payload.subarray(2) : payload)
    const [high = 0, low] = payload
    if (kind === CLOSE && low !== undefined && maySend(high * 256 + low)) {
      closeAll(state.members, high * 256 + low, String(text))
    } else if (kind === BINARY) {
      this.#deliver(state, payload)
    } else if (kind === TEXT && typeof text === 'string') {
      this.#deliver(state, text)
    } else {
      this.house.dropped()
    }
  }

  #deliver(state: State<Member>, data: Data): void {
    let message: Message
    try {
      message = this.house.prepared(data)
    } catch {
      this.house.dropped()
      return
    }
    state.deliver(message)
  }
}

function closeAll(members: Iterable<RoomMember>, code: number, description: string): void {
  for (const member of [...members]) member.close(code, description)
}

import { sendableReason } from '../connection/close-codes.ts'
import { toData, type PreparedMessage, type SendData } from '../connection/message.ts'
import { Emitter, type ErrorSink, type EventSpec } from '../events/emitter.ts'
import type { Listenable } from '../events/listenable.ts'
import { formatCount, inspectLine } from '../format.ts'
import { DELIVER, EMITTER, INSPECT, type EVENTS } from '../internal.ts'
import { checkNames } from '../validation.ts'
import type { RoomRegistry } from './registry.ts'

/** The events of a room. They are about the members on this node. */
export interface RoomEvents<Member> {
  /** The member that was added. */
  join: Member
  /** The member that was removed, or whose connection has closed. */
  leave: Member
}

/** A member of a room: a connection, or a channel of one. */
export interface RoomMember {
  /** Whether it can be added to a room. */
  readonly isOpen: boolean
  /** Whether `emit` sends to it. */
  readonly valid: boolean
  /** Closes its connection. */
  close(code?: number, description?: string): unknown
  /** @internal */
  [DELIVER](message: PreparedMessage): boolean
}

/** The beginning of the topics of named rooms on the backplane. */
export const NAMED_PREFIX = 'room:'

const SPEC: EventSpec<RoomEvents<unknown>> = { kind: 'room', events: ['join', 'leave'] }

/**
 * The private half of a room: its members and its listeners on this node. The registry keeps it
 * while there are any.
 */
export class RoomCore<Member extends RoomMember> extends Emitter<RoomEvents<Member>> {
  /** The name of the room on the backplane. */
  readonly topic: string
  readonly members = new Set<Member>()
  readonly #registry: RoomRegistry<Member>
  #unsubscribe: (() => void) | undefined

  constructor(registry: RoomRegistry<Member>, topic: string) {
    super(SPEC)
    this.#registry = registry
    this.topic = topic
  }

  override get parent(): ErrorSink {
    return this.#registry.owner
  }

  /** The name that the program gave the room; undefined for other rooms, such as `clients`. */
  get name(): string | undefined {
    const { topic } = this
    return topic.startsWith(NAMED_PREFIX) ? topic.slice(NAMED_PREFIX.length) : undefined
  }

  get isInUse(): boolean {
    return this.members.size > 0 || this.hasListeners('join') || this.hasListeners('leave')
  }

  /**
   * Closes the member's connection, as other targets do, if no `error` listener got the failure.
   */
  override onListenerFailed(value: unknown, isHeard: boolean): void {
    if (!isHeard) (value as Member).close(1011)
  }

  override onChange(): void {
    this.#registry.keepWhileInUse(this)
  }

  /**
   * Adds a member.
   *
   * @throws TypeError for a value that the registry doesn't take as a member.
   */
  add(member: Member): void {
    if (this.members.has(member)) return
    this.#registry.recordMember(member, this)
    this.members.add(member)
    if (this.members.size === 1) {
      // Kept first: if the subscription fails, an `error` listener may look this room up.
      this.onChange()
      this.#unsubscribe = this.#registry.subscribe(this)
    }
    this.#notify('join', member)
  }

  /** Removes a member. Returns whether it was in the room. */
  delete(member: Member): boolean {
    if (!this.members.delete(member)) return false
    this.#registry.forgetMember(member, this)
    if (this.members.size === 0) {
      this.#unsubscribe?.()
      this.onChange()
    }
    this.#notify('leave', member)
    return true
  }

  /** Sends a message to the valid members on this node. */
  deliver(message: PreparedMessage, except?: unknown): void {
    for (const member of this.members) {
      if (member.valid && member !== except) member[DELIVER](message)
    }
  }

  /** Closes the connections of the members on this node. */
  close(code: number, description: string): void {
    for (const member of [...this.members]) member.close(code, description)
  }

  #notify(change: 'join' | 'leave', member: Member): void {
    this.#registry.owner.onMembershipChange(change, this, member)
    this.emit(change, member)
  }
}

/**
 * A set of connections that only the server fills: its `clients`. Programs may read it, emit to it
 * and close it.
 */
export class ReadonlyRoom<Member extends RoomMember, Out = SendData>
  implements Listenable<RoomEvents<Member>>, Iterable<Member>
{
  /** @hidden */
  declare readonly [EVENTS]?: RoomEvents<Member>
  /** The name of the room. The room of a server's `clients` has the name `clients`. */
  readonly name: string
  readonly #registry: RoomRegistry<any>
  readonly #topic: string

  /** @internal */
  constructor(registry: RoomRegistry<any>, name: string, topic: string) {
    this.name = name
    this.#registry = registry
    this.#topic = topic
  }

  /** @hidden */
  get [EMITTER](): RoomCore<any> {
    return this.#registry.get(this.#topic)
  }

  /** The number of members on this node. */
  get size(): number {
    return this[EMITTER].members.size
  }

  /** Returns whether the room has a member. */
  has(member: Member): boolean {
    return this[EMITTER].members.has(member)
  }

  /** Iterates over the members on this node. */
  [Symbol.iterator](): Iterator<Member> {
    return this[EMITTER].members.values()
  }

  /**
   * Sends a message to every valid member, on every node. `except` names a member on this node that
   * doesn't get it.
   *
   * @throws TypeError for anything but a string, bytes or a finite number; with `messages`, for
   * what the format can't encode.
   */
  emit(data: Out, options: { except?: RoomMember | undefined } = {}): void {
    checkNames(options, ['except'])
    const { owner } = this.#registry
    const message = owner.prepare(owner.encode?.(data) ?? toData(data))
    this.#registry.emit(this.#topic, message, options.except)
  }

  /**
   * Closes the connection of every member, on every node. Use it to disconnect a user from
   * anywhere.
   *
   * @throws RangeError for a code that may not be sent, RFC 6455 §7.4; nothing is changed then.
   */
  close(code = 1000, description = ''): void {
    const reason = sendableReason(code, description)
    this.#registry.close(this.#topic, reason)
  }

  /** @internal */
  get [Symbol.toStringTag](): string {
    return 'ReadonlyRoom'
  }

  /** @internal */
  [INSPECT](): string {
    return inspectLine(this, `name: '${this.name}', ${formatCount(this.size, 'member')}`)
  }
}

/**
 * A set of connections that the program fills. It is a handle: the same name is the same room, on
 * every node. Its memory is released when the room is empty and has no listeners.
 */
export class Room<Member extends RoomMember, Out = SendData> extends ReadonlyRoom<Member, Out> {
  /**
   * Adds a member. Does nothing if its connection has closed.
   *
   * @throws TypeError for a value that isn't a client of this room's server.
   */
  add(member: Member): this {
    if (member?.isOpen ?? true) this[EMITTER].add(member)
    return this
  }

  /** Removes a member. Returns whether it was in the room. */
  delete(member: Member): boolean {
    return this[EMITTER].delete(member)
  }

  /** @internal */
  override get [Symbol.toStringTag](): string {
    return 'Room'
  }
}

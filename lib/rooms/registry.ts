import { BackplaneLink, type Subscription } from '../backplane/backplane-link.ts'
import type { Backplane } from '../backplane/backplane.ts'
import { isSendableCloseCode, type CloseReason } from '../connection/close-codes.ts'
import { toBytes, toText, type Data, type PreparedMessage } from '../connection/message.ts'
import type { WebsocketError } from '../errors.ts'
import type { ErrorSink } from '../events/emitter.ts'
import { invalidValue } from '../validation.ts'
import { NAMED_PREFIX, ReadonlyRoom, Room, RoomCore, type RoomMember } from './room.ts'

/** The services that a registry of rooms needs from its server. */
export interface RoomRegistryOwner<Member extends RoomMember> extends ErrorSink {
  readonly backplane: Backplane | undefined
  /** Reports that the backplane failed. */
  reportFailure(error: WebsocketError): void
  /** Counts a message that was dropped: it is malformed, a duplicate, or could not be sent. */
  countDrop(): void
  /**
   * Encodes a message of this program. Throws a TypeError for what can't be sent.
   *
   * @default `toData`
   */
  readonly encode?: ((message: unknown) => Data) | undefined
  /**
   * Prepares data, sent here or received from another node, for sending to many members.
   *
   * @throws for malformed data.
   */
  prepare(data: Data): PreparedMessage
  /** Records that a member joined or left a room, before the room's listeners are called. */
  onMembershipChange(change: 'join' | 'leave', room: RoomCore<Member>, member: Member): void
}

const CLIENTS_TOPIC = 'clients'

// The kinds of messages on the backplane.
const TEXT = 0
const BINARY = 1
const CLOSE = 2

/** The rooms of one server that are in use, by their topics, and their link to the other nodes. */
export class RoomRegistry<Member extends RoomMember> {
  readonly owner: RoomRegistryOwner<Member>
  /** The link to the other nodes. */
  readonly link: BackplaneLink
  readonly #rooms = new Map<string, RoomCore<Member>>()
  /** The named rooms of each client that is in any. */
  readonly #roomsOf = new Map<Member, Set<RoomCore<Member>>>()

  /** Creates the registry of a server. */
  constructor(owner: RoomRegistryOwner<Member>) {
    this.owner = owner
    this.link = new BackplaneLink(
      owner.backplane,
      (error) => owner.reportFailure(error),
      () => owner.countDrop(),
    )
  }

  /** Returns a handle to a named room: one that the program fills. */
  room(name: string): Room<Member, unknown> {
    return new Room(this, name, NAMED_PREFIX + name)
  }

  /** Returns a handle to the room of all clients, which only `admit` fills. */
  clients(): ReadonlyRoom<Member, unknown> {
    return new ReadonlyRoom(this, 'clients', CLIENTS_TOPIC)
  }

  /** Returns the room of a topic: the one in use, or a new one, which is kept once it is used. */
  get(topic: string): RoomCore<Member> {
    return this.#rooms.get(topic) ?? new RoomCore(this, topic)
  }

  /** Keeps a room while it is in use, and releases it when it no longer is. */
  keepWhileInUse(room: RoomCore<Member>): void {
    const { topic } = room
    if (room.isInUse) this.#rooms.set(topic, room)
    else if (this.#rooms.get(topic) === room) this.#rooms.delete(topic)
  }

  /** Sends to all clients but one. */
  emitToClients(message: PreparedMessage, except: Member): void {
    this.emit(CLIENTS_TOPIC, message, except)
  }

  /** Adds a new client to the room of all clients. */
  admit(client: Member): void {
    this.get(CLIENTS_TOPIC).add(client)
  }

  /**
   * Records a client that is about to be added to a named room, so that `removeFromAll` finds it.
   * Other rooms need no record: the code that fills them also removes their members.
   *
   * @throws TypeError for a value that isn't a client of this server.
   */
  recordMember(member: Member, room: RoomCore<Member>): void {
    if (!room.topic.startsWith(NAMED_PREFIX)) return
    if (this.#rooms.get(CLIENTS_TOPIC)?.members.has(member) !== true) {
      // It would stay in the room for ever: this registry is not told when it closes.
      throw invalidValue('the member of a room', 'a client of its own server', member)
    }
    const rooms = this.#roomsOf.get(member)
    if (rooms) rooms.add(room)
    else this.#roomsOf.set(member, new Set([room]))
  }

  /** Removes the record of a member that was removed from a room. */
  forgetMember(member: Member, room: RoomCore<Member>): void {
    const rooms = this.#roomsOf.get(member)
    rooms?.delete(room)
    if (rooms?.size === 0) this.#roomsOf.delete(member)
  }

  /** Removes a client from all rooms. */
  removeFromAll(client: Member): void {
    const rooms = [this.get(CLIENTS_TOPIC), ...(this.#roomsOf.get(client) ?? [])]
    for (const room of rooms) room.delete(client)
  }

  /** Ends the loops and waits of all rooms. */
  end(): void {
    for (const room of [...this.#rooms.values()]) room.endWaits()
  }

  /** Sends to the members of a room: first directly to those on this node, then to other nodes. */
  emit(topic: string, message: PreparedMessage, except: unknown): void {
    this.deliver(topic, message, except)
    if (!this.link.isClustered) return
    this.link.publish(topic, message.isText ? TEXT : BINARY, message.bytes)
  }

  /** Sends to the members of a room on this node only. */
  deliver(topic: string, message: PreparedMessage, except?: unknown): void {
    this.#rooms.get(topic)?.deliver(message, except)
  }

  /** Closes the connections of the members of a room, on this node and on other nodes. */
  close(topic: string, { code, description }: CloseReason): void {
    this.#rooms.get(topic)?.close(code, description)
    const payload = Uint8Array.of(code >> 8, code & 0xff, ...toBytes(description))
    this.link.publish(topic, CLOSE, payload)
  }

  /** Receives what other nodes send to a room, until the returned function is called. */
  subscribe(room: RoomCore<Member>): Subscription {
    return this.link.subscribe(room.topic, (kind, payload) => this.#receive(room, kind, payload))
  }

  #receive(room: RoomCore<Member>, kind: number, payload: Uint8Array): void {
    const isValid =
      kind === CLOSE ? receiveClose(room, payload) : this.#receiveMessage(room, kind, payload)
    if (!isValid) this.owner.countDrop()
  }

  /** Delivers a message of another node. Returns false for a malformed one. */
  #receiveMessage(room: RoomCore<Member>, kind: number, payload: Uint8Array): boolean {
    const data: Data = kind === TEXT ? toText(payload) : payload
    if (kind !== BINARY && typeof data !== 'string') return false
    let message: PreparedMessage
    try {
      message = this.owner.prepare(data)
    } catch {
      return false
    }
    room.deliver(message)
    return true
  }
}

/** Closes the members, because another node did. Returns false for a malformed payload. */
function receiveClose(room: Pick<RoomCore<never>, 'close'>, payload: Uint8Array): boolean {
  const [high = 0, low] = payload
  if (low === undefined || !isSendableCloseCode(high * 256 + low)) return false
  room.close(high * 256 + low, String(toText(payload.subarray(2))))
  return true
}

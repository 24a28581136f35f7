import { unexpected } from '../errors.ts'
import { SIGNALS, Signals, type Hearer, type Target } from '../signals.ts'
import type { Broadcast } from './broadcast.ts'
import type { Channel, Loose } from './channel.ts'
import type { Contract } from './contract.ts'
import type { Nodes, View } from './nodes.ts'
import { PresenceState } from './presence-state.ts'
import type { TopicHistory } from './history/topic-history.ts'
import type { Roster } from './roster.ts'

/** A client's request to join a topic: accept or reject it. */
export interface JoinRequest<
  In extends object = Loose,
  Out extends object = Loose,
  Context extends {} = {},
  Payload = any,
> {
  /** Theirs, once they are in; what is pushed on it before goes out behind the answer. */
  readonly channel: Channel<In, Out, Context>
  /** What came with the join: any JSON value, or bytes. */
  readonly payload: Payload
  /**
   * Lets the client in, with an answer. Bound: made to be destructured. Only the first answer counts.
   *
   * Returns whether the client is a member now (or will be, once the store of the topic's history has
   * answered). It returns false when the join was refused before, timed out, or its client has gone:
   * then there will be no `joined` and no `leave`.
   *
   * @throws TypeError for an answer that can't be JSON, and for an option that is unknown or can't be.
   */
  readonly accept: (reply?: unknown, options?: AcceptOptions) => boolean
  /**
   * Refuses the client, with an answer. Bound: made to be destructured. Only the first answer counts.
   *
   * @throws TypeError for an answer that can't be JSON.
   */
  readonly reject: (reason?: unknown) => void
}

/** The options of `accept`. */
export interface AcceptOptions {
  /**
   * Whether the member may be given what was said before, where the topic has a `history`.
   *
   * @default true
   */
  recover?: boolean | undefined
}

/** A membership that has begun. */
export interface Join<
  In extends object = Loose,
  Out extends object = Loose,
  Context extends {} = {},
> {
  /** The server's end of it. */
  readonly channel: Channel<In, Out, Context>
}

/**
 * Why a membership ended: the peer left; its connection closed; a listener failed; its listeners
 * were too slow; this side sent it out; the peer joined the topic anew; the store of the topic's history
 * could not tell what was missed.
 */
export type LeaveReason =
  'left' | 'closed' | 'crashed' | 'tooSlow' | 'ended' | 'replaced' | 'historyLost'

/** A membership that has ended, and why. */
export interface Leave<
  In extends object = Loose,
  Out extends object = Loose,
  Context extends {} = {},
> {
  /** The server's end of it. */
  readonly channel: Channel<In, Out, Context>
  /** Why it ended. */
  readonly reason: LeaveReason
}

/** The events of a topic. */
export interface TopicEvents<
  In extends object = Loose,
  Out extends object = Loose,
  Context extends {} = {},
  Payload = any,
> {
  /**
   * A client asks to join. Without a listener it is refused, unless the topic was declared with
   * `{ open: true }`.
   */
  join: JoinRequest<In, Out, Context, Payload>
  /** A membership has begun, right after its answer: exactly once for each that was accepted. */
  joined: Join<In, Out, Context>
  /** A membership has ended, however: exactly once for each that was accepted, after `joined`. */
  leave: Leave<In, Out, Context>
}

/** A request to join, as far as its topic has to do with it. */
export abstract class Joining {
  /** Ends it, because a listener failed with it. */
  abstract crash(): void
  /** Keeps events without a listener waiting until a listener of `join` has done its work. */
  abstract holdUntil(prepared: PromiseLike<unknown>): void
}

class TopicSignals<
  Events extends { join: unknown; joined: unknown; leave: unknown },
> extends Signals<Events> {
  readonly #parent: Hearer

  constructor(parent: Hearer) {
    super({ kind: 'topic', events: ['join', 'joined', 'leave'], admits: 'join' })
    this.#parent = parent
  }

  override get parent(): Hearer {
    return this.#parent
  }

  override subjects(value: unknown): readonly unknown[] {
    const { channel } = value as Leave // which a request to join has, too
    return [channel.connection, channel]
  }

  override listenerFailed(value: unknown): void {
    if (value instanceof Joining) value.crash()
  }

  override taken(value: unknown, promise: PromiseLike<unknown> | undefined): void {
    if (promise && value instanceof Joining) value.holdUntil(promise)
  }
}

/** Sends an event to members of a topic. */
type Speak = (topic: string, event: string, payload: unknown) => Broadcast

/** What the topics of a server speak with. */
export interface Voice {
  /** Sends to members on this node. */
  readonly tell: Speak
  /** Sends what is prepared to members on this node. */
  readonly deliver: (topic: string, said: Broadcast) => void
  /** Is who is here on other nodes; undefined where there are none. */
  readonly meet: (pattern: string, view: Omit<View, 'read'>) => Nodes | undefined
  /** Counts what was dropped. */
  readonly dropped: () => void
}

/** How a topic was declared. */
export interface Declared {
  readonly contract: Contract | undefined
  readonly history: TopicHistory | undefined
  /** Whether every client may join while there is no `join` listener. */
  readonly isOpen: boolean
}

/** A member that was let in, right after its answer. */
export interface NewMember extends Channel<Loose, Loose, any> {
  /** Sends the presence of its topic as a message that it shares with other new members. */
  sendPresence(state: PresenceState): void
}

/** Is called for a member who was let in. */
export type Welcomer = (member: NewMember) => void

/** The topics whose names fit a pattern: which clients ask to join, have joined, and leave. */
export class Topic<
  In extends object = Loose,
  Out extends object = Loose,
  Context extends {} = {},
  Payload = any,
> implements Target<TopicEvents<In, Out, Context, Payload>> {
  /** The pattern that it was declared with. */
  readonly pattern: string
  readonly #declared: Declared
  readonly #voice: Voice
  readonly #welcomers = new Set<Welcomer>()
  readonly #nodes = new Set<Nodes>()
  #hasWarned = false
  readonly #signals: Signals<TopicEvents<In, Out, Context, Payload>>

  /** @internal */
  constructor(pattern: string, declared: Declared, parent: Hearer, voice: Voice) {
    this.pattern = pattern
    this.#declared = declared
    this.#voice = voice
    this.#signals = new TopicSignals<TopicEvents<In, Out, Context, Payload>>(parent)
  }

  /** @hidden */
  get [SIGNALS](): Signals<TopicEvents<In, Out, Context, Payload>> {
    return this.#signals
  }

  /** @internal */
  get contract(): Contract | undefined {
    return this.#declared.contract
  }

  /**
   * Whether a join may be accepted that has no listener. Where it may not, the cure is printed, once.
   *
   * @internal
   */
  acceptsUnheard(): boolean {
    const { isOpen } = this.#declared
    if (!isOpen && !this.#hasWarned) {
      this.#hasWarned = true
      console.error(unheardJoin(this.pattern))
    }
    return isOpen
  }

  /** @internal */
  get history(): TopicHistory | undefined {
    return this.#declared.history
  }

  /**
   * Sends an event to every member of one of these, on this node; returns it as it was sent.
   *
   * @internal
   */
  tell(name: string, event: string, payload: unknown): Broadcast {
    return this.#voice.tell(name, event, payload)
  }

  /**
   * Sends what is prepared to every member of one of these, on this node.
   *
   * @internal
   */
  deliver(name: string, said: Broadcast): void {
    this.#voice.deliver(name, said)
  }

  /**
   * Is who is here on other nodes, until the server closes; undefined where there are none.
   *
   * @internal
   */
  meet(view: Omit<View, 'dropped' | 'fits' | 'read'>): Nodes | undefined {
    const { dropped } = this.#voice
    const fits = (name: string): boolean => this.fits(name)
    const nodes = this.#voice.meet(this.pattern, { ...view, dropped, fits })
    if (nodes) this.#nodes.add(nodes)
    return nodes
  }

  /**
   * The server has closed.
   *
   * @internal
   */
  closed(): void {
    for (const nodes of this.#nodes) nodes.stop()
    this.history?.stop()
    this.#signals.endWaits()
  }

  /**
   * Calls back for everybody who was let in, right after the answer.
   *
   * @internal
   */
  welcome(welcomer: Welcomer): void {
    this.#welcomers.add(welcomer)
  }

  /**
   * Tells presences of a new member.
   *
   * @internal
   */
  entered(member: NewMember): void {
    for (const nodes of this.#nodes) nodes.start() // the server may serve again
    for (const welcomer of this.#welcomers) welcomer(member)
  }

  /**
   * Returns the `presence_state` that new members are sent of a roster.
   *
   * @internal
   */
  stateOf(roster: Roster): PresenceState {
    return new PresenceState(roster)
  }

  /**
   * Tells whether a topic is one of these.
   *
   * @internal
   */
  fits(name: string): boolean {
    const { pattern } = this
    return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern
  }
}

function unheardJoin(pattern: string): string {
  return (
    `simplewebsockets: a join was refused, because the topic \`${pattern}\` has no \`join\` listener. ` +
    'To let clients in, listen to `join` and accept, or declare the topic with `{ open: true }`. ' +
    'Printed once for each topic.'
  )
}

/** Throws a TypeError for what can't be a pattern. */
export function checkPattern(pattern: unknown): asserts pattern is string {
  if (typeof pattern === 'string' && /^[^*]+\*?$|^\*$/.test(pattern)) return
  throw unexpected('the pattern of a topic', 'a name, or the start of one with a `*`', pattern)
}

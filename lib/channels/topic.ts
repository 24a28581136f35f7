import { unexpected } from '../errors.ts'
import { SIGNALS, Signals, type Hearer, type Target } from '../signals.ts'
import type { Channel, Loose } from './channel.ts'
import type { Contract } from './contract.ts'
import type { Nodes, View } from './nodes.ts'
import type { Replay } from './replay.ts'

/** Somebody asks to be a member: accept or reject them. */
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
   * Lets them in, with an answer. Bound: made to be destructured. Only the first answer counts.
   *
   * @throws TypeError for an answer that can't be JSON.
   */
  readonly accept: (reply?: unknown) => void
  /**
   * Doesn't let them in, with an answer. Bound: made to be destructured. Only the first answer counts.
   *
   * @throws TypeError for an answer that can't be JSON.
   */
  readonly reject: (reason?: unknown) => void
}

/**
 * Is why a membership ended: the peer left; its connection closed; a listener failed; this side sent
 * it out; the peer joined the topic anew.
 */
export type LeaveReason = 'left' | 'closed' | 'crashed' | 'ended' | 'replaced'

/** Whose membership ended, and why. */
export interface Leave<
  In extends object = Loose,
  Out extends object = Loose,
  Context extends {} = {},
> {
  /** What it was. */
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
  /** Somebody asks to be a member. With no listener, everybody is let in. */
  join: JoinRequest<In, Out, Context, Payload>
  /** A membership has ended, however: exactly once for each that was accepted. */
  leave: Leave<In, Out, Context>
}

/** What is asked for in a request to join, as far as a topic has to do with it. */
export abstract class Joining {
  /** A listener has failed with it. */
  abstract crash(): void
}

class TopicSignals<Events extends { join: unknown; leave: unknown }> extends Signals<Events> {
  readonly #parent: Hearer

  constructor(parent: Hearer) {
    super({ kind: 'topic', events: ['join', 'leave'], admits: 'join' })
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
}

/** Sends an event to members of a topic. */
type Speak = (topic: string, event: string, payload: unknown) => void

/** What the topics of a server speak with. */
export interface Voice {
  /** Sends to members on this node. */
  readonly tell: Speak
  /** Is who is here on other nodes; undefined where there are none. */
  readonly meet: (pattern: string, view: View) => Nodes | undefined
  /** Counts what was dropped. */
  readonly dropped: () => void
}

/** How a topic was declared. */
export interface Declared {
  readonly contract: Contract | undefined
  readonly replay: Replay | undefined
}

/** Is called for a member who was let in. */
export type Welcomer = (channel: Channel<Loose, Loose, any>) => void

/** Is the topics whose names fit a pattern: who asks to join them, and who leaves. */
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
   * Is a payload as all members are to get it.
   *
   * @internal
   */
  stamped(topic: string, payload: unknown): unknown {
    return this.replay ? this.replay.stamped(topic, payload) : payload
  }

  /** @internal */
  get replay(): Replay | undefined {
    return this.#declared.replay
  }

  /**
   * Sends an event to every member of one of these, on this node.
   *
   * @internal
   */
  tell(name: string, event: string, payload: unknown): void {
    this.#voice.tell(name, event, payload)
  }

  /**
   * Is who is here on other nodes, until the server closes; undefined where there are none.
   *
   * @internal
   */
  meet(view: Omit<View, 'dropped'>): Nodes | undefined {
    const { dropped } = this.#voice
    const nodes = this.#voice.meet(this.pattern, { ...view, dropped })
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
    this.replay?.stop()
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
   * Somebody was let in.
   *
   * @internal
   */
  entered(channel: Channel<Loose, Loose, any>): void {
    for (const nodes of this.#nodes) nodes.start() // the server may serve again
    for (const welcomer of this.#welcomers) welcomer(channel)
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

/** Throws a TypeError for what can't be a pattern. */
export function checkPattern(pattern: unknown): asserts pattern is string {
  if (typeof pattern === 'string' && /^[^*]+\*?$|^\*$/.test(pattern)) return
  throw unexpected('the pattern of a topic', 'a name, or the start of one with a `*`', pattern)
}

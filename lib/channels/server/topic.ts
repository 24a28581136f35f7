import { Emitter, type ErrorSink } from '../../events/emitter.ts'
import type { Listenable } from '../../events/listenable.ts'
import { EMITTER, type EVENTS } from '../../internal.ts'
import { invalidValue } from '../../validation.ts'
import type { Channel, AnyEvents } from '../channel.ts'
import type { Contract } from '../contract/contract.ts'
import type { TopicHistory } from '../history/topic-history.ts'
import { EncodedState } from '../presence/encoded-state.ts'
import type { PresenceReplicator, PresenceSource } from '../presence/presence-replicator.ts'
import type { PresenceState } from '../presence/presence-state.ts'
import type { Broadcast } from '../protocol/broadcast.ts'
import type { ChannelServerCore } from './channel-server-core.ts'
import { PendingJoinRequest, type JoinRequest } from './join-request.ts'
import { ServerChannel } from './server-channel.ts'

/** The value of a `joined` event: a member that has joined. */
export interface Join<
  In extends object = AnyEvents,
  Out extends object = AnyEvents,
  Context extends object = {},
> {
  /** The server's channel of the member. */
  readonly channel: Channel<In, Out, Context>
}

/**
 * The reason for which a member has left:
 *
 * - `left`: the peer left the topic;
 * - `closed`: the connection closed;
 * - `crashed`: a listener failed;
 * - `tooSlow`: the listeners were too slow;
 * - `ended`: the server called `leave`;
 * - `replaced`: the peer joined the topic again;
 * - `historyLost`: the store of the topic's history could not return the missed messages.
 */
export type LeaveReason =
  'left' | 'closed' | 'crashed' | 'tooSlow' | 'ended' | 'replaced' | 'historyLost'

/** The value of a `leave` event: a member that has left, with the reason. */
export interface Leave<
  In extends object = AnyEvents,
  Out extends object = AnyEvents,
  Context extends object = {},
> {
  /** The server's channel of the member. */
  readonly channel: Channel<In, Out, Context>
  /** The reason for which the member has left. */
  readonly reason: LeaveReason
}

/** The events of a topic. */
export interface TopicEvents<
  In extends object = AnyEvents,
  Out extends object = AnyEvents,
  Context extends object = {},
  Payload = any,
> {
  /**
   * A client's request to join. Without a listener the join is refused, unless the topic was
   * declared with `{ open: true }`.
   */
  join: JoinRequest<In, Out, Context, Payload>
  /** A member that has joined, right after the reply: exactly once for each accept. */
  joined: Join<In, Out, Context>
  /** A member that has left, for any reason: exactly once for each accept, after `joined`. */
  leave: Leave<In, Out, Context>
}

class TopicEmitter<
  Events extends { join: unknown; joined: unknown; leave: unknown },
> extends Emitter<Events> {
  readonly #parent: ErrorSink

  constructor(parent: ErrorSink) {
    super({ kind: 'topic', events: ['join', 'joined', 'leave'], admissionEvent: 'join' })
    this.#parent = parent
  }

  override get parent(): ErrorSink {
    return this.#parent
  }

  override subjects(value: unknown): readonly unknown[] {
    const { channel } = value as Leave // a join request has a channel, too
    return [channel.connection, channel]
  }

  override onListenerFailed(value: unknown): void {
    if (value instanceof PendingJoinRequest) value.crash()
  }

  override onTaken(value: unknown, promise: PromiseLike<unknown> | undefined): void {
    if (promise && value instanceof PendingJoinRequest) value.holdUntil(promise)
  }
}

/** The declaration of a topic. */
export interface TopicConfig {
  readonly contract: Contract | undefined
  readonly history: TopicHistory | undefined
  /** Whether every client may join while the topic has no `join` listener. */
  readonly isOpen: boolean
}

/** A member that has just joined. */
export type NewMember = Channel<AnyEvents, AnyEvents, any> &
  Pick<ServerChannel<any>, 'sendPresence'>

/** A function to call for each new member, after the reply: Phoenix's `:after_join`. */
export type AfterJoinHook = (member: NewMember) => void

/** The topics whose names match a pattern. Emits the joins and leaves of their members. */
export class Topic<
  In extends object = AnyEvents,
  Out extends object = AnyEvents,
  Context extends object = {},
  Payload = any,
> implements Listenable<TopicEvents<In, Out, Context, Payload>> {
  /** @hidden */
  declare readonly [EVENTS]?: TopicEvents<In, Out, Context, Payload>
  /** The pattern of the declaration. */
  readonly pattern: string
  readonly #config: TopicConfig
  readonly #core: ChannelServerCore<Context>
  readonly #afterJoinHooks = new Set<AfterJoinHook>()
  readonly #replicators = new Set<PresenceReplicator>()
  #hasWarned = false
  readonly #emitter: Emitter<TopicEvents<In, Out, Context, Payload>>

  /** @internal */
  constructor(pattern: string, config: TopicConfig, core: ChannelServerCore<Context>) {
    this.pattern = pattern
    this.#config = config
    this.#core = core
    this.#emitter = new TopicEmitter<TopicEvents<In, Out, Context, Payload>>(core.errorSink)
  }

  /** @hidden */
  get [EMITTER](): Emitter<TopicEvents<In, Out, Context, Payload>> {
    return this.#emitter
  }

  /** @internal */
  get contract(): Contract | undefined {
    return this.#config.contract
  }

  /**
   * Returns whether a join without a `join` listener is accepted. If not, prints the cure, once.
   *
   * @internal
   */
  acceptsWithoutListener(): boolean {
    const { isOpen } = this.#config
    if (!isOpen && !this.#hasWarned) {
      this.#hasWarned = true
      console.error(missingListenerHint(this.pattern))
    }
    return isOpen
  }

  /** @internal */
  get history(): TopicHistory | undefined {
    return this.#config.history
  }

  /**
   * Sends an event to every member of the topic `name` on this node. Returns it as it was sent.
   *
   * @internal
   */
  broadcastLocal(name: string, event: string, payload: unknown): Broadcast {
    return this.#core.broadcastLocal(name, event, payload)
  }

  /**
   * Sends a prepared broadcast to every member of the topic `name` on this node.
   *
   * @internal
   */
  deliver(name: string, broadcast: Broadcast): void {
    this.#core.deliver(name, broadcast)
  }

  /**
   * Creates the replicator of a presence, which stops when the server closes. Returns undefined on
   * a server without a backplane.
   *
   * @internal
   */
  connectPresence(
    source: Omit<PresenceSource, 'countDrop' | 'matches' | 'read'>,
  ): PresenceReplicator | undefined {
    const matches = (name: string): boolean => this.matches(name)
    const replicator = this.#core.connectPresence(this.pattern, { ...source, matches })
    if (replicator) this.#replicators.add(replicator)
    return replicator
  }

  /**
   * Stops presences and the history, and ends the waits. Called when the server has closed.
   *
   * @internal
   */
  onServerClosed(): void {
    for (const replicator of this.#replicators) replicator.stop()
    this.history?.stop()
    this.#emitter.endWaits()
  }

  /**
   * Adds a function to call for each new member, right after the reply to its join.
   *
   * @internal
   */
  onAfterJoin(hook: AfterJoinHook): void {
    this.#afterJoinHooks.add(hook)
  }

  /**
   * Calls the hooks of `onAfterJoin` for a new member.
   *
   * @internal
   */
  runAfterJoin(member: NewMember): void {
    for (const replicator of this.#replicators) replicator.start() // the server may serve again
    for (const hook of this.#afterJoinHooks) hook(member)
  }

  /**
   * Creates the encoder of `presence_state` for new members. `Presence` doesn't create it itself,
   * so that a page, which has no servers, doesn't load it.
   *
   * @internal
   */
  createEncodedState(state: PresenceState): EncodedState {
    return new EncodedState(state)
  }

  /**
   * Returns whether a value is a channel of this topic.
   *
   * @internal
   */
  hasChannel(channel: unknown): boolean {
    return channel instanceof ServerChannel && channel.topicHandler === this
  }

  /**
   * Returns whether the name of a topic matches the pattern.
   *
   * @internal
   */
  matches(name: string): boolean {
    const { pattern } = this
    return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern
  }
}

function missingListenerHint(pattern: string): string {
  return (
    `simplewebsockets: a join was refused, because the topic \`${pattern}\` has no \`join\` listener. ` +
    'To let clients in, listen to `join` and accept, or declare the topic with `{ open: true }`. ' +
    'Printed once for each topic.'
  )
}

/**
 * Checks the pattern of a topic.
 *
 * @throws TypeError for a value that can't be a pattern.
 */
export function checkPattern(pattern: unknown): asserts pattern is string {
  if (typeof pattern === 'string' && /^[^*]+\*?$|^\*$/.test(pattern)) return
  throw invalidValue('the pattern of a topic', 'a name, or the start of one with a `*`', pattern)
}

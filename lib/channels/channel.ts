import type { CloseReason } from '../close.ts'
import type { WebsocketConnection } from '../connection.ts'
import type { CallbackError, ChannelError } from '../errors.ts'
import { SIGNALS, type Plan, type Signals, type Target } from '../signals.ts'
import type { PresenceReplica } from './presence-replica.ts'
import type { PushOptions } from './push.ts'
import type { Message } from './received.ts'

/** Names what a channel of a server is a member of, */
export const TOPIC: unique symbol = Symbol('topic')
/** and where a channel of a client keeps the presence that its server tells. */
export const REPLICA: unique symbol = Symbol('replica')

/** Payloads of which nothing is known, by their events. */
export type Loose = Record<string, any>

/** The events of a channel. */
export interface ChannelEvents {
  /** It is joined: with what the server answered. */
  join: unknown
  /** Anything that the peer pushed, after the listeners of `messages` by that name. */
  message: Message<any>
  /**
   * A listener of yours failed; on a client also: a join was refused, or a push whose promise is left
   * alone (nothing awaits or catches it).
   */
  error: ChannelError | CallbackError
  /** The membership has ended, after its last message. */
  close: CloseReason
}

/** Is how far a membership has come. */
export type ChannelState = 'closed' | 'joining' | 'joined' | 'leaving' | 'errored'

/** What all channels have in common for those who listen. */
export const CHANNEL: Plan<ChannelEvents> = {
  kind: 'channel',
  events: ['join', 'message', 'error', 'close'],
  end: 'close',
}

/**
 * Is one end of a membership of a topic. `In` is what this end receives and `Out` what it sends, by
 * their events.
 */
export abstract class Channel<
  In extends object = Loose,
  Out extends object = Loose,
  Context extends {} = {},
> implements Target<ChannelEvents> {
  /** @hidden */
  abstract get [SIGNALS](): Signals<ChannelEvents>

  /** @internal */
  get [TOPIC](): object | undefined {
    return undefined
  }

  /** @internal */
  get [REPLICA](): PresenceReplica | undefined {
    return undefined
  }

  /** What it is a membership of. */
  abstract readonly topic: string

  /** How far it has come. */
  abstract readonly state: ChannelState

  /** The connection that it lives on; undefined while a client has none. */
  abstract readonly connection: WebsocketConnection<Context> | undefined

  /**
   * What the peer pushes, by its events: apart from the channel's own, so that a peer can't forge a
   * `close`. They wait for a listener, and are given one at a time.
   */
  abstract readonly messages: Target<{ [Name in keyof In]: Message<In[Name]> }>

  /** Joins: on a client. A server's is joined by `accept`, and this throws. */
  abstract join(): Promise<unknown>

  /**
   * Sends an event to the peer. On a client it resolves with the reply; on a server there is none,
   * and it resolves when it is sent, which before `accept` is behind the join's answer.
   *
   * It rejects with a `ClosedError` when the membership has ended, and with the signal's reason when
   * that is aborted first.
   *
   * @throws TypeError for what can't be JSON and isn't bytes, and for an event of the dialect's own.
   */
  abstract push<Name extends keyof Out>(
    event: Name,
    payload: Out[Name],
    options?: PushOptions,
  ): Promise<unknown>

  /**
   * Sends an event to the other members of the topic, on every node: on a server. A client throws.
   *
   * Resolves at once, but on a topic with a `history`: there once the store has the message. It rejects
   * with a `HistoryError` where the store fails or takes too long; then no member gets it.
   *
   * After a membership was sent out, has crashed or was refused it reaches nobody, and is counted in
   * `server.stats().dropped`.
   *
   * @throws TypeError for what can't be JSON and isn't bytes, for an event of the dialect's own, for
   * `presence_state` and `presence_diff`, and before `accept`.
   */
  abstract broadcast<Name extends keyof Out>(event: Name, payload: Out[Name]): Promise<void>

  /**
   * Ends the membership: a client leaves; a server sends its member out, which doesn't join again by
   * itself, and whose waiting events are dropped.
   */
  abstract leave(): Promise<void>
}

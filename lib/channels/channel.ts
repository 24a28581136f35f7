import type { CloseReason } from '../connection/close-codes.ts'
import type { WebsocketConnection } from '../connection/connection.ts'
import type { CallbackError } from '../errors.ts'
import type { EventSpec, Emitter } from '../events/emitter.ts'
import type { Listenable } from '../events/listenable.ts'
import { inspectLine } from '../format.ts'
import { EMITTER, INSPECT, REPLICA, type EVENTS } from '../internal.ts'
import type { ChannelError } from './errors.ts'
import type { Message } from './messages/message.ts'
import type { PushOptions } from './messages/push-options.ts'
import type { PresenceReplica } from './presence/presence-replica.ts'

/** Payloads of unknown types, by event name. */
export type AnyEvents = Record<string, any>

/** The events of a channel. */
export interface ChannelEvents {
  /** The server's reply to the join, each time the channel has joined. */
  join: unknown
  /** Any message that the peer pushed, after the listeners of that event on `messages`. */
  message: Message<any>
  /**
   * The failure of a listener of yours. On a client also: the refusal of a join, or of a push whose
   * promise is left alone (nothing awaits or catches it).
   */
  error: ChannelError | CallbackError
  /** The reason why the membership ended, after its last message. */
  close: CloseReason
}

/** The state of a membership. */
export type ChannelState = 'closed' | 'joining' | 'joined' | 'leaving' | 'errored'

/** The events of every channel, as its emitter needs them. */
export const CHANNEL: EventSpec<ChannelEvents> = {
  kind: 'channel',
  events: ['join', 'message', 'error', 'close'],
  terminalEvent: 'close',
}

/**
 * One end of a membership of a topic. `In` maps the events that this end receives to their
 * payloads, and `Out` those that it sends.
 */
export abstract class Channel<
  In extends object = AnyEvents,
  Out extends object = AnyEvents,
  Context extends object = {},
> implements Listenable<ChannelEvents> {
  /** @hidden */
  declare readonly [EVENTS]?: ChannelEvents
  /** @hidden */
  abstract get [EMITTER](): Emitter<ChannelEvents>

  /** @internal */
  get [REPLICA](): PresenceReplica | undefined {
    return undefined
  }

  /** The topic of the membership. */
  abstract readonly topic: string

  /** The state of the membership. */
  abstract readonly state: ChannelState

  /** The connection that carries the channel; undefined while a client has none. */
  abstract readonly connection: WebsocketConnection<Context> | undefined

  /**
   * The target for what the peer pushes, by event name. It is separate from the channel's own
   * events, so that a peer can't forge a `close`. Messages wait for a listener, and are delivered
   * one at a time.
   */
  abstract readonly messages: Listenable<{ [Name in keyof In]: Message<In[Name]> }>

  /**
   * Joins the topic, on a client. A server's channel is joined by `accept`; there this method
   * throws.
   */
  abstract join(): Promise<unknown>

  /**
   * Sends an event to the peer. On a client the promise resolves with the reply. On a server there
   * is no reply, and the promise resolves when the event is sent; before `accept` that is after the
   * reply to the join.
   *
   * The promise rejects with a `ClosedError` when the membership has ended, and with the signal's
   * reason when the signal is aborted first.
   *
   * @throws TypeError for a payload that can't be JSON and isn't bytes, and for an event that the
   * protocol reserves.
   */
  abstract push<Name extends keyof Out>(
    event: Name,
    payload: Out[Name],
    options?: PushOptions,
  ): Promise<unknown>

  /**
   * Sends an event to the other members of the topic, on every node. Works on a server; on a client
   * this method throws.
   *
   * The promise resolves at once. On a topic with a `history` it resolves once the store has the
   * message, and rejects with a `HistoryError` when the store fails or takes too long; then no
   * member receives the message.
   *
   * After the server has ended the membership, and after the membership has crashed or was refused,
   * the message reaches no member, and is counted in `server.stats().dropped`.
   *
   * @throws TypeError for a payload that can't be JSON and isn't bytes, for an event that the
   * protocol reserves, for `presence_state` and `presence_diff`, and before `accept`.
   */
  abstract broadcast<Name extends keyof Out>(event: Name, payload: Out[Name]): Promise<void>

  /**
   * Ends the membership. On a client, the client leaves. On a server, the server removes the
   * member: its client doesn't join again by itself, and the events that wait for delivery are
   * dropped.
   */
  abstract leave(): Promise<void>

  /** @internal */
  abstract get [Symbol.toStringTag](): string

  /** @internal */
  [INSPECT](): string {
    return inspectLine(this, `topic: '${this.topic}', ${this.state}`)
  }
}

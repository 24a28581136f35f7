import type { Channel, AnyEvents } from '../channel.ts'
import type { PendingJoin } from './pending-join.ts'
import type { ServerChannel } from './server-channel.ts'

/** A client's request to join a topic, to be accepted or rejected. */
export interface JoinRequest<
  In extends object = AnyEvents,
  Out extends object = AnyEvents,
  Context extends object = {},
  Payload = any,
> {
  /** The channel of the client, if accepted. What you push before is sent after the reply. */
  readonly channel: Channel<In, Out, Context>
  /** The payload of the join: any JSON value, or bytes. */
  readonly payload: Payload
  /**
   * Accepts the join, with a reply. It is bound, so that it can be destructured. Only the first
   * answer counts.
   *
   * Returns whether the client is a member now, or will be once the store of the topic's history
   * has answered. Returns false when the join was rejected before or has timed out, or when the
   * client has left or disconnected. Then no `joined` and no `leave` follow.
   *
   * @throws TypeError for a reply that can't be JSON, and for an unknown or invalid option.
   */
  readonly accept: (reply?: unknown, options?: AcceptOptions) => boolean
  /**
   * Rejects the join, with a reason. It is bound, so that it can be destructured. Only the first
   * answer counts.
   *
   * @throws TypeError for a reason that can't be JSON.
   */
  readonly reject: (reason?: unknown) => void
}

/** The options of `accept`. */
export interface AcceptOptions {
  /**
   * Whether the member may receive the messages that it missed, where the topic has a `history`.
   *
   * @default true
   */
  recover?: boolean | undefined
}

/** The join request that the listeners of `join` receive. */
export class PendingJoinRequest<Context extends object> implements JoinRequest<
  AnyEvents,
  AnyEvents,
  Context,
  unknown
> {
  readonly channel: ServerChannel<Context>
  readonly payload: unknown
  readonly #join: PendingJoin<Context>

  constructor(channel: ServerChannel<Context>, payload: unknown, join: PendingJoin<Context>) {
    this.channel = channel
    this.payload = payload
    this.#join = join
  }

  get accept(): JoinRequest['accept'] {
    return (reply = {}, options) => this.#join.accept(reply, options)
  }

  get reject(): JoinRequest['reject'] {
    return (reason = {}) => this.#join.reject(reason)
  }

  /** Ends the channel, because a listener of the request has failed. */
  crash(): void {
    this.channel.onListenerFailed()
  }

  /** Keeps messages without a listener waiting until the promise of a `join` listener settles. */
  holdUntil(promise: PromiseLike<unknown>): void {
    this.#join.holdUntil(promise)
  }
}

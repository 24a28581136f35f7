import type { WebsocketError } from '../../errors.ts'
import { Emitter, type ErrorSink, type EventSpec } from '../../events/emitter.ts'
import type { Listenable } from '../../events/listenable.ts'
import { formatCount, inspectLine } from '../../format.ts'
import { ADMISSION, INSPECT, EMITTER, type EVENTS } from '../../internal.ts'
import type { WebsocketServer } from '../../server/server.ts'
import { flag, resolveOptions, invalidValue } from '../../validation.ts'
import type { AnyEvents } from '../channel.ts'
import {
  checkContract,
  type Contract,
  type InferInputs,
  type InferJoin,
  type InferOutputs,
} from '../contract/contract.ts'
import { resolveHistory, type HistoryOptions } from '../history/options.ts'
import { ChannelServerCore } from './channel-server-core.ts'
import { resolveChannelOptions, type ChannelServerOptions } from './options.ts'
import { checkPattern, Topic } from './topic.ts'

/** The options of a topic, beside its contract. */
export interface TopicOptions {
  /**
   * Whether every client may join while the topic has no `join` listener. Once there is a listener,
   * it decides. With false, a topic without a listener refuses every join.
   *
   * @default false
   */
  readonly open?: boolean | undefined
  /**
   * The history: how the latest messages are kept, so that rejoining members get what they missed.
   *
   * @default none
   */
  readonly history?: HistoryOptions | undefined
}

const topicRules = { open: flag() }

/** The events of a channel server. */
export interface ChannelServerEvents {
  /** A failure that no `error` listener received on the channel or topic where it happened. */
  error: WebsocketError
}

const EVENT_SPEC: EventSpec<ChannelServerEvents> = { kind: 'channel server', events: ['error'] }

class ChannelServerEmitter extends Emitter<ChannelServerEvents> {
  readonly #getParent: () => ErrorSink

  constructor(getParent: () => ErrorSink) {
    super(EVENT_SPEC)
    this.#getParent = getParent
  }

  override get parent(): ErrorSink {
    return this.#getParent()
  }
}

/**
 * A channel server: adds channels to a `WebsocketServer`, for the clients of Phoenix and Amber. The
 * `path` of the server is the path where the channels are mounted. You serve, attach and close the
 * server yourself.
 */
export class ChannelServer<Context extends object = {}> implements Listenable<ChannelServerEvents> {
  /** @hidden */
  declare readonly [EVENTS]?: ChannelServerEvents
  readonly #emitter: ChannelServerEmitter
  readonly #core: ChannelServerCore<Context>

  /**
   * Adds channels to `server`.
   *
   * @throws TypeError for an unknown or invalid option, for a server that serves already, and for a
   * server that has a channel server already.
   */
  constructor(server: WebsocketServer<Context, any, any, any>, options?: ChannelServerOptions) {
    if (server?.[ADMISSION] === undefined) {
      throw invalidValue('what channels stand on', 'a WebsocketServer', server)
    }
    const settings = resolveChannelOptions(options)
    this.#emitter = new ChannelServerEmitter(() => this.#core.host)
    this.#core = new ChannelServerCore(server, settings, this.#emitter)
  }

  /** @hidden */
  get [EMITTER](): Emitter<ChannelServerEvents> {
    return this.#emitter
  }

  /**
   * Declares the topics that match a pattern: a name matches only itself, `room:*` matches every
   * name that starts with `room:`, and `*` matches every name. When several patterns match a name,
   * the one declared first counts. A topic without a `join` listener refuses every join, unless it
   * is declared with `{ open: true }`.
   *
   * `In` maps the events that members send to their payloads, and `Out` the events that members
   * receive. With a contract, its schemas give both types, and every payload that arrives is
   * checked before a listener sees it.
   *
   * @throws TypeError for an invalid pattern, for a pattern that was declared already, and for an
   * unknown or invalid option, such as a `history` with a store for one node on a server with a
   * backplane. Nothing is declared then.
   */
  topic<In extends object = AnyEvents, Out extends object = AnyEvents>(
    pattern: string,
    options?: TopicOptions,
  ): Topic<In, Out, Context>
  /** Declares topics with a contract: schemas for what members send, receive, and join with. */
  topic<const Terms extends Contract & TopicOptions>(
    pattern: string,
    contract: Terms,
  ): Topic<InferOutputs<Terms['in']>, InferInputs<Terms['out']>, Context, InferJoin<Terms['join']>>
  topic(pattern: string, contract?: Contract & TopicOptions): Topic<AnyEvents, AnyEvents, Context> {
    checkPattern(pattern)
    if (contract !== undefined) checkContract(contract)
    const { open: isOpen } = resolveOptions(topicRules, { open: contract?.open })
    this.#core.assertNew(pattern)
    const { history: options } = contract ?? {}
    const settings = options && resolveHistory(options, this.#core.host.backplane !== undefined)
    const history = settings && this.#core.newHistory(settings)
    const config = { contract, history, isOpen }
    const topic = new Topic<AnyEvents, AnyEvents, Context>(pattern, config, this.#core)
    this.#core.declare(topic)
    return topic
  }

  /**
   * Sends an event to every member of a topic, on every node.
   *
   * Resolves at once. On a topic with a `history`, resolves once the store has the message, and
   * rejects with a `HistoryError` when the store fails or takes too long. Then no member gets it.
   *
   * @throws TypeError for a payload that is neither JSON nor bytes, and for an event that Phoenix
   * reserves, `presence_state` and `presence_diff` among them. With a `history` also for a payload
   * that is no plain object.
   */
  emit(topic: string, event: string, payload: unknown): Promise<void> {
    if (typeof topic !== 'string') throw invalidValue('a topic', 'a string', topic)
    return this.#core.emit(topic, event, payload)
  }

  /** @internal */
  get [Symbol.toStringTag](): string {
    return 'ChannelServer'
  }

  /** @internal */
  [INSPECT](): string {
    const { topicCount, socketCount } = this.#core
    return inspectLine(
      this,
      `${formatCount(topicCount, 'topic')}, ${formatCount(socketCount, 'socket')}`,
    )
  }
}

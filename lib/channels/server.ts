import { diagnostics, dropped } from '../diagnostics.ts'
import { PeerConnectError, unexpected, type Denial, type WebsocketError } from '../errors.ts'
import type { Data } from '../message.ts'
import { flag, settle } from '../options/rules.ts'
import type { RequestDetails } from '../request.ts'
import { Rooms, type RoomMember } from '../room.ts'
import { BUILD, type Floor, type Ground, type Guest } from '../floor.ts'
import type { WebsocketServer } from '../server.ts'
import { SIGNALS, Signals, type Hearer, type Plan, type Target } from '../signals.ts'
import { Archive } from './archive.ts'
import { arrived, broadcastOf, type Broadcast } from './broadcast.ts'
import type { Loose } from './channel.ts'
import { checkContract, type Contract, type Inputs, type Joined, type Outputs } from './contract.ts'
import { resolveHistory, type HistoryOptions } from './history.ts'
import { ServerChannel } from './membership.ts'
import { Nodes } from './nodes.ts'
import {
  resolveChannels,
  type ChannelServerOptions,
  type ChannelServerSettings,
} from './options.ts'
import { Peer, roomOf, type Hall } from './peer.ts'
import { checkTold, phoenix } from './phoenix.ts'
import { Replay } from './replay.ts'
import { checkPattern, Topic, type Voice } from './topic.ts'

/** How topics are declared, besides with a contract. */
export interface TopicOptions {
  /**
   * Whether every client may join while the topic has no `join` listener. A listener, once there is
   * one, decides.
   *
   * @default false: without a `join` listener every join is refused
   */
  readonly open?: boolean | undefined
  /** How the last messages are kept for members who come back. Default: they are not. */
  readonly history?: HistoryOptions | undefined
}

const topicRules = { open: flag() }

/** The events of a channel server. */
export interface ChannelServerEvents {
  /** Something failed that nobody heard of where it happened. */
  error: WebsocketError
}

const PLAN: Plan<ChannelServerEvents> = { kind: 'channel server', events: ['error'] }
const BEAT = 5_000 // milliseconds, and less where a dialect counts in less
const FORBIDDEN: Denial = { status: 403, body: '' }
const NO_DIALECT: Denial = { ...FORBIDDEN, reason: 'channels' }

class ChannelServerSignals extends Signals<ChannelServerEvents> {
  readonly #ground: () => Hearer

  constructor(ground: () => Hearer) {
    super(PLAN)
    this.#ground = ground
  }

  override get parent(): Hearer {
    return this.#ground()
  }
}

/**
 * Is where channels are joined: a floor on a `WebsocketServer` for the clients of Phoenix and Amber,
 * whose `path` is where they are mounted. The server is yours to serve, attach and close.
 */
export class ChannelServer<Context extends {} = {}> implements Target<ChannelServerEvents> {
  readonly #signals: ChannelServerSignals
  readonly #floor: ChannelFloor<Context>

  /**
   * @throws TypeError for an option that is unknown or can't be, for a server that serves already, or
   * has a channel server.
   */
  constructor(server: WebsocketServer<Context>, options?: ChannelServerOptions) {
    if (typeof server?.[BUILD] !== 'function') {
      throw unexpected('what channels stand on', 'a WebsocketServer', server)
    }
    const settings = resolveChannels(options)
    this.#signals = new ChannelServerSignals(() => this.#floor.ground)
    this.#floor = new ChannelFloor(server, settings, this.#signals)
  }

  /** @hidden */
  get [SIGNALS](): Signals<ChannelServerEvents> {
    return this.#signals
  }

  /**
   * Declares topics: a name is itself, `room:*` is all that start with `room:`, and `*` is all there
   * are. Of several that fit a name, the first declared counts. A topic without a `join` listener
   * refuses every join, unless it is declared with `{ open: true }`.
   *
   * `In` is what their members send and `Out` what they are sent, by their events. With a contract
   * both are what its schemas say, and what arrives is checked before a listener sees it.
   *
   * @throws TypeError for what can't be a pattern, and one that was declared already.
   */
  topic<In extends object = Loose, Out extends object = Loose>(
    pattern: string,
    options?: TopicOptions,
  ): Topic<In, Out, Context>
  /** Declares topics with a contract: schemas for what their members send, are sent, and join with. */
  topic<const Terms extends Contract & TopicOptions>(
    pattern: string,
    contract: Terms,
  ): Topic<Outputs<Terms['in']>, Inputs<Terms['out']>, Context, Joined<Terms['join']>>
  topic(pattern: string, contract?: Contract & TopicOptions): Topic<Loose, Loose, Context> {
    checkPattern(pattern)
    if (contract !== undefined) checkContract(contract)
    const { open: isOpen } = settle(topicRules, { open: contract?.open })
    const history = contract?.history
    const replay = history === undefined ? undefined : this.#floor.replay(history)
    const declared = { contract, replay, isOpen }
    const { voice } = this.#floor
    const topic = new Topic<Loose, Loose, Context>(pattern, declared, this.#signals, voice)
    this.#floor.declare(topic)
    return topic
  }

  /**
   * Sends an event to every member of a topic, on every node.
   *
   * @throws TypeError for what can't be JSON and isn't bytes, and for an event that Phoenix keeps for
   * itself, `presence_state` and `presence_diff` among them.
   */
  emit(topic: string, event: string, payload: unknown): void {
    if (typeof topic !== 'string') throw unexpected('a topic', 'a string', topic)
    const declared = this.#floor.topicOf(topic)
    this.#floor.emit(topic, event, declared ? declared.stamped(topic, payload) : payload)
  }
}

/** The private half of a channel server: what its server and its clients see of it. */
class ChannelFloor<Context extends {}> implements Floor<Context>, Hall<Context> {
  readonly endings: readonly string[]
  readonly protocols: readonly string[]
  readonly settings: ChannelServerSettings
  readonly hearer: Signals<ChannelServerEvents>
  readonly rooms: Rooms<RoomMember>
  readonly serializer = phoenix
  readonly ground: Ground
  readonly voice: Voice = {
    tell: (topic, event, payload) => {
      const said = broadcastOf(this.serializer, { topic, event, payload })
      this.rooms.deliver(roomOf(topic), said)
      return said
    },
    deliver: (topic, said) => this.rooms.deliver(roomOf(topic), said),
    meet: (pattern, view) => {
      const { relay } = this.rooms
      const read = (data: string): Broadcast => arrived(this.serializer, data)
      return relay.leads ? new Nodes(relay, pattern, { ...view, read }) : undefined
    },
    dropped: () => dropped(this.ground.counts, 'backplane'),
  }
  readonly #topics: Topic<Loose, Loose, Context>[] = []
  readonly #peers = new Set<Peer<Context>>()
  readonly #period: number
  #timer: NodeJS.Timeout | undefined

  constructor(
    server: WebsocketServer<Context>,
    settings: ChannelServerSettings,
    hearer: Signals<ChannelServerEvents>,
  ) {
    const { serializers } = settings
    this.settings = settings
    this.hearer = hearer
    this.endings = [...new Set(['', ...serializers.map(({ path }) => path)])]
    this.protocols = [...new Set(serializers.flatMap(({ protocol }) => protocol ?? []))]
    const signs = serializers.flatMap(({ signs: { ping, serverPatience } }) => [
      ping,
      serverPatience,
    ])
    this.#period = Math.min(BEAT, ...signs.filter((sign) => sign !== false))
    this.ground = server[BUILD](this)
    const { backplane, counts } = this.ground
    this.rooms = new Rooms<RoomMember>({
      backplane,
      prepared: (data: Data) => arrived(this.serializer, data),
      report: (error) => this.hearer.report(error),
      has: () => true,
      failed: (error) => this.ground.failed(error),
      dropped: () => dropped(counts, 'backplane'),
      moved: (how, _, channel) => {
        const outlet = diagnostics[how]
        if (!outlet.hasSubscribers || !(channel instanceof ServerChannel)) return // a history's log
        outlet.publish({ topic: channel.topic, channel })
      },
    })
  }

  declare(topic: Topic<Loose, Loose, Context>): void {
    const { pattern } = topic
    if (this.#topics.some((other) => other.pattern === pattern)) {
      throw new TypeError(`the topic \`${pattern}\` was declared already`)
    }
    this.#topics.push(topic)
  }

  emit(topic: string, event: string, payload: unknown, except?: RoomMember): void {
    checkTold(event)
    const message = broadcastOf(this.serializer, { topic, event, payload })
    this.rooms.emit(roomOf(topic), message, except)
  }

  /** Keeps the last messages of topics. */
  replay(options: HistoryOptions): Replay {
    const settings = resolveHistory(options)
    const { store } = settings
    const archive =
      store && new Archive(store, settings, this.serializer, (error) => this.ground.failed(error))
    const replay = new Replay(settings, archive, (topic) => this.rooms.state(roomOf(topic)))
    this.rooms.relay.listen((state) => {
      if (state === 'down') replay.doubt()
    })
    return replay
  }

  topicOf(name: string): Topic<Loose, Loose, Context> | undefined {
    return this.#topics.find((topic) => topic.fits(name))
  }

  admit(request: RequestDetails, ending: string): Guest<Context> {
    const { queries, protocols } = request
    const serializer = this.settings.serializers.find(
      ({ path, matches }) => path === ending && matches(queries),
    )
    if (!serializer) {
      throw new PeerConnectError('it asks for no dialect that is spoken here', NO_DIALECT)
    }
    const known = this.ground.protocols
    const spoken = [...known, ...this.protocols]
    if (
      known.length > 0 &&
      protocols.length > 0 &&
      !protocols.some((name) => spoken.includes(name))
    ) {
      throw new PeerConnectError('none of its subprotocols is spoken here', NO_DIALECT)
    }
    return new Peer(this, serializer)
  }

  entered(peer: Peer<Context>): void {
    this.#peers.add(peer)
    if (this.#timer) return
    this.#timer = setInterval(() => this.#beat(), this.#period)
    this.#timer.unref?.()
  }

  left(peer: Peer<Context>): void {
    if (!this.#peers.delete(peer) || this.#peers.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  closed(): void {
    for (const topic of this.#topics) topic.closed()
    this.hearer.endWaits()
  }

  #beat(): void {
    for (const peer of this.#peers) peer.beat(this.#period)
  }
}

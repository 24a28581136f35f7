import { diagnostics, dropped } from '../diagnostics.ts'
import { PeerConnectError, unexpected, type Denial, type WebsocketError } from '../errors.ts'
import type { Data } from '../message.ts'
import { flag, settle } from '../options/rules.ts'
import { DONE } from '../promises.ts'
import type { RequestDetails } from '../request.ts'
import { Rooms, type RoomMember } from '../room.ts'
import { BUILD, type Floor, type Ground, type Guest } from '../floor.ts'
import type { WebsocketServer } from '../server.ts'
import { SIGNALS, Signals, type Hearer, type Plan, type Target } from '../signals.ts'
import { arrived, broadcastOf, type Broadcast } from './broadcast.ts'
import type { Loose } from './channel.ts'
import { checkContract, type Contract, type Inputs, type Joined, type Outputs } from './contract.ts'
import { memoryHistory } from './history/memory-history.ts'
import { resolveHistory, type HistoryOptions, type HistorySettings } from './history/options.ts'
import type { HistoryHost } from './history/history-host.ts'
import { ReadQueue } from './history/read-queue.ts'
import { recordable, TopicHistory } from './history/topic-history.ts'
import { ServerChannel } from './membership.ts'
import { Nodes } from './nodes.ts'
import {
  resolveChannels,
  type ChannelServerOptions,
  type ChannelServerSettings,
} from './options.ts'
import { Peer, roomOf, type Hall } from './peer.ts'
import { checkTold, phoenix } from './phoenix.ts'
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
  /**
   * How the latest messages are kept for members that come back.
   *
   * @default undefined: they are not kept
   */
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
   * @throws TypeError for what can't be a pattern, one that was declared already, and for an option that
   * is unknown or can't be: a `history` whose store serves one node, on a server with a backplane,
   * among them. Nothing is declared then.
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
    this.#floor.checkNew(pattern)
    const { ground, voice } = this.#floor
    const { history: given } = contract ?? {}
    const settings = given && resolveHistory(given, ground.backplane !== undefined)
    const history = settings && this.#floor.newHistory(settings)
    const declared = { contract, history, isOpen }
    const topic = new Topic<Loose, Loose, Context>(pattern, declared, this.#signals, voice)
    this.#floor.declare(topic)
    return topic
  }

  /**
   * Sends an event to every member of a topic, on every node.
   *
   * Resolves at once, but on a topic with a `history`: there once the store has the message. It rejects
   * with a `HistoryError` where the store fails or takes too long; then no member gets it.
   *
   * @throws TypeError for what can't be JSON and isn't bytes, and for an event that Phoenix keeps for
   * itself, `presence_state` and `presence_diff` among them; with a `history` also for a payload that
   * is no plain object.
   */
  emit(topic: string, event: string, payload: unknown): Promise<void> {
    if (typeof topic !== 'string') throw unexpected('a topic', 'a string', topic)
    return this.#floor.emit(topic, event, payload)
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
  /** The history of the topics that were given no store. */
  readonly #memory = memoryHistory()
  readonly #reads = new ReadQueue()
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
        if (!outlet.hasSubscribers || !(channel instanceof ServerChannel)) return
        outlet.publish({ topic: channel.topic, channel })
      },
    })
  }

  checkNew(pattern: string): void {
    if (!this.#topics.some((other) => other.pattern === pattern)) return
    throw new TypeError(`the topic \`${pattern}\` was declared already`)
  }

  declare(topic: Topic<Loose, Loose, Context>): void {
    this.#topics.push(topic)
  }

  emit(
    topic: string,
    event: string,
    payload: unknown,
    from?: ServerChannel<Context>,
  ): Promise<void> {
    checkTold(event)
    const history = this.topicOf(topic)?.history
    const said = history ? recordable(payload) : payload
    const message = broadcastOf(this.serializer, { topic, event, payload: said })
    if (history) return history.append(topic, from?.sender ?? '', String(message.data))
    this.rooms.emit(roomOf(topic), message, from)
    return DONE
  }

  newHistory(settings: HistorySettings): TopicHistory {
    const membersOf = (topic: string): ReadonlySet<RoomMember> =>
      this.rooms.state(roomOf(topic)).members
    const host: HistoryHost = {
      reads: this.#reads,
      hasMembers: (topic) => membersOf(topic).size > 0,
      deliver: (topic, message) => this.rooms.deliver(roomOf(topic), message),
      endMemberships: (topic) => {
        for (const member of [...membersOf(topic)]) {
          if (member instanceof ServerChannel) member.loseHistory()
        }
      },
      dropped: () => dropped(this.ground.counts, 'history'),
      failed: (error) => this.ground.failed(error),
    }
    return new TopicHistory(settings, settings.store ?? this.#memory, host)
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
    void this.#memory.close?.()
    this.hearer.endWaits()
  }

  #beat(): void {
    for (const peer of this.#peers) peer.beat(this.#period)
  }
}

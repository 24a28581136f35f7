import { unexpected } from '../errors.ts'
import { listen } from '../listen.ts'
import { isObject, milliseconds, settle } from '../options/rules.ts'
import { SIGNALS, type Signals, type Target } from '../signals.ts'
import { Channel, REPLICA, TOPIC, type Loose } from './channel.ts'
import { META_REF, META_REF_BEFORE, PRESENCE_DIFF, PRESENCE_STATE } from './phoenix.ts'
import { PresenceSignals, type PresenceEvents } from './presence-signals.ts'
import type { Nodes } from './nodes.ts'
import type { PresenceState } from './presence-state.ts'
import { Roster, written, type Applied, type Change, type Diff, type Meta } from './roster.ts'
import { byteLength, isJsonObject, MOST_DEPTH, writeJson } from './text.ts'
import type { NewMember, Topic } from './topic.ts'

/** The options of a presence. */
export interface PresenceOptions {
  /**
   * Milliseconds between the signs of life that a server gives to other nodes. Members of a node that
   * died are gone before its third.
   *
   * @default 5_000
   */
  heartbeat?: number | undefined
}

const rules = { heartbeat: milliseconds(5_000, 1) }
/** Levels of JSON around a meta: the payload, its half, a key, its metas. */
const AROUND_META = 4
const MAX_KEY = 1_024 // bytes of a key,
const MAX_META = 16 * 1_024 // and of a meta as JSON: all nodes and all members have a copy
/** The topics of servers that have a presence. */
const withPresence = new WeakSet<object>()

/**
 * The keys that are tracked in a topic, as Phoenix.Presence tells them.
 *
 * On a client it follows a channel, from whenever it is made. On a server it belongs to a topic, which
 * has one: members that are tracked are told to all members, and every new member is told which keys are
 * here: on every node that has a presence of this topic, over the server's backplane.
 */
export class Presence<Known extends object = Loose>
  implements Target<PresenceEvents<Known>>, Iterable<[key: string, metas: readonly Known[]]>
{
  readonly #signals: PresenceSignals<Known>
  readonly #topic: Topic<any, any, any> | undefined
  /** By the names of topics: a channel has one. */
  readonly #rosters = new Map<string, Roster>()
  /** What new members are sent of them, by the same names: on a server, and from the first one on. */
  readonly #states = new Map<string, PresenceState>()
  /** What each member of a topic is tracked by, */
  readonly #tracked = new Map<Channel<any, any, any>, Map<string, Meta>>()
  /** and will be, once it is let in. */
  readonly #asked = new WeakMap<object, [key: string, meta: Meta][]>()
  readonly #prefix = newPrefix()
  readonly #nodes: Nodes | undefined
  #count = 0

  /**
   * @throws TypeError for what is neither a client's channel nor a server's topic, for a topic that has a
   * presence already, and for an option that is unknown or can't be.
   */
  constructor(of: Channel<any, any, any> | Topic<any, any, any>, options?: PresenceOptions) {
    const { heartbeat } = settle(rules, options)
    if (!isObject(of) || !(SIGNALS in of) || !('topic' in of || 'pattern' in of)) {
      throw unexpected('whose presence it is', 'a channel or a topic', of)
    }
    this.#signals = new PresenceSignals(of[SIGNALS])
    if (of instanceof Channel) {
      this.#follow(of)
      return
    }
    if (withPresence.has(of)) {
      throw new TypeError(`the topic \`${of.pattern}\` has a presence already: use that one`)
    }
    withPresence.add(of)
    this.#topic = of
    of.welcome((channel) => this.#welcome(of, channel))
    listen(of, 'leave', ({ channel }) => this.#forget(of, channel))
    this.#nodes = of.meet({
      id: this.#prefix,
      heartbeat,
      own: () => this.#own(),
      changed: (name, diff, said) => {
        if (said) of.deliver(name, said)
        else of.tell(name, PRESENCE_DIFF, payloadOf(diff))
        this.#apply(name, diff)
      },
    })
  }

  /** @hidden */
  get [SIGNALS](): Signals<PresenceEvents<Known>> {
    return this.#signals
  }

  /** How many keys are here. */
  get size(): number {
    let size = 0
    for (const roster of this.#rosters.values()) size += roster.size
    return size
  }

  /** Returns the metas of a key; empty: it is not here. */
  get(key: string): readonly Known[] {
    return this.#known([...this.#rosters.values()].flatMap((roster) => roster.get(key)))
  }

  /**
   * Returns what a Phoenix server tells of a key beside its metas, with `fetch/2`. Empty where it tells
   * nothing, where the key is not here, and on a server.
   */
  dataOf(key: string): Readonly<Record<string, unknown>> {
    const [roster] = this.#rosters.values() // a client has one, and a server has no such data
    return roster?.dataOf(key) ?? {}
  }

  /** Returns the keys that are here in one topic of those that a pattern stands for, and their metas. */
  in(topic: string): Map<string, readonly Known[]> {
    const roster = this.#rosters.get(topic) ?? []
    return new Map([...roster].map(([key, metas]) => [key, this.#known(metas)]))
  }

  /** Iterates over the keys, and their metas: a key once for each topic it is in. */
  *[Symbol.iterator](): Generator<[key: string, metas: readonly Known[]]> {
    for (const roster of this.#rosters.values()) {
      for (const [key, metas] of roster) yield [key, this.#known(metas)]
    }
  }

  /**
   * Tracks a member by a key until it leaves, however; again for the same member and key: its meta has
   * changed. The meta is taken as it is now, as JSON has it. A member that isn't let in yet is tracked
   * once it is; one that has left is not. On a server only.
   *
   * @throws TypeError for a channel of another topic, and for a meta that can't be JSON. RangeError for a key
   * of more than 1 KiB, and for a meta of more than 16 KiB of JSON.
   */
  track(channel: Channel<any, any, any>, key: string, meta: Known): void {
    const topic = this.#topic
    if (!topic) throw new TypeError('a server tracks: make a presence of its topic there')
    checkKey(key)
    if (channel?.[TOPIC] !== topic) {
      throw unexpected('the channel', `a member of the topic \`${topic.pattern}\``, channel)
    }
    const known = snapshotOf(meta)
    if (channel.state === 'joined') this.#track(topic, channel, key, known)
    if (channel.state !== 'joining') return
    const asked = this.#asked.get(channel) ?? []
    asked.push([key, known])
    this.#asked.set(channel, asked)
  }

  #track(
    topic: Topic<any, any, any>,
    channel: Channel<any, any, any>,
    key: string,
    known: Meta,
  ): void {
    const mine = this.#tracked.get(channel) ?? new Map<string, Meta>()
    const old = mine.get(key)
    const before = old && { [META_REF_BEFORE]: old[META_REF] as unknown }
    const meta: Meta = {
      ...known,
      [META_REF]: `${this.#prefix}${(this.#count++).toString(36)}`,
      ...before,
    }
    this.#tracked.set(channel, mine.set(key, meta))
    this.#change(topic, channel.topic, {
      joins: [[key, [meta]]],
      leaves: old ? [[key, [old]]] : [],
    })
  }

  /** Tells the members here, and the other nodes, what has changed on this node: encoded once for both. */
  #change(topic: Topic<any, any, any>, name: string, diff: Diff): void {
    const said = topic.tell(name, PRESENCE_DIFF, payloadOf(diff))
    this.#nodes?.tell(said) // before a listener here tracks anew
    this.#apply(name, diff)
  }

  #apply(name: string, diff: Diff): void {
    const roster = this.#rosters.get(name) ?? new Roster()
    this.#rosters.set(name, roster)
    const applied: Applied[] | undefined = this.#signals.wantsChanges ? [] : undefined
    roster.apply(diff, applied)
    this.#states.get(name)?.changed(diff)
    if (roster.size === 0) {
      this.#rosters.delete(name)
      this.#states.delete(name)
    }
    this.#signals.applied(applied)
  }

  #stateOf(topic: Topic<any, any, any>, name: string): PresenceState {
    const roster = this.#rosters.get(name)
    if (!roster) return topic.stateOf(new Roster())
    const state = this.#states.get(name) ?? topic.stateOf(roster)
    this.#states.set(name, state)
    return state
  }

  /** Returns what is tracked on this node. */
  #own(): Map<string, Roster> {
    const rosters = new Map<string, Roster>()
    for (const [{ topic }, mine] of this.#tracked) {
      const roster = rosters.get(topic) ?? new Roster()
      rosters.set(topic, roster)
      for (const [key, meta] of mine) roster.join([key, [meta]])
    }
    return rosters
  }

  /** Tells a new member which keys are here, and then all members of its own. */
  #welcome(topic: Topic<any, any, any>, channel: NewMember): void {
    channel.sendPresence(this.#stateOf(topic, channel.topic))
    for (const [key, meta] of this.#asked.get(channel) ?? []) {
      // A listener may have sent it out since the last one.
      if (channel.state === 'joined') this.#track(topic, channel, key, meta)
    }
    this.#asked.delete(channel)
  }

  #forget(topic: Topic<any, any, any>, channel: Channel<any, any, any>): void {
    const mine = this.#tracked.get(channel)
    if (!mine) return
    this.#tracked.delete(channel)
    const leaves: Change[] = [...mine].map(([key, meta]) => [key, [meta]])
    this.#change(topic, channel.topic, { joins: [], leaves })
  }

  /** Follows what a server tells to a channel. */
  #follow(channel: Channel<any, any, any>): void {
    const replica = channel[REPLICA]
    if (!replica) {
      throw new TypeError('a member has no presence of its own: make one of its topic')
    }
    this.#rosters.set(channel.topic, replica.roster)
    replica.follow(this.#signals)
    // The replica has taken them: without a listener they would wait for one.
    for (const event of [PRESENCE_STATE, PRESENCE_DIFF]) listen(channel.messages, event, () => {})
    if (replica.isKnown) this.#signals.catchUp(replica.roster)
  }

  /** Peers are taken at their word, as with every payload whose type you give. */
  #known(metas: readonly Meta[]): readonly Known[] {
    return metas as unknown as readonly Known[]
  }
}

function payloadOf({ joins, leaves }: Diff): object {
  return { joins: written(joins), leaves: written(leaves) }
}

/** Copies a meta as JSON has it, so that it is the same here as for members and for other nodes. */
function snapshotOf(meta: object): Meta {
  if (!isObject(meta)) throw unexpected('what is known', 'an object', meta)
  const text = writeJson(meta, 'what is known', MOST_DEPTH - AROUND_META)
  const size = byteLength(text)
  if (size > MAX_META) {
    throw new RangeError(
      `what is known has ${size} bytes of JSON, and may have ${MAX_META}: keep what is large elsewhere, by its id`,
    )
  }
  const known = JSON.parse(text) as unknown
  if (!isJsonObject(known)) throw unexpected('what is known', 'an object', meta)
  return known
}

function checkKey(key: unknown): void {
  if (typeof key !== 'string') throw unexpected('a key', 'a string', key)
  const size = byteLength(key)
  if (size <= MAX_KEY) return
  throw new RangeError(`a key has ${size} bytes, and may have ${MAX_KEY}: track by an id`)
}

/** Makes refs that no other server gives. */
function newPrefix(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8))
  return `${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}.`
}

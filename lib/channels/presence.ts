import { ChannelError, unexpected } from '../errors.ts'
import { listen } from '../listen.ts'
import { isObject, milliseconds, settle } from '../options/rules.ts'
import { SIGNALS, Signals, type Hearer, type Target } from '../signals.ts'
import { Channel, type Loose } from './channel.ts'
import { META_REF, META_REF_BEFORE, PRESENCE_DIFF, PRESENCE_STATE } from './phoenix.ts'
import type { Message } from './received.ts'
import type { Nodes } from './nodes.ts'
import {
  changesIn,
  diffIn,
  Roster,
  written,
  type Change,
  type Meta,
  type Witness,
} from './roster.ts'
import { writeJson } from './text.ts'
import type { Topic } from './topic.ts'

/** Somebody has come: at one place more, maybe. */
export interface PresenceJoin<Known extends object = Loose> {
  /** What they are tracked by. */
  readonly key: string
  /** What is known of the places that are new. */
  readonly metas: readonly Known[]
  /** What was known of them before; empty: they were not here. */
  readonly before: readonly Known[]
}

/** Somebody has gone: from one place, maybe. */
export interface PresenceLeave<Known extends object = Loose> {
  /** What they were tracked by. */
  readonly key: string
  /** What was known of the places that they have left. */
  readonly metas: readonly Known[]
  /** What is known of those where they still are; empty: they are gone. */
  readonly after: readonly Known[]
}

/** The events of a presence. */
export interface PresenceEvents<Known extends object = Loose> {
  /** All that has changed is told. */
  sync: void
  /** Somebody has come. */
  join: PresenceJoin<Known>
  /** Somebody has gone. */
  leave: PresenceLeave<Known>
}

/** Is what a presence lets you choose. */
export interface PresenceOptions {
  /**
   * Milliseconds between the signs of life that a server gives to other nodes. Who was tracked on a
   * node that died is gone before its third. Default: 5_000.
   */
  heartbeat?: number | undefined
}

const rules = { heartbeat: milliseconds(5_000, 1) }
const MOST_WAITING = 10_000 // diffs that wait for a state

class PresenceSignals<Known extends object> extends Signals<PresenceEvents<Known>> {
  readonly #parent: Hearer

  constructor(parent: Hearer) {
    super({ kind: 'presence', events: ['sync', 'join', 'leave'] })
    this.#parent = parent
  }

  override get parent(): Hearer {
    return this.#parent
  }
}

/**
 * Is who is here, by keys of yours, as Phoenix.Presence tells it.
 *
 * On a client it follows a channel: make it before the channel joins. On a server it is of a topic:
 * members that are tracked are told to all members, and whoever joins is told who is here: on every
 * node that has a presence of this topic, over the server's backplane.
 */
export class Presence<Known extends object = Loose>
  implements Target<PresenceEvents<Known>>, Iterable<[key: string, metas: readonly Known[]]>
{
  readonly #signals: PresenceSignals<Known>
  readonly #topic: Topic<any, any, any> | undefined
  /** By the names of topics: a channel has one. */
  readonly #rosters = new Map<string, Roster>()
  /** What each member of a topic is tracked by, */
  readonly #tracked = new Map<Channel<any, any, any>, Map<string, Meta>>()
  /** and will be, once it is let in. */
  readonly #asked = new WeakMap<object, [key: string, meta: object][]>()
  readonly #prefix = newPrefix()
  readonly #nodes: Nodes | undefined
  #count = 0

  /**
   * @throws TypeError for what is neither a client's channel nor a server's topic, and for an option
   * that is unknown or can't be.
   */
  constructor(of: Channel<any, any, any> | Topic<any, any, any>, options?: PresenceOptions) {
    const { heartbeat } = settle(rules, options)
    if (!isObject(of) || !(SIGNALS in of) || !('topic' in of || 'pattern' in of)) {
      throw unexpected('whose presence it is', 'a channel or a topic', of)
    }
    this.#signals = new PresenceSignals(of[SIGNALS])
    if (of instanceof Channel) {
      this.#follow(of)
    } else {
      this.#topic = of
      of.welcome((channel) => this.#welcome(channel))
      listen(of, 'leave', ({ channel }) => this.#forget(channel))
      this.#nodes = of.meet({
        id: this.#prefix,
        heartbeat,
        own: () => this.#own(),
        changed: (name, joins, leaves) => {
          this.#tell(of, name, joins, leaves)
          this.#apply(name, joins, leaves)
        },
      })
    }
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

  /** What is known of a key; empty: it is not here. */
  get(key: string): readonly Known[] {
    return this.#known([...this.#rosters.values()].flatMap((roster) => roster.get(key)))
  }

  /** Is who is here in one topic of those that a pattern stands for. */
  in(topic: string): Map<string, readonly Known[]> {
    const roster = this.#rosters.get(topic) ?? []
    return new Map([...roster].map(([key, metas]) => [key, this.#known(metas)]))
  }

  /** Iterates over the keys, and what is known of each: a key once for each topic it is in. */
  *[Symbol.iterator](): Generator<[key: string, metas: readonly Known[]]> {
    for (const roster of this.#rosters.values()) {
      for (const [key, metas] of roster) yield [key, this.#known(metas)]
    }
  }

  /**
   * Tracks a member by a key until it leaves, however; again for the same member and key: what is
   * known of them has changed. One that isn't let in yet is tracked once it is, one that has left
   * is not. On a server only.
   *
   * @throws TypeError for a channel of another topic, and for what can't be JSON.
   */
  track(channel: Channel<any, any, any>, key: string, meta: Known): void {
    const topic = this.#topic
    if (!topic) throw new TypeError('a server tracks: make a presence of its topic there')
    if (typeof key !== 'string') throw unexpected('a key', 'a string', key)
    if (!isObject(meta)) throw unexpected('what is known', 'an object', meta)
    if (!topic.fits(channel.topic)) {
      throw unexpected('the channel', `one of \`${topic.pattern}\``, channel.topic)
    }
    const known = asJson(meta)
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
    given: object,
  ): void {
    const mine = this.#tracked.get(channel) ?? new Map<string, Meta>()
    const old = mine.get(key)
    const before = old && { [META_REF_BEFORE]: old[META_REF] as unknown }
    const meta: Meta = {
      ...given,
      [META_REF]: `${this.#prefix}${(this.#count++).toString(36)}`,
      ...before,
    }
    const joins: Change[] = [[key, [meta]]]
    const leaves: Change[] = old ? [[key, [old]]] : []
    this.#tell(topic, channel.topic, joins, leaves) // throws for what can't be JSON
    this.#tracked.set(channel, mine.set(key, meta))
    this.#nodes?.tell(channel.topic, joins, leaves) // before a listener here tracks anew
    this.#apply(channel.topic, joins, leaves)
  }

  /** Tells the members here who has come, or gone, on any node. */
  #tell(
    topic: Topic<any, any, any>,
    name: string,
    joins: readonly Change[],
    leaves: readonly Change[],
  ): void {
    topic.tell(name, PRESENCE_DIFF, { joins: written(joins), leaves: written(leaves) })
  }

  #apply(name: string, joins: readonly Change[], leaves: readonly Change[]): void {
    const roster = this.#roster(name)
    for (const [key, metas] of joins) roster.join(key, metas, this.#witness())
    for (const [key, metas] of leaves) roster.leave(key, metas, this.#witness())
    if (roster.size === 0) this.#rosters.delete(name)
    this.#signals.emit('sync', undefined)
  }

  /** Is who is here on this node. */
  #own(): Map<string, Roster> {
    const rosters = new Map<string, Roster>()
    for (const [{ topic }, mine] of this.#tracked) {
      const roster = rosters.get(topic) ?? new Roster()
      rosters.set(topic, roster)
      for (const [key, meta] of mine) roster.join(key, [meta])
    }
    return rosters
  }

  /** Tells who was let in who is here, and then all who was let in. */
  #welcome(channel: Channel<any, any, any>): void {
    void channel.push(PRESENCE_STATE, written(this.#rosters.get(channel.topic) ?? []))
    for (const [key, meta] of this.#asked.get(channel) ?? []) {
      if (this.#topic) this.#track(this.#topic, channel, key, meta)
    }
    this.#asked.delete(channel)
  }

  #forget(channel: Channel<any, any, any>): void {
    const mine = this.#tracked.get(channel)
    if (!mine || !this.#topic) return
    this.#tracked.delete(channel)
    const leaves: Change[] = [...mine].map(([key, meta]) => [key, [meta]])
    this.#tell(this.#topic, channel.topic, [], leaves)
    this.#nodes?.tell(channel.topic, [], leaves)
    this.#apply(channel.topic, [], leaves)
  }

  /** Hears of who is here from a server: diffs wait for the state of the same membership. */
  #follow(channel: Channel<any, any, any>): void {
    const roster = this.#roster(channel.topic)
    let waiting: NonNullable<ReturnType<typeof diffIn>>[] | undefined = []
    const refuse = (what: string): void => {
      const text = `the server told ${what} on \`${channel.topic}\``
      channel[SIGNALS].report(new ChannelError(text, { topic: channel.topic }))
    }
    const apply = ({ joins, leaves }: NonNullable<ReturnType<typeof diffIn>>): void => {
      for (const [key, metas] of joins) roster.join(key, metas, this.#witness())
      for (const [key, metas] of leaves) roster.leave(key, metas, this.#witness())
    }
    listen(channel, 'join', () => {
      waiting = []
    })
    listen(channel.messages, PRESENCE_STATE, ({ payload }: Message) => {
      const state = changesIn(payload)
      if (!state) {
        refuse(`a \`${PRESENCE_STATE}\` that is none`)
        return
      }
      roster.become(state, this.#witness())
      for (const diff of waiting ?? []) apply(diff)
      waiting = undefined
      this.#signals.emit('sync', undefined)
    })
    listen(channel.messages, PRESENCE_DIFF, ({ payload }: Message) => {
      const diff = diffIn(payload)
      if (!diff) {
        refuse(`a \`${PRESENCE_DIFF}\` that is none`)
        return
      }
      if (waiting) {
        if (waiting.length < MOST_WAITING) waiting.push(diff)
        else refuse('too much before who is here')
        return
      }
      apply(diff)
      this.#signals.emit('sync', undefined)
    })
  }

  #roster(topic: string): Roster {
    const roster = this.#rosters.get(topic) ?? new Roster()
    this.#rosters.set(topic, roster)
    return roster
  }

  /** Peers are taken at their word, as with every payload whose type you give. */
  #known(metas: readonly Meta[]): readonly Known[] {
    return metas as unknown as readonly Known[]
  }

  #witness(): Witness {
    const signals = this.#signals
    return {
      joined:
        signals.listens('join') &&
        ((key, metas, before) =>
          signals.emit('join', { key, metas: this.#known(metas), before: this.#known(before) })),
      left:
        signals.listens('leave') &&
        ((key, metas, after) =>
          signals.emit('leave', { key, metas: this.#known(metas), after: this.#known(after) })),
    }
  }
}

/** Returns what is known as it will be told, so that it can be told at any later time. */
function asJson(meta: object): object {
  const known: unknown = JSON.parse(writeJson(meta, 'what is known'))
  if (!isObject(known)) throw unexpected('what is known', 'an object', known)
  return known
}

/** Makes refs that no other server gives. */
function newPrefix(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8))
  return `${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}.`
}

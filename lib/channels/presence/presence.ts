import type { Emitter } from '../../events/emitter.ts'
import { listen } from '../../events/listen.ts'
import type { Listenable } from '../../events/listenable.ts'
import { EMITTER, REPLICA, type EVENTS } from '../../internal.ts'
import {
  isObject,
  milliseconds,
  resolveOptions,
  invalidCall,
  invalidValue,
  outOfRange,
} from '../../validation.ts'
import { Channel, type AnyEvents } from '../channel.ts'
import { MAX_DEPTH } from '../../messages/nests-deeper.ts'
import { utf8Length, isJsonObject, writeJson } from '../protocol/json.ts'
import { META_REF, META_REF_BEFORE, PRESENCE_DIFF, PRESENCE_STATE } from '../protocol/phoenix.ts'
import type { NewMember, Topic } from '../server/topic.ts'
import type { EncodedState } from './encoded-state.ts'
import { PresenceEmitter, type PresenceEvents } from './presence-emitter.ts'
import type { PresenceReplicator } from './presence-replicator.ts'
import {
  PresenceState,
  toWire,
  type AppliedChange,
  type Change,
  type Diff,
  type Meta,
} from './presence-state.ts'

/** The options of a presence. */
export interface PresenceOptions {
  /**
   * Milliseconds between the heartbeats that a server sends to other nodes. When a node dies, the
   * other nodes remove its members before its third heartbeat would be due.
   *
   * @default 5_000
   */
  heartbeat?: number | undefined
}

const rules = { heartbeat: milliseconds(5_000, 1) }
/** Levels of JSON around a meta: the payload, its `joins` or `leaves`, a key, its metas. */
const AROUND_META = 4
const MAX_KEY = 1_024 // bytes of a key
const MAX_META = 16 * 1_024 // bytes of a meta as JSON; all nodes and all members have a copy
/** The server topics that have a presence. */
const topicsWithPresence = new WeakSet<object>()

/**
 * The keys that are tracked in a topic, compatible with Phoenix.Presence.
 *
 * On a client, a presence follows a channel; it may be created at any time. On a server, a presence
 * belongs to a topic, which can have only one. The server tells all members about every tracked
 * member, and tells each new member which keys are present: on every node that has a presence of
 * this topic, over the server's backplane.
 */
export class Presence<Known extends object = AnyEvents>
  implements Listenable<PresenceEvents<Known>>, Iterable<[key: string, metas: readonly Known[]]>
{
  /** @hidden */
  declare readonly [EVENTS]?: PresenceEvents<Known>
  readonly #emitter: PresenceEmitter<Known>
  readonly #topic: Topic<any, any, any> | undefined
  /** The state of each topic, by its name. A presence of a channel has only one. */
  readonly #stateByTopic = new Map<string, PresenceState>()
  /** The encoded states for new members, by topic; on a server, from the first new member on. */
  readonly #encodedStates = new Map<string, EncodedState>()
  /** The meta of each key by which a member is tracked. */
  readonly #tracksByChannel = new Map<Channel<any, any, any>, Map<string, Meta>>()
  /** The keys and metas by which a channel will be tracked once it has joined. */
  readonly #tracksBeforeJoin = new WeakMap<object, [key: string, meta: Meta][]>()
  readonly #refPrefix = newRefPrefix()
  readonly #replicator: PresenceReplicator | undefined
  #count = 0

  /**
   * @throws TypeError for what is neither a client's channel nor a server's topic, for a topic that
   * has a presence already, and for an unknown or invalid option.
   */
  constructor(target: Channel<any, any, any> | Topic<any, any, any>, options?: PresenceOptions) {
    const { heartbeat } = resolveOptions(rules, options)
    if (!isObject(target) || !(EMITTER in target) || !('topic' in target || 'pattern' in target)) {
      throw invalidValue('whose presence it is', 'a channel or a topic', target)
    }
    this.#emitter = new PresenceEmitter(target[EMITTER])
    if (target instanceof Channel) {
      this.#followChannel(target)
      return
    }
    if (topicsWithPresence.has(target)) {
      throw invalidCall(`the topic \`${target.pattern}\` has a presence already: use that one`)
    }
    topicsWithPresence.add(target)
    this.#topic = target
    target.onAfterJoin((channel) => this.#sendState(target, channel))
    listen(target, 'leave', ({ channel }) => this.#untrackAll(target, channel))
    this.#replicator = target.connectPresence({
      id: this.#refPrefix,
      heartbeat,
      localState: () => this.#localState(),
      onChange: (name, diff, message) => {
        if (message) target.deliver(name, message)
        else target.broadcastLocal(name, PRESENCE_DIFF, payloadOf(diff))
        this.#applyDiff(name, diff)
      },
    })
  }

  /** @hidden */
  get [EMITTER](): Emitter<PresenceEvents<Known>> {
    return this.#emitter
  }

  /** The number of keys that are present. */
  get size(): number {
    let size = 0
    for (const state of this.#stateByTopic.values()) size += state.size
    return size
  }

  /** Returns the metas of a key; an empty list where the key is not present. */
  get(key: string): readonly Known[] {
    return this.#cast([...this.#stateByTopic.values()].flatMap((state) => state.get(key)))
  }

  /**
   * Returns the data that a Phoenix server adds to a key with `fetch/2`, beside the metas. Empty
   * where the server adds none, where the key is not present, and on a server.
   */
  dataOf(key: string): Readonly<Record<string, unknown>> {
    const [state] = this.#stateByTopic.values() // a client has one, and a server has no such data
    return state?.dataOf(key) ?? {}
  }

  /** Returns the keys that are present in one topic of the pattern, with their metas. */
  in(topic: string): Map<string, readonly Known[]> {
    const state = this.#stateByTopic.get(topic) ?? []
    return new Map([...state].map(([key, metas]) => [key, this.#cast(metas)]))
  }

  /** Iterates over the keys with their metas: over a key once for each topic that it is in. */
  *[Symbol.iterator](): Generator<[key: string, metas: readonly Known[]]> {
    for (const state of this.#stateByTopic.values()) {
      for (const [key, metas] of state) yield [key, this.#cast(metas)]
    }
  }

  /**
   * Tracks a member by a key until the member leaves for any reason. A second call for the same
   * member and key replaces the meta. The meta is copied at once, as JSON. A channel that is still
   * joining is tracked once it has joined; one that has left is not tracked. On a server only.
   *
   * @throws TypeError for a channel of another topic, and for a meta that can't be JSON. RangeError
   * for a key of more than 1 KiB, and for a meta of more than 16 KiB of JSON.
   */
  track(channel: Channel<any, any, any>, key: string, meta: Known): void {
    const topic = this.#topic
    if (!topic) throw invalidCall('a server tracks: make a presence there')
    checkKey(key)
    if (!topic.hasChannel(channel)) {
      throw invalidValue('the channel', `a member of the topic \`${topic.pattern}\``, channel)
    }
    const snapshot = snapshotOf(meta)
    if (channel.state === 'joined') this.#track(topic, channel, key, snapshot)
    if (channel.state !== 'joining') return
    const tracks = this.#tracksBeforeJoin.get(channel) ?? []
    tracks.push([key, snapshot])
    this.#tracksBeforeJoin.set(channel, tracks)
  }

  #track(
    topic: Topic<any, any, any>,
    channel: Channel<any, any, any>,
    key: string,
    snapshot: Meta,
  ): void {
    const tracks = this.#tracksByChannel.get(channel) ?? new Map<string, Meta>()
    const previous = tracks.get(key)
    const previousRef = previous && { [META_REF_BEFORE]: previous[META_REF] as unknown }
    const meta: Meta = {
      ...snapshot,
      [META_REF]: `${this.#refPrefix}${(this.#count++).toString(36)}`,
      ...previousRef,
    }
    this.#tracksByChannel.set(channel, tracks.set(key, meta))
    this.#broadcastDiff(topic, channel.topic, {
      joins: [[key, [meta]]],
      leaves: previous ? [[key, [previous]]] : [],
    })
  }

  /** Sends a change on this node to its members and to the other nodes: encoded once for both. */
  #broadcastDiff(topic: Topic<any, any, any>, name: string, diff: Diff): void {
    const message = topic.broadcastLocal(name, PRESENCE_DIFF, payloadOf(diff))
    this.#replicator?.publishDiff(message) // before a listener on this node makes the next change
    this.#applyDiff(name, diff)
  }

  #applyDiff(name: string, diff: Diff): void {
    const state = this.#stateByTopic.get(name) ?? new PresenceState()
    this.#stateByTopic.set(name, state)
    const applied: AppliedChange[] | undefined = this.#emitter.wantsChanges ? [] : undefined
    state.syncDiff(diff, applied)
    this.#encodedStates.get(name)?.changed(diff)
    if (state.size === 0) {
      this.#stateByTopic.delete(name)
      this.#encodedStates.delete(name)
    }
    this.#emitter.onChanges(applied)
  }

  #encodedStateOf(topic: Topic<any, any, any>, name: string): EncodedState {
    const state = this.#stateByTopic.get(name)
    if (!state) return topic.createEncodedState(new PresenceState())
    const encoded = this.#encodedStates.get(name) ?? topic.createEncodedState(state)
    this.#encodedStates.set(name, encoded)
    return encoded
  }

  /** Returns the presence of this node, by topic. */
  #localState(): Map<string, PresenceState> {
    const states = new Map<string, PresenceState>()
    for (const [{ topic }, tracks] of this.#tracksByChannel) {
      const state = states.get(topic) ?? new PresenceState()
      states.set(topic, state)
      for (const [key, meta] of tracks) state.join([key, [meta]])
    }
    return states
  }

  /**
   * Sends the present keys to a new member, and then tracks it by the keys that wait for its join.
   */
  #sendState(topic: Topic<any, any, any>, channel: NewMember): void {
    channel.sendPresence(this.#encodedStateOf(topic, channel.topic))
    for (const [key, meta] of this.#tracksBeforeJoin.get(channel) ?? []) {
      // A listener may have ended the membership since the last iteration.
      if (channel.state === 'joined') this.#track(topic, channel, key, meta)
    }
    this.#tracksBeforeJoin.delete(channel)
  }

  #untrackAll(topic: Topic<any, any, any>, channel: Channel<any, any, any>): void {
    const tracks = this.#tracksByChannel.get(channel)
    if (!tracks) return
    this.#tracksByChannel.delete(channel)
    const leaves: Change[] = [...tracks].map(([key, meta]) => [key, [meta]])
    this.#broadcastDiff(topic, channel.topic, { joins: [], leaves })
  }

  /** Follows the presence that a server sends to a channel. */
  #followChannel(channel: Channel<any, any, any>): void {
    const replica = channel[REPLICA]
    if (!replica) {
      throw invalidCall('a member has none: make one of its topic')
    }
    this.#stateByTopic.set(channel.topic, replica.state)
    replica.follow(this.#emitter)
    // The replica has processed these events. Without a listener they would wait in the queue.
    for (const event of [PRESENCE_STATE, PRESENCE_DIFF]) listen(channel.messages, event, () => {})
    if (replica.isKnown) this.#emitter.catchUp(replica.state)
  }

  /** Casts metas without a check, as with every payload whose type the caller gives. */
  #cast(metas: readonly Meta[]): readonly Known[] {
    return metas as unknown as readonly Known[]
  }
}

function payloadOf({ joins, leaves }: Diff): object {
  return { joins: toWire(joins), leaves: toWire(leaves) }
}

/** Copies a meta through JSON, so that it is the same here as for members and other nodes. */
function snapshotOf(meta: object): Meta {
  if (!isObject(meta)) throw invalidValue('what is known', 'an object', meta)
  const text = writeJson(meta, 'what is known', MAX_DEPTH - AROUND_META)
  const size = utf8Length(text)
  if (size > MAX_META) {
    const text = `what is known has ${size} bytes of JSON, and may have ${MAX_META}: keep what is large elsewhere, by its id`
    throw outOfRange(text)
  }
  const snapshot = JSON.parse(text) as unknown
  if (!isJsonObject(snapshot)) throw invalidValue('what is known', 'an object', meta)
  return snapshot
}

function checkKey(key: unknown): void {
  if (typeof key !== 'string') throw invalidValue('a key', 'a string', key)
  const size = utf8Length(key)
  if (size <= MAX_KEY) return
  const text = `a key has ${size} bytes, and may have ${MAX_KEY}: track by an id`
  throw outOfRange(text)
}

/** Returns a random prefix, so that no other server creates the same refs. */
function newRefPrefix(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8))
  return `${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}.`
}

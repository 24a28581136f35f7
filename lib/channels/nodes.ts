import { toBytes, toText } from '../message.ts'
import { isPromise } from '../promises.ts'
import type { Relay } from '../relay.ts'
import type { Broadcast } from './broadcast.ts'
import { IncomingState, NodeState, type ToldDiff } from './node-state.ts'
import { PRESENCE_DIFF } from './phoenix.ts'
import { changesIn, diffIn, Roster, type Applied, type Change, type Diff } from './roster.ts'
import { AROUND_REPLY, isJsonObject, readJson } from './text.ts'

/** Is what a presence shows to other nodes, and is told of them. */
export interface View {
  /** What its node is known by here. */
  readonly id: string
  /** Milliseconds between its signs of life. */
  readonly heartbeat: number
  /** Returns what is tracked on this node, by the names of topics: a copy, which doesn't change. */
  own(): ReadonlyMap<string, Roster>
  /** Tells whether a topic is one of these. */
  fits(topic: string): boolean
  /** Prepares what another node told its members; throws where it makes no sense. */
  read(data: string): Broadcast
  /** Takes what has changed elsewhere, and how that node has told it to its members, where that is known. */
  changed(topic: string, diff: Diff, said?: Broadcast): void
  /** Something came that makes no sense. */
  dropped(): void
}

/** What other nodes say: that they live, who has come and gone, all who are there, and what they ask. */
const BEAT = 0
const DIFF = 1
const STATE = 2
const ASK = 3
const BYE = 4

const PATIENCE = 2.5 // heartbeats of silence: a node is gone before its third
const LONGEST_BEAT = 3_600_000
const MOST_NODES = 1_000
const ANSWER_GAP = 50 // milliseconds between two answers: nodes that ask meanwhile share the next one

/** Another node, as far as it is known. */
interface Node {
  /** How many changes of it are known; -1: nothing is. */
  version: number
  readonly rosters: Map<string, Roster>
  /** Whether it was asked who is there. */
  asked: boolean
  /** The parts of its answer that have come. */
  incoming: IncomingState | undefined
  timer: ReturnType<typeof setTimeout> | undefined
}

interface Word {
  readonly id: string
  readonly version: number
  readonly beat: number
  /** The place of a part of a state, and whether it is the last one. */
  readonly part: number
  readonly isLast: boolean
  /** What stands behind it: topics, or the diff, as that node has told it to its members. */
  readonly rest: string
}

/**
 * Is who is here on other nodes. Each node alone says who is there, and counts its changes; whoever
 * misses one asks for all. One that is silent is taken to be gone until it speaks again.
 */
export class Nodes {
  readonly #relay: Relay
  readonly #view: View
  readonly #topic: string
  readonly #others = new Map<string, Node>()
  #version = 0
  #stop: (() => void) | undefined
  /** Whether answers would be heard. */
  #stands = false
  /** What others are answered, until it changes, or isn't wanted for a heartbeat. */
  #state: NodeState | undefined
  #isStateWanted = false
  /** Nodes that have asked and have no answer yet, two of them at most. */
  readonly #askers = new Set<string>()
  #isAnswering = false

  constructor(relay: Relay, pattern: string, view: View) {
    this.#relay = relay
    this.#view = view
    this.#topic = `presence:${pattern}`
    relay.listen((state) => {
      if (state === 'up' && this.#stop) this.#ask(this.#topic) // much may have been missed
    })
    this.start()
  }

  /** Begins to listen, and asks all others once their answers would be heard. */
  start(): void {
    if (this.#stop) return
    const hear = (kind: number, payload: Uint8Array): void => this.#hear(kind, payload)
    const subscriptions = [
      this.#relay.subscribe(this.#topic, hear),
      this.#relay.subscribe(this.#inbox(this.#view.id), hear),
    ]
    const timer = setInterval(() => this.#beat(), this.#view.heartbeat)
    timer.unref?.()
    const stop = (): void => {
      clearInterval(timer)
      for (const end of subscriptions) end()
    }
    this.#stop = stop
    const stands = (): void => {
      if (this.#stop !== stop) return // it was stopped meanwhile
      this.#stands = true
      this.#ask(this.#topic)
    }
    const standing = subscriptions.map((subscription) => subscription.standing)
    if (!standing.some(isPromise)) stands()
    else Promise.all(standing).then(stands, () => {}) // the relay tells of what failed
  }

  /** Says goodbye, and forgets the others. */
  stop(): void {
    if (!this.#stop) return
    this.#say(this.#topic, BYE)
    this.#stop()
    this.#stop = undefined
    this.#stands = false
    for (const id of [...this.#others.keys()]) this.#forget(id)
  }

  /** Tells the others who has come, or gone, on this node: in the words that its members were told. */
  tell(said: Broadcast): void {
    this.#version++
    this.#state = undefined
    this.#say(this.#topic, DIFF, said.bytes)
  }

  #beat(): void {
    this.#say(this.#topic, BEAT)
    if (!this.#isStateWanted) this.#state = undefined
    this.#isStateWanted = false
  }

  #inbox(id: string): string {
    return `${this.#topic}@${id}`
  }

  /** Asks who is there: one node by its inbox, or all. */
  #ask(node: string): void {
    if (this.#stands) this.#say(node, ASK)
  }

  /** Says something about this node on the first line, and something else behind it. */
  #say(topic: string, kind: number, rest?: Uint8Array): void {
    const line = this.#line()
    if (!rest) {
      this.#relay.publish(topic, kind, toBytes(line))
      return
    }
    const head = toBytes(`${line}\n`)
    const word = new Uint8Array(head.length + rest.length)
    word.set(head)
    word.set(rest, head.length)
    this.#relay.publish(topic, kind, word)
  }

  #line(more: object = {}): string {
    const { id, heartbeat: beat } = this.#view
    return JSON.stringify({ id, version: this.#version, beat, ...more })
  }

  #hear(kind: number, payload: Uint8Array): void {
    const word = wordIn(payload)
    const isKnown = word !== undefined && this.#others.has(word.id)
    if (!word || kind > BYE || (!isKnown && this.#others.size >= MOST_NODES)) {
      this.#view.dropped()
      return
    }
    if (kind === BYE) {
      this.#forget(word.id)
      return
    }
    const node = this.#others.get(word.id) ?? newNode()
    this.#others.set(word.id, node)
    clearTimeout(node.timer)
    node.timer = setTimeout(() => this.#forget(word.id), PATIENCE * word.beat)
    node.timer.unref?.()
    if (kind === DIFF) this.#changed(node, word)
    else if (kind === STATE) this.#takePart(node, word)
    else this.#compare(node, word, kind)
  }

  /** Asks what was missed, and answers who asks. */
  #compare(node: Node, { id, version }: Word, kind: number): void {
    if (kind === ASK) this.#answer(id)
    if (version === node.version) return
    // It may be answering already. One that gives no answer until its next sign of life is asked again.
    const isAnswering = kind === ASK ? node.asked : node.incoming?.takeProgress()
    if (isAnswering) return
    node.incoming = undefined
    node.asked = this.#stands
    this.#ask(this.#inbox(id))
  }

  /** Sends the state to a node that has asked, soon: all that ask meanwhile get one answer. */
  #answer(id: string): void {
    if (this.#askers.size < 2) this.#askers.add(id)
    if (!this.#isAnswering) void this.#answerAll()
  }

  async #answerAll(): Promise<void> {
    this.#isAnswering = true
    await Promise.resolve() // those that ask in the same turn
    while (this.#stop && this.#askers.size > 0) {
      const [first = '', ...others] = this.#askers
      this.#askers.clear()
      await this.#sendState(others.length === 0 ? this.#inbox(first) : this.#topic)
      await pause(ANSWER_GAP)
    }
    this.#isAnswering = false
  }

  /** Sends the state, each part once the broker has the one before. */
  async #sendState(topic: string): Promise<void> {
    const version = this.#version
    const headOf = (part: number, last: boolean): string => this.#line({ version, part, last })
    const state = (this.#state ??= new NodeState(this.#view.own(), headOf))
    this.#isStateWanted = true
    let part = state.at(0)
    for (let index = 1; part && this.#stop; index++) {
      // Where one is lost the node asks again at the next heartbeat.
      if (!(await this.#relay.send(topic, STATE, part))) return
      part = state.at(index)
    }
  }

  #changed(node: Node, { id, version, rest }: Word): void {
    const told = this.#diffIn(rest)
    if (!told) {
      this.#view.dropped()
    } else if (version === node.version + 1) {
      node.version = version
      this.#apply(node, told)
    } else if (version > node.version && !this.#keeps(node, version, told) && !node.asked) {
      node.asked = this.#stands
      this.#ask(this.#inbox(id))
    }
  }

  /** Keeps a change until the state that is coming is whole. */
  #keeps(node: Node, version: number, told: ToldDiff): boolean {
    if (!node.incoming || version <= node.incoming.version) return node.incoming !== undefined
    if (node.incoming.keep(version, told)) return true
    node.incoming = undefined
    return false
  }

  #diffIn(text: string): ToldDiff | undefined {
    try {
      const said = this.#view.read(text)
      const frame = said.read()
      const diff = frame?.event === PRESENCE_DIFF ? diffIn(frame.payload) : undefined
      if (!frame || !diff || !this.#view.fits(frame.topic)) return undefined
      return { topic: frame.topic, diff, said }
    } catch {
      return undefined
    }
  }

  #takePart(node: Node, { version, part, isLast, rest }: Word): void {
    if (version <= node.version) {
      node.incoming = undefined // it is known: another node has asked
      node.asked = false
      return
    }
    if (part === 0) node.incoming = new IncomingState(version)
    const { incoming } = node
    node.incoming = undefined
    if (!incoming?.expects(version, part)) return // the next heartbeat asks again
    const topics = topicsIn(rest)
    if (!topics || [...topics.keys()].some((name) => !this.#view.fits(name))) {
      this.#view.dropped()
      return
    }
    incoming.add(topics)
    if (isLast) this.#become(node, incoming)
    else node.incoming = incoming
  }

  #become(node: Node, { version, topics, diffs }: IncomingState): void {
    node.asked = false
    node.version = version
    for (const name of new Set([...topics.keys(), ...node.rosters.keys()])) {
      const roster = new Roster()
      for (const change of node.rosters.get(name) ?? []) roster.join(change)
      const applied: Applied[] = []
      roster.become(topics.get(name) ?? [], applied)
      if (applied.length > 0) this.#apply(node, { topic: name, diff: diffOf(applied) })
    }
    for (const told of diffs) {
      node.version++
      this.#apply(node, told)
    }
  }

  #apply(
    node: Node,
    { topic: name, diff, said }: Omit<ToldDiff, 'said'> & Partial<ToldDiff>,
  ): void {
    const roster = node.rosters.get(name) ?? new Roster()
    node.rosters.set(name, roster)
    roster.apply(diff)
    if (roster.size === 0) node.rosters.delete(name)
    this.#view.changed(name, diff, said)
  }

  /** It has gone, and so has everybody who was there. */
  #forget(id: string): void {
    const node = this.#others.get(id)
    if (!node) return
    clearTimeout(node.timer)
    this.#others.delete(id)
    for (const [name, roster] of node.rosters) {
      this.#view.changed(name, { joins: [], leaves: [...roster] })
    }
  }
}

function newNode(): Node {
  return { version: -1, rosters: new Map(), asked: false, incoming: undefined, timer: undefined }
}

function diffOf(applied: readonly Applied[]): Diff {
  const of = (wanted: Applied['how']): Change[] =>
    applied.flatMap(({ how, key, metas }) => (how === wanted ? [[key, metas] as const] : []))
  return { joins: of('join'), leaves: of('leave') }
}

function wordIn(payload: Uint8Array): Word | undefined {
  const text = toText(payload)
  if (typeof text !== 'string') return undefined
  const end = text.includes('\n') ? text.indexOf('\n') : text.length
  const value = objectIn(text.slice(0, end))
  if (!value) return undefined
  const { id, version, beat, part = 0, last } = value
  if (typeof id !== 'string' || id.length > 64) return undefined
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 0) return undefined
  if (typeof beat !== 'number' || !(beat >= 1 && beat <= LONGEST_BEAT)) return undefined
  if (typeof part !== 'number') return undefined
  return { id, version, beat, part, isLast: last === true, rest: text.slice(end + 1) }
}

/** Reads an object of JSON, within the limits that hold for peers. */
function objectIn(text: string): Record<string, unknown> | undefined {
  try {
    const value = readJson(text, AROUND_REPLY)
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function topicsIn(text: string): Map<string, readonly Change[]> | undefined {
  const value = objectIn(text)
  if (!value) return undefined
  const topics = new Map<string, readonly Change[]>()
  for (const [name, state] of Object.entries(value)) {
    const changes = changesIn(state)
    if (!changes) return undefined
    topics.set(name, changes)
  }
  return topics
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    timer.unref?.()
  })
}

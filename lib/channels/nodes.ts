import type { Relay } from '../relay.ts'
import { changesIn, diffIn, Roster, written, type Change } from './roster.ts'
import { readJson } from './text.ts'

/** Is what a presence shows to other nodes, and is told of them. */
export interface View {
  /** What its node is known by here. */
  readonly id: string
  /** Milliseconds between its signs of life. */
  readonly heartbeat: number
  /** Is who is here on this node, by the names of topics. */
  own(): ReadonlyMap<string, Roster>
  /** Somebody has come, or gone, elsewhere. */
  changed(topic: string, joins: readonly Change[], leaves: readonly Change[]): void
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

/** Another node, as far as it is known. */
interface Node {
  /** How many changes of it are known; -1: nothing is. */
  version: number
  readonly rosters: Map<string, Roster>
  /** Whether it was asked who is there. */
  asked: boolean
  timer: ReturnType<typeof setTimeout> | undefined
}

interface Word {
  readonly id: string
  readonly version: number
  readonly beat: number
  readonly value: Readonly<Record<string, unknown>>
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

  constructor(relay: Relay, pattern: string, view: View) {
    this.#relay = relay
    this.#view = view
    this.#topic = `presence:${pattern}`
    relay.listen((state) => {
      if (state === 'up' && this.#stop) this.#say(this.#topic, ASK) // much may have been missed
    })
    this.start()
  }

  /** Begins to listen, and says so. */
  start(): void {
    if (this.#stop) return
    const hear = (kind: number, payload: Uint8Array): void => this.#hear(kind, payload)
    const stops = [
      this.#relay.subscribe(this.#topic, hear),
      this.#relay.subscribe(this.#inbox(this.#view.id), hear),
    ]
    const timer = setInterval(() => this.#say(this.#topic, BEAT), this.#view.heartbeat)
    timer.unref?.()
    this.#stop = () => {
      clearInterval(timer)
      for (const stop of stops) stop()
    }
    this.#say(this.#topic, ASK)
  }

  /** Says goodbye, and forgets the others. */
  stop(): void {
    if (!this.#stop) return
    this.#say(this.#topic, BYE)
    this.#stop()
    this.#stop = undefined
    for (const id of [...this.#others.keys()]) this.#forget(id)
  }

  /** Tells the others who has come, or gone, on this node. */
  tell(topic: string, joins: readonly Change[], leaves: readonly Change[]): void {
    this.#version++
    this.#say(this.#topic, DIFF, { topic, joins: written(joins), leaves: written(leaves) })
  }

  #inbox(id: string): string {
    return `${this.#topic}@${id}`
  }

  #say(topic: string, kind: number, more: object = {}): void {
    const { id, heartbeat: beat } = this.#view
    const text = JSON.stringify({ id, version: this.#version, beat, ...more })
    this.#relay.publish(topic, kind, new TextEncoder().encode(text))
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
    else if (kind === STATE) this.#become(node, word)
    else this.#compare(node, word, kind)
  }

  /** Asks what was missed, and answers who asks. */
  #compare(node: Node, { id, version }: Word, kind: number): void {
    if (version !== node.version) {
      node.asked = true
      this.#say(this.#inbox(id), ASK)
    }
    if (kind === ASK) this.#say(this.#inbox(id), STATE, { topics: this.#state() })
  }

  #changed(node: Node, { id, version, value }: Word): void {
    const diff = diffIn(value)
    const { topic } = value
    if (!diff || typeof topic !== 'string') {
      this.#view.dropped()
    } else if (version === node.version + 1) {
      node.version = version
      this.#apply(node, topic, diff.joins, diff.leaves)
    } else if (version > node.version && !node.asked) {
      node.asked = true
      this.#say(this.#inbox(id), ASK)
    }
  }

  #become(node: Node, { version, value }: Word): void {
    const topics = topicsIn(value.topics)
    if (!topics) {
      this.#view.dropped()
      return
    }
    node.asked = false
    if (version < node.version) return
    node.version = version
    for (const name of new Set([...topics.keys(), ...node.rosters.keys()])) {
      const joins: Change[] = []
      const leaves: Change[] = []
      const roster = new Roster()
      for (const [key, metas] of node.rosters.get(name) ?? []) roster.join(key, metas)
      roster.become(topics.get(name) ?? [], {
        joined: (key, metas) => void joins.push([key, metas]),
        left: (key, metas) => void leaves.push([key, metas]),
      })
      if (joins.length + leaves.length > 0) this.#apply(node, name, joins, leaves)
    }
  }

  #apply(node: Node, name: string, joins: readonly Change[], leaves: readonly Change[]): void {
    const roster = node.rosters.get(name) ?? new Roster()
    node.rosters.set(name, roster)
    for (const [key, metas] of joins) roster.join(key, metas)
    for (const [key, metas] of leaves) roster.leave(key, metas)
    if (roster.size === 0) node.rosters.delete(name)
    this.#view.changed(name, joins, leaves)
  }

  /** It has gone, and so has everybody who was there. */
  #forget(id: string): void {
    const node = this.#others.get(id)
    if (!node) return
    clearTimeout(node.timer)
    this.#others.delete(id)
    for (const [name, roster] of node.rosters) this.#view.changed(name, [], [...roster])
  }

  #state(): Record<string, unknown> {
    const topics = [...this.#view.own()].map(([name, roster]) => [name, written(roster)])
    return Object.fromEntries(topics) as Record<string, unknown>
  }
}

function newNode(): Node {
  return { version: -1, rosters: new Map(), asked: false, timer: undefined }
}

function wordIn(payload: Uint8Array): Word | undefined {
  let value: unknown
  try {
    value = readJson(new TextDecoder('utf-8', { fatal: true }).decode(payload))
  } catch {
    return undefined
  }
  if (!isBag(value)) return undefined
  const { id, version, beat } = value
  if (typeof id !== 'string' || id.length > 64) return undefined
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 0) return undefined
  if (typeof beat !== 'number' || !(beat >= 1 && beat <= LONGEST_BEAT)) return undefined
  return { id, version, beat, value }
}

function topicsIn(value: unknown): Map<string, readonly Change[]> | undefined {
  if (!isBag(value)) return undefined
  const topics = new Map<string, readonly Change[]>()
  for (const [name, state] of Object.entries(value)) {
    const changes = changesIn(state)
    if (!changes) return undefined
    topics.set(name, changes)
  }
  return topics
}

function isBag(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

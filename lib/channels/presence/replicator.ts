import { toBytes, toText } from '../../connection/message.ts'
import { isPromise } from '../../promises.ts'
import type { BackplaneLink } from '../../backplane/backplane-link.ts'
import type { Broadcast } from '../protocol/broadcast.ts'
import { IncomingState, OutgoingState, type RemoteDiff } from './remote-state.ts'
import { PRESENCE_DIFF } from '../protocol/phoenix.ts'
import {
  parseState,
  parseDiff,
  PresenceState,
  type AppliedChange,
  type Change,
  type Diff,
} from './presence-state.ts'
import { AROUND_REPLY, isJsonObject, readJson } from '../protocol/json.ts'

/** The presence of a topic pattern on this node, as the replicator uses it. */
export interface PresenceSource {
  /** The id of this node in the presence of the pattern. */
  readonly id: string
  /** Milliseconds between the heartbeats of this node. */
  readonly heartbeat: number
  /** Returns the presence of this node by topic: a copy, which doesn't change. */
  localState(): ReadonlyMap<string, PresenceState>
  /** Returns whether a topic matches the pattern. */
  matches(topic: string): boolean
  /** Returns the broadcast that another node sent to its members; throws where it is invalid. */
  read(data: string): Broadcast
  /**
   * Receives a change on another node, with the message that the node sent to its members; without
   * one where it isn't known.
   */
  onChange(topic: string, diff: Diff, message?: Broadcast): void
  /** Counts an invalid message of another node. */
  countDrop(): void
}

// The kinds of messages between nodes: a heartbeat, a change, a part of the full state, a request
// for the full state, and the notice of a node that stops.
const HEARTBEAT = 0
const DIFF = 1
const STATE = 2
const STATE_REQUEST = 3
const GOODBYE = 4

const TIMEOUT_HEARTBEATS = 2.5 // a silent node is removed before its third heartbeat is due
const MAX_HEARTBEAT = 3_600_000 // milliseconds
const MAX_NODES = 1_000
/** Milliseconds between two answers: nodes that send a request meanwhile share the next answer. */
const ANSWER_INTERVAL = 50

/** Another node, and the part of its presence that is known here. */
interface RemoteNode {
  /** Number of its changes that are known; -1: not even its state. */
  version: number
  readonly stateByTopic: Map<string, PresenceState>
  /** Whether its state was requested. */
  isStateRequested: boolean
  /** The parts of its state that have arrived. */
  incoming: IncomingState | undefined
  timer: ReturnType<typeof setTimeout> | undefined
}

/** A message of another node. */
interface NodeMessage {
  /** The id of the node. */
  readonly id: string
  /** Number of the changes that the node has made. */
  readonly version: number
  /** Milliseconds between the node's heartbeats. */
  readonly beat: number
  /** The index of a part of a state, and whether it is the last one. */
  readonly part: number
  readonly isLast: boolean
  /** The text after the first line: topics, or the diff in the node's message to its members. */
  readonly body: string
}

/**
 * The replication of a presence between nodes. Each node owns its entries, and numbers its changes.
 * A node that misses a change requests the full state. A node that is silent for too long is
 * removed until it sends something again.
 */
export class PresenceReplicator {
  readonly #link: BackplaneLink
  readonly #source: PresenceSource
  readonly #topic: string
  readonly #remoteNodes = new Map<string, RemoteNode>()
  #version = 0
  #unsubscribe: (() => void) | undefined
  /** Whether the subscriptions are active, so that answers to a request would arrive. */
  #isSubscribed = false
  /** The state for other nodes; kept until it changes, or until it is not sent for a heartbeat. */
  #outgoingState: OutgoingState | undefined
  /** Whether the state was sent since the last heartbeat. */
  #wasStateSent = false
  /** The nodes whose requests are not answered yet: at most two, as two mean an answer to all. */
  readonly #requesters = new Set<string>()
  #isAnswering = false

  constructor(link: BackplaneLink, pattern: string, source: PresenceSource) {
    this.#link = link
    this.#source = source
    this.#topic = `presence:${pattern}`
    link.listen((state) => {
      // Changes may have been missed while the backplane was down.
      if (state === 'up' && this.#unsubscribe) this.#requestState(this.#topic)
    })
    this.start()
  }

  /** Subscribes, and then requests the states of all other nodes. */
  start(): void {
    if (this.#unsubscribe) return
    const onMessage = (kind: number, payload: Uint8Array): void => this.#receive(kind, payload)
    const subscriptions = [
      this.#link.subscribe(this.#topic, onMessage),
      this.#link.subscribe(this.#nodeTopic(this.#source.id), onMessage),
    ]
    const timer = setInterval(() => this.#sendHeartbeat(), this.#source.heartbeat)
    timer.unref?.()
    const unsubscribe = (): void => {
      clearInterval(timer)
      for (const unsubscribeOne of subscriptions) unsubscribeOne()
    }
    this.#unsubscribe = unsubscribe
    const onSubscribed = (): void => {
      if (this.#unsubscribe !== unsubscribe) return // `stop` was called meanwhile
      this.#isSubscribed = true
      this.#requestState(this.#topic)
    }
    const activations = subscriptions.map((subscription) => subscription.ready)
    if (!activations.some(isPromise)) onSubscribed()
    else Promise.all(activations).then(onSubscribed, () => {}) // the link reports failures
  }

  /** Sends a goodbye, unsubscribes, and removes all other nodes. */
  stop(): void {
    if (!this.#unsubscribe) return
    this.#publish(this.#topic, GOODBYE)
    this.#unsubscribe()
    this.#unsubscribe = undefined
    this.#isSubscribed = false
    for (const id of [...this.#remoteNodes.keys()]) this.#removeNode(id)
  }

  /** Publishes a change on this node to the other nodes: the message that its members received. */
  publishDiff(message: Broadcast): void {
    this.#version++
    this.#outgoingState = undefined
    this.#publish(this.#topic, DIFF, message.bytes)
  }

  #sendHeartbeat(): void {
    this.#publish(this.#topic, HEARTBEAT)
    if (!this.#wasStateSent) this.#outgoingState = undefined
    this.#wasStateSent = false
  }

  /** Returns the topic to which only one node subscribes. */
  #nodeTopic(id: string): string {
    return `${this.#topic}@${id}`
  }

  /** Requests the state of one node, by its own topic, or the states of all nodes. */
  #requestState(topic: string): void {
    if (this.#isSubscribed) this.#publish(topic, STATE_REQUEST)
  }

  /** Publishes a message: a header about this node on the first line, and a body after it. */
  #publish(topic: string, kind: number, body?: Uint8Array): void {
    const header = this.#header()
    if (!body) {
      this.#link.publish(topic, kind, toBytes(header))
      return
    }
    const head = toBytes(`${header}\n`)
    const message = new Uint8Array(head.length + body.length)
    message.set(head)
    message.set(body, head.length)
    this.#link.publish(topic, kind, message)
  }

  #header(extra: object = {}): string {
    const { id, heartbeat: beat } = this.#source
    return JSON.stringify({ id, version: this.#version, beat, ...extra })
  }

  #receive(kind: number, payload: Uint8Array): void {
    const message = parseMessage(payload)
    const isKnown = message !== undefined && this.#remoteNodes.has(message.id)
    if (!message || kind > GOODBYE || (!isKnown && this.#remoteNodes.size >= MAX_NODES)) {
      this.#source.countDrop()
      return
    }
    if (kind === GOODBYE) {
      this.#removeNode(message.id)
      return
    }
    const node = this.#remoteNodes.get(message.id) ?? newNode()
    this.#remoteNodes.set(message.id, node)
    clearTimeout(node.timer)
    node.timer = setTimeout(() => this.#removeNode(message.id), TIMEOUT_HEARTBEATS * message.beat)
    node.timer.unref?.()
    if (kind === DIFF) this.#receiveDiff(node, message)
    else if (kind === STATE) this.#receivePart(node, message)
    else this.#requestIfStale(node, message, kind)
  }

  /** Requests the state of a node whose changes were missed, and answers a request of the node. */
  #requestIfStale(node: RemoteNode, { id, version }: NodeMessage, kind: number): void {
    if (kind === STATE_REQUEST) this.#answer(id)
    if (version === node.version) return
    // The node may be sending its state already. If no part arrives before its next heartbeat, the
    // state is requested again.
    const isStateComing =
      kind === STATE_REQUEST ? node.isStateRequested : node.incoming?.takeProgress()
    if (isStateComing) return
    node.incoming = undefined
    node.isStateRequested = this.#isSubscribed
    this.#requestState(this.#nodeTopic(id))
  }

  /** Answers a request soon: all nodes whose requests arrive meanwhile share one answer. */
  #answer(id: string): void {
    if (this.#requesters.size < 2) this.#requesters.add(id)
    if (!this.#isAnswering) void this.#answerAll()
  }

  async #answerAll(): Promise<void> {
    this.#isAnswering = true
    await Promise.resolve() // for the requests that arrive in the same turn
    while (this.#unsubscribe && this.#requesters.size > 0) {
      const [first = '', ...others] = this.#requesters
      this.#requesters.clear()
      await this.#sendState(others.length === 0 ? this.#nodeTopic(first) : this.#topic)
      await pause(ANSWER_INTERVAL)
    }
    this.#isAnswering = false
  }

  /** Sends the state: each part after the broker has received the one before. */
  async #sendState(topic: string): Promise<void> {
    const version = this.#version
    const headOf = (part: number, last: boolean): string => this.#header({ version, part, last })
    const state = (this.#outgoingState ??= new OutgoingState(this.#source.localState(), headOf))
    this.#wasStateSent = true
    let part = state.at(0)
    for (let index = 1; part && this.#unsubscribe; index++) {
      // Where a part is lost, the other node requests the state again at the next heartbeat.
      if (!(await this.#link.send(topic, STATE, part))) return
      part = state.at(index)
    }
  }

  #receiveDiff(node: RemoteNode, { id, version, body }: NodeMessage): void {
    const remoteDiff = this.#readDiff(body)
    if (!remoteDiff) {
      this.#source.countDrop()
    } else if (version === node.version + 1) {
      node.version = version
      this.#applyDiff(node, remoteDiff)
    } else if (
      version > node.version &&
      !this.#bufferDiff(node, version, remoteDiff) &&
      !node.isStateRequested
    ) {
      node.isStateRequested = this.#isSubscribed
      this.#requestState(this.#nodeTopic(id))
    }
  }

  /** Keeps a change until all parts of the state have arrived. Returns false where it can't. */
  #bufferDiff(node: RemoteNode, version: number, remoteDiff: RemoteDiff): boolean {
    if (!node.incoming || version <= node.incoming.version) return node.incoming !== undefined
    if (node.incoming.keep(version, remoteDiff)) return true
    node.incoming = undefined
    return false
  }

  #readDiff(text: string): RemoteDiff | undefined {
    try {
      const message = this.#source.read(text)
      const frame = message.read()
      const diff = frame?.event === PRESENCE_DIFF ? parseDiff(frame.payload) : undefined
      if (!frame || !diff || !this.#source.matches(frame.topic)) return undefined
      return { topic: frame.topic, diff, message }
    } catch {
      return undefined
    }
  }

  #receivePart(node: RemoteNode, { version, part, isLast, body }: NodeMessage): void {
    if (version <= node.version) {
      node.incoming = undefined // the state is known: it answers another node's request
      node.isStateRequested = false
      return
    }
    if (part === 0) node.incoming = new IncomingState(version)
    const { incoming } = node
    node.incoming = undefined
    if (!incoming?.expects(version, part)) return // after the next heartbeat it is requested again
    const topics = parseTopics(body)
    if (!topics || [...topics.keys()].some((name) => !this.#source.matches(name))) {
      this.#source.countDrop()
      return
    }
    incoming.add(topics)
    if (isLast) this.#applyState(node, incoming)
    else node.incoming = incoming
  }

  #applyState(node: RemoteNode, { version, topics, diffs }: IncomingState): void {
    node.isStateRequested = false
    node.version = version
    for (const name of new Set([...topics.keys(), ...node.stateByTopic.keys()])) {
      const state = new PresenceState()
      for (const change of node.stateByTopic.get(name) ?? []) state.join(change)
      const applied: AppliedChange[] = []
      state.syncState(topics.get(name) ?? [], applied)
      if (applied.length > 0) this.#applyDiff(node, { topic: name, diff: diffOf(applied) })
    }
    for (const remoteDiff of diffs) {
      node.version++
      this.#applyDiff(node, remoteDiff)
    }
  }

  #applyDiff(
    node: RemoteNode,
    { topic: name, diff, message }: Omit<RemoteDiff, 'message'> & Partial<RemoteDiff>,
  ): void {
    const state = node.stateByTopic.get(name) ?? new PresenceState()
    node.stateByTopic.set(name, state)
    state.syncDiff(diff)
    if (state.size === 0) node.stateByTopic.delete(name)
    this.#source.onChange(name, diff, message)
  }

  /** Removes a node with its whole presence. */
  #removeNode(id: string): void {
    const node = this.#remoteNodes.get(id)
    if (!node) return
    clearTimeout(node.timer)
    this.#remoteNodes.delete(id)
    for (const [name, state] of node.stateByTopic) {
      this.#source.onChange(name, { joins: [], leaves: [...state] })
    }
  }
}

function newNode(): RemoteNode {
  return {
    version: -1,
    stateByTopic: new Map(),
    isStateRequested: false,
    incoming: undefined,
    timer: undefined,
  }
}

function diffOf(applied: readonly AppliedChange[]): Diff {
  const changesOf = (kind: AppliedChange['kind']): Change[] =>
    applied.flatMap(({ kind: how, key, metas }) => (how === kind ? [[key, metas] as const] : []))
  return { joins: changesOf('join'), leaves: changesOf('leave') }
}

function parseMessage(payload: Uint8Array): NodeMessage | undefined {
  const text = toText(payload)
  if (typeof text !== 'string') return undefined
  const end = text.includes('\n') ? text.indexOf('\n') : text.length
  const value = parseObject(text.slice(0, end))
  if (!value) return undefined
  const { id, version, beat, part = 0, last } = value
  if (typeof id !== 'string' || id.length > 64) return undefined
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 0) return undefined
  if (typeof beat !== 'number' || !(beat >= 1 && beat <= MAX_HEARTBEAT)) return undefined
  if (typeof part !== 'number') return undefined
  return { id, version, beat, part, isLast: last === true, body: text.slice(end + 1) }
}

/** Parses a JSON object, with the same limits as for peers. */
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value = readJson(text, AROUND_REPLY)
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function parseTopics(text: string): Map<string, readonly Change[]> | undefined {
  const value = parseObject(text)
  if (!value) return undefined
  const topics = new Map<string, readonly Change[]>()
  for (const [name, state] of Object.entries(value)) {
    const changes = parseState(state)
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

import type { BackplaneLink } from '../../backplane/backplane-link.ts'
import { isPromise } from '../../promises.ts'
import type { Broadcast } from '../protocol/broadcast.ts'
import {
  DIFF,
  encodeNodeMessage,
  GOODBYE,
  HEARTBEAT,
  parseNodeMessage,
  STATE,
  STATE_REQUEST,
} from './node-message.ts'
import type { Diff, PresenceState } from './presence-state.ts'
import { RemoteNode } from './remote-node.ts'
import { OutgoingState } from './remote-state.ts'

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

const MAX_NODES = 1_000
/** Milliseconds between two answers: nodes that send a request meanwhile share the next answer. */
const ANSWER_INTERVAL = 50

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

  /**
   * Requests the state of one node, by its own topic, or the states of all nodes. Returns false
   * where the answers would not arrive yet.
   */
  #requestState(topic: string): boolean {
    if (this.#isSubscribed) this.#publish(topic, STATE_REQUEST)
    return this.#isSubscribed
  }

  #publish(topic: string, kind: number, body?: Uint8Array): void {
    this.#link.publish(topic, kind, encodeNodeMessage(this.#header(), body))
  }

  #header(extra: object = {}): string {
    const { id, heartbeat: beat } = this.#source
    return JSON.stringify({ id, version: this.#version, beat, ...extra })
  }

  #receive(kind: number, payload: Uint8Array): void {
    const message = parseNodeMessage(payload)
    const knownNode = message && this.#remoteNodes.get(message.id)
    if (!message || kind > GOODBYE || (!knownNode && this.#remoteNodes.size >= MAX_NODES)) {
      this.#source.countDrop()
      return
    }
    const { id, beat } = message
    if (kind === GOODBYE) {
      this.#removeNode(id)
      return
    }
    const node = knownNode ?? this.#addNode(id)
    node.keepAlive(beat)
    if (kind === STATE_REQUEST) this.#answer(id)
    if (kind === DIFF) node.takeDiff(message)
    else if (kind === STATE) node.takePart(message)
    else node.requestIfStale(message, kind === STATE_REQUEST)
  }

  #addNode(id: string): RemoteNode {
    const node = new RemoteNode(
      this.#source,
      () => this.#requestState(this.#nodeTopic(id)),
      () => this.#removeNode(id),
    )
    this.#remoteNodes.set(id, node)
    return node
  }

  /** Removes a node with its whole presence. */
  #removeNode(id: string): void {
    const node = this.#remoteNodes.get(id)
    this.#remoteNodes.delete(id)
    node?.remove()
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
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    timer.unref?.()
  })
}

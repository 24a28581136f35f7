import { createHash } from 'node:crypto'
import debug from 'debug'
import type { Backplane, RefusedChannel, Unsubscribe } from './backplane.ts'
import { logTextOf, withoutCommand } from './error-text.ts'
import { resolveBroker, type BrokerOptions } from './options/broker.ts'
import { Cutter, Joiner, MAX_BYTES } from './parts.ts'
import { deferred, handled, isPromise, type Deferred } from './promises.ts'
import { Refusals } from './refusals.ts'

const log = debug('simplewebsockets:backplane')

/** Counts of a backplane over a broker since it was made, and its state now. */
export interface BrokerStats {
  /** Whether the broker can be reached. */
  readonly state: 'up' | 'down'
  /** The last failure, as far as it is known; undefined while all is well. */
  readonly failure: unknown
  /** Messages given to the broker. */
  readonly published: number
  /** Messages that came from it, the echo of this node's own among them. */
  readonly received: number
  /** Messages lost here: the broker was down, too slow or refused them, or they made no sense. */
  readonly dropped: number
  /** Channels with receivers on this node. */
  readonly channels: number
  /** Channels that the broker refuses to this node; they are tried again. */
  readonly refused: readonly RefusedChannel[]
}

/** What the client of a broker reports. */
export interface BrokerEvents {
  /** The client, or a part of it, has connected: its subscriptions may be gone. */
  connected(): void
  /** The connection was lost, or could not be made. */
  lost(cause?: unknown): void
  /** A message, or a piece of one, has come. */
  received(channel: string, bytes: Uint8Array): void
  /** The broker refuses a channel. */
  refused(operation: RefusedChannel['operation'], channel: string, cause: unknown): void
  /** Channels that were refused for want of room may fit now. */
  freed(): void
}

/**
 * The client of a broker. Its commands take effect in the order of the calls. A promise of it may
 * reject, or never settle when the connection is lost.
 */
export interface BrokerClient {
  /** Whether it is connected, as far as the client knows. */
  readonly isReady: boolean
  /** The most bytes that the broker takes at once. */
  readonly maxPayload: number
  /** Begins to report. */
  start(events: BrokerEvents): void
  /** Publishes the pieces of a message in order. Resolves when the broker has them; false: it refused. */
  publish(channel: string, pieces: readonly Uint8Array[]): Promise<boolean>
  /** Subscribes, once more or for the first time. Resolves when all that isn't refused is heard. */
  subscribe(channels: string[]): Promise<unknown>
  /** Ends subscriptions, where there are any. */
  unsubscribe(channels: string[]): Promise<unknown>
  /** Resolves when the broker has answered this, and so all that was sent before. */
  ping(): Promise<unknown>
  /** Removes its listeners and ends its own connections. */
  close(): unknown
}

type Heard = NonNullable<Parameters<NonNullable<Backplane['listen']>>[0]>

type Receive = (message: Uint8Array) => unknown

/**
 * A receiver of a channel's messages, of those that made no sense and were dropped, and of each time that
 * the broker has confirmed the channel.
 */
interface Receiver {
  readonly receive: Receive
  readonly dropped: (() => void) | undefined
  readonly confirmed: (() => void) | undefined
}

/** A channel with receivers on this node. */
interface Channel {
  readonly receivers: Set<Receiver>
  /** Settled when the broker has confirmed it, or can't for now. */
  standing: Deferred<void>
  /** Whether the broker has confirmed it on this connection. */
  isConfirmed: boolean
  /** Whether the broker was asked for it, and may send it. */
  isRequested: boolean
}

/** Stands for the promise of each channel that is confirmed: there may be many. */
const CONFIRMED: Deferred<void> = { promise: Promise.resolve(), resolve() {}, reject() {} }
const MAX_CHANNELS = 1_000 // in one command
const MAX_NAME = 512 // characters of a topic's name; a longer one travels as its hash
const OVERHEAD = 64 // bytes that a message takes beside its own
const RETRY = 6 // heartbeats between two retries of refused channels

/**
 * A backplane over a broker that you run. It keeps the channels that are wanted apart from what the
 * broker was told, and reconciles both, one command at a time. At each connection, and when a broker
 * that was silent answers again, everything is sent anew: what was lost in between doesn't matter.
 */
export class BrokerBackplane implements Backplane {
  readonly #client: BrokerClient
  readonly #prefix: string
  readonly #maxBufferedAmount: number
  readonly #cutter = new Cutter()
  readonly #joiner = new Joiner()
  /** The channels that are wanted, */
  readonly #wanted = new Map<string, Channel>()
  /** those of them that the broker has not confirmed yet, */
  readonly #joining = new Map<string, Channel>()
  /** and others that it may still send. */
  readonly #leaving = new Set<string>()
  readonly #refusals: Refusals
  readonly #listeners = new Set<Heard>()
  readonly #counts = { published: 0, received: 0, dropped: 0 }
  readonly #timer: NodeJS.Timeout
  #state: 'connecting' | 'up' | 'down' | 'closed' = 'connecting'
  #told: 'up' | 'down' | undefined
  #failure: unknown
  /** The number of the connection: answers to what was asked on an earlier one are ignored. */
  #connection = 0
  #beats = 0
  #buffered = 0
  #ping: Promise<unknown> | undefined
  #isReconciling = false
  #hasNews = false
  #hasRoom = false

  /** @throws TypeError for an option that is unknown or can't be. */
  constructor(client: BrokerClient, options?: BrokerOptions) {
    const { prefix, heartbeat, maxBufferedAmount } = resolveBroker(options)
    this.#client = client
    this.#prefix = prefix
    this.#maxBufferedAmount = maxBufferedAmount
    this.#refusals = new Refusals(prefix, () => this.#announce())
    this.#timer = setInterval(() => this.#beat(), heartbeat)
    this.#timer.unref?.()
    client.start({
      connected: () => this.#connected(),
      lost: (cause) => (client.isReady ? this.#connected() : this.#down(cause)),
      received: (name, piece) => this.#received(name, piece),
      refused: (operation, name, cause) => this.#refused(operation, name, cause),
      freed: () => (this.#hasRoom = true),
    })
    this.#connected()
  }

  /** Publishes a message. Returns false for one that is dropped, rejects for one that is too long. */
  publish(topic: string, message: Uint8Array): boolean | Promise<boolean> {
    const name = channelOf(this.#prefix, topic)
    const size = message.length + name.length + OVERHEAD
    const max = Math.min(this.#maxBufferedAmount, MAX_BYTES)
    const isUp = this.#state === 'up' || this.#state === 'connecting'
    if (size <= max && isUp && this.#client.isReady && this.#buffered + size <= max) {
      return this.#publish(name, message, size)
    }
    this.#counts.dropped++
    if (size <= max) return false
    const text = `${message.length} bytes are too many for a message between nodes: raise \`maxBufferedAmount\` from ${this.#maxBufferedAmount}, up to ${MAX_BYTES}`
    return Promise.reject(new RangeError(text))
  }

  /**
   * Receives what is published on a topic. Resolves when that is heard, or can't be for now. `confirmed`
   * is called each time that the subscription stands, anew or for the first time.
   */
  async subscribe(
    topic: string,
    receive: (message: Uint8Array) => unknown,
    dropped?: () => void,
    confirmed?: () => void,
  ): Promise<Unsubscribe> {
    if (this.#state === 'closed') return () => {}
    const name = channelOf(this.#prefix, topic)
    const channel = this.#wanted.get(name) ?? this.#want(name)
    const own: Receiver = { receive, dropped, confirmed } // the same function may subscribe twice
    channel.receivers.add(own)
    if (channel.isConfirmed && this.#state === 'up') confirmed?.()
    await channel.standing.promise
    return () => {
      if (!channel.receivers.delete(own) || channel.receivers.size > 0) return
      if (this.#wanted.get(name) === channel) this.#unwant(name, channel)
    }
  }

  /** Ends the subscriptions, and the connections that it has made. */
  close(): void {
    if (this.#state === 'closed') return
    this.#abandon()
    this.#state = 'closed'
    clearInterval(this.#timer)
    this.#release()
    this.#listeners.clear()
    this.#wanted.clear()
    this.#leaving.clear()
    try {
      this.#client.close()
    } catch (error) {
      this.#failed(error) // it was closed already
    }
  }

  /** Tells when the broker goes and comes, and which channels it refuses. */
  listen(heard: Heard): void {
    const told = this.#told
    this.#listeners.add(heard)
    if (told) queueMicrotask(() => this.#told === told && heard(told, this.#refusals.list()))
  }

  /** Returns what it has counted. */
  stats(): BrokerStats {
    return {
      ...this.#counts,
      state: this.#state === 'up' ? 'up' : 'down',
      failure: this.#failure,
      channels: this.#wanted.size,
      refused: this.#refusals.list(),
    }
  }

  async #publish(name: string, message: Uint8Array, size: number): Promise<boolean> {
    const connection = this.#connection
    this.#counts.published++
    this.#buffered += size
    try {
      const pieces = this.#cutter.cut(message, this.#client.maxPayload)
      const isTaken = await this.#client.publish(name, pieces)
      if (!isTaken) this.#counts.dropped++
      return isTaken
    } catch (error) {
      this.#counts.dropped++
      // That the broker is down is told apart from that, and once.
      if (connection === this.#connection && this.#client.isReady) throw withoutCommand(error)
      return false
    } finally {
      if (connection === this.#connection) this.#buffered -= size
    }
  }

  #received(name: string, piece: Uint8Array): void {
    const receivers = this.#wanted.get(name)?.receivers
    const message = receivers && this.#joiner.take(name, piece)
    if (message === false) {
      this.#counts.dropped++
      for (const { dropped } of receivers ?? []) dropped?.()
    }
    if (!receivers || !message) return
    this.#counts.received++
    for (const receiver of receivers) this.#hand(receiver, message)
  }

  /** Calls a receiver. One that fails harms no other, and not the client of the broker. */
  #hand({ receive }: Receiver, message: Uint8Array): void {
    const failed = (error: unknown): void => {
      this.#counts.dropped++
      this.#failed(error)
    }
    try {
      const result = receive(message)
      if (result === false) this.#counts.dropped++
      if (isPromise(result)) void result.then(undefined, failed)
    } catch (error) {
      failed(error)
    }
  }

  #want(name: string): Channel {
    const isRequested = this.#leaving.delete(name)
    const standing = deferred<void>()
    const channel = { receivers: new Set<Receiver>(), standing, isConfirmed: false, isRequested }
    this.#wanted.set(name, channel)
    if (this.#state === 'down') channel.standing.resolve()
    else this.#joining.set(name, channel)
    if (this.#state === 'up') void this.#reconcile()
    return channel
  }

  #unwant(name: string, channel: Channel): void {
    this.#wanted.delete(name)
    this.#joining.delete(name)
    channel.standing.resolve()
    this.#refusals.delete('subscribe', name)
    if (channel.isRequested) this.#leaving.add(name)
    if (this.#state === 'up') void this.#reconcile()
  }

  /** Tells the broker what is wanted by now, until it has confirmed all of that. */
  async #reconcile(): Promise<void> {
    if (this.#isReconciling) return
    const connection = this.#connection
    this.#isReconciling = true
    await Promise.resolve() // what changes in the same turn goes along
    try {
      while (connection === this.#connection && this.#leaving.size + this.#joining.size > 0) {
        const leaving = first(this.#leaving)
        if (leaving.length > 0) await this.#client.unsubscribe(leaving)
        if (connection !== this.#connection) return
        for (const name of leaving) this.#leaving.delete(name)

        const joining = first(this.#joining)
        for (const [, channel] of joining) channel.isRequested = true
        if (joining.length > 0) await this.#client.subscribe(joining.map(([name]) => name))
        if (connection !== this.#connection) return
        for (const [name, channel] of joining) this.#joined(name, channel)
      }
    } catch (error) {
      if (connection === this.#connection) this.#down(error) // the next heartbeat tries again
    }
    if (connection === this.#connection) this.#isReconciling = false
  }

  #joined(name: string, channel: Channel): void {
    if (this.#joining.get(name) !== channel) return // refused, or left meanwhile
    this.#joining.delete(name)
    channel.standing.resolve()
    channel.standing = CONFIRMED
    this.#refusals.delete('subscribe', name)
    channel.isConfirmed = true
    for (const { confirmed } of channel.receivers) confirmed?.()
  }

  /** A connection was made: once the broker answers, everything is sent anew. */
  #connected(): void {
    if (this.#state === 'closed' || !this.#client.isReady) return
    this.#abandon()
    if (this.#state === 'up') this.#state = 'connecting'
    this.#ping = undefined // one on an older connection may never be answered
    this.#ask()
  }

  #beat(): void {
    this.#beats++
    if (this.#ping) this.#down(new Error('the broker does not answer'))
    else if (this.#client.isReady) this.#ask()
    else this.#down()
    if (this.#state === 'up' && (this.#hasRoom || this.#beats % RETRY === 0)) this.#retry()
  }

  /** Pings the broker, unless it owes an answer. */
  #ask(): void {
    if (this.#ping) return
    const connection = this.#connection
    const ping = handled(this.#client.ping())
    this.#ping = ping
    const answered = (): void => {
      if (this.#ping !== ping) return
      this.#ping = undefined
      // Commands may have been sent after this ping: the answer to a new one comes after theirs.
      if (connection !== this.#connection) this.#ask()
      else if (this.#state !== 'up') void this.#start()
    }
    const failed = (error: unknown): void => {
      if (this.#ping !== ping) return
      this.#ping = undefined
      this.#down(error)
    }
    ping.then(answered, failed)
  }

  /** Subscribes to all that is wanted; then the broker is up. */
  async #start(): Promise<void> {
    if (this.#state === 'closed' || this.#isReconciling) return
    const connection = this.#connection
    this.#state = 'connecting'
    for (const name of this.#wanted.keys()) this.#rejoin(name)
    await this.#reconcile()
    if (connection !== this.#connection) return
    this.#state = 'up'
    this.#failure = undefined
    if (this.#told !== 'up') this.#tell('up')
    void this.#reconcile()
  }

  #rejoin(name: string): void {
    const channel = this.#wanted.get(name)
    if (!channel || this.#joining.has(name)) return
    channel.standing = deferred()
    channel.isConfirmed = false
    this.#joining.set(name, channel)
  }

  #down(cause?: unknown): void {
    if (this.#state === 'closed') return
    if (cause !== undefined) this.#failed(cause)
    if (this.#state === 'down') return
    this.#abandon()
    this.#state = 'down'
    this.#release()
    if (this.#told !== 'down') this.#tell('down')
  }

  /** Ends the waits for channels that can't be heard for now. */
  #release(): void {
    for (const { standing } of this.#joining.values()) standing.resolve()
    this.#joining.clear()
  }

  /** Forgets what was asked so far: an answer may never come. */
  #abandon(): void {
    this.#connection++
    this.#isReconciling = false
    this.#buffered = 0
  }

  #refused(operation: RefusedChannel['operation'], name: string, cause: unknown): void {
    const channel = this.#wanted.get(name)
    if (operation === 'subscribe' && !channel) return
    if (!name.startsWith(this.#prefix)) return // the connection may have other users
    if (operation === 'subscribe') {
      this.#joining.delete(name)
      channel?.standing.resolve()
      if (channel) channel.isConfirmed = false
    }
    this.#refusals.add(operation, name, cause)
  }

  #retry(): void {
    this.#hasRoom = false
    for (const name of this.#refusals.retry()) this.#rejoin(name)
    void this.#reconcile()
  }

  /** Tells that other channels are refused than before: many at once are told together. */
  #announce(): void {
    if (this.#hasNews) return
    this.#hasNews = true
    queueMicrotask(() => this.#hasNews && this.#told === 'up' && this.#tell('up'))
  }

  #tell(state: 'up' | 'down'): void {
    this.#told = state
    this.#hasNews = false
    log('the broker is %s', state)
    for (const heard of this.#listeners) heard(state, this.#refusals.list())
  }

  /** Keeps why the broker or a receiver failed, for `stats`. */
  #failed(error: unknown): void {
    this.#failure = withoutCommand(error)
    log('%s', logTextOf(error))
  }
}

/** Returns the first items, as many as go into one command. */
function first<Item>(items: Iterable<Item>): Item[] {
  const some: Item[] = []
  for (const item of items) {
    if (some.length >= MAX_CHANNELS) break
    some.push(item)
  }
  return some
}

/** Names the channel of a topic: whatever the topic is called, it is one word, and not too long. */
export function channelOf(prefix: string, topic: string): string {
  if (/^[\w:-]{1,512}$/.test(topic)) return prefix + topic
  // A peer may have chosen a name of a megabyte: what is too long already isn't escaped first.
  const name = topic.length > MAX_NAME ? undefined : topic.replace(/[^\w:-]/g, escaped)
  if (name !== undefined && name.length <= MAX_NAME) return `${prefix}=${name}`
  return `${prefix}#${createHash('sha256').update(topic, 'utf16le').digest('hex')}`
}

function escaped(character: string): string {
  return `=${character.charCodeAt(0).toString(16)}=`
}

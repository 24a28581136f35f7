import { createHash } from 'node:crypto'
import debug from 'debug'
import type { Backplane, RefusedChannel, Unsubscribe } from './backplane.ts'
import { formatLogLine, withoutCommand } from '../error-text.ts'
import { withCode } from '../errors.ts'
import { resolveBroker, type BrokerOptions } from '../options/broker.ts'
import { Chunker, Reassembler, MAX_BYTES } from './chunks.ts'
import { deferred, markHandled, isPromise, type Deferred } from '../promises.ts'
import { RefusedChannels } from './refused-channels.ts'

const log = debug('simplewebsockets:backplane')

/** The current state of a broker backplane, and its counts since it was created. */
export interface BrokerStats {
  /** The state of the connection: 'up' when the broker can be reached. */
  readonly state: 'up' | 'down'
  /** The last known failure; undefined while there is none. */
  readonly failure: unknown
  /** Messages that were passed to the broker. */
  readonly published: number
  /** Messages received from the broker, including the echo of this node's own messages. */
  readonly received: number
  /**
   * Messages lost on this node: the broker was down, too slow or refused them, or they were
   * malformed.
   */
  readonly dropped: number
  /** Channels with receivers on this node. */
  readonly channels: number
  /** Channels that the broker refuses to this node. The backplane retries them. */
  readonly refused: readonly RefusedChannel[]
}

/** The callbacks of a broker client. */
export interface BrokerEvents {
  /**
   * Handles that the client, or one of its connections, has connected: subscriptions may be lost.
   */
  onConnected(): void
  /** Handles that the connection was lost, or could not be made. */
  onDisconnected(cause?: unknown): void
  /** Handles a message, or one chunk of a message. */
  onMessage(channel: string, bytes: Uint8Array): void
  /** Handles that the broker refuses a channel. */
  onRefused(operation: RefusedChannel['operation'], channel: string, cause: unknown): void
  /** Handles that channels which were refused because of a limit may be accepted now. */
  onCapacityFreed(): void
}

/**
 * The client of a broker. Its commands take effect in the order of the calls. When the connection
 * is lost, the promises that it returned may reject or never settle.
 */
export interface BrokerClient {
  /** Whether the client is connected, as far as it knows. */
  readonly isReady: boolean
  /** The maximum number of bytes in one message of the broker. */
  readonly maxPayload: number
  /** Starts the client. From then on it calls `events`. */
  start(events: BrokerEvents): void
  /**
   * Publishes the chunks of a message in order. Resolves when the broker has all of them: with
   * false when it refused them.
   */
  publish(channel: string, chunks: readonly Uint8Array[]): Promise<boolean>
  /**
   * Subscribes, for the first time or again. Resolves when all channels that the broker does not
   * refuse are active.
   */
  subscribe(channels: string[]): Promise<unknown>
  /** Ends the subscriptions that exist among these channels. */
  unsubscribe(channels: string[]): Promise<unknown>
  /** Resolves when the broker has answered this ping, and thus everything sent before it. */
  ping(): Promise<unknown>
  /** Removes the listeners of the client and closes the connections that it made itself. */
  close(): unknown
}

type StateListener = NonNullable<Parameters<NonNullable<Backplane['listen']>>[0]>

type Receive = (message: Uint8Array) => unknown

/** The callbacks of one subscription to a channel. */
interface Receiver {
  /** Handles a message. */
  readonly receive: Receive
  /** Handles that a malformed message was dropped. */
  readonly onDropped: (() => void) | undefined
  /** Handles that the broker has confirmed the channel. Called at each confirmation. */
  readonly onConfirmed: (() => void) | undefined
}

/** A channel with receivers on this node. */
interface Channel {
  readonly receivers: Set<Receiver>
  /** Settles when the broker has confirmed the channel, or can't do so for now. */
  ready: Deferred<void>
  /** Whether the broker has confirmed the channel on this connection. */
  isConfirmed: boolean
  /** Whether a subscription was requested, so that the broker may send messages of the channel. */
  isRequested: boolean
}

/** The shared `ready` of all confirmed channels: there may be many, so they don't keep one each. */
const CONFIRMED: Deferred<void> = { promise: Promise.resolve(), resolve() {}, reject() {} }
const MAX_CHANNELS = 1_000 // in one command
const MAX_NAME = 512 // characters of a topic's name; a longer name is replaced by its hash
const OVERHEAD = 64 // bytes that a message takes in addition to its payload
const RETRY = 6 // heartbeats between two retries of refused channels

/**
 * A backplane over an external broker. It keeps the desired subscriptions apart from those that the
 * broker has, and reconciles both with one command at a time. It sends all subscriptions again at
 * each connection, and when a silent broker answers again, so commands that were lost meanwhile
 * don't matter.
 */
export class BrokerBackplane implements Backplane {
  readonly #client: BrokerClient
  readonly #prefix: string
  readonly #maxBufferedAmount: number
  readonly #chunker = new Chunker()
  readonly #reassembler = new Reassembler()
  /** The channels that should be subscribed to. */
  readonly #wanted = new Map<string, Channel>()
  /** The wanted channels that the broker has not confirmed yet. */
  readonly #joining = new Map<string, Channel>()
  /** The channels that are no longer wanted, but that the broker may still send. */
  readonly #leaving = new Set<string>()
  readonly #refusedChannels: RefusedChannels
  readonly #listeners = new Set<StateListener>()
  readonly #counts = { published: 0, received: 0, dropped: 0 }
  readonly #timer: NodeJS.Timeout
  #state: 'connecting' | 'up' | 'down' | 'closed' = 'connecting'
  #reportedState: 'up' | 'down' | undefined
  #failure: unknown
  /** The number of the current connection: answers to commands of an earlier one are ignored. */
  #connection = 0
  #ticks = 0
  #buffered = 0
  #ping: Promise<unknown> | undefined
  #isReconciling = false
  #isAnnouncing = false
  #hasCapacity = false

  /**
   * Starts the client and connects the backplane to it.
   *
   * @throws TypeError for an unknown option, and for an invalid value.
   */
  constructor(client: BrokerClient, options?: BrokerOptions) {
    const { prefix, heartbeat, maxBufferedAmount } = resolveBroker(options)
    this.#client = client
    this.#prefix = prefix
    this.#maxBufferedAmount = maxBufferedAmount
    this.#refusedChannels = new RefusedChannels(prefix, () => this.#announce())
    this.#timer = setInterval(() => this.#tick(), heartbeat)
    this.#timer.unref?.()
    client.start({
      onConnected: () => this.#onConnected(),
      onDisconnected: (cause) => (client.isReady ? this.#onConnected() : this.#markDown(cause)),
      onMessage: (name, chunk) => this.#onMessage(name, chunk),
      onRefused: (operation, name, cause) => this.#onRefused(operation, name, cause),
      onCapacityFreed: () => (this.#hasCapacity = true),
    })
    this.#onConnected()
  }

  /**
   * Publishes a message. Returns false when the message is dropped; rejects when it is too long.
   */
  publish(topic: string, message: Uint8Array): boolean | Promise<boolean> {
    const name = channelName(this.#prefix, topic)
    const size = message.length + name.length + OVERHEAD
    const max = Math.min(this.#maxBufferedAmount, MAX_BYTES)
    const isUp = this.#state === 'up' || this.#state === 'connecting'
    if (size <= max && isUp && this.#client.isReady && this.#buffered + size <= max) {
      return this.#publish(name, message, size)
    }
    this.#counts.dropped++
    if (size <= max) return false
    const text = `${message.length} bytes are too many for a message between nodes: raise \`maxBufferedAmount\` from ${this.#maxBufferedAmount}, up to ${MAX_BYTES}`
    return Promise.reject(withCode(new RangeError(text), 'ERR_MESSAGE_TOO_BIG'))
  }

  /**
   * Passes the messages of a topic to `receive`. Resolves when the subscription is active, or can't
   * be activated for now. Calls `onConfirmed` each time that the broker confirms the subscription:
   * the first time, and again after each reconnection.
   */
  async subscribe(
    topic: string,
    receive: (message: Uint8Array) => unknown,
    onDropped?: () => void,
    onConfirmed?: () => void,
  ): Promise<Unsubscribe> {
    if (this.#state === 'closed') return () => {}
    const name = channelName(this.#prefix, topic)
    const channel = this.#wanted.get(name) ?? this.#want(name)
    // A new object, because the same function may subscribe twice.
    const receiver: Receiver = { receive, onDropped, onConfirmed }
    channel.receivers.add(receiver)
    if (channel.isConfirmed && this.#state === 'up') onConfirmed?.()
    await channel.ready.promise
    return () => {
      if (!channel.receivers.delete(receiver) || channel.receivers.size > 0) return
      if (this.#wanted.get(name) === channel) this.#unwant(name, channel)
    }
  }

  /** Ends all subscriptions, and closes the connections that the backplane has made. */
  close(): void {
    if (this.#state === 'closed') return
    this.#abandonCommands()
    this.#state = 'closed'
    clearInterval(this.#timer)
    this.#settleJoining()
    this.#listeners.clear()
    this.#wanted.clear()
    this.#leaving.clear()
    try {
      this.#client.close()
    } catch (error) {
      this.#recordFailure(error) // the client was closed already
    }
  }

  /** Calls `listener` with the state of the broker and the channels that it refuses. */
  listen(listener: StateListener): void {
    const state = this.#reportedState
    this.#listeners.add(listener)
    if (!state) return
    queueMicrotask(() => {
      if (this.#reportedState === state) listener(state, this.#refusedChannels.list())
    })
  }

  /** Returns the state and the counts of the backplane. */
  stats(): BrokerStats {
    return {
      ...this.#counts,
      state: this.#state === 'up' ? 'up' : 'down',
      failure: this.#failure,
      channels: this.#wanted.size,
      refused: this.#refusedChannels.list(),
    }
  }

  async #publish(name: string, message: Uint8Array, size: number): Promise<boolean> {
    const connection = this.#connection
    this.#counts.published++
    this.#buffered += size
    try {
      const chunks = this.#chunker.split(message, this.#client.maxPayload)
      const isAccepted = await this.#client.publish(name, chunks)
      if (!isAccepted) this.#counts.dropped++
      return isAccepted
    } catch (error) {
      this.#counts.dropped++
      // A broker that is down is reported once, by the state, and not for each message.
      if (connection === this.#connection && this.#client.isReady) throw withoutCommand(error)
      return false
    } finally {
      if (connection === this.#connection) this.#buffered -= size
    }
  }

  #onMessage(name: string, chunk: Uint8Array): void {
    const receivers = this.#wanted.get(name)?.receivers
    const message = receivers && this.#reassembler.take(name, chunk)
    if (message === false) {
      this.#counts.dropped++
      for (const { onDropped } of receivers ?? []) onDropped?.()
    }
    if (!receivers || !message) return
    this.#counts.received++
    for (const receiver of receivers) this.#deliver(receiver, message)
  }

  /** Calls a receiver. A receiver that fails affects neither the others nor the broker's client. */
  #deliver({ receive }: Receiver, message: Uint8Array): void {
    const onFailure = (error: unknown): void => {
      this.#counts.dropped++
      this.#recordFailure(error)
    }
    try {
      const result = receive(message)
      if (result === false) this.#counts.dropped++
      if (isPromise(result)) void result.then(undefined, onFailure)
    } catch (error) {
      onFailure(error)
    }
  }

  #want(name: string): Channel {
    const isRequested = this.#leaving.delete(name)
    const ready = deferred<void>()
    const channel = { receivers: new Set<Receiver>(), ready, isConfirmed: false, isRequested }
    this.#wanted.set(name, channel)
    if (this.#state === 'down') channel.ready.resolve()
    else this.#joining.set(name, channel)
    if (this.#state === 'up') void this.#reconcile()
    return channel
  }

  #unwant(name: string, channel: Channel): void {
    this.#wanted.delete(name)
    this.#joining.delete(name)
    channel.ready.resolve()
    this.#refusedChannels.delete('subscribe', name)
    if (channel.isRequested) this.#leaving.add(name)
    if (this.#state === 'up') void this.#reconcile()
  }

  /** Sends changes of the wanted channels to the broker, until it has confirmed all of them. */
  async #reconcile(): Promise<void> {
    if (this.#isReconciling) return
    const connection = this.#connection
    this.#isReconciling = true
    await Promise.resolve() // batches the changes of the same turn
    try {
      while (connection === this.#connection && this.#leaving.size + this.#joining.size > 0) {
        const leaving = takeFirst(this.#leaving)
        if (leaving.length > 0) await this.#client.unsubscribe(leaving)
        if (connection !== this.#connection) return
        for (const name of leaving) this.#leaving.delete(name)

        const joining = takeFirst(this.#joining)
        for (const [, channel] of joining) channel.isRequested = true
        if (joining.length > 0) await this.#client.subscribe(joining.map(([name]) => name))
        if (connection !== this.#connection) return
        for (const [name, channel] of joining) this.#onJoined(name, channel)
      }
    } catch (error) {
      if (connection === this.#connection) this.#markDown(error) // the next heartbeat tries again
    }
    if (connection === this.#connection) this.#isReconciling = false
  }

  #onJoined(name: string, channel: Channel): void {
    if (this.#joining.get(name) !== channel) return // refused or no longer wanted meanwhile
    this.#joining.delete(name)
    channel.ready.resolve()
    channel.ready = CONFIRMED
    this.#refusedChannels.delete('subscribe', name)
    channel.isConfirmed = true
    for (const { onConfirmed } of channel.receivers) onConfirmed?.()
  }

  /** Handles a new connection: once the broker answers, all subscriptions are sent again. */
  #onConnected(): void {
    if (this.#state === 'closed' || !this.#client.isReady) return
    this.#abandonCommands()
    if (this.#state === 'up') this.#state = 'connecting'
    this.#ping = undefined // a ping on an older connection may never be answered
    this.#sendPing()
  }

  #tick(): void {
    this.#ticks++
    if (this.#ping) this.#markDown(new Error('the broker does not answer'))
    else if (this.#client.isReady) this.#sendPing()
    else this.#markDown()
    if (this.#state === 'up' && (this.#hasCapacity || this.#ticks % RETRY === 0)) this.#retry()
  }

  /** Pings the broker, unless the answer to a ping is pending. */
  #sendPing(): void {
    if (this.#ping) return
    const connection = this.#connection
    const ping = markHandled(this.#client.ping())
    this.#ping = ping
    const onAnswer = (): void => {
      if (this.#ping !== ping) return
      this.#ping = undefined
      // Commands may have been sent after this ping. A new ping is answered after all of them.
      if (connection !== this.#connection) this.#sendPing()
      else if (this.#state !== 'up') void this.#resync()
    }
    const onFailure = (error: unknown): void => {
      if (this.#ping !== ping) return
      this.#ping = undefined
      this.#markDown(error)
    }
    ping.then(onAnswer, onFailure)
  }

  /** Subscribes to all wanted channels, and then reports the broker as up. */
  async #resync(): Promise<void> {
    if (this.#state === 'closed' || this.#isReconciling) return
    const connection = this.#connection
    this.#state = 'connecting'
    for (const name of this.#wanted.keys()) this.#rejoin(name)
    await this.#reconcile()
    if (connection !== this.#connection) return
    this.#state = 'up'
    this.#failure = undefined
    if (this.#reportedState !== 'up') this.#report('up')
    void this.#reconcile()
  }

  #rejoin(name: string): void {
    const channel = this.#wanted.get(name)
    if (!channel || this.#joining.has(name)) return
    channel.ready = deferred()
    channel.isConfirmed = false
    this.#joining.set(name, channel)
  }

  #markDown(cause?: unknown): void {
    if (this.#state === 'closed') return
    if (cause !== undefined) this.#recordFailure(cause)
    if (this.#state === 'down') return
    this.#abandonCommands()
    this.#state = 'down'
    this.#settleJoining()
    if (this.#reportedState !== 'down') this.#report('down')
  }

  /** Resolves the pending subscriptions: their channels can't be activated for now. */
  #settleJoining(): void {
    for (const { ready } of this.#joining.values()) ready.resolve()
    this.#joining.clear()
  }

  /** Ignores the commands sent so far: their answers may never arrive. */
  #abandonCommands(): void {
    this.#connection++
    this.#isReconciling = false
    this.#buffered = 0
  }

  #onRefused(operation: RefusedChannel['operation'], name: string, cause: unknown): void {
    const channel = this.#wanted.get(name)
    if (operation === 'subscribe' && !channel) return
    if (!name.startsWith(this.#prefix)) return // another user of the connection may own the channel
    if (operation === 'subscribe') {
      this.#joining.delete(name)
      channel?.ready.resolve()
      if (channel) channel.isConfirmed = false
    }
    this.#refusedChannels.add(operation, name, cause)
  }

  #retry(): void {
    this.#hasCapacity = false
    for (const name of this.#refusedChannels.retry()) this.#rejoin(name)
    void this.#reconcile()
  }

  /**
   * Reports that the set of refused channels has changed. Reports several changes of a turn once.
   */
  #announce(): void {
    if (this.#isAnnouncing) return
    this.#isAnnouncing = true
    queueMicrotask(() => this.#isAnnouncing && this.#reportedState === 'up' && this.#report('up'))
  }

  #report(state: 'up' | 'down'): void {
    this.#reportedState = state
    this.#isAnnouncing = false
    log('the broker is %s', state)
    for (const listener of this.#listeners) listener(state, this.#refusedChannels.list())
  }

  /** Stores the failure of the broker or of a receiver for `stats`, and logs it. */
  #recordFailure(error: unknown): void {
    this.#failure = withoutCommand(error)
    log('%s', formatLogLine(error))
  }
}

/** Returns the first items: as many as fit in one command. */
function takeFirst<Item>(items: Iterable<Item>): Item[] {
  const batch: Item[] = []
  for (const item of items) {
    if (batch.length >= MAX_CHANNELS) break
    batch.push(item)
  }
  return batch
}

/** Returns the channel name of a topic. For any topic it is a single word of limited length. */
export function channelName(prefix: string, topic: string): string {
  if (/^[\w:-]{1,512}$/.test(topic)) return prefix + topic
  // A peer may have chosen a name of a megabyte, so a name that is too long isn't escaped first.
  const name = topic.length > MAX_NAME ? undefined : topic.replace(/[^\w:-]/g, escapeCharacter)
  if (name !== undefined && name.length <= MAX_NAME) return `${prefix}=${name}`
  return `${prefix}#${createHash('sha256').update(topic, 'utf16le').digest('hex')}`
}

function escapeCharacter(character: string): string {
  return `=${character.charCodeAt(0).toString(16)}=`
}

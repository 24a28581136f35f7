import debug from 'debug'
import { withCode } from '../errors.ts'
import { formatLogLine, withoutCommand } from '../format.ts'
import { resolveBroker, type BrokerOptions } from '../options/broker.ts'
import { markHandled, isPromise } from '../promises.ts'
import type { Backplane, RefusedChannel, Unsubscribe } from './backplane.ts'
import { channelName, type BrokerClient } from './broker.ts'
import { BrokerSubscriptions, type Receiver } from './broker-subscriptions.ts'
import { Chunker, Reassembler, MAX_BYTES } from './chunks.ts'
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
  /** Messages lost here: the broker was down, too slow or refused them, or they were malformed. */
  readonly dropped: number
  /** Channels with receivers on this node. */
  readonly channels: number
  /** Channels that the broker refuses to this node. The backplane retries them. */
  readonly refused: readonly RefusedChannel[]
}

type StateListener = NonNullable<Parameters<NonNullable<Backplane['listen']>>[0]>

const OVERHEAD = 64 // bytes that a message takes in addition to its payload
const RETRY = 6 // heartbeats between two retries of refused channels

/**
 * A backplane over an external broker. It pings the broker, and knows whether the broker can be
 * reached. It sends all subscriptions again at each connection, and when a silent broker answers
 * again, so commands that were lost meanwhile don't matter.
 */
export class BrokerBackplane implements Backplane {
  readonly #client: BrokerClient
  readonly #prefix: string
  readonly #maxBufferedAmount: number
  readonly #chunker = new Chunker()
  readonly #reassembler = new Reassembler()
  readonly #refusedChannels: RefusedChannels
  readonly #subscriptions: BrokerSubscriptions
  readonly #listeners = new Set<StateListener>()
  readonly #counts = { published: 0, received: 0, dropped: 0 }
  readonly #timer: NodeJS.Timeout
  #state: 'connecting' | 'up' | 'down' | 'closed' = 'connecting'
  #reportedState: 'up' | 'down' | undefined
  #failure: unknown
  /** The number of the current connection: answers to commands of an earlier one are ignored. */
  #connection = 0
  #ticks = 0
  #bufferedBytes = 0
  #ping: Promise<unknown> | undefined
  #isAnnouncing = false
  /** Whether the broker may accept channels that it refused because of a limit. */
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
    this.#subscriptions = new BrokerSubscriptions(client, this.#refusedChannels, (cause) =>
      this.#markDown(cause),
    )
    this.#timer = setInterval(() => this.#tick(), heartbeat)
    this.#timer.unref?.()
    client.start({
      onConnected: () => this.#onConnected(),
      onDisconnected: (cause) => (client.isReady ? this.#onConnected() : this.#markDown(cause)),
      onMessage: (name, chunk) => this.#onMessage(name, chunk),
      onRefused: (operation, name, cause) => {
        if (operation === 'subscribe') this.#subscriptions.refuse(name, cause)
        else this.#refusedChannels.add(operation, name, cause)
      },
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
    if (size <= max && isUp && this.#client.isReady && this.#bufferedBytes + size <= max) {
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
    return this.#subscriptions.add(name, { receive, onDropped, onConfirmed })
  }

  /** Ends all subscriptions, and closes the connections that the backplane has made. */
  close(): void {
    if (this.#state === 'closed') return
    this.#abandonPublishes()
    this.#state = 'closed'
    clearInterval(this.#timer)
    this.#listeners.clear()
    this.#subscriptions.close()
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
      channels: this.#subscriptions.size,
      refused: this.#refusedChannels.list(),
    }
  }

  async #publish(name: string, message: Uint8Array, size: number): Promise<boolean> {
    const connection = this.#connection
    this.#counts.published++
    this.#bufferedBytes += size
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
      if (connection === this.#connection) this.#bufferedBytes -= size
    }
  }

  #onMessage(name: string, chunk: Uint8Array): void {
    const receivers = this.#subscriptions.receiversOf(name)
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

  /** Handles a new connection: once the broker answers, all subscriptions are sent again. */
  #onConnected(): void {
    if (this.#state === 'closed' || !this.#client.isReady) return
    this.#abandonPublishes()
    this.#subscriptions.suspend()
    if (this.#state === 'up') this.#state = 'connecting'
    this.#ping = undefined // a ping on an older connection may never be answered
    this.#sendPing()
  }

  #tick(): void {
    this.#ticks++
    if (this.#ping) this.#markDown(new Error('the broker does not answer'))
    else if (this.#client.isReady) this.#sendPing()
    else this.#markDown()
    const isRetryDue = this.#hasCapacity || this.#ticks % RETRY === 0
    if (this.#state !== 'up' || !isRetryDue) return
    this.#hasCapacity = false
    this.#subscriptions.retryRefused()
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
    if (this.#state === 'closed') return
    const connection = this.#connection
    this.#state = 'connecting'
    if (!(await this.#subscriptions.restore()) || connection !== this.#connection) return
    this.#state = 'up'
    this.#failure = undefined
    if (this.#reportedState !== 'up') this.#report('up')
  }

  #markDown(cause?: unknown): void {
    if (this.#state === 'closed') return
    if (cause !== undefined) this.#recordFailure(cause)
    if (this.#state === 'down') return
    this.#abandonPublishes()
    this.#state = 'down'
    this.#subscriptions.giveUp()
    if (this.#reportedState !== 'down') this.#report('down')
  }

  /** Ignores the messages sent so far: the broker may never answer them. */
  #abandonPublishes(): void {
    this.#connection++
    this.#bufferedBytes = 0
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

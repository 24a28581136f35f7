import { deferred, type Deferred } from '../promises.ts'
import type { Unsubscribe } from './backplane.ts'
import type { BrokerClient } from './broker.ts'
import type { RefusedChannels } from './refused-channels.ts'

/** The callbacks of one subscription to a channel. */
export interface Receiver {
  /** Receives a message. */
  readonly receive: (message: Uint8Array) => unknown
  /** Called when a malformed message was dropped. */
  readonly onDropped: (() => void) | undefined
  /** Called each time that the broker confirms the channel. */
  readonly onConfirmed: (() => void) | undefined
}

/** A channel with receivers on this node. */
interface BrokerChannel {
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

/**
 * The subscriptions of one node at a broker. It keeps the desired subscriptions apart from those
 * that the broker has, and reconciles both with one command at a time.
 */
export class BrokerSubscriptions {
  readonly #client: BrokerClient
  readonly #refusedChannels: RefusedChannels
  readonly #onFailure: (cause: unknown) => void
  /** The channels that should be subscribed to. */
  readonly #wanted = new Map<string, BrokerChannel>()
  /** The wanted channels that the broker has not confirmed yet. */
  readonly #joining = new Map<string, BrokerChannel>()
  /** The channels that are no longer wanted, but that the broker may still send. */
  readonly #leaving = new Set<string>()
  /** Changes are sent to the broker while 'active', and wait for `restore` while 'suspended'. */
  #state: 'suspended' | 'active' | 'down' = 'suspended'
  /** The number of suspensions: answers to commands of an earlier connection are ignored. */
  #connection = 0
  #isReconciling = false

  /** `onFailure` is called when the broker fails to answer a command. */
  constructor(
    client: BrokerClient,
    refusedChannels: RefusedChannels,
    onFailure: (cause: unknown) => void,
  ) {
    this.#client = client
    this.#refusedChannels = refusedChannels
    this.#onFailure = onFailure
  }

  /** The number of channels with receivers. */
  get size(): number {
    return this.#wanted.size
  }

  /** Returns the receivers of a channel; undefined for a channel that isn't wanted. */
  receiversOf(name: string): ReadonlySet<Receiver> | undefined {
    return this.#wanted.get(name)?.receivers
  }

  /** Adds a receiver. Resolves when its channel is active, or can't be activated for now. */
  async add(name: string, receiver: Receiver): Promise<Unsubscribe> {
    const channel = this.#wanted.get(name) ?? this.#want(name)
    channel.receivers.add(receiver)
    if (channel.isConfirmed && this.#state === 'active') receiver.onConfirmed?.()
    await channel.ready.promise
    return () => {
      if (!channel.receivers.delete(receiver) || channel.receivers.size > 0) return
      if (this.#wanted.get(name) === channel) this.#unwant(name, channel)
    }
  }

  /** Ignores the commands sent so far, whose answers may never arrive: the connection is new. */
  suspend(): void {
    this.#connection++
    this.#isReconciling = false
    if (this.#state === 'active') this.#state = 'suspended'
  }

  /** Stops waiting for the broker, which can't be reached: resolves the pending subscriptions. */
  giveUp(): void {
    this.suspend()
    this.#state = 'down'
    for (const { ready } of this.#joining.values()) ready.resolve()
    this.#joining.clear()
  }

  /**
   * Subscribes to all wanted channels again. Resolves with true when the broker has confirmed them,
   * and with false when that was interrupted, or is in progress already.
   */
  async restore(): Promise<boolean> {
    if (this.#isReconciling) return false
    const connection = this.#connection
    this.#state = 'suspended'
    for (const name of this.#wanted.keys()) this.#rejoin(name)
    await this.#reconcile()
    if (connection !== this.#connection) return false
    this.#state = 'active'
    void this.#reconcile() // sends the changes that were made since the last command
    return true
  }

  /** Notes that the broker refuses a channel. */
  refuse(name: string, cause: unknown): void {
    const channel = this.#wanted.get(name)
    if (!channel) return
    this.#joining.delete(name)
    channel.ready.resolve()
    channel.isConfirmed = false
    this.#refusedChannels.add('subscribe', name, cause)
  }

  /** Subscribes again to the channels that the broker has refused. */
  retryRefused(): void {
    for (const name of this.#refusedChannels.retry()) this.#rejoin(name)
    void this.#reconcile()
  }

  /** Removes all channels. */
  close(): void {
    this.giveUp()
    this.#wanted.clear()
    this.#leaving.clear()
  }

  #want(name: string): BrokerChannel {
    const isRequested = this.#leaving.delete(name)
    const ready = deferred<void>()
    const channel = { receivers: new Set<Receiver>(), ready, isConfirmed: false, isRequested }
    this.#wanted.set(name, channel)
    if (this.#state === 'down') channel.ready.resolve()
    else this.#joining.set(name, channel)
    if (this.#state === 'active') void this.#reconcile()
    return channel
  }

  #unwant(name: string, channel: BrokerChannel): void {
    this.#wanted.delete(name)
    this.#joining.delete(name)
    channel.ready.resolve()
    this.#refusedChannels.delete('subscribe', name)
    if (channel.isRequested) this.#leaving.add(name)
    if (this.#state === 'active') void this.#reconcile()
  }

  #rejoin(name: string): void {
    const channel = this.#wanted.get(name)
    if (!channel || this.#joining.has(name)) return
    channel.ready = deferred()
    channel.isConfirmed = false
    this.#joining.set(name, channel)
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
      if (connection === this.#connection) this.#onFailure(error) // the next heartbeat tries again
    }
    if (connection === this.#connection) this.#isReconciling = false
  }

  #onJoined(name: string, channel: BrokerChannel): void {
    if (this.#joining.get(name) !== channel) return // refused or no longer wanted meanwhile
    this.#joining.delete(name)
    channel.ready.resolve()
    channel.ready = CONFIRMED
    this.#refusedChannels.delete('subscribe', name)
    channel.isConfirmed = true
    for (const { onConfirmed } of channel.receivers) onConfirmed?.()
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

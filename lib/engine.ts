import { createHash } from 'node:crypto'
import debug from 'debug'
import type { Backplane, Unsubscribe } from './backplane.ts'
import { logTextOf, withoutCommand } from './error-text.ts'
import { bytes, milliseconds, settle, type Rule } from './options/rules.ts'
import { deferred, handled, type Deferred } from './promises.ts'

const log = debug('simplewebsockets:backplane')

/** Is what a backplane over an engine lets you choose. */
export interface EngineOptions {
  /** What the names of all its channels begin with: programs that share an engine choose different ones. */
  prefix?: string | undefined
  /**
   * Milliseconds between looks at the engine; one that doesn't answer for as long is down, though its
   * connection stands. Default: 5_000.
   */
  heartbeat?: number | undefined
  /** Bytes that may wait for the engine to take them; what is more is dropped. Default: 16 MiB. */
  maxBufferedAmount?: number | undefined
}

/** What a backplane over an engine has counted since it was made. */
export interface EngineStats {
  /** Whether the engine can be reached. */
  readonly state: 'up' | 'down'
  /** Why it was, as far as is known; undefined while all is well. */
  readonly failure: unknown
  /** Messages given to the engine. */
  readonly published: number
  /** Messages that came from it, its own echo among them. */
  readonly received: number
  /** Messages that were lost here: the engine was down or too slow, or what came made no sense. */
  readonly dropped: number
  /** Channels that are wanted of it. */
  readonly channels: number
}

/** Is a backplane over an engine that you run. */
export interface EngineBackplane extends Backplane {
  /** Is what it has counted. */
  stats(): EngineStats
}

/** What an engine's client tells of. */
export interface EngineEvents {
  /** It has connected, or a part of it has. */
  connected(): void
  /** It has lost its connection, or could not connect. */
  lost(cause?: unknown): void
  /** A message has come. */
  received(channel: string, message: Uint8Array): void
  /** Something has come that makes no sense. */
  dropped(): void
}

/** An engine as its client knows it. Every promise of it may reject. */
export interface Engine {
  /** Whether it is connected, as far as the client knows. */
  readonly isReady: boolean
  /** Whether the client subscribes again by itself when it has connected again. */
  readonly restores: boolean
  /** Begins to tell. */
  start(events: EngineEvents): void
  /** Publishes; resolves when the engine has it. */
  publish(channel: string, message: Uint8Array): Promise<unknown>
  /** Subscribes to channels; resolves when they are heard. */
  subscribe(channels: string[]): Promise<unknown>
  /** Ends subscriptions. */
  unsubscribe(channels: string[]): Promise<unknown>
  /** Asks for a sign of life, behind all that was sent. */
  ping(): Promise<unknown>
  /** Lets go of what it holds. */
  close(): unknown
}

const AT_ONCE = 1_000 // channels subscribed to in one command
const LONGEST_NAME = 512 // what is longer goes as its hash
const OVERHEAD = 64 // bytes that a message takes beside its own

const rules = {
  prefix: {
    fallback: 'simplewebsockets.',
    wanted: 'a string without white space, * and >',
    accepts: (value) => typeof value === 'string' && /^[^\s*>]{0,128}$/.test(value),
  } as Rule<string>,
  heartbeat: milliseconds(5_000, 1),
  maxBufferedAmount: bytes(16 * 1024 * 1024),
}

/** Makes a backplane over an engine. */
export function engineBackplane(engine: Engine, options?: EngineOptions): EngineBackplane {
  return new Carrier(engine, options)
}

/**
 * Keeps what is wanted of an engine apart from what it was told, so that it may go and come: one
 * command to subscribe is under way at a time, with all that was asked for meanwhile.
 */
class Carrier implements EngineBackplane {
  readonly #engine: Engine
  readonly #prefix: string
  readonly #most: number
  readonly #wanted = new Map<string, Set<(message: Uint8Array) => void>>()
  /** What the engine was told to send. */
  readonly #held = new Set<string>()
  /** Where both may differ. */
  readonly #changed = new Set<string>()
  /** Who waits for a subscription to stand. */
  readonly #waiting = new Map<string, Deferred<void>>()
  readonly #listeners = new Set<(state: 'up' | 'down') => void>()
  readonly #counts = { published: 0, received: 0, dropped: 0 }
  readonly #timer: NodeJS.Timeout
  /** 'joining' until it answers and all is heard that should be. */
  #state: 'joining' | 'up' | 'down' | 'closed' = 'joining'
  #told: 'up' | 'down' | undefined
  #failure: unknown
  /** Counts the times it went and came: what was begun before counts no more. */
  #life = 0
  #buffered = 0
  #ping: Promise<unknown> | undefined
  #settling = false

  constructor(engine: Engine, options?: EngineOptions) {
    const { prefix, heartbeat, maxBufferedAmount } = settle(rules, options)
    this.#engine = engine
    this.#prefix = prefix
    this.#most = maxBufferedAmount
    this.#timer = setInterval(() => this.#beat(), heartbeat)
    this.#timer.unref?.()
    engine.start({
      connected: () => this.#look(),
      lost: (cause) => this.#lost(cause),
      received: (channel, message) => this.#received(channel, message),
      dropped: () => {
        this.#counts.dropped++
      },
    })
    if (engine.isReady) this.#ask()
  }

  publish(topic: string, message: Uint8Array): boolean | Promise<void> {
    const channel = channelOf(this.#prefix, topic)
    const size = message.length + channel.length + OVERHEAD
    const life = this.#life
    const open = this.#state === 'up' || this.#state === 'joining'
    if (!open || !this.#engine.isReady || this.#buffered + size > this.#most) {
      this.#counts.dropped++
      return false
    }
    this.#counts.published++
    this.#buffered += size
    const taken = (): void => {
      if (life === this.#life) this.#buffered -= size
    }
    return this.#engine.publish(channel, message).then(taken, (error: unknown) => {
      taken()
      this.#counts.dropped++
      // That it is down is told of apart from that, and once.
      if (life === this.#life && this.#engine.isReady) throw error
    })
  }

  async subscribe(topic: string, receive: (message: Uint8Array) => void): Promise<Unsubscribe> {
    const channel = channelOf(this.#prefix, topic)
    const receivers = this.#wanted.get(channel) ?? new Set()
    const own = (message: Uint8Array): void => {
      if (receivers.has(own)) receive(message)
    }
    const stop = (): void => {
      if (!receivers.delete(own) || receivers.size > 0) return
      if (this.#wanted.get(channel) !== receivers) return
      this.#wanted.delete(channel)
      this.#change(channel)
    }
    if (this.#state === 'closed') return stop
    this.#wanted.set(channel, receivers.add(own))
    this.#change(channel)
    await this.#waiting.get(channel)?.promise
    return stop
  }

  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#life++
    clearInterval(this.#timer)
    this.#listeners.clear()
    this.#wanted.clear()
    this.#changed.clear()
    this.#held.clear()
    this.#wake()
    try {
      this.#engine.close()
    } catch (error) {
      this.#ignore(error) // it was closed already
    }
  }

  listen(heard: (state: 'up' | 'down') => void): void {
    const told = this.#told
    this.#listeners.add(heard)
    if (told) queueMicrotask(() => this.#told === told && heard(told))
  }

  stats(): EngineStats {
    const state = this.#state === 'up' ? 'up' : 'down'
    return { ...this.#counts, state, failure: this.#failure, channels: this.#wanted.size }
  }

  #received(channel: string, message: Uint8Array): void {
    this.#counts.received++
    const receivers = this.#wanted.get(channel)
    if (receivers) for (const receive of receivers) receive(message)
  }

  #look(): void {
    this.#ping = undefined // one of an older connection may never be answered
    if (this.#engine.isReady && this.#state !== 'closed') this.#ask()
  }

  #lost(cause: unknown): void {
    if (this.#engine.isReady) this.#look()
    else this.#down(cause)
  }

  #beat(): void {
    if (this.#ping) this.#down(new Error('the engine does not answer'))
    else if (this.#engine.isReady) this.#ask()
    else this.#down()
  }

  /** Asks whether it is there: once at a time, a frozen engine is not asked again. */
  #ask(): void {
    if (this.#ping) return
    const ping = handled(this.#engine.ping())
    this.#ping = ping
    const answered = (): void => {
      if (this.#ping !== ping) return
      this.#ping = undefined
      if (this.#told !== 'up' || this.#state === 'down') void this.#join()
    }
    const failed = (error: unknown): void => {
      if (this.#ping !== ping) return
      this.#ping = undefined
      this.#down(error)
    }
    ping.then(answered, failed)
  }

  /** It answers: once all is heard that should be, it is up. */
  async #join(): Promise<void> {
    if (this.#state === 'closed' || this.#settling) return
    const life = ++this.#life
    this.#state = 'joining'
    this.#buffered = 0
    for (const channel of this.#wanted.keys()) this.#changed.add(channel)
    for (const channel of this.#held) this.#changed.add(channel)
    await this.#settle()
    if (life !== this.#life) return
    this.#state = 'up'
    this.#failure = undefined
    this.#tell('up')
    void this.#settle()
  }

  #down(cause?: unknown): void {
    if (this.#state === 'closed') return
    if (cause !== undefined) this.#ignore(cause)
    if (this.#state === 'down') return
    this.#state = 'down'
    this.#life++
    this.#settling = false
    this.#changed.clear()
    if (!this.#engine.restores) this.#held.clear()
    this.#wake()
    if (this.#told !== 'down') this.#tell('down')
  }

  #tell(state: 'up' | 'down'): void {
    this.#told = state
    log('the engine is %s', state)
    for (const heard of this.#listeners) heard(state)
  }

  /** Nobody waits any more: for now it can't be had. */
  #wake(): void {
    for (const { resolve } of this.#waiting.values()) resolve()
    this.#waiting.clear()
  }

  /** What is wanted of a channel may have changed; while it is down that is looked at later. */
  #change(channel: string): void {
    if (this.#state === 'down' || this.#state === 'closed') return
    this.#changed.add(channel)
    const wanted = this.#wanted.has(channel)
    if (wanted && !this.#held.has(channel) && !this.#waiting.has(channel)) {
      this.#waiting.set(channel, deferred())
    }
    if (this.#state === 'up') void this.#settle()
  }

  /** Tells the engine what is wanted by now. */
  async #settle(): Promise<void> {
    if (this.#settling) return
    const life = this.#life
    this.#settling = true
    while (this.#changed.size > 0) {
      await Promise.resolve() // what else changes in this turn goes along
      const some = take(this.#changed, AT_ONCE)
      const fresh = some.filter((name) => this.#wanted.has(name) && !this.#held.has(name))
      const stale = some.filter((name) => !this.#wanted.has(name) && this.#held.has(name))
      for (const name of stale) this.#held.delete(name) // who comes now waits for it to be held anew
      try {
        if (stale.length > 0) await this.#engine.unsubscribe(stale)
        if (life === this.#life && fresh.length > 0) await this.#engine.subscribe(fresh)
      } catch (error) {
        if (life === this.#life) this.#down(error) // the next beat tries again
      }
      if (life !== this.#life) {
        if (this.#engine.restores) for (const name of stale) this.#held.add(name)
        return
      }
      for (const name of fresh) this.#held.add(name)
      for (const name of some) this.#settled(name)
    }
    this.#settling = false
  }

  #settled(channel: string): void {
    const held = this.#held.has(channel)
    if (this.#wanted.has(channel) !== held) {
      this.#changed.add(channel) // it has changed again meanwhile
      if (!held) return
    }
    this.#waiting.get(channel)?.resolve()
    this.#waiting.delete(channel)
  }

  /** That an engine fails is told by its state, and why by what it has counted. */
  #ignore(error: unknown): void {
    this.#failure = withoutCommand(error)
    log('%s', logTextOf(error))
  }
}

/** Takes some out. */
function take(names: Set<string>, most: number): string[] {
  const some: string[] = []
  for (const name of names) {
    if (some.length >= most) break
    some.push(name)
    names.delete(name)
  }
  return some
}

/** Is the name of a channel: whatever a topic is called, it is one word, and not too long. */
export function channelOf(prefix: string, topic: string): string {
  if (/^[\w:-]{1,512}$/.test(topic)) return prefix + topic
  const name = topic.replace(/[^\w:-]/g, escaped)
  if (name.length <= LONGEST_NAME) return `${prefix}=${name}`
  return `${prefix}#${createHash('sha256').update(topic, 'utf16le').digest('hex')}`
}

function escaped(character: string): string {
  return `=${character.charCodeAt(0).toString(16)}=`
}

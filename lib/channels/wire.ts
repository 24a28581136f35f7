import type { CloseReason } from '../close.ts'
import { MESSAGE_OVERHEAD, type Reader } from '../connection-core.ts'
import type { WebsocketConnection } from '../connection.ts'
import { escaped } from '../error-text.ts'
import { ChannelError, FrameError, unexpected, WebsocketError } from '../errors.ts'
import type { Data } from '../message.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import { LONGEST_TIMER } from '../options/rules.ts'
import { SIGNALS, type Signals } from '../signals.ts'
import { Backlog } from './backlog.ts'
import { rejoinDelay, type ChannelClientSettings } from './asking.ts'
import type { ClientFrame, PushFrame, ServerFrame, TopicFrame } from './frame.ts'
import type { ClientChannel, Line } from './member.ts'
import { Pulse, type Beating } from './pulse.ts'
import { JsonText, parsedBytes, takesJsonText, writeJson } from './text.ts'

/** The events of a channel client. */
export interface ChannelClientEvents {
  /** It has reached its server; each time. */
  open: void
  /** What the server says, as it was understood. */
  message: ServerFrame
  /**
   * An attempt to connect failed, the server said what makes no sense, or something failed that
   * nobody heard of on its channel.
   */
  error: WebsocketError
  /** Its connection is lost, or was closed; each time. */
  close: CloseReason
  /**
   * It doesn't connect again: `close()` was called, or it has given up, which closes its channels.
   * Once for each `open`.
   */
  closed: CloseReason
}

/** The private half of a channel client: what its connection, when it has one, carries. */
export class Wire implements Line, Reader, Beating {
  readonly countsUnheard = false // what has no listener is bounded for each channel
  readonly closeTimeout: number
  readonly #settings: ChannelClientSettings
  readonly #signals: Signals<ChannelClientEvents>
  /** In the order in which they came; several of a topic only while all but the last leave. */
  readonly #channels = new Map<string, Set<ClientChannel>>()
  #connection: WebsocketConnection | undefined
  #pulse: Pulse | undefined
  readonly #backlog: Backlog
  #waits = 0
  #isAlive = true
  #number = 0
  #beating: string | undefined

  constructor(
    settings: ChannelClientSettings,
    { closeTimeout, maxWaitingBytes }: Pick<ConnectionSettings, 'closeTimeout' | 'maxWaitingBytes'>,
    signals: Signals<ChannelClientEvents>,
  ) {
    this.#settings = settings
    this.closeTimeout = closeTimeout
    this.#signals = signals
    this.#backlog = new Backlog(
      { changed: () => this.#flow(), endSlowest: () => this.#endSlowest() },
      maxWaitingBytes,
    )
  }

  get connection(): WebsocketConnection | undefined {
    return this.#connection?.isOpen === true ? this.#connection : undefined
  }

  get hearer(): Signals<ChannelClientEvents> {
    return this.#signals
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  get timeout(): number {
    return this.#settings.timeout
  }

  get replies(): boolean {
    return this.#settings.serializer.replies
  }

  /** Takes a connection, before its first message. */
  connected(connection: WebsocketConnection): void {
    connection[SIGNALS].readWith(this)
    this.#connection = connection
    const { signs } = this.#settings.serializer
    const { heartbeat = signs.heartbeat } = this.#settings
    this.#pulse = new Pulse(this, {
      heartbeat: signs.heartbeat === false ? false : heartbeat,
      patience: signs.clientPatience,
    })
    this.log('transport', `connected to ${connection.request.path}`, undefined)
    for (const channel of this.#all()) channel.opened()
    this.#signals.emit('open', undefined)
  }

  /** Lets joins and pushes that wait keep the process alive, or not. */
  keepAlive(isAlive: boolean): void {
    this.#isAlive = isAlive
    for (const channel of this.#all()) channel.keepAlive(isAlive)
  }

  /** Closes all channels, as there will be no other connection. */
  gaveUp(reason: CloseReason): void {
    for (const channel of this.#all()) channel.gaveUp(reason)
    this.#backlog.stop()
  }

  /** There is reason to believe that the network came back, or went. */
  woken(): void {
    this.#pulse?.probe()
  }

  read(data: Data, size: number): void {
    this.#pulse?.heard()
    const frame = this.#decoded(data)
    if (!frame) return
    if (frame.kind === 'heartbeatReply') {
      if (frame.ref === this.#beating) this.#pulse?.answered()
    } else if (frame.kind !== 'ping') {
      this.#hand(frame, size + MESSAGE_OVERHEAD + parsedBytes(data))
    }
    this.#signals.emit('message', frame)
  }

  isFull(isAwaited: boolean): boolean {
    return this.#backlog.isFull(isAwaited || this.#waits > 0)
  }

  overflow(): void {
    this.#endSlowest()
  }

  pinged(): void {
    this.#pulse?.heard()
  }

  ended(reason: CloseReason): void {
    this.#pulse?.stop()
    this.#pulse = this.#connection = undefined
    this.log('transport', `closed: ${reason.code} ${reason.description}`, reason)
    for (const channel of this.#all()) channel.lost(reason)
    this.#signals.emit('close', reason)
  }

  beat(): void {
    this.#beating = this.ref()
    this.say({ kind: 'heartbeat', ref: this.#beating })
  }

  isReading(): boolean {
    return !this.isFull(false)
  }

  gone(what: ClientChannel | string): void {
    if (typeof what !== 'string') {
      const members = this.#channels.get(what.topic)
      members?.delete(what)
      if (members?.size === 0) this.#channels.delete(what.topic)
      return
    }
    this.log('transport', what, undefined)
    this.#connection?.[SIGNALS].cut()
  }

  ref(): string {
    return String(++this.#number)
  }

  say(frame: ClientFrame): void {
    try {
      const data = this.#written(frame)
      if (data === undefined) return
      if (this.#settings.logger) this.log('push', shown(frame), readable(frame))
      this.#connection?.send(data)
    } catch (failure) {
      if ('payload' in frame) throw failure // whoever gave it hears of it
      this.#signals.failed('encode', failure, undefined)
    }
  }

  prepared(frame: PushFrame): unknown {
    const { event, payload } = frame
    const isBytes = payload instanceof Uint8Array
    if (isBytes || !takesJsonText(this.#settings.serializer.client)) {
      this.#written(frame)
      return isBytes ? new Uint8Array(payload) : payload
    }
    const text = new JsonText(writeJson(payload, `the payload of \`${event}\``))
    this.#written({ ...frame, payload: text })
    return text
  }

  again(cause: ChannelError | CloseReason, attempt: number): number | undefined {
    const { rejoin } = this.#settings
    if (rejoin === false) return undefined
    const { delay = rejoinDelay, when = () => true } = rejoin === true ? {} : rejoin
    try {
      if (!(cause instanceof ChannelError)) return 0
      return when(cause) ? checkedDelay(delay(attempt)) : undefined
    } catch (failure) {
      this.#signals.failed('rejoin', failure, undefined)
      return rejoinDelay(attempt)
    }
  }

  log(kind: string, text: string, data: unknown): void {
    try {
      this.#settings.logger?.(kind, escaped(text), data)
    } catch (failure) {
      this.#signals.failed('logger', failure, undefined)
    }
  }

  entering(channel: ClientChannel): void {
    const members = this.#channels.get(channel.topic) ?? new Set<ClientChannel>()
    for (const member of [...members]) void member.leave()
    this.#channels.set(channel.topic, members.add(channel))
  }

  tally(messages: number, bytes: number): void {
    this.#backlog.add(messages, bytes)
  }

  wait(step: 1 | -1): void {
    this.#waits += step
    this.#flow()
  }

  #all(): ClientChannel[] {
    return [...this.#channels.values()].flatMap((members) => [...members])
  }

  #hand(frame: TopicFrame, size: number): void {
    const members = [...(this.#channels.get(frame.topic) ?? [])]
    // All of them, as each knows what is meant for it.
    const meant = members.filter((channel) => channel.heard(frame, size))
    if (this.#settings.logger) {
      this.log('receive', `${shown(frame)}${meant.length > 0 ? '' : ' (for nobody)'}`, frame)
    }
  }

  /** What makes no sense harms nobody: it is told, and left out. */
  #decoded(data: Data): ServerFrame | undefined {
    try {
      return this.#settings.serializer.client.decode(data)
    } catch (cause) {
      const error = cause instanceof WebsocketError ? cause : new FrameError(cause, { code: 1008 })
      this.log('receive', error.message, error)
      this.#signals.report(error)
      return undefined
    }
  }

  #written(frame: ClientFrame): Data | undefined {
    const { client, name } = this.#settings.serializer
    const data = client.encode(frame)
    if (data !== undefined || frame.kind === 'heartbeat') return data
    throw new TypeError(`${name} has no words for bytes on \`${frame.topic}\``)
  }

  /** Ends the membership with most waiting, so that the others and the heartbeat go on. */
  #endSlowest(): void {
    const channels = this.#all()
    const most = Math.max(...channels.map(({ waitingBytes }) => waitingBytes))
    channels.find(({ waitingBytes }) => waitingBytes === most)?.tooSlow()
  }

  /** Too much waits, or not any more. */
  #flow(): void {
    this.#connection?.[SIGNALS].changed()
  }
}

/** Throws a TypeError for what is no delay. */
function checkedDelay(delay: number): number {
  if (delay >= 0 && Number.isFinite(delay)) return Math.min(delay, LONGEST_TIMER)
  throw unexpected('the answer of `rejoin.delay`', 'milliseconds from 0 up', delay)
}

/** Returns a frame with its payload as a value, for those who look at it. */
function readable(frame: ClientFrame): ClientFrame {
  if (!('payload' in frame) || !(frame.payload instanceof JsonText)) return frame
  return { ...frame, payload: JSON.parse(frame.payload.text) as unknown }
}

function shown(frame: ClientFrame | TopicFrame): string {
  if (frame.kind === 'heartbeat') return `heartbeat (${frame.ref})`
  const name = frame.kind === 'push' ? frame.event : frame.kind
  const ref = 'ref' in frame ? frame.ref : null
  return `${frame.topic} ${name} (${frame.joinRef}, ${ref})`
}

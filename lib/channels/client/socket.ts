import type { CloseReason } from '../../connection/close-codes.ts'
import { MESSAGE_OVERHEAD, type MessageSink } from '../../connection/connection-core.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import { escapeText } from '../../error-text.ts'
import { ChannelError } from '../../channel-errors.ts'
import { FrameError, invalidArgument, invalidValue, WebsocketError } from '../../errors.ts'
import type { Data } from '../../connection/message.ts'
import type { ConnectionSettings } from '../../options/connection.ts'
import { MAX_TIMER } from '../../validation.ts'
import { EMITTER, type Emitter } from '../../events/emitter.ts'
import { Backlog } from '../messages/backlog.ts'
import { rejoinDelay, type ChannelClientSettings } from './options.ts'
import type { ClientFrame, PushFrame, ServerFrame, TopicFrame } from '../protocol/serializer.ts'
import type { ClientChannel, ClientSocketApi } from './client-channel.ts'
import { Heartbeat, type HeartbeatTarget } from './heartbeat.ts'
import { JsonText, parsedBytes, takesJsonText, writeJson } from '../protocol/json.ts'

/** The events of a channel client. */
export interface ChannelClientEvents {
  /** Emitted each time the client has connected to its server. */
  open: void
  /** A frame of the server, decoded. */
  message: ServerFrame
  /**
   * The error of a failed attempt to connect or of an invalid frame of the server, or an error that
   * no listener of its channel received.
   */
  error: WebsocketError
  /** The reason why the connection was lost or closed, each time. */
  close: CloseReason
  /**
   * The reason why the client doesn't connect again: `close()` was called, or the client has given
   * up, which closes its channels. Emitted once for each `open`.
   */
  closed: CloseReason
}

/**
 * The internals of a channel client: its channels, refs and heartbeat, on its current connection.
 */
export class ClientSocket implements ClientSocketApi, MessageSink, HeartbeatTarget {
  readonly countsUnlistened = false // each channel limits the messages that have no listener
  readonly closeTimeout: number
  readonly #settings: ChannelClientSettings
  readonly #emitter: Emitter<ChannelClientEvents>
  /** The channels by topic, oldest first. All but the last of a topic are leaving. */
  readonly #channels = new Map<string, Set<ClientChannel>>()
  #connection: WebsocketConnection | undefined
  #heartbeat: Heartbeat | undefined
  readonly #backlog: Backlog
  /** How many joins, pushes and `once` calls need reading to go on. */
  #readingPins = 0
  #isAlive = true
  #lastRef = 0
  #heartbeatRef: string | undefined

  constructor(
    settings: ChannelClientSettings,
    { closeTimeout, maxWaitingBytes }: Pick<ConnectionSettings, 'closeTimeout' | 'maxWaitingBytes'>,
    emitter: Emitter<ChannelClientEvents>,
  ) {
    this.#settings = settings
    this.closeTimeout = closeTimeout
    this.#emitter = emitter
    this.#backlog = new Backlog(
      { onChange: () => this.#updateFlowControl(), endSlowest: () => this.#endSlowest() },
      maxWaitingBytes,
    )
  }

  get connection(): WebsocketConnection | undefined {
    return this.#connection?.isOpen === true ? this.#connection : undefined
  }

  get errorSink(): Emitter<ChannelClientEvents> {
    return this.#emitter
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  get timeout(): number {
    return this.#settings.timeout
  }

  get hasReplies(): boolean {
    return this.#settings.serializer.replies
  }

  /** Adopts a new connection, before its first message. */
  onConnected(connection: WebsocketConnection): void {
    connection[EMITTER].setSink(this)
    this.#connection = connection
    const { signs } = this.#settings.serializer
    const { heartbeat = signs.heartbeat } = this.#settings
    this.#heartbeat = new Heartbeat(this, {
      interval: signs.heartbeat === false ? false : heartbeat,
      silenceTimeout: signs.clientTimeout,
    })
    this.log('transport', `connected to ${connection.request.path}`, undefined)
    for (const channel of this.#allChannels()) channel.onConnected()
    this.#emitter.emit('open', undefined)
  }

  /** Sets whether joins and pushes that wait keep the process alive. */
  keepAlive(isAlive: boolean): void {
    this.#isAlive = isAlive
    for (const channel of this.#allChannels()) channel.keepAlive(isAlive)
  }

  /** Closes all channels, because the client will not connect again. */
  onGaveUp(reason: CloseReason): void {
    for (const channel of this.#allChannels()) channel.onGaveUp(reason)
    this.#backlog.stop()
  }

  /** Checks the connection: the runtime reported that the network may have come back, or failed. */
  onNetworkWake(): void {
    this.#heartbeat?.probe()
  }

  onMessage(data: Data, size: number): void {
    this.#heartbeat?.onFrame()
    const frame = this.#decode(data)
    if (!frame) return
    if (frame.kind === 'heartbeatReply') {
      if (frame.ref === this.#heartbeatRef) this.#heartbeat?.onReply()
    } else if (frame.kind !== 'ping') {
      this.#dispatch(frame, size + MESSAGE_OVERHEAD + parsedBytes(data))
    }
    this.#emitter.emit('message', frame)
  }

  isFull(isAwaited: boolean): boolean {
    return this.#backlog.isFull(isAwaited || this.#readingPins > 0)
  }

  overflow(): void {
    this.#endSlowest()
  }

  onPing(): void {
    this.#heartbeat?.onFrame()
  }

  onClose(reason: CloseReason): void {
    this.#heartbeat?.stop()
    this.#heartbeat = this.#connection = undefined
    this.log('transport', `closed: ${reason.code} ${reason.description}`, reason)
    for (const channel of this.#allChannels()) channel.onDisconnected(reason)
    this.#emitter.emit('close', reason)
  }

  beat(): void {
    this.#heartbeatRef = this.ref()
    this.sendFrame({ kind: 'heartbeat', ref: this.#heartbeatRef })
  }

  isReading(): boolean {
    return !this.isFull(false)
  }

  onHeartbeatTimeout(reason: string): void {
    this.log('transport', reason, undefined)
    this.#connection?.[EMITTER].cut()
  }

  removeChannel(channel: ClientChannel): void {
    const channels = this.#channels.get(channel.topic)
    channels?.delete(channel)
    if (channels?.size === 0) this.#channels.delete(channel.topic)
  }

  ref(): string {
    return String(++this.#lastRef)
  }

  sendFrame(frame: ClientFrame): void {
    try {
      const data = this.#encode(frame)
      if (data === undefined) return
      if (this.#settings.logger) this.log('push', describeFrame(frame), toLogData(frame))
      this.#connection?.send(data)
    } catch (failure) {
      if ('payload' in frame) throw failure // the caller passed the payload, so it gets the error
      this.#emitter.handleListenerFailure('encode', failure, undefined)
    }
  }

  encodeLater(frame: PushFrame): unknown {
    const { event, payload } = frame
    const isBytes = payload instanceof Uint8Array
    if (isBytes || !takesJsonText(this.#settings.serializer.client)) {
      this.#encode(frame)
      return isBytes ? new Uint8Array(payload) : payload
    }
    const text = new JsonText(writeJson(payload, `the payload of \`${event}\``))
    this.#encode({ ...frame, payload: text })
    return text
  }

  rejoinDelay(cause: ChannelError | CloseReason, attempt: number): number | undefined {
    const { rejoin } = this.#settings
    if (rejoin === false) return undefined
    const { delay = rejoinDelay, when = () => true } = rejoin === true ? {} : rejoin
    try {
      if (!(cause instanceof ChannelError)) return 0
      return when(cause) ? checkDelay(delay(attempt)) : undefined
    } catch (failure) {
      this.#emitter.handleListenerFailure('rejoin', failure, undefined)
      return rejoinDelay(attempt)
    }
  }

  log(kind: string, text: string, data: unknown): void {
    try {
      this.#settings.logger?.(kind, escapeText(text), data)
    } catch (failure) {
      this.#emitter.handleListenerFailure('logger', failure, undefined)
    }
  }

  addChannel(channel: ClientChannel): void {
    const channels = this.#channels.get(channel.topic) ?? new Set<ClientChannel>()
    for (const other of [...channels]) void other.leave()
    this.#channels.set(channel.topic, channels.add(channel))
  }

  addBacklog(messages: number, bytes: number): void {
    this.#backlog.add(messages, bytes)
  }

  pinReading(step: 1 | -1): void {
    this.#readingPins += step
    this.#updateFlowControl()
  }

  #allChannels(): ClientChannel[] {
    return [...this.#channels.values()].flatMap((channels) => [...channels])
  }

  #dispatch(frame: TopicFrame, size: number): void {
    const channels = [...(this.#channels.get(frame.topic) ?? [])]
    // Each channel decides itself whether the frame is for it.
    const recipients = channels.filter((channel) => channel.handleFrame(frame, size))
    if (this.#settings.logger) {
      const suffix = recipients.length > 0 ? '' : ' (ignored)'
      this.log('receive', `${describeFrame(frame)}${suffix}`, frame)
    }
  }

  /** Decodes a frame. An invalid one is reported and skipped; the connection stays open. */
  #decode(data: Data): ServerFrame | undefined {
    try {
      return this.#settings.serializer.client.decode(data)
    } catch (cause) {
      const error =
        cause instanceof WebsocketError ? cause : new FrameError(cause, { closeCode: 1008 })
      this.log('receive', error.message, error)
      this.#emitter.reportError(error)
      return undefined
    }
  }

  #encode(frame: ClientFrame): Data | undefined {
    const { client, name } = this.#settings.serializer
    const data = client.encode(frame)
    if (data !== undefined || frame.kind === 'heartbeat') return data
    throw invalidArgument(`${name} has no words for bytes on \`${frame.topic}\``)
  }

  /** Ends the channel with most bytes waiting, so that the others and the heartbeat go on. */
  #endSlowest(): void {
    const channels = this.#allChannels()
    const maxBytes = Math.max(...channels.map(({ waitingBytes }) => waitingBytes))
    channels.find(({ waitingBytes }) => waitingBytes === maxBytes)?.endAsTooSlow()
  }

  /** Makes the connection pause or resume reading, as the backlog requires. */
  #updateFlowControl(): void {
    this.#connection?.[EMITTER].onChange()
  }
}

/**
 * Returns a delay, limited to the longest timer.
 *
 * @throws TypeError for a value that is no delay.
 */
function checkDelay(delay: number): number {
  if (delay >= 0 && Number.isFinite(delay)) return Math.min(delay, MAX_TIMER)
  throw invalidValue('the answer of `rejoin.delay`', 'milliseconds from 0 up', delay)
}

/** Returns a frame with its payload as a value, for the logger. */
function toLogData(frame: ClientFrame): ClientFrame {
  if (!('payload' in frame) || !(frame.payload instanceof JsonText)) return frame
  return { ...frame, payload: JSON.parse(frame.payload.text) as unknown }
}

function describeFrame(frame: ClientFrame | TopicFrame): string {
  if (frame.kind === 'heartbeat') return `heartbeat (${frame.ref})`
  const name = frame.kind === 'push' ? frame.event : frame.kind
  const ref = 'ref' in frame ? frame.ref : null
  return `${frame.topic} ${name} (${frame.joinRef}, ${ref})`
}

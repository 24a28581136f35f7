import type { CloseReason } from '../../connection/close-codes.ts'
import type { WebsocketConnection } from '../../connection/connection.ts'
import type { Data } from '../../connection/message.ts'
import { MESSAGE_OVERHEAD, type MessageSink } from '../../connection/message-sink.ts'
import { FrameError, WebsocketError } from '../../errors.ts'
import type { Emitter } from '../../events/emitter.ts'
import { escapeText } from '../../format.ts'
import { EMITTER } from '../../internal.ts'
import type { ConnectionSettings } from '../../options/connection.ts'
import { invalidArgument } from '../../validation.ts'
import type { ChannelError } from '../errors.ts'
import { Backlog } from '../messages/backlog.ts'
import { JsonText, parsedBytes, takesJsonText, writeJson } from '../protocol/json.ts'
import type { ClientFrame, PushFrame, ServerFrame, TopicFrame } from '../protocol/serializer.ts'
import type { ChannelClientEvents } from './channel-client.ts'
import type { ClientChannel } from './client-channel.ts'
import { Heartbeat } from './heartbeat.ts'
import type { ChannelClientSettings } from './options.ts'
import { rejoinDelay } from './retry-policy.ts'

/**
 * The internals of a channel client: its channels, refs and heartbeat, on its current connection.
 */
export class ClientSocket implements MessageSink {
  readonly closeTimeout: number
  readonly #settings: ChannelClientSettings
  readonly #emitter: Emitter<ChannelClientEvents>
  /** The channels by topic, oldest first. All but the last of a topic are leaving. */
  readonly #channels = new Map<string, Set<ClientChannel>>()
  #connection: WebsocketConnection | undefined
  #heartbeat: Heartbeat | undefined
  readonly #backlog: Backlog
  /** The number of joins, pushes and `once` calls for which reading goes on while messages wait. */
  #readingPins = 0
  #isAlive = true
  #lastRef = 0

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

  /** The connection, while it is open. */
  get connection(): WebsocketConnection | undefined {
    return this.#connection?.isOpen === true ? this.#connection : undefined
  }

  /** The target that receives the errors that no listener of a channel receives. */
  get errorSink(): Emitter<ChannelClientEvents> {
    return this.#emitter
  }

  /**
   * Whether joins and pushes that wait keep the process alive: false while the client is closed.
   */
  get isAlive(): boolean {
    return this.#isAlive
  }

  get timeout(): number {
    return this.#settings.timeout
  }

  /** Whether the protocol has replies. */
  get hasReplies(): boolean {
    return this.#settings.serializer.replies
  }

  /** Adopts a new connection, before its first message. */
  onConnected(connection: WebsocketConnection): void {
    connection[EMITTER].setSink(this)
    this.#connection = connection
    const { keepaliveTimings: timings } = this.#settings.serializer
    const { heartbeat = timings.heartbeat } = this.#settings
    this.#heartbeat = new Heartbeat(this, {
      interval: timings.heartbeat === false ? false : heartbeat,
      silenceTimeout: timings.clientTimeout,
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
    for (const channel of this.#allChannels()) channel.end(reason)
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
      this.#heartbeat?.onReply(frame.ref)
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

  /**
   * Returns whether messages are being read; while they aren't, no answer of the server can arrive.
   */
  isReading(): boolean {
    return !this.isFull(false)
  }

  /** Cuts the connection: nothing arrived in time that shows that the server still runs. */
  onHeartbeatTimeout(reason: string): void {
    this.log('transport', reason, undefined)
    this.#connection?.[EMITTER].transport.terminate()
  }

  /** Adds a channel. A channel that has the same topic leaves. */
  addChannel(channel: ClientChannel): void {
    const channels = this.#channels.get(channel.topic) ?? new Set<ClientChannel>()
    for (const other of [...channels]) void other.leave()
    this.#channels.set(channel.topic, channels.add(channel))
  }

  removeChannel(channel: ClientChannel): void {
    const channels = this.#channels.get(channel.topic)
    channels?.delete(channel)
    if (channels?.size === 0) this.#channels.delete(channel.topic)
  }

  /** Returns a new, unique ref. */
  ref(): string {
    return String(++this.#lastRef)
  }

  /** Sends a frame. Throws for a payload that can't be encoded. */
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

  /**
   * Returns a copy of the payload of a push that is sent later: already encoded where the
   * serializer allows that. Throws what `sendFrame` would throw.
   */
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

  /**
   * Returns the milliseconds until a channel joins again after this error or close reason, or
   * undefined if the channel doesn't join again.
   */
  rejoinDelay(cause: ChannelError | CloseReason, attempt: number): number | undefined {
    return rejoinDelay(this.#settings.rejoin, cause, attempt, (failure) =>
      this.#emitter.handleListenerFailure('rejoin', failure, undefined),
    )
  }

  /** Passes an entry to the logger. */
  log(kind: string, text: string, data: unknown): void {
    try {
      this.#settings.logger?.(kind, escapeText(text), data)
    } catch (failure) {
      this.#emitter.handleListenerFailure('logger', failure, undefined)
    }
  }

  /** Adds to the number of messages that wait in all channels, and to their bytes. */
  addBacklog(messages: number, bytes: number): void {
    this.#backlog.add(messages, bytes)
  }

  /** Adds (1) or removes (-1) one reason to keep reading while messages wait. */
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

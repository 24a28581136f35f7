import { closeReason } from '../../connection/close-codes.ts'
import { ClosedError } from '../../errors.ts'
import { deferred, isPromise, markHandled, type Deferred } from '../../promises.ts'
import { isFunction } from '../../validation.ts'
import { ChannelError } from '../errors.ts'
import { ClientPosition } from '../history/position.ts'
import type { ClientChannel } from './client-channel.ts'
import { errorFromReply } from './pending-pushes.ts'
import type { ReplyTimer } from './reply-timer.ts'
import type { ClientSocket } from './socket.ts'

/**
 * The join of a channel, as `joinPush` in phoenix.js: one attempt at a time, each with its payload
 * and its timeout, and after a failure the delay until the next one.
 */
export class JoinPush {
  /** The position in the topic's history from which a rejoin goes on. */
  readonly position = new ClientPosition()
  readonly #channel: ClientChannel
  readonly #socket: ClientSocket
  readonly #payload: unknown
  readonly #replyTimer: ReplyTimer
  #ref: string | undefined
  /** The promise that `join()` returns; undefined once the join is answered. */
  #pendingJoin: Deferred<unknown> | undefined
  /**
   * The identity of the pending call of the payload function; the result of an older call is
   * ignored.
   */
  #payloadRequest: object | undefined
  #rejoinTimer: ReturnType<typeof setTimeout> | undefined
  #attempt = 0

  constructor(
    channel: ClientChannel,
    socket: ClientSocket,
    payload: unknown,
    replyTimer: ReplyTimer,
  ) {
    this.#channel = channel
    this.#socket = socket
    this.#payload = payload
    this.#replyTimer = replyTimer
  }

  /**
   * The join ref of the membership; undefined while no join was sent on this connection, and after
   * a failure.
   */
  get ref(): string | undefined {
    return this.#ref
  }

  /** Returns the promise of the join that is pending, or that starts next. */
  createPromise(): Promise<unknown> {
    if (!this.#pendingJoin) {
      this.#pendingJoin = deferred()
      markHandled(this.#pendingJoin.promise)
    }
    return this.#pendingJoin.promise
  }

  /** Begins an attempt, which lasts until the reply or the timeout. */
  start(): void {
    clearTimeout(this.#rejoinTimer)
    void this.createPromise()
    this.#replyTimer.start(() => this.#onTimeout())
    this.#resolvePayload()
  }

  /** Called when the client has connected: continues a pending attempt, or joins again. */
  onConnected(): void {
    this.#attempt = 0
    const { state } = this.#channel
    if (state === 'errored') this.#channel.startJoin()
    else if (state === 'joining') this.#resolvePayload()
  }

  /** Called when the connection has closed. A pending attempt goes on with the next connection. */
  onDisconnected(): void {
    clearTimeout(this.#rejoinTimer)
    this.#ref = this.#payloadRequest = undefined
    this.#replyTimer.pinReading(false)
  }

  onReply(status: string, reply: unknown): void {
    const { topic } = this.#channel
    if (status === 'ok') this.#accept(this.position.begin(reply))
    else this.fail(errorFromReply('a join', { code: 'ERR_JOIN_REFUSED', topic, status, reply }))
  }

  /**
   * Leaves, because the server may have accepted the join, and ends the membership or the attempt.
   */
  abandon(error: ChannelError): void {
    const { topic } = this.#channel
    const joinRef = this.#ref
    if (joinRef !== undefined && this.#socket.connection) {
      this.#socket.sendFrame({ kind: 'leave', topic, joinRef, ref: this.#socket.ref() })
    }
    this.fail(error)
  }

  /** Ends the membership, or the attempt. Joins again later, unless `rejoin` says otherwise. */
  fail(error: ChannelError): void {
    const channel = this.#channel
    const pendingJoin = this.#pendingJoin
    this.#stop()
    this.#ref = this.#pendingJoin = undefined
    channel.onErrored(
      new ClosedError(error.message, { closeCode: 1011, cause: error, target: channel }),
    )
    const delay = this.#socket.rejoinDelay(error, ++this.#attempt)
    // The program's own functions may have left or joined meanwhile.
    const isDecided = channel.state !== 'errored'
    if (delay !== undefined && this.#socket.connection && !isDecided) {
      this.#rejoinTimer = setTimeout(() => channel.startJoin(), delay)
    }
    pendingJoin?.reject(error)
    // A channel that has closed emits no more errors.
    channel.reportError(error, channel.hasClosed)
    if (delay === undefined && !isDecided) channel.end(closeReason(1000, error.message))
  }

  /** Stops the attempt, or the wait for the next one. Rejects the promise of the join. */
  cancel(error: Error): void {
    this.#stop()
    this.#pendingJoin?.reject(error)
    this.#pendingJoin = undefined
  }

  /** Resolves the payload, and sends the join. */
  #resolvePayload(): void {
    if (!this.#socket.connection) return
    const request = (this.#payloadRequest = {})
    const onFailure = (cause: unknown): void => {
      if (this.#payloadRequest !== request) return
      const { topic } = this.#channel
      const text = `could not ask to join \`${topic}\``
      this.fail(new ChannelError(text, { topic, status: 'error', cause }))
    }
    const onPayload = (payload: unknown): void => {
      if (this.#payloadRequest === request) this.#send(payload)
    }
    try {
      const result = isFunction(this.#payload) ? this.#payload() : this.#payload
      if (isPromise(result)) result.then(onPayload).then(undefined, onFailure)
      else onPayload(result)
    } catch (cause) {
      onFailure(cause)
    }
  }

  #send(ownPayload: unknown = {}): void {
    const payload = this.position.addTo(ownPayload)
    const ref = this.#socket.ref()
    const { topic } = this.#channel
    this.#socket.sendFrame({ kind: 'join', topic, joinRef: ref, ref, payload })
    this.#payloadRequest = undefined
    this.#ref = ref
    if (this.#socket.hasReplies) this.#replyTimer.pinReading(true)
    else this.#accept({})
  }

  #accept(reply: unknown): void {
    const pendingJoin = this.#pendingJoin
    this.#stop()
    this.#attempt = 0
    this.#pendingJoin = undefined
    this.#channel.onJoined(reply)
    pendingJoin?.resolve(reply)
  }

  #onTimeout(): void {
    const { topic } = this.#channel
    const text = `no reply to the join of \`${topic}\` within ${this.#socket.timeout} ms`
    this.abandon(new ChannelError(text, { code: 'ERR_JOIN_TIMEOUT', topic, status: 'timeout' }))
  }

  /** Stops waiting for a reply, a payload or the next attempt. */
  #stop(): void {
    this.#replyTimer.stop()
    clearTimeout(this.#rejoinTimer)
    this.#payloadRequest = undefined
  }
}

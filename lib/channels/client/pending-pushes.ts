import type { WebsocketError } from '../../errors.ts'
import { escapeText } from '../../format.ts'
import { WatchedPromise } from '../../promises.ts'
import { ChannelError, type ChannelErrorInit } from '../errors.ts'
import type { PushSettings } from '../messages/push-options.ts'
import type { ClientChannel } from './client-channel.ts'
import { keepAlive } from './reply-timer.ts'
import type { ClientSocket } from './socket.ts'

/** The members of the channel that its pushes use. */
type PushChannel = Pick<ClientChannel, 'topic' | 'sendPush' | 'reportError'>

/** The members of the socket that the pushes use. */
type PushSocket = Pick<ClientSocket, 'isAlive' | 'pinReading'>

/** An event with its payload. */
export interface PushRequest {
  readonly event: string
  readonly payload: unknown
}

/** The options of one push, and when to send it. */
export interface PushTerms extends PushSettings {
  /** Whether the push is sent at once, not with the next `flush`. */
  readonly sendsNow: boolean
}

/** A push that is not settled yet. */
class PendingPush implements PushRequest {
  readonly event: string
  readonly payload: unknown
  readonly needsReply: boolean
  readonly timeout: number
  readonly promise: WatchedPromise<unknown>
  timer: ReturnType<typeof setTimeout> | undefined
  /** The ref of the push, once it is sent. */
  ref: string | undefined
  /** Stops listening to the signal of the push. */
  unbindAbort = (): void => {}
  #resolve: (reply: unknown) => void = () => {}
  #reject: (reason: unknown) => void = () => {}

  constructor({ event, payload }: PushRequest, { reply, timeout }: PushTerms) {
    this.event = event
    this.payload = payload
    this.needsReply = reply
    this.timeout = timeout
    this.promise = new WatchedPromise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  resolve(reply: unknown): void {
    this.#cleanUp()
    this.#resolve(reply)
  }

  reject(reason: unknown): void {
    this.#cleanUp()
    this.#reject(reason)
  }

  #cleanUp(): void {
    clearTimeout(this.timer)
    this.unbindAbort()
  }
}

const MAX_PENDING = 10_000 // unsettled pushes of one channel

/** The pushes of one channel that wait to be sent, or that wait for their reply. */
export class PendingPushes {
  readonly #channel: PushChannel
  readonly #socket: PushSocket
  /** The pushes to send, in their order. */
  readonly #unsent = new Set<PendingPush>()
  /** The pushes that wait for their replies, by ref. */
  readonly #sent = new Map<string, PendingPush>()

  constructor(channel: PushChannel, socket: PushSocket) {
    this.#channel = channel
    this.#socket = socket
  }

  /** Sends a push at once, or with the next `flush`. Its timeout starts now. */
  add(request: PushRequest, terms: PushTerms): Promise<unknown> {
    const { signal, timeout, sendsNow } = terms
    const push = new PendingPush(request, terms)
    if (signal?.aborted) {
      push.reject(signal.reason)
    } else if (this.#unsent.size + this.#sent.size >= MAX_PENDING) {
      const text = `${MAX_PENDING} pushes are not answered yet`
      const { topic } = this.#channel
      const details: ChannelErrorInit = { code: 'ERR_TOO_MANY_PENDING', topic, status: 'error' }
      push.reject(new ChannelError(text, details))
    } else {
      if (sendsNow) this.#send(push)
      else this.#unsent.add(push)
      if (this.#isPending(push)) {
        push.timer = setTimeout(() => this.#onTimeout(push), timeout)
        keepAlive(push.timer, this.#socket.isAlive)
        if (signal) this.#bindAbort(signal, push)
      }
    }
    return push.promise
  }

  /** Sets whether the timers of pending pushes keep the process alive. */
  keepAlive(isAlive: boolean): void {
    for (const push of [...this.#unsent, ...this.#sent.values()]) keepAlive(push.timer, isAlive)
  }

  /** Sends the waiting pushes. */
  flush(): void {
    for (const push of this.#unsent) {
      this.#unsent.delete(push)
      try {
        this.#send(push)
      } catch (cause) {
        push.reject(cause) // the payload has changed since, and can't be encoded now
      }
    }
  }

  /** Settles the push with this ref. Returns whether there is one. */
  answer(ref: string, status: string, reply: unknown): boolean {
    const push = this.#sent.get(ref)
    if (!push) return false
    this.#remove(push)
    if (status === 'ok') push.resolve(reply)
    else
      this.#fail(
        push,
        errorFromReply(`\`${push.event}\``, {
          code: 'ERR_PUSH_REFUSED',
          topic: this.#channel.topic,
          status,
          reply,
        }),
      )
    return true
  }

  /** Rejects the pushes that were sent: no reply will come. */
  failSent(error: WebsocketError): void {
    for (const push of this.#sent.values()) {
      this.#remove(push)
      push.reject(error)
    }
  }

  /** Rejects the pushes that were not sent: they never will be. */
  failWaiting(error: WebsocketError): void {
    for (const push of this.#unsent) {
      this.#remove(push)
      push.reject(error)
    }
  }

  #send(push: PendingPush): void {
    const ref = this.#channel.sendPush(push)
    if (ref === undefined || !push.needsReply) {
      push.resolve(undefined)
      return
    }
    push.ref = ref
    this.#sent.set(ref, push)
    this.#socket.pinReading(1)
  }

  #isPending(push: PendingPush): boolean {
    return push.ref !== undefined || this.#unsent.has(push)
  }

  /** Rejects a push when its signal is aborted. */
  #bindAbort(signal: AbortSignal, push: PendingPush): void {
    const onAbort = (): void => {
      this.#remove(push)
      push.reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    push.unbindAbort = () => signal.removeEventListener('abort', onAbort)
  }

  #onTimeout(push: PendingPush): void {
    const { event, timeout } = push
    const { topic } = this.#channel
    const text = push.needsReply
      ? `no reply to \`${event}\` on \`${topic}\` within ${timeout} ms`
      : `\`${event}\` on \`${topic}\` was not sent within ${timeout} ms`
    this.#remove(push)
    const details: ChannelErrorInit = { code: 'ERR_PUSH_TIMEOUT', topic, status: 'timeout' }
    this.#fail(push, new ChannelError(text, details))
  }

  #fail(push: PendingPush, error: ChannelError): void {
    push.reject(error)
    this.#channel.reportError(error, push.promise.isWatched)
  }

  #remove(push: PendingPush): void {
    this.#unsent.delete(push)
    if (push.ref !== undefined && this.#sent.delete(push.ref)) this.#socket.pinReading(-1)
  }
}

const MAX_TEXT = 200 // characters of the server's text, in an error text

/** Creates the error for a reply with a status other than `ok`. */
export function errorFromReply(
  item: string,
  details: ChannelErrorInit & { topic: string; status: string },
): ChannelError {
  const { topic, status, reply } = details
  const replyText = JSON.stringify(reply)?.slice(0, MAX_TEXT) ?? ''
  const text = `${item} on \`${topic}\` was answered \`${status.slice(0, MAX_TEXT)}\`: ${replyText}`
  return new ChannelError(escapeText(text), details)
}

import { escaped } from '../error-text.ts'
import { ChannelError, type WebsocketError } from '../errors.ts'
import {
  flag,
  isFunction,
  isObject,
  milliseconds,
  optional,
  settle,
  type Settled,
} from '../options/rules.ts'
import { WatchedPromise } from '../promises.ts'

/** How an event is pushed. */
export interface PushOptions {
  /**
   * Whether the reply is waited for. With false the promise resolves as soon as the event is sent,
   * and a reply is ignored: for events that the server doesn't answer. A server waits for none.
   *
   * @default true
   */
  reply?: boolean | undefined
  /**
   * Milliseconds that a client waits for the reply, or with `reply: false` until the event is sent; a
   * server waits for nothing.
   *
   * @default the `timeout` of the client, 10_000
   */
  timeout?: number | undefined
  /**
   * Gives up when it is aborted: an event that was not sent yet never is, and a reply that comes later
   * is ignored.
   *
   * @default none
   */
  signal?: AbortSignal | undefined
}

const pushRules = {
  reply: { ...flag(), fallback: true },
  timeout: milliseconds(0, 1),
  signal: optional<AbortSignal>('an AbortSignal', isSignal),
}

/** The options of a push, settled; a timeout of 0 is none of its own. */
export type PushSettings = Settled<typeof pushRules>

const USUAL: PushSettings = settle(pushRules)

/**
 * Settles the options of a push.
 *
 * @throws TypeError for an unknown name, with the nearest one, and for a value that can't be.
 */
export function checkedPush(given?: PushOptions): PushSettings {
  return given === undefined ? USUAL : settle(pushRules, given)
}

function isSignal(value: unknown): boolean {
  return isObject(value) && 'addEventListener' in value && isFunction(value.addEventListener)
}

/** The channel that pushes. */
export interface Pusher {
  readonly topic: string
  /** Sends a push, and gives the ref by which its reply is known; undefined: there won't be one. */
  send(push: Push): string | undefined
  /** Is told of a push that was refused, or not answered; `isHandled`: its caller hears of it. */
  refused(error: ChannelError, isHandled: boolean): void
  /** Counts a reply in, or out, that needs reading to go on. */
  wait(step: 1 | -1): void
  /** Whether what is waited for keeps the process alive: not while the client is closed. */
  readonly isAlive: boolean
}

/** Lets a timer keep the process alive, or not. In a page, where a timer is a number, does nothing. */
export function keepAlive(
  timer: ReturnType<typeof setTimeout> | undefined,
  isAlive: boolean,
): void {
  if (isAlive) timer?.ref?.()
  else timer?.unref?.()
}

/** An event, and what is sent with it. */
export interface Push {
  readonly event: string
  readonly payload: unknown
}

/** How a push is made. */
export interface PushTerms extends PushSettings {
  /** Whether it is sent at once, or with the next `flush`. */
  readonly now: boolean
}

/** A push that is not settled yet. */
class Pending implements Push {
  readonly event: string
  readonly payload: unknown
  readonly needsReply: boolean
  readonly timeout: number
  readonly promise: WatchedPromise<unknown>
  timer: ReturnType<typeof setTimeout> | undefined
  /** Once it was sent. */
  ref: string | undefined
  /** Stops listening to its signal. */
  ignore = (): void => {}
  #resolve: (reply: unknown) => void = () => {}
  #reject: (reason: unknown) => void = () => {}

  constructor({ event, payload }: Push, { reply, timeout }: PushTerms) {
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
    this.#end()
    this.#resolve(reply)
  }

  reject(reason: unknown): void {
    this.#end()
    this.#reject(reason)
  }

  #end(): void {
    clearTimeout(this.timer)
    this.ignore()
  }
}

const MOST = 10_000 // pushes of a channel that are not settled

/** The pushes of one channel: those that wait to be sent, and those that wait for their reply. */
export class Pushes {
  readonly #pusher: Pusher
  /** In the order in which they go out. */
  readonly #waiting = new Set<Pending>()
  readonly #sent = new Map<string, Pending>()

  constructor(pusher: Pusher) {
    this.#pusher = pusher
  }

  /** Takes a push; it is sent at once, or with the next `flush`. Its time begins now. */
  add(what: Push, terms: PushTerms): Promise<unknown> {
    const { signal, timeout, now } = terms
    const push = new Pending(what, terms)
    if (signal?.aborted) {
      push.reject(signal.reason)
    } else if (this.#waiting.size + this.#sent.size >= MOST) {
      push.reject(this.#error(`${MOST} pushes are not answered yet`, 'error'))
    } else {
      if (now) this.#send(push)
      else this.#waiting.add(push)
      if (this.#isPending(push)) {
        push.timer = setTimeout(() => this.#late(push), timeout)
        keepAlive(push.timer, this.#pusher.isAlive)
        if (signal) this.#heed(signal, push)
      }
    }
    return push.promise
  }

  /** Lets what waits keep the process alive, or not. */
  keepAlive(isAlive: boolean): void {
    for (const push of [...this.#waiting, ...this.#sent.values()]) keepAlive(push.timer, isAlive)
  }

  /** Sends what waits. */
  flush(): void {
    for (const push of this.#waiting) {
      this.#waiting.delete(push)
      try {
        this.#send(push)
      } catch (cause) {
        push.reject(cause) // its payload has changed meanwhile
      }
    }
  }

  /** Settles the push of that ref; tells whether there is one. */
  answer(ref: string, status: string, reply: unknown): boolean {
    const push = this.#sent.get(ref)
    if (!push) return false
    this.#take(push)
    if (status === 'ok') push.resolve(reply)
    else
      this.#refuse(push, refusal(`\`${push.event}\``, { topic: this.#pusher.topic, status, reply }))
    return true
  }

  /** Rejects those that were sent: no reply will come. */
  failSent(error: WebsocketError): void {
    for (const push of this.#sent.values()) {
      this.#take(push)
      push.reject(error)
    }
  }

  /** Rejects those that were not sent: they never will be. */
  failWaiting(error: WebsocketError): void {
    for (const push of this.#waiting) {
      this.#take(push)
      push.reject(error)
    }
  }

  #send(push: Pending): void {
    const ref = this.#pusher.send(push)
    if (ref === undefined || !push.needsReply) {
      push.resolve(undefined)
      return
    }
    push.ref = ref
    this.#sent.set(ref, push)
    this.#pusher.wait(1)
  }

  #isPending(push: Pending): boolean {
    return push.ref !== undefined || this.#waiting.has(push)
  }

  /** Gives a push up when its signal is aborted. */
  #heed(signal: AbortSignal, push: Pending): void {
    const aborted = (): void => {
      this.#take(push)
      push.reject(signal.reason)
    }
    signal.addEventListener('abort', aborted, { once: true })
    push.ignore = () => signal.removeEventListener('abort', aborted)
  }

  #late(push: Pending): void {
    const { event, timeout } = push
    const { topic } = this.#pusher
    const text = push.needsReply
      ? `no reply to \`${event}\` on \`${topic}\` within ${timeout} ms`
      : `\`${event}\` on \`${topic}\` was not sent within ${timeout} ms`
    this.#take(push)
    this.#refuse(push, this.#error(text, 'timeout'))
  }

  #refuse(push: Pending, error: ChannelError): void {
    push.reject(error)
    this.#pusher.refused(error, push.promise.isWatched)
  }

  #error(text: string, status: 'error' | 'timeout'): ChannelError {
    return new ChannelError(text, { topic: this.#pusher.topic, status })
  }

  #take(push: Pending): void {
    this.#waiting.delete(push)
    if (push.ref !== undefined && this.#sent.delete(push.ref)) this.#pusher.wait(-1)
  }
}

const MOST_TEXT = 200 // of what a server says, in a message for humans

/** Makes the error of what a server has refused. */
export function refusal(
  what: string,
  { topic, status, reply }: { topic: string; status: string; reply: unknown },
): ChannelError {
  const said = JSON.stringify(reply)?.slice(0, MOST_TEXT) ?? ''
  const text = `${what} on \`${topic}\` was answered \`${status.slice(0, MOST_TEXT)}\`: ${said}`
  return new ChannelError(escaped(text), { topic, status, reply })
}

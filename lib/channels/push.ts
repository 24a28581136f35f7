import { ChannelError, type WebsocketError } from '../errors.ts'
import { deferred, handled, type Deferred } from '../promises.ts'

/** Whose pushes they are. */
export interface Pusher {
  readonly topic: string
  /** Sends a push, and gives the ref by which its reply is known; undefined: there won't be one. */
  send(push: Push): string | undefined
  /** Hears of a push that was refused, or not answered. */
  refused(error: ChannelError): void
  /** Counts a reply in, or out, that needs reading to go on. */
  wait(step: 1 | -1): void
}

/** What is pushed. */
export interface Push {
  readonly event: string
  readonly payload: unknown
}

/** A push that is not settled yet. */
interface Pending extends Push {
  readonly asked: Deferred<unknown>
  timer?: ReturnType<typeof setTimeout>
  /** Once it was sent. */
  ref?: string
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
  add({ event, payload }: Push, timeout: number, now: boolean): Promise<unknown> {
    const push: Pending = { event, payload, asked: deferred() }
    handled(push.asked.promise)
    if (this.#waiting.size + this.#sent.size >= MOST) {
      push.asked.reject(this.#error(`${MOST} pushes are not answered yet`, 'error'))
      return push.asked.promise
    }
    if (now) this.#send(push)
    else this.#waiting.add(push)
    if (this.#isPending(push)) push.timer = setTimeout(() => this.#late(push, timeout), timeout)
    return push.asked.promise
  }

  /** Sends what waits. */
  flush(): void {
    for (const push of this.#waiting) {
      this.#waiting.delete(push)
      try {
        this.#send(push)
        if (!this.#isPending(push)) clearTimeout(push.timer)
      } catch (cause) {
        clearTimeout(push.timer)
        push.asked.reject(cause) // its payload has changed meanwhile
      }
    }
  }

  /** Settles the push of that ref; tells whether there is one. */
  answer(ref: string, status: string, reply: unknown): boolean {
    const push = this.#sent.get(ref)
    if (!push) return false
    this.#take(push)
    if (status === 'ok') push.asked.resolve(reply)
    else
      this.#refuse(push, refusal(`\`${push.event}\``, { topic: this.#pusher.topic, status, reply }))
    return true
  }

  /** Rejects those that were sent: no reply will come. */
  failSent(error: WebsocketError): void {
    for (const push of this.#sent.values()) {
      this.#take(push)
      push.asked.reject(error)
    }
  }

  /** Rejects those that were not sent: they never will be. */
  failWaiting(error: WebsocketError): void {
    for (const push of this.#waiting) {
      this.#take(push)
      push.asked.reject(error)
    }
  }

  #send(push: Pending): void {
    const ref = this.#pusher.send(push)
    if (ref === undefined) {
      push.asked.resolve(undefined)
      return
    }
    push.ref = ref
    this.#sent.set(ref, push)
    this.#pusher.wait(1)
  }

  #isPending(push: Pending): boolean {
    return push.ref !== undefined || this.#waiting.has(push)
  }

  #late(push: Pending, timeout: number): void {
    this.#take(push)
    const text = `no reply to \`${push.event}\` on \`${this.#pusher.topic}\` within ${timeout} ms`
    this.#refuse(push, this.#error(text, 'timeout'))
  }

  #refuse(push: Pending, error: ChannelError): void {
    push.asked.reject(error)
    this.#pusher.refused(error)
  }

  #error(text: string, status: 'error' | 'timeout'): ChannelError {
    return new ChannelError(text, { topic: this.#pusher.topic, status })
  }

  #take(push: Pending): void {
    clearTimeout(push.timer)
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
  return new ChannelError(text, { topic, status, reply })
}

import type { ClientSocket } from './socket.ts'

type Timer = ReturnType<typeof setTimeout>

/** Refs or unrefs a timer. Does nothing in a page, where a timer is a number. */
export function keepAlive(timer: Timer | undefined, isAlive: boolean): void {
  if (isAlive) timer?.ref?.()
  else timer?.unref?.()
}

/**
 * The wait for the reply to a join or a leave: a channel waits for one of them at a time. It has a
 * timeout, and it keeps reading going while messages wait.
 */
export class ReplyTimer {
  readonly #socket: Pick<ClientSocket, 'timeout' | 'isAlive' | 'pinReading'>
  #timer: Timer | undefined
  #isReadingPinned = false

  constructor(socket: Pick<ClientSocket, 'timeout' | 'isAlive' | 'pinReading'>) {
    this.#socket = socket
  }

  /** Calls back once the client's `timeout` has passed. */
  start(onTimeout: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(onTimeout, this.#socket.timeout)
    this.keepAlive(this.#socket.isAlive)
  }

  /** Sets whether reading goes on while messages wait, because the reply may follow them. */
  pinReading(isPinned: boolean): void {
    if (isPinned === this.#isReadingPinned) return
    this.#isReadingPinned = isPinned
    this.#socket.pinReading(isPinned ? 1 : -1)
  }

  /** Sets whether the timer keeps the process alive. */
  keepAlive(isAlive: boolean): void {
    keepAlive(this.#timer, isAlive)
  }

  /** Stops waiting. */
  stop(): void {
    clearTimeout(this.#timer)
    this.pinReading(false)
  }
}

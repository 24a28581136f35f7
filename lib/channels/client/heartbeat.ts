import type { Ref } from '../protocol/serializer.ts'
import type { ClientSocket } from './socket.ts'

/** The members of the socket that its heartbeat uses. */
type HeartbeatSocket = Pick<ClientSocket, 'ref' | 'sendFrame' | 'isReading' | 'onHeartbeatTimeout'>

/** The times after which a client decides that its server is gone; both in milliseconds. */
export interface HeartbeatTimings {
  /** The time from an answer to the next heartbeat, and also from a heartbeat to its answer. */
  readonly interval: number | false
  /** The longest time for which a server may send nothing. */
  readonly silenceTimeout: number | false
}

// Milliseconds. A timer that fires later than this shows that the process or page was suspended.
const SUSPEND_TOLERANCE = 1_000

/**
 * The check whether a server still answers: by heartbeats and their answers, or by its silence.
 *
 * The next heartbeat is due `interval` milliseconds after the answer to the one before.
 */
export class Heartbeat {
  readonly #socket: HeartbeatSocket
  readonly #timings: HeartbeatTimings
  #timer: ReturnType<typeof setTimeout> | undefined
  /** The ref of the heartbeat that waits for its reply. */
  #ref: string | undefined
  /** The time from which a reply timer counts as fired late. */
  #suspendedFrom = 0
  #lastFrameAt = performance.now()
  #silenceTimer: ReturnType<typeof setTimeout> | undefined

  constructor(socket: HeartbeatSocket, timings: HeartbeatTimings) {
    this.#socket = socket
    this.#timings = timings
    this.#schedule()
    const { silenceTimeout } = timings
    if (silenceTimeout !== false) this.#watchSilence(silenceTimeout, silenceTimeout)
  }

  /** Records that a frame arrived. */
  onFrame(): void {
    this.#lastFrameAt = performance.now()
  }

  /** Records that the server has answered the heartbeat with this ref. */
  onReply(ref: Ref): void {
    if (ref !== this.#ref) return
    this.#ref = undefined
    this.#schedule()
  }

  /** Sends a heartbeat now, because the network may have failed meanwhile. */
  probe(): void {
    if (this.#ref === undefined && this.#timings.interval !== false) {
      this.#send(this.#timings.interval)
    }
  }

  stop(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#silenceTimer)
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    const { interval } = this.#timings
    if (interval !== false) this.#timer = setTimeout(() => this.#send(interval), interval)
  }

  #send(period: number): void {
    clearTimeout(this.#timer)
    const ref = (this.#ref = this.#socket.ref())
    this.#awaitReply(period, false)
    this.#socket.sendFrame({ kind: 'heartbeat', ref })
  }

  #awaitReply(period: number, isSecondWait: boolean): void {
    this.#suspendedFrom = performance.now() + period + SUSPEND_TOLERANCE
    this.#timer = setTimeout(() => this.#onTimeout(period, isSecondWait), period)
  }

  #onTimeout(period: number, isSecondWait: boolean): void {
    // After a suspension, the timers of a page or process may fire before the frames that arrived
    // meanwhile are read. So the reply gets one more period.
    const wasSuspended = !isSecondWait && performance.now() > this.#suspendedFrom
    if (wasSuspended || !this.#socket.isReading()) {
      this.#awaitReply(period, wasSuspended || isSecondWait)
    } else {
      this.#socket.onHeartbeatTimeout(`no answer to a heartbeat within ${period} ms`)
    }
  }

  #watchSilence(silenceTimeout: number, delay: number): void {
    this.#silenceTimer = setTimeout(() => {
      if (!this.#socket.isReading()) this.onFrame()
      const remaining = this.#lastFrameAt + silenceTimeout - performance.now()
      if (remaining > 0) this.#watchSilence(silenceTimeout, remaining)
      else this.#socket.onHeartbeatTimeout(`nothing came within ${silenceTimeout} ms`)
    }, delay)
  }
}

/** The connection that a heartbeat checks. */
export interface HeartbeatTarget {
  /** Sends a heartbeat. */
  beat(): void
  /**
   * Returns whether messages are being read; while they aren't, no answer of the server can arrive.
   */
  isReading(): boolean
  /** Called when nothing arrived in time that shows that the server still runs. */
  onHeartbeatTimeout(reason: string): void
}

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
  readonly #target: HeartbeatTarget
  readonly #timings: HeartbeatTimings
  #timer: ReturnType<typeof setTimeout> | undefined
  #isAwaitingReply = false
  /** The time from which a reply timer counts as fired late. */
  #suspendedFrom = 0
  #lastFrameAt = performance.now()
  #silenceTimer: ReturnType<typeof setTimeout> | undefined

  constructor(target: HeartbeatTarget, timings: HeartbeatTimings) {
    this.#target = target
    this.#timings = timings
    this.#schedule()
    const { silenceTimeout } = timings
    if (silenceTimeout !== false) this.#watchSilence(silenceTimeout, silenceTimeout)
  }

  /** Records that a frame arrived. */
  onFrame(): void {
    this.#lastFrameAt = performance.now()
  }

  /** Records that the server has answered a heartbeat. */
  onReply(): void {
    if (!this.#isAwaitingReply) return
    this.#isAwaitingReply = false
    this.#schedule()
  }

  /** Sends a heartbeat now, because the network may have failed meanwhile. */
  probe(): void {
    if (!this.#isAwaitingReply && this.#timings.interval !== false) {
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
    this.#isAwaitingReply = true
    this.#awaitReply(period, false)
    this.#target.beat()
  }

  #awaitReply(period: number, isSecondWait: boolean): void {
    this.#suspendedFrom = performance.now() + period + SUSPEND_TOLERANCE
    this.#timer = setTimeout(() => this.#onTimeout(period, isSecondWait), period)
  }

  #onTimeout(period: number, isSecondWait: boolean): void {
    // After a suspension, the timers of a page or process may fire before the frames that arrived
    // meanwhile are read. So the reply gets one more period.
    const wasSuspended = !isSecondWait && performance.now() > this.#suspendedFrom
    if (wasSuspended || !this.#target.isReading()) {
      this.#awaitReply(period, wasSuspended || isSecondWait)
    } else {
      this.#target.onHeartbeatTimeout(`no answer to a heartbeat within ${period} ms`)
    }
  }

  #watchSilence(silenceTimeout: number, delay: number): void {
    this.#silenceTimer = setTimeout(() => {
      if (!this.#target.isReading()) this.onFrame()
      const remaining = this.#lastFrameAt + silenceTimeout - performance.now()
      if (remaining > 0) this.#watchSilence(silenceTimeout, remaining)
      else this.#target.onHeartbeatTimeout(`nothing came within ${silenceTimeout} ms`)
    }, delay)
  }
}

/** What a pulse does to the connection that it watches. */
export interface Beating {
  /** Sends a heartbeat. */
  beat(): void
  /** Tells whether reading goes on: nothing is heard of a server while it doesn't. */
  isReading(): boolean
  /** The server is gone. */
  gone(why: string): void
}

/** How a client finds out that its server is gone; both in milliseconds. */
export interface Rhythm {
  /** From an answer to the next heartbeat, which is to be answered as soon. */
  readonly heartbeat: number | false
  /** For how long a server may say nothing. */
  readonly patience: number | false
}

const SLEEP = 1_000 // milliseconds: a timer that is later has slept

/**
 * Finds out whether a server is still there: by heartbeats and their answers, or by its silence.
 *
 * The next heartbeat is due some time after the answer to the one before.
 */
export class Pulse {
  readonly #beating: Beating
  readonly #rhythm: Rhythm
  #timer: ReturnType<typeof setTimeout> | undefined
  #isAsked = false
  #lateAt = 0
  #heardAt = performance.now()
  #silence: ReturnType<typeof setTimeout> | undefined

  constructor(beating: Beating, rhythm: Rhythm) {
    this.#beating = beating
    this.#rhythm = rhythm
    this.#rest()
    if (rhythm.patience !== false) this.#listen(rhythm.patience, rhythm.patience)
  }

  /** Something came. */
  heard(): void {
    this.#heardAt = performance.now()
  }

  /** A heartbeat was answered. */
  answered(): void {
    if (!this.#isAsked) return
    this.#isAsked = false
    this.#rest()
  }

  /** Asks now: the network may have gone meanwhile. */
  probe(): void {
    if (!this.#isAsked && this.#rhythm.heartbeat !== false) this.#beat(this.#rhythm.heartbeat)
  }

  stop(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#silence)
  }

  #rest(): void {
    clearTimeout(this.#timer)
    const { heartbeat } = this.#rhythm
    if (heartbeat !== false) this.#timer = setTimeout(() => this.#beat(heartbeat), heartbeat)
  }

  #beat(period: number): void {
    clearTimeout(this.#timer)
    this.#isAsked = true
    this.#wait(period, false)
    this.#beating.beat()
  }

  #wait(period: number, isSecond: boolean): void {
    this.#lateAt = performance.now() + period + SLEEP
    this.#timer = setTimeout(() => this.#late(period, isSecond), period)
  }

  #late(period: number, isSecond: boolean): void {
    // A page that was frozen, or a process, may get to its timers before what has come meanwhile.
    const hasSlept = !isSecond && performance.now() > this.#lateAt
    if (hasSlept || !this.#beating.isReading()) this.#wait(period, hasSlept || isSecond)
    else this.#beating.gone(`no answer to a heartbeat within ${period} ms`)
  }

  #listen(patience: number, delay: number): void {
    this.#silence = setTimeout(() => {
      if (!this.#beating.isReading()) this.heard()
      const left = this.#heardAt + patience - performance.now()
      if (left > 0) this.#listen(patience, left)
      else this.#beating.gone(`nothing came within ${patience} ms`)
    }, delay)
  }
}

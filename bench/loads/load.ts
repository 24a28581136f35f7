const PATIENCE = 15_000 // milliseconds for what is under way when a turn is over

/** Work that keeps a server, or a client, busy for a while. */
export abstract class Load {
  /** How many messages, deliveries or handshakes are done. */
  done = 0

  protected running = false
  /** How much is under way. */
  protected pending = 0
  #finish: () => void = () => {}
  #fail: (error: Error) => void = () => {}

  /** Keeps it busy, and resolves when the last of what was begun is done. */
  async run(milliseconds: number): Promise<void> {
    const finished = new Promise<void>((resolve, reject) => {
      this.#finish = resolve
      this.#fail = reject
    })
    this.running = true
    const over = setTimeout(() => {
      this.running = false
      this.finish()
    }, milliseconds)
    const hung = setTimeout(
      () => this.fail(new Error(`left ${this.pending} messages without an answer`)),
      milliseconds + PATIENCE,
    )
    try {
      this.begin()
      await finished
    } finally {
      this.running = false
      clearTimeout(over)
      clearTimeout(hung)
    }
  }

  /** Ends all connections. */
  abstract close(): void

  protected abstract begin(): void

  /** Looks whether the turn is over and all is done. */
  protected finish(): void {
    if (!this.running && this.pending === 0) this.#finish()
  }

  /** Says that it can't go on. */
  protected fail(error: Error): void {
    this.#fail(error)
  }
}

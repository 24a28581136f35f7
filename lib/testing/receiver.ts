const TIMEOUT = 10_000 // milliseconds until a test fails because nothing has changed

/** A recorder of messages that waits for given ones. */
export class Receiver<Message> {
  readonly received: Message[] = []
  readonly #wakes = new Set<() => void>()

  /** Records a message. */
  add(message: Message): void {
    this.received.push(message)
    this.wake()
  }

  /** Checks again the conditions that are waited for. */
  wake(): void {
    for (const wake of this.#wakes) wake()
    this.#wakes.clear()
  }

  /** Resolves when a condition holds. Rejects when that takes too long. */
  async waitUntil(description: string, condition: () => boolean): Promise<void> {
    const timeoutError = new Error(`${description} did not come in ${TIMEOUT / 1_000} s`)
    const deadline = Date.now() + TIMEOUT
    while (!condition()) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve, reject) => {
        this.#wakes.add(resolve)
        timer = setTimeout(() => reject(timeoutError), deadline - Date.now())
      }).finally(() => clearTimeout(timer))
    }
  }
}

import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

const PATIENCE = 60_000 // ms that an answer may take

/** The order that a report answers: every report has it. */
export interface Answer<Order extends string> {
  readonly answers: Order
}

/** A program beside this one, which answers orders with reports. */
export class Program<Order extends string, Report extends Answer<Order>> {
  readonly #child: ChildProcess
  readonly #exit: Promise<string>

  /** Starts it; `hears` is called with each report. */
  constructor(file: string, args: readonly (string | number)[], hears: (report: Report) => void) {
    this.#child = fork(new URL(file, import.meta.url), args.map(String), {
      execArgv: ['--conditions=source', '--import', 'tsx', '--expose-gc'],
    })
    this.#child.on('message', (message) => hears(message as Report))
    this.#exit = once(this.#child, 'exit').then(([code, signal]: unknown[]) =>
      String(signal ?? code),
    )
  }

  /** Whether it runs. */
  get runs(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Waits for the answer to an order; undefined: it has ended, or doesn't answer. */
  async answer(order: Order): Promise<Report | undefined> {
    let stop = (): void => {}
    const answered = new Promise<Report | undefined>((resolve) => {
      const hear = (message: unknown): void => {
        const report = message as Report
        if (report.answers === order) resolve(report)
      }
      const timer = setTimeout(resolve, PATIENCE, undefined)
      this.#child.on('message', hear)
      void this.#exit.then(() => resolve(undefined))
      stop = () => {
        clearTimeout(timer)
        this.#child.off('message', hear)
      }
    })
    return answered.finally(stop)
  }

  /** Gives an order, and waits for its answer. */
  async ask(order: Order): Promise<Report | undefined> {
    const answer = this.answer(order)
    this.tell(order)
    return answer
  }

  /** Gives an order. */
  tell(order: Order): void {
    if (this.#child.connected) this.#child.send(order, () => {}) // it may end meanwhile
  }

  /** Ends it, and tells how it ended: with its exit code, or by which signal. */
  async end(signal: 'SIGTERM' | 'SIGKILL', patience = PATIENCE): Promise<string> {
    if (this.runs) this.#child.kill(signal)
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patience)
    return this.#exit.finally(() => clearTimeout(timer))
  }
}

import { Duplex } from 'node:stream'

const LOOK = 4 // ms between two looks at what waits

/**
 * Stands for the TCP socket of a runtime that keeps its own to itself, as Bun does where it dials:
 * what is written here is empty, and written when all has gone that its WebSocket was given.
 */
export class HiddenTcp extends Duplex {
  readonly bytesRead = 0
  readonly #socket: { readonly bufferedAmount: number }

  constructor(socket: { readonly bufferedAmount: number }) {
    super()
    this.#socket = socket
  }

  /** Does nothing: how it sends is the runtime's. */
  setNoDelay(): this {
    return this
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: unknown, written: () => void): void {
    if (this.#socket.bufferedAmount === 0) written()
    else setTimeout(() => this._write(undefined, undefined, written), LOOK)
  }
}

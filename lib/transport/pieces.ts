const PIECE = 4 * 1024 // bytes

/**
 * Puts the bytes of a payload together that come in many small chunks: whoever keeps a list of them
 * takes far too long for those of a peer that sends byte by byte.
 */
export class Pieces {
  readonly #take: (bytes: Buffer) => void
  #piece: Buffer | undefined // with room up to the end of the payload
  #filled = 0 // bytes of it

  /** Makes one that hands on what is long enough. */
  constructor(take: (bytes: Buffer) => void) {
    this.#take = take
  }

  /** Takes the next bytes; `left` is how many of the same payload are still to come. */
  put(bytes: Buffer, left: number): void {
    for (let at = 0; at < bytes.length;) {
      const rest = bytes.length - at
      if (!this.#piece && (rest >= PIECE || left === 0)) {
        this.#take(bytes.subarray(at))
        return
      }
      this.#piece ??= Buffer.allocUnsafeSlow(Math.min(PIECE, rest + left))
      const taken = bytes.copy(this.#piece, this.#filled, at)
      at += taken
      this.#filled += taken
      if (this.#filled === this.#piece.length) this.#hand(this.#piece)
    }
  }

  #hand(piece: Buffer): void {
    this.#piece = undefined
    this.#filled = 0
    this.#take(piece)
  }
}

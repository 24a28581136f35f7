const MAX_COPIED = 4 * 1024 // bytes; a longer piece may wait as it is, for many peers may share it
const FIRST_BLOCK = 1024
const LAST_BLOCK = 64 * 1024

/**
 * What waits for a peer that does not read, in little more memory than its bytes: many small writes
 * would each take some hundred bytes more.
 */
export class WriteBacklog {
  readonly #pieces: Uint8Array[] = []
  #block = new Uint8Array(0)
  #used = 0

  /** Adds a piece. A part of a larger buffer is copied: that buffer is used again once this has returned. */
  add(piece: Uint8Array): void {
    if (piece.length > MAX_COPIED) {
      this.#endBlock()
      const isWhole = piece.length === piece.buffer.byteLength
      this.#pieces.push(isWhole ? piece : new Uint8Array(piece))
      return
    }
    if (this.#used + piece.length > this.#block.length) this.#beginBlock(piece.length)
    this.#block.set(piece, this.#used)
    this.#used += piece.length
  }

  /** Returns all that waits. */
  take(): Uint8Array[] {
    this.#endBlock()
    return this.#pieces
  }

  /** Begins a block twice as long as the one before it, within bounds. */
  #beginBlock(least: number): void {
    const size = Math.min(LAST_BLOCK, Math.max(FIRST_BLOCK, 2 * this.#block.length, least))
    this.#endBlock()
    this.#block = new Uint8Array(size)
  }

  #endBlock(): void {
    if (this.#used > 0) this.#pieces.push(this.#block.subarray(0, this.#used))
    this.#block = this.#block.subarray(this.#used)
    this.#used = 0
  }
}

const MAX_COPIED = 4 * 1024 // bytes; a longer piece isn't copied, since many peers may share it
const MIN_BLOCK = 1024
const MAX_BLOCK = 64 * 1024

/**
 * The bytes that wait for a peer that does not read. It takes little more memory than these bytes;
 * each of many small writes would take some hundred bytes more.
 */
export class WriteBacklog {
  readonly #pieces: Uint8Array[] = []
  #block = new Uint8Array(0)
  #used = 0

  /**
   * Adds a piece. Copies it if it is a part of a larger buffer, because that buffer is used again
   * once this method has returned.
   */
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

  /** Returns all pieces that wait. */
  take(): Uint8Array[] {
    this.#endBlock()
    return this.#pieces
  }

  /** Begins a block that is twice as long as the last one, within the limits. */
  #beginBlock(minLength: number): void {
    const size = Math.min(MAX_BLOCK, Math.max(MIN_BLOCK, 2 * this.#block.length, minLength))
    this.#endBlock()
    this.#block = new Uint8Array(size)
  }

  #endBlock(): void {
    if (this.#used > 0) this.#pieces.push(this.#block.subarray(0, this.#used))
    this.#block = this.#block.subarray(this.#used)
    this.#used = 0
  }
}

/** Gives numbers that look random, and are the same for the same seed (mulberry32). */
export class Random {
  readonly seed: number
  #state: number

  constructor(seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)) {
    this.seed = seed
    this.#state = seed
  }

  /** Returns an integer from 0 up to, and without, the bound. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }

  pick<Value>(values: readonly [Value, ...Value[]]): Value {
    return values[this.below(values.length)] ?? values[0]
  }

  bytes(most: number): Uint8Array {
    return Uint8Array.from({ length: this.below(most + 1) }, () => this.below(256))
  }

  /** Returns a text of whole characters, those that JSON and UTF-8 treat apart among them. */
  text(most: number): string {
    const parts: [string, ...string[]] = [
      'a',
      'Z',
      '0',
      ' ',
      ':',
      '*',
      '"',
      '\\',
      '/',
      '\n',
      '\0',
      '\u007f',
      '\u2028',
      '\ufeff',
      'é',
      '名',
      '😀',
    ]
    return Array.from({ length: this.below(most + 1) }, () => this.pick(parts)).join('')
  }

  /** Returns a JSON value that nests so deep at most. */
  json(depth: number): unknown {
    const kind = this.below(depth > 0 ? 8 : 6)
    if (kind === 0) return null
    if (kind === 1) return this.below(2) === 1
    if (kind === 2) return this.below(2 ** 31) - 2 ** 30
    if (kind === 3) return this.below(1000) / 7
    if (kind < 6) return this.text(12)
    const size = this.below(5)
    if (kind === 6) return Array.from({ length: size }, () => this.json(depth - 1))
    return this.object(depth - 1)
  }

  object(depth: number): Record<string, unknown> {
    const keys = Array.from({ length: this.below(5) }, () => this.text(6))
    return Object.fromEntries(keys.map((key) => [key, this.json(depth)]))
  }
}

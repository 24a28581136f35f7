import { closePayload, frame } from '../rawpeer.ts'
import { below, noise, pick, type Random } from '../random.ts'

const CONTINUATION = 0
const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10
const EDGES = [0, 1, 2, 41, 42, 47, 48, 49, 63, 64, 65, 123, 124, 125, 126, 127, 128] as const
const LONG_EDGES = [1_000, 1_023, 1_025, 4_095, 4_096, 4_097, 16_384, 65_535, 65_536] as const
const MOST_DRIBBLED = 2_000 // bytes: more of them one by one would take too long
const CODES = [0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 1016] as const
const MORE_CODES = [2999, 3000, 4000, 4999, 5000, 65_535] as const
const LETTERS = ['a', 'Zeile ', 'ü', '€', '😀', '\0', '\ufeff', '\u{10ffff}'] as const
const NO_UTF8 = ['80', 'ff', 'c0af', 'eda080', 'f4908080', 'e282', 'f09f98', 'c3'] as const

/** Makes what a peer sends: frames as they should be, and now and then some as they should not. */
export class Hostile {
  readonly #random: Random
  readonly #masked: boolean
  readonly #most: number
  #open = false

  /** Makes one that masks, or doesn't, for a peer that takes messages of at most so many bytes. */
  constructor(random: Random, masked: boolean, most: number) {
    this.#random = random
    this.#masked = masked
    this.#most = most
  }

  /** Returns the next so many frames. */
  frames(count: number, badness: number): Buffer[] {
    return Array.from({ length: count }, () =>
      this.#random() < badness ? this.#bad() : this.#good(),
    )
  }

  /** Cuts bytes into chunks: at their joints, anywhere, everywhere, or not at all. */
  chunks(frames: readonly Buffer[]): Buffer[] {
    const all = Buffer.concat(frames)
    const how = this.#random()
    if (how < 0.2) return all.length > 0 ? [all] : []
    if (how < 0.3) return frames.filter(({ length }) => length > 0)
    const most = how < 0.45 && all.length < MOST_DRIBBLED ? 1 : 1 + below(this.#random, all.length)
    const chunks: Buffer[] = []
    for (let at = 0; at < all.length;) {
      const size = 1 + below(this.#random, most)
      chunks.push(all.subarray(at, at + size))
      at += size
    }
    return chunks
  }

  #good(): Buffer {
    const random = this.#random
    const kind = random()
    if (kind < 0.1) return this.#frame(PING, noise(random, below(random, 126)))
    if (kind < 0.2) return this.#frame(PONG, noise(random, below(random, 126)))
    if (kind < 0.24) return this.#frame(CLOSE, this.#farewell())
    if (kind < 0.4 || this.#open) return this.#fragments()
    if (kind < 0.7) return this.#frame(TEXT, this.#text(this.#size()))
    return this.#frame(BINARY, noise(random, this.#size()))
  }

  /** Returns a message in fragments, cut anywhere, with control frames between, or a part of it. */
  #fragments(): Buffer {
    const random = this.#random
    const text = random() < 0.5
    let left = text ? this.#text(this.#size()) : noise(random, this.#size())
    const parts: Buffer[] = []
    for (let count = below(random, 5); count >= 0; count--) {
      const opcode = this.#open ? CONTINUATION : text ? TEXT : BINARY
      const fin = count === 0 && random() < 0.95
      const size = fin ? left.length : below(random, left.length + 1)
      parts.push(this.#frame(opcode, left.subarray(0, size), { fin }))
      left = left.subarray(size)
      this.#open = !fin
      if (random() < 0.3) parts.push(this.#frame(pick(random, [PING, PONG]), noise(random, 5)))
    }
    return Buffer.concat(parts)
  }

  #farewell(): Buffer {
    const random = this.#random
    if (random() < 0.2) return Buffer.alloc(0)
    if (random() < 0.1) return Buffer.from([3])
    const code = pick(random, random() < 0.3 ? CODES : [1000, 1001, 1011, ...MORE_CODES])
    const shape = random()
    if (shape < 0.3) return closePayload(code)
    if (shape < 0.4) return closePayload(code, this.#badText())
    return closePayload(code, this.#text(below(random, 124)))
  }

  #bad(): Buffer {
    const random = this.#random
    const payload = noise(random, pick(random, [0, 3, 10, 125, 126]))
    const opcode = pick(random, [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
    const makers: [() => Buffer, ...(() => Buffer)[]] = [
      () => this.#frame(opcode, payload, { reserved: 1 + below(random, 7) }),
      () => this.#frame(below(random, 16), payload),
      () => this.#frame(opcode, payload, { masked: !this.#masked }),
      () => this.#frame(opcode, payload, { fin: false }),
      () => this.#frame(pick(random, [CLOSE, PING, PONG]), noise(random, 126 + below(random, 200))),
      () => this.#frame(CONTINUATION, payload),
      () => this.#frame(TEXT, this.#badText()),
      () => this.#frame(this.#open ? CONTINUATION : TEXT, this.#badText(), { fin: false }),
      () => this.#frame(BINARY, noise(random, this.#most + below(random, 3))),
      () => this.#announced(opcode, payload, random() < 0.5 ? 2 : 8, payload.length),
      () => this.#announced(opcode, payload, 8, pick(random, [2n ** 63n, 2n ** 53n, 2n ** 32n])),
      () => this.#announced(opcode, payload, 2, below(random, 65_536)),
      () => noise(random, 1 + below(random, 40)),
      () => this.#cut(this.#good()),
      () => this.#frame(CLOSE, this.#farewell()),
    ]
    return pick(random, makers)()
  }

  #announced(opcode: number, payload: Buffer, bytes: 2 | 8, value: number | bigint): Buffer {
    return this.#frame(opcode, payload, { length: { value, bytes } })
  }

  #cut(whole: Buffer): Buffer {
    return whole.subarray(0, below(this.#random, whole.length + 1))
  }

  #frame(
    opcode: number,
    payload: Uint8Array | string,
    options: Parameters<typeof frame>[2] = {},
  ): Buffer {
    const key = this.#random() < 0.1 ? Buffer.alloc(4) : noise(this.#random, 4)
    return frame(opcode, payload, { masked: this.#masked, key, ...options })
  }

  #size(): number {
    const random = this.#random
    const size =
      random() < 0.6
        ? below(random, 130)
        : pick(random, random() < 0.9 ? EDGES : [this.#most, ...LONG_EDGES])
    return random() < 0.98 ? Math.min(size, this.#most) : size
  }

  /** Returns a text of so many bytes: of one kind of letters, or of all. */
  #text(size: number): Buffer {
    const random = this.#random
    const plain = random() < 0.5
    const text = Buffer.alloc(size, 'x')
    for (let at = 0; at < size;) {
      const letter = Buffer.from(plain ? 'abc 012' : pick(random, LETTERS))
      if (at + letter.length > size) break
      text.set(letter, at)
      at += letter.length + (random() < 0.1 ? 1 : 0)
    }
    return text
  }

  #badText(): Buffer {
    const random = this.#random
    const bad = Buffer.from(pick(random, NO_UTF8), 'hex')
    const before = this.#text(below(random, 100))
    const text = Buffer.concat([before, bad, this.#text(below(random, 3))])
    return text.subarray(0, 123)
  }
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameScanner } from '../../lib/transport/scanner.ts'

const [CONTINUATION, TEXT, PING] = [0x00, 0x81, 0x89]

interface Shape {
  readonly first?: number
  readonly masked?: boolean
  /** Whether the length takes more bytes than it needs, RFC 6455 §5.2 forbids it. */
  readonly form?: 7 | 16 | 64
}

/** The header of a frame with a payload of this length. */
function header(length: bigint, { first = TEXT, masked = false, form }: Shape = {}): Uint8Array {
  const least = length < 126n ? 7 : length < 65_536n ? 16 : 64
  const size = form ?? least
  const wide = Buffer.alloc(8)
  wide.writeBigUInt64BE(length)
  const marks = masked ? 0x80 : 0
  const short = size === 7 ? Number(length) : size === 16 ? 126 : 127
  const rest = size === 7 ? [] : size === 16 ? wide.subarray(6) : wide
  const mask = masked ? [0x85, 0xff, 0x7e, 0x7f] : [] // bytes that would be lengths, read wrongly
  return Uint8Array.of(first, marks | short, ...rest, ...mask)
}

/** A whole frame; its payload looks like headers of long frames. */
function frame(length: number, shape?: Shape): Uint8Array {
  const head = header(BigInt(length), shape)
  const whole = new Uint8Array(head.length + length).fill(0xff)
  whole.set(head)
  return whole
}

/** Scans chunks, and gives the indexes of those in which a frame was found too long. */
function exceeding(most: number, chunks: Iterable<Uint8Array>): number[] {
  const found: number[] = []
  let index = 0
  const scanner = new FrameScanner(most, () => found.push(index))
  for (const chunk of chunks) {
    scanner.scan(chunk)
    index++
  }
  return found
}

const bytewise = (stream: Uint8Array): Uint8Array[] =>
  Array.from(stream, (_, index) => stream.subarray(index, index + 1))

/** Numbers from 0 up to 1, the same at every run. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return state / 2 ** 31
  }
}

/** Chops a stream at random places; some pieces are empty. */
function chopped(stream: Uint8Array, random: () => number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let from = 0; from < stream.length;) {
    const to = from + Math.floor(random() ** 3 * 400)
    pieces.push(stream.subarray(from, to))
    from = to
  }
  return pieces
}

for (const masked of [false, true]) {
  const shape = { masked }
  const as = masked ? 'masked' : 'unmasked'

  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]) {
    test(`a ${as} frame of ${length} bytes passes a limit of as many, and no smaller one`, () => {
      // One more frame behind it: where it begins tells whether the length was read right.
      const stream = Buffer.concat([frame(length, shape), frame(1, shape), header(2n ** 40n)])
      for (const chunks of [[stream], bytewise(stream)]) {
        assert.deepEqual(exceeding(Math.max(1, length), chunks), [chunks.length - 1])
        if (length > 1) assert.equal(exceeding(length - 1, chunks).length, 2)
      }
    })
  }

  for (const power of [31n, 32n, 53n, 63n]) {
    for (const length of [2n ** power - 1n, 2n ** power, 2n ** power + 1n]) {
      test(`a ${as} frame of ${length} bytes is too long as soon as its header is whole`, () => {
        const head = header(length, shape)
        assert.deepEqual(exceeding(2 ** 20, bytewise(head)), [head.length - 1])
        assert.deepEqual(exceeding(2 ** 20, [head]), [0])
      })
    }
  }

  test(`a ${as} frame of 2^31 bytes passes a limit of as many`, () => {
    const head = header(2n ** 31n, shape)
    assert.deepEqual(exceeding(2 ** 31, [head]), [])
    assert.deepEqual(exceeding(2 ** 31 - 1, [head]), [0])
  })

  test(`a ${as} frame of the most bytes a length can say is too long`, () => {
    assert.deepEqual(exceeding(Number.MAX_SAFE_INTEGER, [header(2n ** 64n - 1n, shape)]), [0])
  })

  test(`the length of a ${as} frame may take more bytes than it needs`, () => {
    const forms = [
      frame(5, { masked, form: 16 }),
      frame(5, { masked, form: 64 }),
      frame(0, { masked, form: 16 }),
      frame(0, { masked, form: 64 }),
      frame(300, { masked, form: 64 }),
    ]
    const stream = Buffer.concat([...forms, header(301n, shape)])
    for (const chunks of [[stream], bytewise(stream), forms]) {
      const found = exceeding(300, chunks)
      assert.equal(found.length, chunks === forms ? 0 : 1)
    }
  })

  test(`control frames between the fragments of a ${as} message count for themselves`, () => {
    const stream = Buffer.concat([
      frame(100, { masked, first: 0x01 }),
      frame(125, { masked, first: PING }),
      frame(100, { masked, first: CONTINUATION }),
      frame(0, { masked, first: PING }),
      frame(100, { masked, first: 0x80 }),
    ])
    assert.deepEqual(exceeding(125, bytewise(stream)), [])
    assert.equal(exceeding(124, [stream]).length, 1)
    assert.equal(exceeding(99, [stream]).length, 4)
  })
}

test('empty frames follow each other, in one chunk or in many', () => {
  const stream = Buffer.concat(Array.from({ length: 50 }, () => frame(0)))
  assert.deepEqual(exceeding(1, [stream]), [])
  assert.deepEqual(exceeding(1, bytewise(stream)), [])
})

test('an empty chunk changes nothing', () => {
  const stream = [frame(200).subarray(0, 3), new Uint8Array(), frame(200).subarray(3)]
  assert.deepEqual(exceeding(200, [new Uint8Array(), ...stream, new Uint8Array(), frame(201)]), [5])
})

test('every frame that is too long is told of', () => {
  assert.deepEqual(exceeding(10, [frame(11), frame(10), frame(200), frame(70_000)]), [0, 2, 3])
})

test('a stream is read alike wherever it is chopped', () => {
  const random = seeded(20_240)
  for (let round = 0; round < 100; round++) {
    const lengths = Array.from({ length: 20 }, () => Math.floor(random() ** 4 * 70_000))
    const stream = Buffer.concat(lengths.map((length) => frame(length, { masked: random() < 0.5 })))
    const long = lengths.filter((length) => length > 1_000).length
    assert.equal(exceeding(1_000, chopped(stream, random)).length, long)
  }
})

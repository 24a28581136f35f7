import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveServer } from '../../lib/options/server.ts'
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

/** What became of a stream: the code it was refused with, in which chunk, how many bytes passed. */
interface Outcome {
  readonly code: number | undefined
  readonly index: number
  readonly passed: number
}

/** Scans chunks until one is refused, or to their end; the first frame tells who sends them. */
function scanned(maxReceivedFrameSize: number | false, chunks: readonly Uint8Array[]): Outcome {
  const maxReceivedMessageSize = Number.MAX_SAFE_INTEGER
  const masked = (Buffer.concat(chunks)[1] ?? 0) > 0x7f
  const scanner = new FrameScanner(
    resolveServer({ maxReceivedFrameSize, maxReceivedMessageSize }),
    { masked, compressed: false },
  )
  let index = 0
  let passed = 0
  for (const chunk of chunks) {
    passed += scanner.scan(chunk)
    if (scanner.fault) break
    index++
  }
  return { code: scanner.fault?.code, index, passed }
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
      const first = frame(length, shape)
      const stream = Buffer.concat([first, frame(1, shape), header(2n ** 40n, shape)])
      for (const chunks of [[stream], bytewise(stream)]) {
        assert.equal(scanned(false, chunks).code, undefined)
        const behind = masked && chunks.length > 1 ? 4 : 0 // the mask
        const { code, index } = scanned(Math.max(1, length), chunks)
        assert.deepEqual([code, index], [1008, chunks.length - 1 - behind])
        if (length > 1) assert.equal(scanned(length - 1, chunks).code, 1008)
      }
      const least = Math.max(1, length)
      assert.equal(scanned(least, [stream]).passed, first.length + frame(1, shape).length)
    })
  }

  for (const power of [31n, 32n, 53n, 63n]) {
    for (const length of [2n ** power - 1n, 2n ** (power - 1n), 2n ** (power - 1n) + 1n]) {
      test(`a ${as} frame of ${length} bytes is too long as soon as its length is there`, () => {
        const head = header(length, shape)
        const { code, index } = scanned(2 ** 20, bytewise(head))
        assert.deepEqual([code, index], [1008, head.length - 1 - (masked ? 4 : 0)])
        assert.deepEqual(scanned(2 ** 20, [head]), { code: 1008, index: 0, passed: 0 })
        const most = BigInt(Number.MAX_SAFE_INTEGER)
        assert.equal(scanned(false, [head]).code, length > most ? 1009 : undefined)
      })
    }
  }

  for (const length of [2n ** 63n, 2n ** 63n + 1n, 2n ** 64n - 1n]) {
    test(`a ${as} frame of ${length} bytes has the highest bit, which is none of its length`, () => {
      const head = header(length, shape)
      assert.deepEqual(scanned(false, [head]), { code: 1002, index: 0, passed: 0 })
      assert.equal(scanned(2 ** 20, bytewise(head)).code, 1002)
    })
  }

  test(`the length of a ${as} frame takes no more bytes than it needs`, () => {
    for (const [length, form] of [
      [0, 16],
      [125, 16],
      [0, 64],
      [125, 64],
      [126, 64],
      [65_535, 64],
    ] as const) {
      const before = frame(300, shape)
      const stream = Buffer.concat([before, frame(length, { masked, form })])
      assert.deepEqual(scanned(false, [stream]), { code: 1002, index: 0, passed: before.length })
      assert.equal(scanned(false, bytewise(stream)).code, 1002)
    }
  })

  test(`control frames between the fragments of a ${as} message count for themselves`, () => {
    const stream = Buffer.concat([
      frame(100, { masked, first: 0x02 }),
      frame(125, { masked, first: PING }),
      frame(100, { masked, first: CONTINUATION }),
      frame(0, { masked, first: PING }),
      frame(100, { masked, first: 0x80 }),
    ])
    assert.equal(scanned(125, bytewise(stream)).code, undefined)
    assert.equal(scanned(124, [stream]).code, 1008)
    assert.deepEqual(scanned(99, [stream]), { code: 1008, index: 0, passed: 0 })
  })
}

test('empty frames follow each other, in one chunk or in many', () => {
  const stream = Buffer.concat(Array.from({ length: 50 }, () => frame(0)))
  assert.equal(scanned(1, [stream]).passed, stream.length)
  assert.equal(scanned(1, bytewise(stream)).passed, stream.length)
})

test('an empty chunk changes nothing', () => {
  const stream = [frame(200).subarray(0, 3), new Uint8Array(), frame(200).subarray(3)]
  const chunks = [new Uint8Array(), ...stream, new Uint8Array(), frame(201)]
  assert.deepEqual(scanned(200, chunks), { code: 1008, index: 5, passed: frame(200).length })
})

test('what comes behind a close frame is never judged', () => {
  const close = frame(2, { first: 0x88 })
  const stream = Buffer.concat([close, frame(5, { form: 64 })])
  for (const chunks of [[stream], bytewise(stream)]) {
    assert.deepEqual(scanned(false, chunks).passed, stream.length)
  }
})

test('what makes no sense by its first bytes is left to ws, whatever its length says', () => {
  for (const first of [0xc1, 0xb1, 0x83, 0x8b, 0x09, 0x80]) {
    const stream = Buffer.concat([frame(5, { first, form: 64 }), frame(5, { form: 64 })])
    assert.deepEqual(scanned(1, [stream]), { code: undefined, index: 1, passed: stream.length })
  }
})

test('a message is as long as its fragments, unless it is compressed', () => {
  const settings = resolveServer({ maxReceivedMessageSize: 100 })
  for (const [first, code] of [
    [0x02, 1009],
    [0x42, undefined],
  ] as const) {
    const scanner = new FrameScanner(settings, { masked: false, compressed: true })
    const faultAfter = (length: number, opening: number): number | undefined => {
      scanner.scan(frame(length, { first: opening }))
      return scanner.fault?.code
    }
    assert.equal(faultAfter(100, 0x82), undefined)
    assert.equal(faultAfter(60, first), undefined)
    assert.equal(faultAfter(40, CONTINUATION), undefined)
    assert.equal(faultAfter(60, PING), undefined)
    assert.equal(faultAfter(1, CONTINUATION), code)
  }
})

test('a stream is read alike wherever it is chopped', () => {
  const random = seeded(20_240)
  for (let round = 0; round < 100; round++) {
    const lengths = Array.from({ length: 20 }, () => Math.floor(random() ** 4 * 70_000))
    const masked = random() < 0.5
    const frames = lengths.map((length) => frame(length, { masked }))
    const whole = frames.reduce((sum, { length }) => sum + length, 0)
    const stream = Buffer.concat([...frames, frame(100_000, { masked })])
    const { code, passed } = scanned(70_000, chopped(stream, random))
    assert.equal(code, 1008)
    assert.ok(passed >= whole && passed < whole + 10, 'none of its payload passes')
  }
})

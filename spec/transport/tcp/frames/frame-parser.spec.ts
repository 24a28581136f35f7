import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Data } from '../../../../lib/connection/message.ts'
import { closePayload, frame, type FrameOptions } from '../../../support/rawpeer.ts'
import { below, noise, seeded } from '../../../support/random.ts'
import { collect } from '../../../support/heap.ts'
import { Recording } from '../../../support/transport/recording.ts'

const KIB = 1024
const KEY = Buffer.of(0x91, 2, 0x83, 4)
const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10]

const bytewise = (stream: Uint8Array): Uint8Array[] =>
  Array.from(stream, (_, index) => stream.subarray(index, index + 1))

/** Cuts a stream at random places; some pieces are empty. */
function chopped(stream: Uint8Array, random: () => number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let from = 0; from < stream.length;) {
    const to = from + Math.floor(random() ** 3 * 400)
    pieces.push(stream.subarray(from, to))
    from = to
  }
  return pieces
}

for (const isMasked of [true, false]) {
  const how = isMasked ? 'masked' : 'unmasked'
  const make = (
    opcode: number,
    payload: Uint8Array | string = '',
    options: FrameOptions = {},
  ): Buffer => frame(opcode, payload, { masked: isMasked, key: KEY, ...options })

  test(`texts of all lengths are read, in one chunk and byte by byte: ${how}`, () => {
    const lengths = [0, 1, 63, 64, 65, 125, 126, 127, 1_023, 1_024, 1_025, 65_535, 65_536]
    const texts = lengths.flatMap((length) => [
      'x'.repeat(length),
      'ü'.repeat(length / 2),
      '€'.repeat(length / 3),
    ])
    const stream = Buffer.concat(texts.map((text) => make(TEXT, text)))
    for (const chunks of [[stream], bytewise(stream)]) {
      const recording = new Recording({ isMasked }).pushAll(chunks)
      assert.deepEqual(recording.messages, texts)
      assert.deepEqual(
        recording.sizes,
        texts.map((text) => Buffer.byteLength(text)),
      )
    }
  })

  test(`bytes are plain bytes that do not change afterwards: ${how}`, () => {
    const bytes = Uint8Array.from({ length: 300 }, (_, index) => index)
    const stream = Buffer.concat([make(BINARY, bytes), make(BINARY), make(BINARY, bytes)])
    for (const chunks of [[stream], bytewise(stream)]) {
      const { messages } = new Recording({ isMasked }).pushAll(chunks)
      assert.deepEqual(messages, [bytes, new Uint8Array(0), bytes])
    }
  })

  test(`control frames come between fragments, in order: ${how}`, () => {
    const stream = Buffer.concat([
      make(TEXT, 'before'),
      make(PING, 'one'),
      make(TEXT, 'grü', { fin: false }),
      make(PONG, 'two'),
      make(CONTINUATION, '', { fin: false }),
      make(PING, 'three'),
      make(CONTINUATION, 'ße'),
      make(BINARY, 'by', { fin: false }),
      make(CONTINUATION, 'tes'),
      make(CLOSE, closePayload(4000, 'bye')),
      make(TEXT, 'behind'),
    ])
    for (const chunks of [[stream], bytewise(stream)]) {
      const recording = new Recording({ isMasked }).pushAll(chunks)
      const { messages, pings, pongs } = recording
      assert.deepEqual(messages, ['before', 'grüße', Uint8Array.from(Buffer.from('bytes'))])
      assert.deepEqual([...pings, ...pongs].map(String), ['one', 'three', 'two'].map(bytesOf))
      assert.deepEqual(recording.closed, { code: 4000, description: 'bye' })
      assert.equal(recording.invalid, undefined)
    }
  })

  test(`wherever a stream is cut in two, the same comes of it: ${how}`, () => {
    const stream = Buffer.concat([
      make(TEXT, 'short'),
      make(BINARY, Buffer.alloc(200, 7)),
      make(PING, 'ping'),
      make(TEXT, 'ü'.repeat(100), { fin: false }),
      make(CONTINUATION, 'ü'.repeat(40_000)),
      make(TEXT, ''),
      make(TEXT, 'last'),
    ])
    const { messages, pings } = new Recording({ isMasked }).push(stream)
    assert.equal(messages.length, 5)
    for (let cut = 1; cut < stream.length; cut += cut < 700 ? 1 : 997) {
      const parts = [stream.subarray(0, cut), stream.subarray(cut)]
      const recording = new Recording({ isMasked }).pushAll(parts)
      assert.deepEqual(recording.messages, messages, `cut at ${cut}`)
      assert.deepEqual(recording.pings, pings)
    }
  })

  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]) {
    test(`a frame of ${length} bytes passes a limit of as many, and no smaller one: ${how}`, () => {
      const maxReceivedMessageSize = 2 ** 40
      const whole = make(BINARY, Buffer.alloc(length))
      const stream = Buffer.concat([whole, make(BINARY, 'x'), announcing(2n ** 39n, isMasked)])
      const least = Math.max(1, length)
      for (const chunks of [[stream], bytewise(stream)]) {
        const just = new Recording({
          isMasked,
          maxReceivedMessageSize,
          maxReceivedFrameSize: least,
        })
        just.pushAll(chunks)
        assert.deepEqual([just.code, just.messages.length], [1008, 2])
        if (length < 2) continue
        const maxReceivedFrameSize = length - 1
        const less = new Recording({ isMasked, maxReceivedMessageSize, maxReceivedFrameSize })
        less.pushAll(chunks)
        assert.deepEqual([less.code, less.messages.length], [1008, 0])
      }
    })
  }

  for (const power of [31n, 32n, 53n, 63n]) {
    for (const length of [2n ** power - 1n, 2n ** (power - 1n), 2n ** (power - 1n) + 1n]) {
      test(`a frame of ${length} bytes is too long as soon as its length is there: ${how}`, () => {
        const header = announcing(length, isMasked).subarray(0, 10)
        for (const [options, code] of [
          [{ maxReceivedFrameSize: 2 ** 20 }, 1008],
          [{ maxReceivedMessageSize: 2 ** 29 }, 1009],
        ] as const) {
          const recording = new Recording({ isMasked, ...options })
          recording.pushAll(bytewise(header.subarray(0, 9)))
          assert.equal(recording.code, undefined)
          assert.equal(recording.push(header.subarray(9)).code, code)
          assert.equal(new Recording({ isMasked, ...options }).push(header).code, code)
        }
      })
    }
  }

  for (const length of [2n ** 63n, 2n ** 63n + 1n, 2n ** 64n - 1n]) {
    test(`a length of ${length} has the highest bit, which is none of it: ${how}`, () => {
      const header = announcing(length, isMasked)
      const recording = new Recording({ isMasked, maxReceivedFrameSize: 2 ** 20 })
      assert.equal(recording.pushAll(bytewise(header)).code, 1002)
    })
  }

  test(`a length takes no more bytes than it needs: ${how}`, () => {
    for (const [value, bytes] of [
      [0, 2],
      [125, 2],
      [0, 8],
      [125, 8],
      [126, 8],
      [65_535, 8],
    ] as const) {
      const bad = make(BINARY, Buffer.alloc(value), { length: { value, bytes } })
      const stream = Buffer.concat([make(TEXT, 'before'), bad])
      for (const chunks of [[stream], bytewise(stream)]) {
        const recording = new Recording({ isMasked }).pushAll(chunks)
        assert.deepEqual([recording.code, recording.messages], [1002, ['before']])
      }
    }
  })

  test(`a message is as long as its fragments, also beyond 2^31: ${how}`, () => {
    const maxReceivedMessageSize = 3 * 2 ** 30
    const recording = new Recording({ isMasked, maxReceivedMessageSize })
    recording.push(make(BINARY, 'x', { fin: false }))
    recording.push(announcing(3n * 2n ** 30n - 1n, isMasked, 0x00))
    assert.equal(recording.code, undefined)
    const longer = new Recording({ isMasked, maxReceivedMessageSize })
    longer.push(make(BINARY, 'x', { fin: false }))
    assert.equal(longer.push(announcing(3n * 2n ** 30n, isMasked, 0x00)).code, 1009)
  })

  test(`a text that can't become UTF-8 any more is refused at that byte: ${how}`, () => {
    for (const bad of ['ff', 'c0', 'eda0', 'f490', 'e28261', 'f8']) {
      for (const before of ['', 'x', 'ü'.repeat(70)]) {
        const text = Buffer.concat([Buffer.from(before), Buffer.from(bad, 'hex'), Buffer.from('x')])
        const whole = make(TEXT, text, { fin: false })
        const last = whole.length - 1 // the byte behind the bad ones
        const recording = new Recording({ isMasked }).pushAll(bytewise(whole.subarray(0, last - 1)))
        assert.equal(recording.code, undefined)
        assert.equal(recording.push(whole.subarray(last - 1, last)).code, 1007, `${before}${bad}`)
      }
    }
  })
}

function bytesOf(text: string): string {
  return String(Uint8Array.from(Buffer.from(text)))
}

/** A header that announces a length, and no payload. */
function announcing(length: bigint, masked: boolean, first = 0x82): Buffer {
  const header = frame(first & 15, '', { masked, key: KEY, length: { value: length, bytes: 8 } })
  header[0] = first
  return header
}

const nonsense: readonly (readonly [what: string, bytes: Buffer, description: string])[] = [
  ['a reserved bit', frame(1, 'x', { reserved: 4 }), 'RSV1 must be clear'],
  ['another one', frame(1, 'x', { reserved: 1 }), 'RSV2 and RSV3 must be clear'],
  ['an opcode that means nothing', frame(3, 'x'), 'invalid opcode 3'],
  ['a control opcode that means nothing', frame(11, 'x'), 'invalid opcode 11'],
  ['no mask', frame(1, 'x', { masked: false }), 'MASK must be set'],
  ['a ping in fragments', frame(9, 'x', { fin: false }), 'FIN must be set'],
  ['a long ping', frame(9, 'x'.repeat(126)), 'invalid payload length 126'],
  ['a close of one byte', frame(8, 'x'), 'invalid payload length 1'],
  ['a fragment of nothing', frame(0, 'x'), 'invalid opcode 0'],
]

for (const [what, bytes, description] of nonsense) {
  test(`${what} is refused at its second byte, and nothing behind it is read`, () => {
    const recording = new Recording().push(frame(1, 'good'), bytes.subarray(0, 1))
    assert.equal(recording.invalid, undefined)
    recording.push(bytes.subarray(1, 2))
    assert.deepEqual(recording.invalid, { code: 1002, description })
    recording.push(bytes.subarray(2), frame(1, 'late'))
    assert.deepEqual(recording.messages, ['good'])
  })
}

test('a new message inside one in fragments is refused', () => {
  const recording = new Recording().push(frame(1, 'one', { fin: false }), frame(1, 'two'))
  assert.deepEqual([recording.code, recording.messages], [1002, []])
})

test('a compressed message is told of as it came, and its size counts when it is inflated', () => {
  const recording = new Recording({ mayCompress: true, maxReceivedMessageSize: 8_000 })
  recording.push(
    frame(1, 'abc', { reserved: 4, fin: false }),
    frame(9, 'ping'),
    frame(0, 'def'),
    frame(2, Buffer.alloc(9_000), { reserved: 4 }), // compressing makes some longer
    frame(2, Buffer.alloc(100), { reserved: 4, fin: false }),
    frame(0, Buffer.alloc(10_000)),
  )
  assert.deepEqual(
    recording.compressed.map(([payload, isText]) => [payload.length, isText]),
    [
      [6, true],
      [9_000, false],
    ],
  )
  assert.equal(recording.code, 1009)
})

test('text is delivered as bytes where that is chosen, once it is known to be text', () => {
  for (const cut of [1, 8, 9, 11]) {
    const stream = frame(1, 'grüße', { key: KEY })
    const recording = new Recording({ binary: true })
    recording.push(stream.subarray(0, cut), stream.subarray(cut))
    assert.deepEqual(recording.messages, [Uint8Array.from(Buffer.from('grüße'))])
    assert.equal(recording.push(frame(1, Buffer.of(0xff))).code, 1007)
  }
})

// Pausing

for (const isMasked of [true, false]) {
  test(`a paused parser keeps the rest of its chunk, masked: ${isMasked}`, () => {
    const texts = Array.from({ length: 50 }, (_, number) => `${number} ${'ü'.repeat(number)}`)
    const stream = Buffer.concat(
      texts.map((text) => frame(1, text, { masked: isMasked, key: KEY })),
    )
    for (let seed = 1; seed <= 20; seed++) {
      const random = seeded(seed)
      const recording = new Recording({ isMasked })
      const { parser } = recording
      const read: Data[][] = []
      recording.onEach = () => {
        if (random() < 0.3) parser.pause()
        if (random() < 0.1) parser.resume() // by the same listener
      }
      for (const chunk of chopped(stream, random)) {
        recording.push(chunk)
        const before = recording.messages.length
        if (random() < 0.5) parser.resume()
        else if (parser.hasHeldBytes) assert.equal(recording.messages.length, before)
        read.push(recording.messages)
      }
      while (parser.hasHeldBytes) parser.resume()
      assert.deepEqual(recording.messages, texts)
    }
  })
}

test('nothing comes while it is paused, neither messages nor pings nor a refusal', () => {
  const recording = new Recording()
  recording.onEach = () => recording.parser.pause()
  recording.push(Buffer.concat([frame(1, 'one'), frame(9), frame(1, 'two'), frame(3)]))
  recording.push(frame(1, 'late'))
  assert.deepEqual([recording.messages, recording.pings.length], [['one'], 0])
  recording.parser.resume()
  assert.deepEqual([recording.messages, recording.pings.length], [['one', 'two'], 1])
  assert.equal(recording.code, undefined)
  recording.parser.resume()
  assert.deepEqual([recording.code, recording.parser.hasHeldBytes], [1002, false])
})

// Memory

test('a message that is kept keeps a few times as much alive, at most', () => {
  const chunk = Buffer.concat([
    frame(2, Buffer.alloc(10)),
    frame(2, Buffer.alloc(20 * KIB)),
    frame(9),
    frame(2, Buffer.alloc(20 * KIB)),
  ])
  assert.deepEqual(
    new Recording().push(chunk).messages.map((data) => buffered(data)),
    [10, chunk.length, chunk.length],
  )
})

test('a message in fragments keeps at most as much alive as it is long, and as much again', () => {
  for (const size of [1, 100, 1_000, 4_096, 5_000]) {
    for (const count of [2, 3, 17, 100]) {
      const middle = frame(0, Buffer.alloc(size), { fin: false })
      const recording = new Recording().push(
        frame(2, Buffer.alloc(size), { fin: false }),
        ...Array<Buffer>(count - 2).fill(middle),
        frame(0, Buffer.alloc(size)),
      )
      const [message] = recording.messages
      assert.equal(message?.length, size * count)
      assert.ok(buffered(message) <= 2 * size * count, `${count} of ${size}`)
    }
  }
})

for (const reserved of [0, 4]) {
  test(`fragments that wait keep no chunk alive, compressed: ${reserved === 4}`, async () => {
    const recordings: Recording[] = []
    const pong = frame(PONG, Buffer.alloc(125))
    collect()
    const before = process.memoryUsage().arrayBuffers
    for (let count = 0; count < 100; count++) {
      const recording = new Recording({ mayCompress: true })
      const filler = frame(BINARY, Buffer.alloc(60 * KIB))
      recording.onEach = () => (recording.messages.length = 0)
      for (let part = 0; part < 10; part++) {
        const next = frame(part === 0 ? TEXT : CONTINUATION, 'x', {
          fin: false,
          reserved: part === 0 ? reserved : 0,
        })
        recording.parser.push(Buffer.concat(part === 0 ? [filler, next] : [next, pong]))
      }
      assert.equal(recording.invalid, undefined)
      recordings.push(recording)
    }
    for (const recording of recordings) recording.pongs.length = 0
    collect()
    await new Promise(setImmediate) // the memory of buffers is freed a little later
    collect()
    const held = process.memoryUsage().arrayBuffers - before
    assert.ok(held < KIB * KIB, `${held} bytes for ${recordings.length}`)
  })
}

test('the rest that a paused parser keeps of a chunk is copied where it is small', () => {
  const chunk = Buffer.concat([frame(1, 'one'), frame(2, Buffer.alloc(60 * KIB)), frame(1, 'two')])
  const recording = new Recording()
  recording.onEach = () => recording.parser.pause()
  recording.parser.push(chunk)
  recording.parser.resume()
  chunk.fill(0) // which a copy does not notice
  recording.parser.resume()
  assert.equal(recording.messages[2], 'two')
})

function buffered(data: Data | undefined): number {
  return data instanceof Uint8Array ? data.buffer.byteLength : 0
}

test('a stream is read alike wherever it is cut', () => {
  const random = seeded(20_240)
  for (let round = 0; round < 100; round++) {
    const isMasked = random() < 0.5
    const sizes = Array.from({ length: 20 }, () => below(random, 70_000 * random() ** 3 + 1))
    const payloads = sizes.map((size) => noise(random, size))
    const frames = payloads.map((payload) =>
      frame(BINARY, payload, { masked: isMasked, key: noise(random, 4) }),
    )
    const recording = new Recording({ isMasked, maxReceivedFrameSize: 70_000 })
    const stream = Buffer.concat([...frames, announcing(100_000n, isMasked)])
    recording.pushAll(chopped(stream, random))
    assert.equal(recording.code, 1008)
    assert.ok(recording.messages.every((data, at) => payloads[at]?.equals(data as Uint8Array)))
    assert.equal(recording.messages.length, payloads.length)
  }
})

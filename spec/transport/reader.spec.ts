import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Data } from '../../lib/message.ts'
import type { Stream } from '../../lib/transport/frame.ts'
import { Reader, type Reading } from '../../lib/transport/reader.ts'
import { closePayload, frame, type FrameOptions } from '../rawpeer.ts'

const KIB = 1024
const UNMASKED: Stream = { masked: false, compressed: false }
const KEY = Buffer.of(0x91, 2, 0x83, 4)

/** Writes down what a reader tells, and what it leaves. */
class Desk implements Reading {
  readonly stream: Stream
  readonly most: number
  readonly messages: Data[] = []
  readonly sizes: number[] = []
  readonly left: Buffer[] = []
  /** Whether frames may follow what was left. */
  more = true
  readonly #reader = new Reader(this)

  constructor({ masked = true, most = 100 * KIB } = {}) {
    this.stream = { masked, compressed: false }
    this.most = most
  }

  message(data: Data, size: number): void {
    this.messages.push(data)
    this.sizes.push(size)
  }

  leave(bytes: Buffer): boolean {
    this.left.push(Buffer.from(bytes))
    return this.more
  }

  read(...chunks: Buffer[]): this {
    for (const chunk of chunks) this.#reader.read(Buffer.from(chunk))
    return this
  }

  frame(opcode: number, payload: Uint8Array | string = '', options: FrameOptions = {}): Buffer {
    return frame(opcode, payload, { masked: this.stream.masked, key: KEY, ...options })
  }
}

const whole = ({ left }: Desk): Buffer => Buffer.concat(left)

for (const masked of [true, false]) {
  const how = masked ? 'masked' : 'unmasked'

  test(`whole messages of one chunk are read, all lengths of lengths: ${how}`, () => {
    const texts = [0, 1, 63, 64, 65, 125, 126, 127, 1_023, 1_024, 1_025, 65_535, 65_536].flatMap(
      (length) => ['x'.repeat(length), 'ü'.repeat(length / 2), '€'.repeat(length / 3)],
    )
    const desk = new Desk({ masked })
    desk.read(Buffer.concat(texts.map((text) => desk.frame(1, text))))
    assert.deepEqual(desk.messages, texts)
    assert.deepEqual(
      desk.sizes,
      texts.map((text) => Buffer.byteLength(text)),
    )
    assert.deepEqual(desk.left, [])
  })

  test(`bytes are bytes that nobody else changes: ${how}`, () => {
    const desk = new Desk({ masked })
    const bytes = Uint8Array.from({ length: 300 }, (_, index) => index)
    desk.read(Buffer.concat([desk.frame(2, bytes), desk.frame(2), desk.frame(2, bytes)]))
    assert.deepEqual(desk.messages, [bytes, new Uint8Array(0), bytes])
  })

  test(`a message of the most bytes is read, and a longer one left: ${how}`, () => {
    const desk = new Desk({ masked, most: 200 })
    const longer = desk.frame(1, 'x'.repeat(201))
    desk.read(Buffer.concat([desk.frame(1, 'x'.repeat(200)), longer]))
    assert.equal(desk.messages.length, 1)
    assert.ok(whole(desk).equals(longer))
  })

  test(`control frames and fragments are left, each in its place: ${how}`, () => {
    const desk = new Desk({ masked })
    const parts = [
      desk.frame(9, 'ping'),
      desk.frame(1, 'one ', { fin: false }),
      desk.frame(10, 'pong'),
      desk.frame(0, 'two', { fin: false }),
      desk.frame(0, 'three'),
    ]
    desk.read(Buffer.concat([desk.frame(1, 'before'), ...parts, desk.frame(1, 'behind')]))
    assert.deepEqual(desk.messages, ['before', 'behind'])
    assert.deepEqual(desk.left, parts)
  })

  test(`a text that is no UTF-8 is left as it came, and all behind it: ${how}`, () => {
    const desk = new Desk({ masked })
    for (const length of [3, 100]) {
      const bad = desk.frame(1, Buffer.concat([Buffer.alloc(length, 'x'), Buffer.of(0xc3)]))
      const fresh = new Desk({ masked })
      fresh.read(Buffer.concat([desk.frame(1, 'good'), bad, desk.frame(1, 'late')]))
      fresh.read(desk.frame(1, 'later'))
      assert.deepEqual(fresh.messages, ['good'])
      const all = Buffer.concat([bad, desk.frame(1, 'late'), desk.frame(1, 'later')])
      assert.ok(whole(fresh).equals(all))
    }
  })

  test(`wherever chunks are cut, the same comes of it: ${how}`, () => {
    const maker = new Desk({ masked })
    const bytes = Buffer.concat([
      maker.frame(1, 'short'),
      maker.frame(2, Buffer.alloc(200, 7)),
      maker.frame(9, 'ping'),
      maker.frame(1, 'ü'.repeat(100)),
      maker.frame(1, ''),
    ])
    const last = maker.frame(1, 'last')
    for (let cut = 1; cut < bytes.length; cut++) {
      const twice = new Desk({ masked }).read(
        bytes.subarray(0, cut),
        Buffer.concat([bytes.subarray(cut), last]),
      )
      // What was cut is left; put together by others, it is the same bytes in the same order.
      const read = twice.messages.map((data) => maker.frame(typeof data === 'string' ? 1 : 2, data))
      assert.equal(
        Buffer.concat([...read, ...twice.left]).length,
        bytes.length + last.length,
        `cut at ${cut}`,
      )
      assert.ok(twice.messages.length >= 4, `cut at ${cut}`)
      assert.equal(twice.messages.at(-1), 'last', `cut at ${cut}`)
    }
  })
}

const nonsense: readonly (readonly [what: string, bytes: Buffer])[] = [
  ['a reserved bit', frame(1, 'x', { reserved: 4 })],
  ['an opcode that means nothing', frame(3, 'x')],
  ['a control opcode that means nothing', frame(11, 'x')],
  ['no mask', frame(1, 'x', { masked: false })],
  ['a ping in fragments', frame(9, 'x', { fin: false })],
  ['a long ping', frame(9, 'x'.repeat(126))],
  ['a fragment of nothing', frame(0, 'x')],
  ['a close frame', frame(8, closePayload(1000))],
]

for (const [what, bytes] of nonsense) {
  test(`from ${what} on all is left, after its second byte`, () => {
    const desk = new Desk()
    desk.read(frame(1, 'good'), bytes.subarray(0, 1))
    assert.deepEqual(desk.left, [])
    desk.read(bytes.subarray(1, 2))
    assert.deepEqual(desk.left, [bytes.subarray(0, 2)])
    desk.read(bytes.subarray(2), frame(1, 'late'))
    assert.deepEqual(desk.messages, ['good'])
    assert.ok(whole(desk).equals(Buffer.concat([bytes, frame(1, 'late')])))
  })
}

test('a new message inside one in fragments is left, and all behind it', () => {
  const desk = new Desk()
  const parts = [frame(1, 'one', { fin: false }), frame(1, 'two'), frame(1, 'three')]
  desk.read(Buffer.concat(parts))
  assert.deepEqual(desk.messages, [])
  assert.ok(whole(desk).equals(Buffer.concat(parts)))
})

test('nothing more is read once others say that nothing follows', () => {
  const desk = new Desk()
  desk.more = false
  desk.read(Buffer.concat([frame(9, 'last'), frame(1, 'late')]))
  assert.deepEqual(desk.messages, [])
})

test('the length of a frame is left as soon as it is known', () => {
  const desk = new Desk()
  const header = frame(2, '', { length: { value: 2n ** 63n, bytes: 8 } }).subarray(0, 10)
  for (const byte of header) {
    assert.deepEqual(desk.left, [])
    desk.read(Buffer.of(byte))
  }
  assert.deepEqual(desk.left, [header])
})

test('texts cut out of pages are those that were sent', () => {
  const desk = new Desk({ masked: false })
  const texts = Array.from({ length: 2_000 }, (_, number) =>
    number % 17 === 0 ? `ü${number}` : `${number}`.repeat(1 + (number % 14)),
  )
  const bytes = Buffer.concat(texts.map((text) => desk.frame(1, text)))
  desk.read(bytes)
  assert.deepEqual(desk.messages, texts)
  for (let at = 0; at < bytes.length; at += 777) desk.read(bytes.subarray(at, at + 777))
  assert.equal(desk.messages.length > 3_900, true)
})

test('of a frame in several chunks it tells how much of its payload is still to come', () => {
  const lefts: number[][] = []
  const reader = new Reader({
    ...{ stream: UNMASKED, most: KIB },
    message: () => assert.fail(),
    leave: (bytes, left) => lefts.push([bytes.length, left]) > 0,
  })
  const bytes = frame(2, Buffer.alloc(200, 7), { masked: false })
  for (const [from, to] of [
    [0, 3],
    [3, 4],
    [4, 100],
    [100, 150],
    [150, 204],
  ] as const) {
    reader.read(bytes.subarray(from, to))
  }
  assert.deepEqual(lefts, [
    [4, 0],
    [96, 104],
    [50, 54],
    [54, 0],
  ])
})

test('a frame that comes in large chunks is left in them, and nothing is copied', () => {
  const left: Buffer[] = []
  const reader = new Reader({
    stream: UNMASKED,
    most: KIB * KIB,
    message: () => assert.fail(),
    leave: (bytes) => left.push(bytes) > 0,
  })
  const bytes = frame(2, Buffer.alloc(100 * KIB, 7), { masked: false })
  const chunks = [bytes.subarray(0, 60 * KIB), bytes.subarray(60 * KIB)]
  for (const chunk of chunks) reader.read(chunk)
  assert.ok(Buffer.concat(left).equals(bytes))
  assert.ok(left.every(({ buffer }) => buffer === bytes.buffer))
})

test('a message that is kept keeps a few times as much alive, at most', () => {
  const desk = new Desk({ masked: false })
  const chunk = Buffer.concat([
    desk.frame(2, Buffer.alloc(10)),
    desk.frame(2, Buffer.alloc(20 * KIB)),
    desk.frame(9),
    desk.frame(2, Buffer.alloc(20 * KIB)),
  ])
  desk.read(chunk)
  assert.deepEqual(
    desk.messages.map((data) => data instanceof Uint8Array && data.buffer.byteLength),
    [10, chunk.length, chunk.length],
  )
})

test('a fragment that waits for the rest of its message keeps no chunk alive', () => {
  const left: Buffer[] = []
  const reader = new Reader({
    ...{ stream: UNMASKED, most: KIB * KIB },
    message: () => {},
    leave: (bytes) => left.push(bytes) > 0,
  })
  const unmasked = { masked: false }
  const filler = frame(2, Buffer.alloc(60 * KIB), unmasked)
  const fragment = frame(1, 'small', { ...unmasked, fin: false })
  const chunk = Buffer.concat([filler, fragment])
  reader.read(chunk)
  assert.equal(left.length, 1)
  assert.ok(left.every(({ buffer }) => buffer !== chunk.buffer && buffer.byteLength < 9 * KIB))
})

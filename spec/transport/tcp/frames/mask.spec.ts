import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  applyMask,
  drawKey,
  readKey,
  rotateKey,
  writeKey,
} from '../../../../lib/transport/tcp/frames/mask.ts'
import { noise, seeded } from '../../../support/random.ts'

const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 46, 47, 48, 49, 50, 51, 52, 63, 64, 65, 127, 1_000, 1_003]
const KEYS = [
  [0, 0, 0, 0],
  [1, 2, 3, 4],
  [0xff, 0, 0xff, 0],
  [0x80, 0x80, 0x80, 0x80],
  [0, 0, 0, 0x80],
]
const ALIGNMENTS = 8

/** Masks as RFC 6455 §5.3 has it, byte by byte. */
function naively(bytes: Uint8Array, key: readonly number[]): Uint8Array {
  return Uint8Array.from(bytes, (byte, index) => byte ^ (key[index % 4] ?? 0))
}

interface Place {
  readonly length: number
  readonly key: readonly number[]
  readonly offset: number
}

/** All lengths, keys and places in memory; how far the key stands before the bytes, too. */
const places: readonly Place[] = LENGTHS.flatMap((length) =>
  KEYS.flatMap((key) =>
    Array.from({ length: ALIGNMENTS }, (_, offset) => ({ length, key, offset })),
  ),
)

for (const gap of [0, 3]) {
  test(`bytes are masked one by one, wherever they stand, ${gap} bytes behind the key`, () => {
    for (const { length, key, offset } of places) {
      const where = `${length} bytes at ${offset}, key ${key.join()}`
      const payload = noise(seeded(length), length)
      const memory = new Uint8Array(offset + 4 + gap + length + 9).fill(0xaa)
      const bytes = memory.subarray(offset)
      const start = 4 + gap
      bytes.set(key)
      bytes.set(payload, start)
      const expected = naively(payload, key)
      const ascii = applyMask(bytes, readKey(bytes, 0), start, start + length)
      assert.deepEqual(bytes.slice(start, start + length), expected, where)
      assert.equal(
        ascii,
        expected.every((byte) => byte < 0x80),
        where,
      )
      assert.deepEqual([...bytes.subarray(0, 4)], [...key], where)
      const around = [...memory.subarray(0, offset), ...bytes.subarray(4, start)]
      const behind = bytes.subarray(start + length)
      assert.ok(
        [...around, ...behind].every((byte) => byte === 0xaa),
        where,
      )
      applyMask(bytes, readKey(bytes, 0), start, start + length)
      assert.ok(payload.equals(bytes.subarray(start, start + length)), where)
    }
  })
}

test('one byte that is not ASCII is found, wherever it stands', () => {
  for (const length of LENGTHS) {
    for (let offset = 0; offset < 4; offset++) {
      for (let at = 0; at < length; at++) {
        const bytes = new Uint8Array(offset + 4 + length).subarray(offset).fill(0x41, 4)
        assert.equal(applyMask(bytes, 0, 4, 4 + length), true)
        bytes[4 + at] = 0x80
        assert.equal(applyMask(bytes, 0, 4, 4 + length), false, `${at} of ${length} at ${offset}`)
      }
    }
  }
})

test('bytes that come in parts are masked as one', () => {
  const payload = noise(seeded(1), 300)
  const key = readKey(Uint8Array.of(1, 0x82, 3, 0xf4), 0)
  for (let cut = 0; cut <= payload.length; cut++) {
    const [whole, parts] = [Buffer.from(payload), Buffer.from(payload)]
    applyMask(whole, key, 0, whole.length)
    applyMask(parts, key, 0, cut)
    applyMask(parts, rotateKey(key, cut), cut, parts.length)
    assert.ok(whole.equals(parts), `${cut}`)
  }
})

test('keys that are drawn differ, and every byte of them does', () => {
  const count = 10_000
  const drawn = new Uint8Array(4 * count)
  for (let number = 0; number < count; number++) writeKey(drawn, drawKey(), 4 * number)
  const words = new Set(new Uint32Array(drawn.buffer))
  assert.ok(words.size > count - 10, `${words.size} of ${count}`) // two may be the same by chance
  for (let place = 0; place < 4; place++) {
    assert.equal(new Set(drawn.filter((_, index) => index % 4 === place)).size, 256)
  }
})

test('a key goes where it belongs, and is read as it was written', () => {
  const target = new Uint8Array(8)
  for (const key of [0, 1, -1, 0x7f808001, drawKey()]) {
    writeKey(target, key, 2)
    assert.deepEqual([target[0], target[1], target[6], target[7]], [0, 0, 0, 0])
    assert.equal(readKey(target, 2), key)
  }
})

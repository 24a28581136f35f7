import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readBinary, writeBinary } from '../../../lib/channels/protocol/phoenix-binary.ts'
import { FrameError } from '../../../lib/errors.ts'
import { Random } from '../../support/channels/random.ts'

test('names and data come back as they went', (context) => {
  const random = new Random()
  context.diagnostic(`seed ${random.seed}`)
  for (let round = 0; round < 2_000; round++) {
    const names = Array.from({ length: random.below(6) }, () => random.text(60))
    const data = random.bytes(100)
    const frame = writeBinary(7, names, data)
    assert.equal(frame[0], 7)
    assert.deepEqual(readBinary(frame, names.length), { names, data })
  }
})

test('the longest names there are', () => {
  const names = ['a'.repeat(255), '😀'.repeat(63), '', 'é'.repeat(127)]
  assert.deepEqual(readBinary(writeBinary(0, names, Uint8Array.of(1)), 4), {
    ...{ names, data: Uint8Array.of(1) },
  })
  assert.throws(() => writeBinary(0, ['a'.repeat(256)], new Uint8Array()), RangeError)
  assert.throws(() => writeBinary(0, ['é'.repeat(128)], new Uint8Array()), RangeError)
})

test('data is a view of what came, wherever in its buffer it stood', () => {
  const whole = Uint8Array.of(9, 9, 0, 1, 0x61, 5, 6, 9).subarray(2, 7)
  const { names, data } = readBinary(whole, 1)
  assert.deepEqual([names, data], [['a'], Uint8Array.of(5, 6)])
  assert.equal(data.buffer, whole.buffer)
})

test('half a character that was cut from a pair takes no bytes of its neighbour', () => {
  const { names } = readBinary(writeBinary(0, ['\ud83d', '\ude00'], new Uint8Array()), 2)
  assert.deepEqual(names, ['\ufffd', '\ufffd'])
})

test('a name is UTF-8 by itself, not together with its neighbour', () => {
  const frame = Uint8Array.of(0, 1, 1, 0xc3, 0xa9)
  assert.throws(
    () => readBinary(frame, 2),
    (error) => error instanceof FrameError && error.closeCode === 1007,
  )
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pieces } from '../../lib/transport/pieces.ts'

const PIECE = 4 * 1024

/** What was handed on. */
function gathered(): { pieces: Pieces; taken: Buffer[] } {
  const taken: Buffer[] = []
  return { pieces: new Pieces((bytes) => taken.push(bytes)), taken }
}

for (const length of [1, 2, PIECE - 1, PIECE, PIECE + 1, 64 * 1024, 64 * 1024 + 1]) {
  test(`a payload of ${length} bytes that comes byte by byte goes on in few pieces`, () => {
    const { pieces, taken } = gathered()
    const payload = Buffer.from(Array.from({ length }, (_, index) => index))
    for (let at = 0; at < length; at++) pieces.put(payload.subarray(at, at + 1), length - at - 1)
    assert.equal(taken.length, Math.ceil(length / PIECE))
    assert.ok(Buffer.concat(taken).equals(payload))
  })
}

test('what comes whole, or in long parts, goes on as it is', () => {
  const { pieces, taken } = gathered()
  const payload = Buffer.alloc(100_000, 7)
  pieces.put(payload.subarray(0, 10), 0)
  pieces.put(payload.subarray(0, 60_000), 40_000)
  pieces.put(payload.subarray(60_000), 0)
  assert.deepEqual(
    taken.map(({ length }) => length),
    [10, 60_000, 40_000],
  )
  assert.ok(taken.every(({ buffer }) => buffer === payload.buffer))
})

test('what waits for more keeps no chunk alive', () => {
  const { pieces, taken } = gathered()
  const chunk = Buffer.alloc(60_000, 7)
  pieces.put(chunk.subarray(0, 1000), 1000)
  assert.equal(taken.length, 0)
  pieces.put(chunk.subarray(1000, 2000), 0)
  assert.deepEqual(
    taken.map(({ length }) => length),
    [2000],
  )
  assert.ok(taken.every(({ buffer }) => buffer.byteLength === 2000))
})

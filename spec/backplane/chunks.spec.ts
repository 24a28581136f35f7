import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { Chunker, Reassembler } from '../../lib/backplane/chunks.ts'

const MOST = 1_000

for (const size of [0, 1, 998, 999, 1_000, 1_001, 983, 984, 1_966, 1_967, 100_000]) {
  test(`${size} bytes come out as they went in`, () => {
    const message = randomBytes(size)
    const pieces = new Chunker().split(message, MOST)
    assert.ok(pieces.every(({ length }) => length <= MOST))
    assert.equal(pieces.length === 1, size < MOST)
    const joiner = new Reassembler()
    const last = pieces.pop() ?? new Uint8Array()
    for (const piece of pieces) assert.equal(joiner.take('news', piece), undefined)
    const joined = joiner.take('news', last)
    assert.ok(joined instanceof Uint8Array)
    assert.deepEqual(Buffer.from(joined), message)
  })
}

test('messages of several senders may come in between', () => {
  const joiner = new Reassembler()
  const cut = (text: string): Uint8Array[] =>
    new Chunker().split(Buffer.from(text.repeat(2_500)), MOST)
  const [one, other] = [cut('a'), cut('b')]
  const whole = one.flatMap((piece, index) => [piece, other[index] ?? new Uint8Array()])
  const joined = whole.map((piece) => joiner.take('news', piece)).filter((taken) => taken)
  assert.deepEqual(joined.map(String), ['a'.repeat(2_500), 'b'.repeat(2_500)])
})

const [first = new Uint8Array(), second = new Uint8Array(), third = new Uint8Array()] =
  new Chunker().split(randomBytes(2_500), MOST)

for (const [what, pieces, taken] of [
  ['is empty', [new Uint8Array()], [false]],
  ['is of no kind', [Uint8Array.of(9, 1, 2)], [false]],
  ['ends in its head', [first.subarray(0, 10)], [false]],
  ['is a head alone', [first.subarray(0, 17)], [false]],
  ['lacks what stood before it', [second], [false]],
  ['skips one', [first, third, second], [undefined, false, false]],
  ['comes twice', [first, first, second, third], [undefined, false, false, false]],
] as [string, Uint8Array[], unknown[]][]) {
  test(`a piece that ${what} is dropped, and the next message comes whole`, () => {
    const joiner = new Reassembler()
    assert.deepEqual(
      pieces.map((piece) => joiner.take('news', piece)),
      taken,
    )
    assert.ok([first, second, third].map((piece) => joiner.take('news', piece)).at(-1))
  })
}

test('messages that are never completed are forgotten, the oldest first', () => {
  const joiner = new Reassembler()
  const begun = Array.from({ length: 257 }, () => new Chunker().split(randomBytes(1_500), MOST))
  const taken = begun.map(([piece]) => piece && joiner.take('news', piece))
  assert.deepEqual(
    [taken.slice(0, 256).every((one) => one === undefined), taken[256]],
    [true, false],
  )
  const [oldest, next] = begun
  assert.equal(oldest?.[1] && joiner.take('news', oldest[1]), false)
  assert.ok(next?.[1] && joiner.take('news', next[1]))
})

test('what would take too many pieces is refused', () => {
  const many = new Uint8Array(70_000)
  assert.throws(
    () => new Chunker().split(many, 18),
    /^RangeError: 70000 bytes are too many for pieces/,
  )
  assert.throws(() => new Chunker().split(many, 5), RangeError)
})

test('pieces of one message on two channels are two messages', () => {
  const joiner = new Reassembler()
  assert.equal(joiner.take('news', first), undefined)
  assert.equal(joiner.take('others', second), false)
  assert.equal(joiner.take('news', second), undefined)
})

test('what waits on all channels together is bounded, tiny pieces as big ones', () => {
  const joiner = new Reassembler()
  const piece = Buffer.from(first.subarray(0, 18)) // one byte, of a message of 65,535 pieces
  piece.writeUInt16BE(0xffff, 15)
  let forgot = false
  for (let sender = 0; sender < 20 && !forgot; sender++) {
    for (let index = 0; index < 0xfffe && !forgot; index++) {
      piece.writeUInt32BE(sender, 1)
      piece.writeUInt16BE(index, 13)
      forgot = joiner.take(`channel ${sender}`, piece) === false
    }
  }
  assert.ok(forgot)
})

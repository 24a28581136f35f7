import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import { test } from 'node:test'
import { Utf8 } from '../../lib/transport/utf8.ts'

/** Is after how many of its bytes a text can't become one any more; undefined where it can. */
function refusedAt(bytes: Uint8Array): number | undefined {
  const text = new Utf8()
  for (let at = 0; at < bytes.length; at++) {
    if (!text.take(bytes.subarray(at, at + 1))) return at + 1
  }
  return undefined
}

const CONTINUATION = '(?:[89ab].)'

// RFC 3629 §4, the syntax of UTF-8, and all that begins so.
const CHARACTER = [
  '[0-7].',
  `(?:c[2-9a-f]|d.)${CONTINUATION}`,
  `e0[ab].${CONTINUATION}`,
  `e[1-9a-cef]${CONTINUATION}{2}`,
  `ed[89].${CONTINUATION}`,
  `f0[9ab].${CONTINUATION}{2}`,
  `f[1-3]${CONTINUATION}{3}`,
  `f48.${CONTINUATION}{2}`,
].join('|')
const WHOLE = new RegExp(`^(?:${CHARACTER})*$`)

/** Whether what begins like this may end well: two continuations at most, of the kinds there are. */
function mayEnd(digits: string): boolean {
  const continuations = ['80', '90', 'a0', 'bf']
  const ends = ['', ...continuations, ...continuations.map((byte) => `${byte}80`)]
  return [...ends, ...ends.slice(5).map((end) => `${end}80`)].some((end) =>
    WHOLE.test(digits + end),
  )
}

test('every two bytes are judged as the syntax says, each as early as it can be', () => {
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) {
      const bytes = Buffer.of(first, second)
      const expected = [1, 2].find((end) => !mayEnd(bytes.toString('hex', 0, end)))
      assert.equal(refusedAt(bytes), expected, bytes.toString('hex'))
      assert.equal(new Utf8().take(bytes), expected === undefined, bytes.toString('hex'))
    }
  }
})

test('every character passes, a byte at a time', () => {
  for (let point = 0; point < 0x11_0000; point += point < 0x1_0000 ? 7 : 1_001) {
    if (point >= 0xd800 && point < 0xe000) continue
    assert.equal(refusedAt(Buffer.from(String.fromCodePoint(point))), undefined)
  }
})

test('a text is judged alike wherever it is cut', () => {
  const good = Buffer.from('grüße, 😀 und €, 漢字 und \u{10ffff}!')
  for (const bytes of [good, Buffer.concat([good, Buffer.of(0xed, 0xa0), good])]) {
    for (let one = 0; one <= bytes.length; one++) {
      for (let other = one; other <= bytes.length; other++) {
        const text = new Utf8()
        const parts = [bytes.subarray(0, one), bytes.subarray(one, other), bytes.subarray(other)]
        assert.equal(
          parts.every((part) => text.take(part)),
          isUtf8(bytes),
        )
      }
    }
  }
})

test('what begins a character keeps no more than that alive', () => {
  const chunk = Buffer.alloc(1_000, 'x')
  chunk[999] = 0xc3
  const text = new Utf8()
  assert.ok(text.take(chunk))
  chunk[999] = 0xff
  assert.ok(text.take(Buffer.of(0xa4)))
})

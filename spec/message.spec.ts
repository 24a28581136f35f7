import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Message, mostBytes, toBytes, toData, toText } from '../lib/message.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

const sent: [what: string, value: unknown, data: string | Uint8Array][] = [
  ['a string', 'text', 'text'],
  ['an empty string', '', ''],
  ['a whole number', 123_456_789, '123456789'],
  ['a fraction', -0.5, '-0.5'],
  ['zero', 0, '0'],
]

for (const [what, value, data] of sent) {
  test(`${what} is sent as ${JSON.stringify(data)}`, () => {
    assert.equal(toData(value), data)
  })
}

test('a number and its decimal text go out as the same bytes', () => {
  assert.deepEqual(toBytes(toData(123_456_789)), toBytes(toData('123456789')))
  assert.equal(toBytes(toData(123_456_789)).length, 9)
})

test('bytes are sent as they are, a Buffer too', () => {
  for (const bytes of [new Uint8Array([1, 2]), Buffer.from('text'), new Uint8Array()]) {
    assert.equal(toData(bytes), bytes)
    assert.equal(toBytes(bytes), bytes)
  }
})

const refused: [value: unknown, shown: string][] = [
  [undefined, 'undefined'],
  [null, 'null'],
  [{}, 'an object'],
  [[1, 2], 'an array of 2'],
  [true, 'true'],
  [5n, '5n'],
  [NaN, 'NaN'],
  [Infinity, 'Infinity'],
  [-Infinity, '-Infinity'],
  [() => 'text', 'a function'],
  [Symbol('text'), 'Symbol(text)'],
  [new ArrayBuffer(4), 'an instance of ArrayBuffer'],
  [new Float32Array(4), 'an instance of Float32Array'],
  [new DataView(new ArrayBuffer(4)), 'an instance of DataView'],
  [new Blob(['text']), 'an instance of Blob'],
  [Object('text'), 'an instance of String'],
]

for (const [value, shown] of refused) {
  test(`${shown} can't be sent`, () => {
    assert.throws(() => toData(value), {
      name: 'TypeError',
      message: `expected what is sent to be a string, a Uint8Array or a finite number (JSON.stringify what is none), got ${shown}`,
    })
  })
}

test('text is encoded as UTF-8', () => {
  assert.deepEqual(toBytes('é€😀'), utf8('é€😀'))
})

test('half a character is encoded as the replacement character', () => {
  assert.deepEqual(toBytes('\ud83d'), utf8('\ufffd'))
})

test('a message is text or bytes', () => {
  assert.equal(new Message('text').isText, true)
  assert.equal(new Message('').isText, true)
  assert.equal(new Message(utf8('text')).isText, false)
})

test('a message is encoded once and shared', () => {
  const message = new Message('text')
  assert.deepEqual(message.bytes, utf8('text'))
  assert.equal(message.bytes, message.bytes)
  assert.equal(toBytes(message), message.bytes)
})

test('a message of bytes shares the bytes that it was made of', () => {
  const bytes = utf8('text')
  const message = new Message(bytes)
  assert.equal(message.data, bytes)
  assert.equal(message.bytes, bytes)
})

for (const text of ['', 'plain', 'é'.repeat(50), '€'.repeat(50), '😀'.repeat(50), '\ud83d']) {
  test(`the most bytes of ${JSON.stringify(text.slice(0, 5))} are never too few`, () => {
    assert.ok(mostBytes(text) >= 14 + utf8(text).length)
    assert.equal(mostBytes(new Message(text)), mostBytes(text))
  })
}

test('the most bytes of bytes are theirs and the header', () => {
  assert.equal(mostBytes(new Uint8Array(100)), 114)
  assert.equal(mostBytes(new Message(new Uint8Array(100))), 114)
})

test('what is UTF-8 is read as text, a byte order mark included', () => {
  for (const text of ['', 'plain', 'é€😀', '\ufeffmarked']) assert.equal(toText(utf8(text)), text)
})

const notUtf8 = [
  [0xff],
  [0xc3], // the start of a character
  [0xc0, 0xaf], // longer than it need be
  [0xed, 0xa0, 0x80], // half a character
  [0xf4, 0x90, 0x80, 0x80], // past the last one
]

for (const values of notUtf8) {
  test(`the bytes ${values.join(' ')} aren't UTF-8 and stay bytes`, () => {
    const bytes = Uint8Array.from(values)
    assert.equal(toText(bytes), bytes)
  })
}

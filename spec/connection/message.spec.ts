import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  PreparedMessage,
  maxByteLength,
  toBytes,
  toData,
  toText,
} from '../../lib/connection/message.ts'

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

for (const [what, value] of [
  ['an ArrayBuffer', Uint8Array.of(1, 2, 3, 4).buffer],
  ['a SharedArrayBuffer', shared(1, 2, 3, 4).buffer],
  ['a view of a SharedArrayBuffer', shared(0, 1, 2, 3, 4).subarray(1)],
  ['a DataView', new DataView(Uint8Array.of(0, 1, 2, 3, 4, 5).buffer, 1, 4)],
  ['an Int8Array', Int8Array.of(1, 2, 3, 4)],
  ['a Uint8ClampedArray', Uint8ClampedArray.of(1, 2, 3, 4)],
  ['part of a Uint16Array', new Uint16Array(Uint8Array.of(0, 0, 1, 2, 3, 4).buffer, 2, 2)],
  ['a Float32Array', new Float32Array(Uint8Array.of(1, 2, 3, 4).buffer)],
] as const) {
  test(`of ${what} the bytes are sent`, () => {
    assert.deepEqual([...toBytes(toData(value))], [1, 2, 3, 4])
  })
}

/** Makes bytes that threads share. */
function shared(...values: number[]): Uint8Array<SharedArrayBuffer> {
  const bytes = new Uint8Array(new SharedArrayBuffer(values.length))
  bytes.set(values)
  return bytes
}

test('what is detached can not be sent', () => {
  const buffer = new ArrayBuffer(4)
  structuredClone(buffer, { transfer: [buffer] })
  assert.throws(() => toData(buffer), TypeError)
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
  [new Blob(['text']), 'an instance of Blob'],
  [Object('text'), 'an instance of String'],
]

for (const [value, shown] of refused) {
  test(`${shown} can't be sent`, () => {
    assert.throws(() => toData(value), {
      name: 'TypeError',
      message: `expected what is sent to be a string, bytes or a finite number (for objects set \`messages\`), got ${shown}`,
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
  assert.equal(new PreparedMessage('text').isText, true)
  assert.equal(new PreparedMessage('').isText, true)
  assert.equal(new PreparedMessage(utf8('text')).isText, false)
})

test('a message is encoded once and shared', () => {
  const message = new PreparedMessage('text')
  assert.deepEqual(message.bytes, utf8('text'))
  assert.equal(message.bytes, message.bytes)
  assert.equal(toBytes(message), message.bytes)
})

test('a message of bytes shares the bytes that it was made of', () => {
  const bytes = utf8('text')
  const message = new PreparedMessage(bytes)
  assert.equal(message.data, bytes)
  assert.equal(message.bytes, bytes)
})

test('a message copies the bytes that it was made of once, for all who keep them', () => {
  const bytes = utf8('text')
  const message = new PreparedMessage(bytes)
  const { ownBytes } = message
  bytes.fill(0)
  assert.deepEqual(ownBytes, utf8('text'))
  assert.equal(message.ownBytes, ownBytes)
  const text = new PreparedMessage('text')
  assert.equal(text.ownBytes, text.bytes) // which are its own already
})

for (const text of ['', 'plain', 'é'.repeat(50), '€'.repeat(50), '😀'.repeat(50), '\ud83d']) {
  test(`the most bytes of ${JSON.stringify(text.slice(0, 5))} are never too few`, () => {
    assert.ok(maxByteLength(text) >= 14 + utf8(text).length)
    assert.equal(maxByteLength(new PreparedMessage(text)), maxByteLength(text))
  })
}

test('the most bytes of bytes are theirs and the header', () => {
  assert.equal(maxByteLength(new Uint8Array(100)), 114)
  assert.equal(maxByteLength(new PreparedMessage(new Uint8Array(100))), 114)
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

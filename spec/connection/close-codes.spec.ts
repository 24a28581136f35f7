import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  closeReason,
  closeCodeTexts,
  cutText,
  isSendableCloseCode,
  messageTooBig,
  sendableReason,
} from '../../lib/connection/close-codes.ts'

const NOT_SENT = [1004, 1005, 1006, 1015]

test('the codes of RFC 6455 and the IANA registry all have a text', () => {
  assert.deepEqual(
    [...closeCodeTexts.keys()],
    Array.from({ length: 16 }, (_, index) => 1000 + index),
  )
  assert.ok([...closeCodeTexts.values()].every((text) => text !== ''))
})

test('the reason for 1000 has the standard text and may be sent', () => {
  assert.deepEqual(closeReason(1000), { code: 1000, description: 'Normal connection closure' })
  assert.equal(isSendableCloseCode(1000), true)
})

for (const code of NOT_SENT) {
  test(`${code} has a text and may not be sent`, () => {
    assert.equal(closeReason(code).description, closeCodeTexts.get(code))
    assert.notEqual(closeReason(code).description, '')
    assert.equal(isSendableCloseCode(code), false)
  })
}

for (const code of [...closeCodeTexts.keys()].filter((code) => !NOT_SENT.includes(code))) {
  test(`${code} may be sent, with its standard text`, () => {
    assert.deepEqual(sendableReason(code, ''), { code, description: closeCodeTexts.get(code) })
  })
}

for (const code of [3000, 3999, 4000, 4999]) {
  test(`${code} may be sent and has no standard text`, () => {
    assert.deepEqual(sendableReason(code, ''), { code, description: '' })
    assert.deepEqual(sendableReason(code, 'mine'), { code, description: 'mine' })
  })
}

const refused = [
  ...NOT_SENT,
  ...[-1, 0, 999, 1016, 1100, 2999, 5000, 65_536, 1000.5, NaN, Infinity],
]

for (const code of refused) {
  test(`a close code of ${code} is refused with a RangeError`, () => {
    assert.equal(isSendableCloseCode(code), false)
    assert.throws(() => sendableReason(code, 'text'), {
      name: 'RangeError',
      message:
        'expected a close code that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999), ' +
        `got ${code}`,
    })
  })
}

for (const code of ['1000', 1000n, null, {}]) {
  test(`a close code that is ${typeof code} is refused with a RangeError`, () => {
    // @ts-expect-error -- a caller in plain JavaScript
    assert.throws(() => sendableReason(code, 'text'), RangeError)
  })
}

const noTexts: [value: unknown, type: string][] = [
  [new Float32Array(4), 'object'],
  [Buffer.from('text'), 'object'],
  [null, 'object'],
  [5, 'number'],
  [undefined, 'undefined'],
]

for (const [value, type] of noTexts) {
  test(`a close description that is ${String(value)} (${type}) is refused with a TypeError`, () => {
    // @ts-expect-error -- a caller in plain JavaScript
    assert.throws(() => sendableReason(1000, value), {
      name: 'TypeError',
      message: `expected a close description to be a string, got ${type}`,
    })
  })
}

for (const text of [
  '[1000]text',
  '[1008]',
  '[4321]',
  '[1008][1005]bye',
  '[1006]forged',
  '[9999]x',
]) {
  test(`a description "${text}" is text: it changes no code`, () => {
    assert.deepEqual(closeReason(1006, text), { code: 1006, description: text })
    assert.deepEqual(sendableReason(1001, text), { code: 1001, description: text })
    assert.throws(() => sendableReason(1005, text), RangeError)
  })
}

const cuts: [text: string, bytes: number, cut: string][] = [
  ['short', 123, 'short'],
  ['', 123, ''],
  ['short', 0, ''],
  ['x'.repeat(123), 123, 'x'.repeat(123)],
  ['x'.repeat(300), 123, 'x'.repeat(123)],
  ['é'.repeat(300), 123, 'é'.repeat(61)],
  ['€'.repeat(300), 123, '€'.repeat(41)],
  ['😀'.repeat(300), 123, '😀'.repeat(30)],
  ['ab😀', 5, 'ab'],
  ['ab😀', 6, 'ab😀'],
  ['\ud83dx', 2, ''], // half a character is three bytes, as it is replaced
  ['\ud83dx', 4, '\ud83dx'],
]

for (const [text, bytes, cut] of cuts) {
  test(`${text.length} units of ${JSON.stringify(text.slice(0, 4))} are cut to ${bytes} bytes`, () => {
    assert.equal(cutText(text, bytes), cut)
  })
}

test('a close text is cut to 123 bytes on a character boundary', () => {
  const { description } = closeReason(1000, '€'.repeat(100))
  assert.equal(description, '€'.repeat(41))
  assert.equal(closeReason(1000, `x${'€'.repeat(100)}`).description, `x${'€'.repeat(40)}`)
})

test('a message that is too big is told the limit', () => {
  assert.deepEqual(messageTooBig(1_048_576), {
    code: 1009,
    description: 'Maximum message size of 1048576 Bytes exceeded',
  })
})

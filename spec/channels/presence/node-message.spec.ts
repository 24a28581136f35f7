import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  encodeNodeMessage,
  parseNodeMessage,
  parseTopics,
} from '../../../lib/channels/presence/node-message.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const header = { id: 'a', version: 3, beat: 1_000 }

test('a message is read as it was written, with a body and without', () => {
  const text = JSON.stringify({ ...header, part: 1, last: true })
  const expected = { ...header, part: 1, isLast: true }
  assert.deepEqual(parseNodeMessage(encodeNodeMessage(text, undefined)), { ...expected, body: '' })
  assert.deepEqual(parseNodeMessage(encodeNodeMessage(text, bytes('{"ä":\n1}'))), {
    ...expected,
    body: '{"ä":\n1}',
  })
})

for (const [what, text] of [
  ['is empty', ''],
  ['is no object', '[]'],
  ['has no id', '{"version":1,"beat":1}'],
  ['has an id of 65 characters', JSON.stringify({ ...header, id: 'x'.repeat(65) })],
  ['has a negative version', JSON.stringify({ ...header, version: -1 })],
  ['has a version that is no whole number', JSON.stringify({ ...header, version: 1.5 })],
  ['has no heartbeat', '{"id":"a","version":1}'],
  ['has a heartbeat of more than an hour', JSON.stringify({ ...header, beat: 3_600_001 })],
  ['has a part that is no number', JSON.stringify({ ...header, part: '1' })],
] as const) {
  test(`a message that ${what} is none`, () => {
    assert.equal(parseNodeMessage(bytes(text)), undefined)
  })
}

test('bytes that are no UTF-8 are no message', () => {
  assert.equal(parseNodeMessage(Uint8Array.of(0xff, 0xfe)), undefined)
})

test('the topics of a part are states by name', () => {
  const topics = parseTopics('{"room:1":{"ann":{"metas":[{"phx_ref":"1"}]}},"__proto__":{}}')
  assert.deepEqual(
    [...(topics ?? [])],
    [
      ['room:1', [['ann', [{ phx_ref: '1' }]]]],
      ['__proto__', []],
    ],
  )
  for (const text of ['', '[]', '{"room:1":1}', '{"room:1":{"ann":{}}}']) {
    assert.equal(parseTopics(text), undefined)
  }
})

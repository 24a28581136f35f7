import assert from 'node:assert/strict'
import { test } from 'node:test'
import { broadcastEventOf } from '../../../lib/channels/protocol/phoenix-text.ts'

test('the event of a broadcast is read from its head', () => {
  assert.equal(broadcastEventOf('[null,null,"room:1","said",{"body":[1,2]}]'), 'said')
  assert.equal(broadcastEventOf(String.raw`[null,null,"a\"b","s\"\\",{}]`), 's"\\')
})

const others = [
  '["1",null,"room:1","said",{}]',
  '[null,"1","room:1","said",{}]',
  '[null,null,"room:1","said",{}',
  '[null,null,"room:1","said"]',
  '[null,null,"room:1",1,{}]',
  '[null, null, "room:1", "said", {}]',
  String.raw`[null,null,"\x","said",{}]`,
  String.raw`[null,null,"room:1","\x",{}]`,
]

for (const text of others) {
  test(`no event is read from the head of ${text}`, () => {
    assert.equal(broadcastEventOf(text), undefined)
  })
}

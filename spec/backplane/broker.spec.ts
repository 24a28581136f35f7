import assert from 'node:assert/strict'
import { test } from 'node:test'
import { channelName } from '../../lib/backplane/broker.ts'

for (const [what, topic, channel] of [
  ['a word as it is', 'room:lobby', 'p.room:lobby'],
  ['what is empty, escaped', '', 'p.='],
  ['what is no word, escaped', 'größe & co.', 'p.=gr=f6==df=e=20==26==20=co=2e='],
  ['512 characters', 'x'.repeat(512), `p.${'x'.repeat(512)}`],
  [
    '513 characters, by their hash',
    'x'.repeat(513),
    'p.#adc183813d454f1d1ff7104db9f7da8a6f3a3dcfe7376e6fdf77242b11a727fd',
  ],
  [
    'what is too long when escaped, by its hash',
    '='.repeat(512),
    'p.#a2bd682422d2217f66198d7d1059a135ebf3a032f6a6f363f4b9170a3670ef72',
  ],
] as const) {
  test(`the channel of a topic names ${what}`, () => {
    assert.equal(channelName('p.', topic), channel)
  })
}

test('the name of a topic that is too long for a channel is not escaped, however long it is', (t) => {
  const looked = t.mock.method(String.prototype, 'charCodeAt')
  channelName('p.', '='.repeat(1_000_000))
  assert.equal(looked.mock.callCount(), 0)
})

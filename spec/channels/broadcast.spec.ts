import assert from 'node:assert/strict'
import { test } from 'node:test'
import { amber } from '../../lib/channels/amber.ts'
import { arrived, broadcastOf } from '../../lib/channels/broadcast.ts'
import type { Serializer } from '../../lib/channels/frame.ts'
import { phoenix, phoenixV1 } from '../../lib/channels/phoenix.ts'

const said = { topic: 'room:1', event: 'evt', payload: { a: 1 } }
const inPhoenix = '[null,null,"room:1","evt",{"a":1}]'

test('a broadcast is itself in its own dialect, and written once in another', () => {
  const broadcast = broadcastOf(phoenix, said)
  assert.equal(broadcast.in(phoenix), broadcast)
  assert.equal(broadcast.data, inPhoenix)
  const other = broadcast.in(amber)
  assert.equal(
    other?.data,
    '{"event":"message","topic":"room:1","subject":"evt","payload":{"a":1}}',
  )
  assert.equal(broadcast.in(amber), other)
})

test('a dialect without words for it skips its members, and is asked once', () => {
  let asked = 0
  const counting: Serializer = {
    ...phoenixV1,
    server: {
      ...phoenixV1.server,
      encode(frame) {
        asked += 1
        return phoenixV1.server.encode(frame)
      },
    },
  }
  const broadcast = broadcastOf(phoenix, { ...said, payload: Uint8Array.of(1) })
  assert.equal(broadcast.in(counting), undefined)
  assert.equal(broadcast.in(counting), undefined)
  assert.equal(asked, 1)
})

test('a dialect that fails at it skips its members, too', () => {
  const failing: Serializer = {
    ...phoenixV1,
    server: {
      ...phoenixV1.server,
      encode() {
        throw new TypeError('no words')
      },
    },
  }
  assert.equal(broadcastOf(phoenix, said).in(failing), undefined)
})

test('what the first dialect has no words for is told to whoever says it', () => {
  const bytes = { ...said, payload: Uint8Array.of(1) }
  assert.throws(() => broadcastOf(amber, bytes), /Amber has no words for `evt`/)
})

test('what came from another node is written anew for the other dialects', () => {
  const broadcast = arrived(phoenix, inPhoenix)
  assert.equal(broadcast.data, inPhoenix)
  const text = broadcast.in(phoenixV1)?.data
  assert.equal(text, '{"topic":"room:1","event":"evt","payload":{"a":1},"ref":null}')
})

for (const wrong of ['["1",null,"room:1","evt",{}]', '["1","1","room:1","phx_close",{}]', 'junk']) {
  test(`${wrong} is no broadcast`, () => {
    assert.throws(() => arrived(phoenix, wrong), /FrameError|expected/)
  })
}

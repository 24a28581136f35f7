import assert from 'node:assert/strict'
import { test } from 'node:test'
import { amber } from '../../../lib/channels/protocol/amber.ts'
import { decodeBroadcast, createBroadcast } from '../../../lib/channels/protocol/broadcast.ts'
import type { Serializer } from '../../../lib/channels/protocol/serializer.ts'
import { phoenix, phoenixV1 } from '../../../lib/channels/protocol/phoenix.ts'

const said = { topic: 'room:1', event: 'evt', payload: { a: 1 } }
const inPhoenix = '[null,null,"room:1","evt",{"a":1}]'

test('a broadcast is itself in its own dialect, and written once in another', () => {
  const broadcast = createBroadcast(phoenix, said)
  assert.equal(broadcast.encodedFor(phoenix), broadcast)
  assert.equal(broadcast.data, inPhoenix)
  const other = broadcast.encodedFor(amber)
  assert.equal(
    other?.data,
    '{"event":"message","topic":"room:1","subject":"evt","payload":{"a":1}}',
  )
  assert.equal(broadcast.encodedFor(amber), other)
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
  const broadcast = createBroadcast(phoenix, { ...said, payload: Uint8Array.of(1) })
  assert.equal(broadcast.encodedFor(counting), undefined)
  assert.equal(broadcast.encodedFor(counting), undefined)
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
  assert.equal(createBroadcast(phoenix, said).encodedFor(failing), undefined)
})

test('what the first dialect has no words for throws for its sender', () => {
  const bytes = { ...said, payload: Uint8Array.of(1) }
  assert.throws(() => createBroadcast(amber, bytes), /Amber has no words for `evt`/)
})

test('what came from another node is written anew for the other dialects', () => {
  const broadcast = decodeBroadcast(phoenix, inPhoenix)
  assert.equal(broadcast.data, inPhoenix)
  const text = broadcast.encodedFor(phoenixV1)?.data
  assert.equal(text, '{"topic":"room:1","event":"evt","payload":{"a":1},"ref":null}')
})

test('what came from another node is only read for members of another dialect', () => {
  for (const rest of ['{"a":1}', '{"a":', '[[[', '"\\ud8"']) {
    const text = `[null,null,"a \\"[,] topic","\\u0065vt",${rest}]`
    const broadcast = decodeBroadcast(phoenix, text)
    assert.equal(broadcast.encodedFor(phoenix)?.data, text)
    const isSound = rest === '{"a":1}'
    assert.equal(broadcast.encodedFor(phoenixV1) !== undefined, isSound)
    assert.deepEqual(broadcast.read()?.payload, isSound ? { a: 1 } : undefined)
  }
})

test('what came from another node in other words is read whole', () => {
  const text = ' [null, null, "room:1", "evt", {"a": 1}]'
  assert.equal(decodeBroadcast(phoenix, text).data, text)
})

test('another dialect says what the first one says, not what was given', () => {
  let asked = 0
  const at = new Date(0)
  const payload = {
    at,
    get counted(): number {
      return ++asked
    },
    said: { toJSON: () => ++asked },
  }
  const broadcast = createBroadcast(phoenix, { ...said, payload })
  const heard = { at: at.toJSON(), counted: 1, said: 2 }
  const dialect: Serializer = {
    ...phoenixV1,
    server: {
      ...phoenixV1.server,
      encode: (frame) => (assert.deepEqual('payload' in frame && frame.payload, heard), 'yes'),
    },
  }
  at.setTime(5)
  assert.equal(broadcast.encodedFor(dialect)?.data, 'yes')
  assert.equal(decodeBroadcast(phoenix, broadcast.data).encodedFor(dialect)?.data, 'yes')
  assert.match(String(broadcast.encodedFor(amber)?.data), /"counted":1,"said":2/)
  assert.equal(asked, 2)
})

const wrongs = [
  ...['["1",null,"room:1","evt",{}]', '["1","1","room:1","phx_close",{}]', 'junk'],
  ...['[null,null,"room:1","phx_close",{}]', '[null,null,"room:1","\\u0070hx_error",{}]'],
  ...['[null,null,"room:1","phx_join",{}]', '[null,null,"room:1",7,{}]', '[null,null,"room:1"]'],
  ...['[null,null,"room:1', '[null,null,"room:1","evt', '[null,null,"room:1","evt",{}'],
  ...['[null,null,"\\ud8","evt",{}]', '[null,null,"room:1""evt",{}]'],
]
for (const wrong of wrongs) {
  test(`${wrong} is no broadcast`, () => {
    assert.throws(() => decodeBroadcast(phoenix, wrong), /FrameError|expected/)
  })
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveClient } from '../../lib/options/node.ts'
import type { Call, Receiver } from '../../lib/transport/transport.ts'
import * as ws from '../../lib/transport/reference.ts'
import { transportContract } from './contract.ts'
import { join, turned } from './join.ts'

const { dial, onWake } = ws

const deaf: Receiver = {
  message: () => {},
  ping: () => {},
  pong: () => {},
  written: () => {},
  closing: () => {},
  invalid: () => {},
  closed: () => {},
}

transportContract('ws, from the server', () => join(ws))
transportContract('ws, from the client', () => turned(ws))
transportContract('ws, compressed, from the server', () =>
  join(ws, { compression: { threshold: 0 } }),
)
transportContract('ws, compressed, from the client', () =>
  turned(ws, { compression: { threshold: 0 } }),
)
transportContract('ws, in fragments, from the server', () =>
  join(ws, { fragmentationThreshold: 100 }),
)
transportContract('ws, in fragments, from the client', () =>
  turned(ws, { fragmentationThreshold: 100 }),
)

for (const compression of [false, { threshold: 0 }]) {
  test(`ws: fragments may end inside a character, compressed: ${compression !== false}`, async () => {
    const { ends, release } = await join(ws, { fragmentationThreshold: 3, compression })
    const received = new Promise((resolve) => {
      ends[1].start({ ...deaf, message: resolve })
    })
    const closed = new Promise((resolve) => ends[0].start({ ...deaf, closed: resolve }))
    ends[0].send('grüße 😀 und €')
    assert.equal(await received, 'grüße 😀 und €')
    ends[0].cut()
    await closed
    await release()
  })
}

for (const [what, change] of [
  ['a fragment', { url: new URL('ws://localhost:1/#x') }],
  ['a header of two lines', { headers: { a: 'b\r\nc: d' } }],
  ['a subprotocol twice', { protocols: ['a', 'a'] }],
] as [string, Partial<Call>][]) {
  test(`ws: a call with ${what} can't be dialled at all, and throws`, () => {
    const call = { url: new URL('ws://localhost:1'), protocols: [], headers: {}, ...change }
    const told = { opened: () => assert.fail(), failed: () => assert.fail() }
    assert.throws(() => dial({ ...call, settings: resolveClient() }, told))
  })
}

test('Node is told of no wake, and has nothing to let go of', (t) => {
  const timers = t.mock.method(globalThis, 'setTimeout')
  const sleep = onWake(() => assert.fail('nobody knows'))
  sleep()
  sleep()
  assert.equal(timers.mock.callCount(), 0)
})

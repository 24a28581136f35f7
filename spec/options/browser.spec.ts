import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { test } from 'node:test'
import { resolveClient } from '../../lib/options/browser.ts'
import { resolveClient as resolveClientInNode } from '../../lib/options/node.ts'

test('a browser has the same options with the same defaults, but no pings and no look at frames', () => {
  const without = { keepaliveTimeout: false, messageTimeout: false }
  assert.deepEqual(resolveClient(), { ...resolveClientInNode(), ...without })
})

test('a keepalive may be asked for, as in Node, and does nothing', () => {
  assert.equal(resolveClient({ keepaliveTimeout: 1_000 }).keepaliveTimeout, false)
  assert.throws(() => resolveClient({ keepaliveTimeout: 0 }), TypeError)
})

const impossible: [options: object, message: RegExp][] = [
  [{ headers: { cookie: 'a=b' } }, /`headers` .* a subprotocol or a cookie instead/],
  [{ headers: () => ({}) }, /`headers` .* got a function/],
  [{ tls: {} }, /`tls` to be left out in a browser/],
  [{ agent: new Agent() }, /`agent` to be left out in a browser/],
  [{ compression: true }, /`compression` .* let the server agree/],
  [{ compression: { level: 1 } }, /`compression` to be left out in a browser/],
  [{ maxReceivedFrameSize: 1 }, /`maxReceivedFrameSize` .* choose `maxReceivedMessageSize`/],
  [{ messageTimeout: 1 }, /`messageTimeout` to be left out in a browser/],
  [{ fragmentationThreshold: 1 }, /`fragmentationThreshold` .* send smaller messages/],
  [{ useNagleAlgorithm: true }, /`useNagleAlgorithm` to be left out in a browser/],
]
for (const [options, message] of impossible) {
  const [name = ''] = Object.keys(options)
  test(`what a browser decides alone says so: ${name}`, () => {
    assert.throws(() => resolveClient(options), { name: 'TypeError', message })
  })
}

test('what is off where it cannot be on may be said', () => {
  const off = {
    compression: false,
    maxReceivedFrameSize: false,
    messageTimeout: false,
    fragmentationThreshold: false,
    useNagleAlgorithm: false,
    headers: undefined,
  } as const
  assert.deepEqual(resolveClient(off), resolveClient())
})

test('an unknown option gets the nearest name, those of Node among them', () => {
  assert.throws(() => resolveClient({ header: {} }), /did you mean `headers`\?/)
})

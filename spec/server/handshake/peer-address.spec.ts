import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import {
  clientAddress,
  networkOf,
  socketAddress,
} from '../../../lib/server/handshake/peer-address.ts'

const PROXY = '192.0.2.9'

/** A request that came from a proxy with such an X-Forwarded-For. */
function forwarded(entries: string | undefined, remoteAddress?: string): IncomingMessage {
  const headers = { 'x-forwarded-for': entries }
  const request: Pick<IncomingMessage, 'headers'> & { socket: { remoteAddress?: string } } = {
    headers,
    socket: { remoteAddress: remoteAddress ?? PROXY },
  }
  return request as IncomingMessage
}

for (const [trustProxy, entries, expected] of [
  [false, '1.1.1.1', PROXY],
  [0, '1.1.1.1', PROXY],
  [true, undefined, PROXY],
  [true, '', PROXY],
  [true, ' , ', PROXY],
  [true, '2.2.2.2, 1.1.1.1', '1.1.1.1'],
  [2, '3.3.3.3, 2.2.2.2, 1.1.1.1', '2.2.2.2'],
  [3, '2.2.2.2, 1.1.1.1', '2.2.2.2'],
] as const) {
  test(`with trustProxy ${trustProxy} a peer forwarded for "${entries}" is at ${expected}`, () => {
    assert.equal(clientAddress(forwarded(entries), trustProxy), expected)
  })
}

for (const [entry, expected] of [
  ['203.0.113.7', '203.0.113.7'],
  ['203.0.113.7:51234', '203.0.113.7'],
  ['"203.0.113.7:51234"', '203.0.113.7'],
  ['2001:db8::1', '2001:db8::1'],
  ['2001:0DB8:0:0:0:0:0:1', '2001:db8::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['[2001:db8::1]:51234', '2001:db8::1'],
  ['"[2001:DB8::1]:51234"', '2001:db8::1'],
  ['fe80::1%eth0', 'fe80::1'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
  ['[::ffff:cb00:7107]:443', '203.0.113.7'],
  ['unknown', PROXY],
  ['_hidden', PROXY],
  ['203.0.113.777', PROXY],
  ['[2001:db8::1', PROXY],
  ['2001:db8::1::2', PROXY],
  ['[]', PROXY],
  ['%', PROXY],
  ['""', PROXY],
] as const) {
  test(`a proxy that forwards for ${entry} has a peer at ${expected}`, () => {
    assert.equal(clientAddress(forwarded(entry), 1), expected)
    assert.equal(clientAddress(forwarded(`6.6.6.6, ${entry}`), 1), expected)
  })
}

for (const [remoteAddress, expected] of [
  ['::ffff:127.0.0.1', '127.0.0.1'],
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['fe80::1%eth0', 'fe80::1'],
  ['', ''],
] as const) {
  test(`the other end of a socket at "${remoteAddress}" is at "${expected}"`, () => {
    assert.equal(socketAddress({ remoteAddress }), expected)
    assert.equal(clientAddress(forwarded('1.1.1.1', remoteAddress), false), expected)
  })
}

for (const [address, network] of [
  ['203.0.113.7', '203.0.113.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:db8::6', '2001:db8:0:0::/64'],
  ['2001:db8::3:4:5:6', '2001:db8:0:0::/64'],
  ['2001::2:3:4:5:6', '2001:0:0:2::/64'],
  ['::2:3:4:5:6', '0:0:0:2::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  ['', ''],
] as const) {
  test(`${address || 'no address'} counts as ${network || 'itself'}`, () => {
    assert.equal(networkOf(address), network)
  })
}

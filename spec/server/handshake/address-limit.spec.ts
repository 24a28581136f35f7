import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AddressLimit } from '../../../lib/server/handshake/address-limit.ts'

test('addresses of one IPv6 network are counted together, and others apart', () => {
  const limit = new AddressLimit(10)
  for (const address of ['2001:db8::1', '2001:db8::2', '192.0.2.1']) limit.add(address)
  assert.equal(limit.count('2001:db8::ffff'), 2)
  assert.equal(limit.count('2001:db8:0:1::1'), 0)
  assert.equal(limit.count('192.0.2.1'), 1)
  limit.delete('2001:db8::1')
  assert.equal(limit.count('2001:db8::1'), 1)
})

test('without a limit nothing is counted', () => {
  const limit = new AddressLimit(false)
  limit.add('192.0.2.1')
  assert.ok(limit.accept('192.0.2.1'))
  limit.release('192.0.2.1')
  assert.equal(limit.count('192.0.2.1'), 0)
})

test('pending sockets count with connections, and more of them than the limit are not accepted', () => {
  const limit = new AddressLimit(2)
  limit.add('192.0.2.1')
  assert.deepEqual(
    [1, 2, 3].map(() => limit.accept('192.0.2.1')),
    [true, true, false],
  )
  assert.ok(limit.accept('192.0.2.2'))
  assert.equal(limit.count('192.0.2.1'), 3)
  limit.release('192.0.2.1')
  assert.equal(limit.count('192.0.2.1'), 2)
  assert.ok(limit.accept('192.0.2.1'))
})

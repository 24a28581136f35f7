import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { AddressLimit } from '../lib/address-limit.ts'

/** What is seen of a socket. */
class Tcp extends EventEmitter {
  readonly remoteAddress: string | undefined
  readonly remotePort: number

  constructor(remoteAddress: string | undefined, remotePort: number) {
    super()
    this.remoteAddress = remoteAddress
    this.remotePort = remotePort
  }
}

/** A limit that watches an http server, which tells of sockets as it is told to. */
function watched(max: number): {
  limit: AddressLimit
  refused: Tcp[]
  accept: (tcp: Tcp) => void
} {
  const limit = new AddressLimit(max)
  const http = createServer()
  http.removeAllListeners('connection') // these are no real sockets
  const refused: Tcp[] = []
  limit.watch(http, (tcp) => void refused.push(tcp as unknown as Tcp))
  return { limit, refused, accept: (tcp) => void http.emit('connection', tcp) }
}

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
  const http = createServer()
  const listeners = http.listenerCount('connection')
  limit.watch(http, () => {})
  limit.add('192.0.2.1')
  assert.equal(limit.count('192.0.2.1'), 0)
  assert.equal(http.listenerCount('connection'), listeners)
})

test('a silent socket counts until it has sent a request or closed, once', () => {
  const { limit, accept } = watched(10)
  const [one, two] = [new Tcp('::ffff:192.0.2.1', 1), new Tcp('192.0.2.1', 2)]
  accept(one)
  accept(two)
  assert.equal(limit.count('192.0.2.1'), 2)
  limit.requested(one as unknown as Socket)
  limit.requested(one as unknown as Socket)
  one.emit('close')
  assert.equal(limit.count('192.0.2.1'), 1)
  two.emit('close')
  two.emit('close')
  assert.equal(limit.count('192.0.2.1'), 0)
})

test('more silent sockets than the limit are refused, those of other addresses are not', () => {
  const { limit, refused, accept } = watched(2)
  const all = [1, 2, 3].map((port) => new Tcp('192.0.2.1', port))
  for (const tcp of all) accept(tcp)
  accept(new Tcp('192.0.2.2', 1))
  accept(new Tcp(undefined, 0)) // has gone before it was seen
  assert.deepEqual(refused, [all[2]])
  assert.equal(limit.count('192.0.2.1'), 2)
  all[0]?.emit('close')
  accept(new Tcp('192.0.2.1', 4))
  assert.equal(refused.length, 1)
})

test('a socket with the port of one that is closing is counted apart', () => {
  const { limit, accept } = watched(10)
  const [old, young] = [new Tcp('192.0.2.1', 1), new Tcp('192.0.2.1', 1)]
  accept(old)
  accept(young)
  old.emit('close')
  assert.equal(limit.count('192.0.2.1'), 1)
  limit.requested(young as unknown as Socket)
  assert.equal(limit.count('192.0.2.1'), 0)
})

test('a socket that has sent a request keeps nothing of the limit', () => {
  const { limit, accept } = watched(10)
  const tcp = new Tcp('192.0.2.1', 1)
  accept(tcp)
  limit.requested(tcp as unknown as Socket)
  assert.equal(tcp.listenerCount('close'), 0)
})

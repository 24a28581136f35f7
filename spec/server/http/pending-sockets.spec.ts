import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { once, WebsocketServer } from 'simplewebsockets'
import { AddressLimit } from '../../../lib/server/handshake/address-limit.ts'
import { PendingSockets } from '../../../lib/server/http/pending-sockets.ts'
import { certificate, handshake, RawPeer } from '../../support/rawpeer.ts'

/** The part of a socket that is used. */
class Tcp extends EventEmitter {
  readonly remoteAddress: string | undefined
  readonly remotePort: number

  constructor(remoteAddress: string | undefined, remotePort: number) {
    super()
    this.remoteAddress = remoteAddress
    this.remotePort = remotePort
  }
}

/** Pending sockets of an http server that accepts what it is told to. */
function watched(max: number): {
  addresses: AddressLimit
  pending: PendingSockets
  refused: Tcp[]
  accept: (tcp: Tcp) => void
  requested: (tcp: Tcp) => number
} {
  const addresses = new AddressLimit(max)
  const http = createServer()
  http.removeAllListeners('connection') // these are no real sockets
  const refused: Tcp[] = []
  const refuse = (tcp: Socket): void => void refused.push(tcp as unknown as Tcp)
  const pending = new PendingSockets(
    http,
    { handshakeTimeout: 60_000, addresses },
    { onTooMany: refuse, onTimeout: refuse },
  )
  return {
    ...{ addresses, pending, refused },
    accept: (tcp) => void http.emit('connection', tcp),
    requested: (tcp) => pending.onRequest(tcp as unknown as Socket),
  }
}

test('a pending socket counts until it has sent a request or closed, once', () => {
  const { addresses, accept, requested } = watched(10)
  const [one, two] = [new Tcp('::ffff:192.0.2.1', 1), new Tcp('192.0.2.1', 2)]
  accept(one)
  accept(two)
  assert.equal(addresses.count('192.0.2.1'), 2)
  requested(one)
  requested(one)
  one.emit('close')
  assert.equal(addresses.count('192.0.2.1'), 1)
  two.emit('close')
  two.emit('close')
  assert.equal(addresses.count('192.0.2.1'), 0)
})

test('more pending sockets than the limit are refused, those of other addresses are not', () => {
  const { addresses, refused, accept } = watched(2)
  const all = [1, 2, 3].map((port) => new Tcp('192.0.2.1', port))
  for (const tcp of all) accept(tcp)
  accept(new Tcp('192.0.2.2', 1))
  accept(new Tcp(undefined, 0)) // has gone before it was seen
  assert.deepEqual(refused, [all[2]])
  assert.equal(addresses.count('192.0.2.1'), 2)
  all[0]?.emit('close')
  accept(new Tcp('192.0.2.1', 4))
  assert.equal(refused.length, 1)
})

test('a socket with the port of one that is closing is counted apart', () => {
  const { addresses, accept, requested } = watched(10)
  const [old, young] = [new Tcp('192.0.2.1', 1), new Tcp('192.0.2.1', 1)]
  accept(old)
  accept(young)
  old.emit('close')
  assert.equal(addresses.count('192.0.2.1'), 1)
  requested(young)
  assert.equal(addresses.count('192.0.2.1'), 0)
})

test('a socket that has sent a request keeps nothing', () => {
  const { accept, requested } = watched(1)
  const tcp = new Tcp('192.0.2.1', 1)
  accept(tcp)
  requested(tcp)
  assert.equal(tcp.listenerCount('close'), 0)
})

test('a socket that is not pending has the whole time left', () => {
  const { accept, requested } = watched(1)
  const tcp = new Tcp('192.0.2.1', 1)
  assert.equal(requested(tcp), 60_000)
  accept(tcp)
  const left = requested(tcp)
  assert.ok(left > 59_000 && left < 60_000, String(left))
})

const TIMEOUT = 300
const LATEST = TIMEOUT * 1.1 + 100 // a tenth, and what a busy machine takes to say so

/** Milliseconds since a peer began to connect. */
async function timed(take: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await take()
  return performance.now() - start
}

for (const [what, tls, words] of [
  ['nothing', undefined, ''],
  ['half a request', undefined, 'GET / HTTP/1.1\r\nHo'],
  ['no TLS', certificate(), ''],
  ['no TLS, but http', certificate(), 'GET / HT'],
] as const) {
  test(`a peer that sends ${what} is refused with 408 within a tenth of the time it has`, async () => {
    await using server = new WebsocketServer({ handshakeTimeout: TIMEOUT, tls })
    const { port } = await server.serve(0)
    const told = once(server, 'peerError')
    const time = await timed(async () => {
      const peer = await RawPeer.connect(port)
      peer.write(words)
      if (tls) await peer.gone()
      else assert.equal((await peer.answer()).status, 408)
    })
    const { status, reason } = await told
    if (what !== 'no TLS, but http') assert.deepEqual([status, reason], [408, 'handshakeTimeout'])
    assert.ok(time < LATEST, `${time} ms`)
  })
}

test('a peer that agrees on TLS and sends no request is told 408 over TLS', async () => {
  await using server = new WebsocketServer({ handshakeTimeout: TIMEOUT, tls: certificate() })
  const { port } = await server.serve(0)
  const time = await timed(async () => {
    const peer = await RawPeer.connect(port, { tls: true })
    const { status, body } = await peer.answer()
    assert.deepEqual([status, body], [408, `no request came within ${TIMEOUT} ms\n`])
  })
  assert.ok(time < LATEST, `${time} ms`)
})

for (const [what, tls] of [
  ['plain', undefined],
  ['TLS', certificate()],
] as const) {
  test(`over ${what} authorize has only the time that the request left`, async () => {
    const authorize = (): Promise<{}> => new Promise(() => {})
    await using server = new WebsocketServer({ handshakeTimeout: TIMEOUT, authorize, tls })
    const { port } = await server.serve(0)
    const time = await timed(async () => {
      const peer = await RawPeer.connect(port, { tls: tls !== undefined })
      const bytes = handshake()
      peer.write(bytes.slice(0, -2))
      const timer = setTimeout(() => peer.write(bytes.slice(-2)), TIMEOUT * 0.7)
      assert.equal((await peer.answer()).status, 503)
      clearTimeout(timer)
    })
    assert.ok(time < LATEST, `${time} ms`)
  })
}

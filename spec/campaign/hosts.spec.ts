import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { listen, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { printedBy } from '../support/printed.ts'
import { handshake, RawPeer } from '../support/rawpeer.ts'

/** Opens a WebSocket as a page of such a host does, whose name resolves to the server. */
async function statusAs(
  port: number,
  host: string,
  headers: Record<string, string> = {},
): Promise<number> {
  const peer = await RawPeer.connect(port, { host: '127.0.0.1' })
  peer.write(handshake({ headers: { Host: host, Origin: `http://${host}`, ...headers } }))
  const { status } = await peer.answer()
  peer.tcp.destroy()
  return status
}

for (const [what, options, address, host, status] of [
  ['a name that was made to resolve to it', {}, '127.0.0.1', 'evil.example:PORT', 421],
  ['such a name without a port', {}, '127.0.0.1', 'evil.example', 421],
  ['0.0.0.0', {}, '127.0.0.1', '0.0.0.0:PORT', 421],
  ['localhost', {}, '127.0.0.1', 'localhost:PORT', 101],
  ['a part of localhost', {}, '127.0.0.1', 'chat.localhost:PORT', 101],
  ['its address', {}, '127.0.0.1', '127.0.0.1:PORT', 101],
  ['another loopback address', {}, '127.0.0.1', '[::1]:PORT', 101],
  ['localhost, served by that name', {}, 'localhost', 'localhost:PORT', 101],
  ['a name in `hosts`', { hosts: ['my.example'] }, '127.0.0.1', 'my.example:PORT', 101],
  ['a name beside `hosts`', { hosts: ['my.example'] }, '127.0.0.1', 'localhost:PORT', 421],
  ['any name where `hosts` is *', { hosts: '*' }, '127.0.0.1', 'evil.example:PORT', 101],
  ['any name behind a proxy', { trustProxy: 1 }, '127.0.0.1', 'my.example:PORT', 101],
  ['any name behind no proxies', { trustProxy: 0 }, '127.0.0.1', 'my.example:PORT', 421],
  ['any name, on all addresses', {}, '0.0.0.0', 'evil.example:PORT', 101],
] as [string, ServerOptions, string, string, number][]) {
  test(`a page of ${what} gets ${status} from a server on ${address}`, async () => {
    await using server = new WebsocketServer(options)
    const told: string[] = []
    listen(server, 'peerError', ({ reason }) => void told.push(reason))
    const { port } = await server.serve(0, address)
    await printedBy(async () => {
      assert.equal(await statusAs(port, host.replace('PORT', `${port}`)), status)
    })
    assert.deepEqual(told, status === 101 ? [] : ['host'])
    assert.equal(server.stats().refusals.host, status === 101 ? 0 : 1)
  })
}

test('behind a trusted proxy `hosts` judges the host that the proxy was asked for', async () => {
  await using server = new WebsocketServer({ trustProxy: 1, hosts: ['my.example'] })
  const { port } = await server.serve(0, '127.0.0.1')
  const forwarded = { Origin: 'http://my.example', 'X-Forwarded-Host': 'evil.example, my.example' }
  assert.equal(await statusAs(port, 'inside:8080', forwarded), 101)
  await printedBy(async () => {
    const evil = { 'X-Forwarded-Host': 'my.example, evil.example' }
    assert.equal(await statusAs(port, 'my.example', evil), 421)
  })
})

for (const [address, status] of [
  ['127.0.0.1', 421],
  ['0.0.0.0', 101],
] as const) {
  test(`a page of a name that was made to resolve to it gets ${status} from an attached http server on ${address}`, async () => {
    const http = createServer()
    await using server = new WebsocketServer({ path: '/' }).attach(http) // before it listens
    http.listen(0, address)
    await onceEmitted(http, 'listening')
    const { port } = http.address() as AddressInfo
    await printedBy(async () => {
      assert.equal(await statusAs(port, `evil.example:${port}`), status)
    })
    assert.equal(await statusAs(port, `localhost:${port}`), 101)
    await server.close()
    http.closeAllConnections()
    http.close()
  })
}

test('the first refused host is printed once for each server, with both cures', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0, '127.0.0.1')
  const printed = await printedBy(async () => {
    for (const host of ["no'host", 'evil.example', 'evil.example', 'other.example']) {
      assert.equal(await statusAs(port, host), 421)
    }
  })
  assert.deepEqual(printed, [
    'simplewebsockets: a request for the host evil.example was refused with 421, because this ' +
      'server listens on 127.0.0.1, which serves this machine alone. To let such requests in, give ' +
      "the server the option { hosts: ['evil.example'] }, or { trustProxy: 1 } where they come " +
      'through a proxy. Printed once; each refusal is a `peerError`.',
  ])
})

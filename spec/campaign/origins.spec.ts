import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { once, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { handshake, RawPeer } from '../support/rawpeer.ts'
import { Scene } from '../support/scene.ts'

const GOOD = ['https://good.com', '*.good.com']

for (const [what, origin, status, origins] of [
  ['no origin', undefined, 101, GOOD],
  ['its own host', 'http://localhost', 101, GOOD],
  ['its own host through TLS', 'https://localhost', 101, undefined, { Host: 'localhost:443' }],
  ['its own host on another port', 'http://localhost:81', 403, GOOD],
  ['null', 'null', 403, GOOD],
  ['null where all are allowed', 'null', 101, '*'],
  ['file://', 'file://', 403, GOOD],
  ['an empty one', '', 403, GOOD],
  ['one that is allowed', 'https://good.com', 101, GOOD],
  ['one in capitals', 'HTTPS://GOOD.COM', 101, GOOD],
  ['another scheme', 'http://good.com', 403, GOOD],
  ['another port', 'https://good.com:8443', 403, GOOD],
  ['the usual port', 'https://good.com:443', 101, GOOD],
  ['a part of a host', 'https://a.good.com', 101, GOOD],
  ['a host that goes on', 'https://good.com.evil.com', 403, GOOD],
  ['a host that only ends so', 'https://evilgood.com', 403, GOOD],
  ['a name before the host', 'https://good.com@evil.com', 403, GOOD],
  ['a name and a password', 'https://good.com:443@evil.com', 403, GOOD],
  ['a trailing dot', 'https://good.com.', 403, GOOD],
  ['a path', 'https://good.com/', 403, GOOD],
  ['punycode that looks alike', 'https://xn--god-jma.com', 403, GOOD],
  ['a wildcard', 'https://*.good.com', 403, GOOD],
  ['64 letters of it, 200 times', `https://${`${'a'.repeat(64)}.`.repeat(200)}com`, 403, GOOD],
] as [string, string | undefined, number, ServerOptions['origins']?, Record<string, string>?][]) {
  test(`an origin of ${what} gets ${status}`, async () => {
    await using scene = await Scene.set({ origins })
    const peer = await RawPeer.knock(scene.port, { headers: { Origin: origin } })
    assert.equal((await peer.answer()).status, status)
    assert.deepEqual(scene.refused, status === 101 ? [] : [status])
    const [stranger] = [...scene.server.clients].slice(2)
    await peer.reset()
    if (stranger) await once(stranger, 'close')
    await scene.calm()
  })
}

for (const [first, second] of [
  ['https://good.com', 'https://evil.com'],
  ['https://evil.com', 'https://good.com'],
  ['https://good.com', 'https://good.com'],
] as const) {
  test(`the origins ${first} and ${second} at once get 403`, async () => {
    await using scene = await Scene.set({ origins: GOOD })
    const peer = await RawPeer.connect(scene.port)
    const both = `Origin: ${first}\r\nOrigin: ${second}\r\nUpgrade:`
    peer.write(handshake().replace('Upgrade:', both))
    assert.equal((await peer.answer()).status, 403)
    await peer.gone()
    await scene.calm()
  })
}

for (const order of [
  ['/strict', '/open'],
  ['/open', '/strict'],
]) {
  test(`two servers on one http server judge apart, attached as ${order.join(' and ')}`, async () => {
    await using scene = await Scene.set()
    const http = createServer().listen(0, 'localhost')
    await onceEmitted(http, 'listening')
    const { port } = http.address() as AddressInfo
    const servers = order.map((path) => {
      const origins = path === '/open' ? '*' : GOOD
      return new WebsocketServer({ path, origins, closeTimeout: 200 }).attach(http)
    })
    for (const [target, Origin, status] of [
      ['/strict', 'https://evil.com', 403],
      ['/open', 'https://evil.com', 101],
      ['/strict', 'https://good.com', 101],
      ['/strict/', 'https://evil.com', 403],
      ['//open/../strict', 'https://evil.com', 404],
    ] as const) {
      const peer = await RawPeer.knock(port, { target, headers: { Origin } })
      assert.equal((await peer.answer()).status, status, `${target} from ${Origin}`)
      await peer.reset()
    }
    for (const server of servers) await server.close()
    http.close()
    await onceEmitted(http, 'close')
    await scene.calm()
  })
}

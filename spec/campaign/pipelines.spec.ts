import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { once, WebsocketServer } from 'simplewebsockets'
import { frame, handshake, RawPeer } from '../support/rawpeer.ts'
import { turn } from '../support/scene.ts'

const plain = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`

/** An http server of an application, with a WebSocket at /live. */
async function shared(
  options: ServerOptions,
  answer: RequestListener,
): Promise<{ server: WebsocketServer; http: Server; port: number; stop: () => Promise<void> }> {
  const http = createServer(options, answer).listen(0, 'localhost')
  await onceEmitted(http, 'listening')
  const server = new WebsocketServer({ path: '/live' }).attach(http)
  const stop = async (): Promise<void> => {
    await server.close()
    http.closeAllConnections()
    http.close()
  }
  return { server, http, port: (http.address() as AddressInfo).port, stop }
}

for (const [what, target, status] of [
  ['that is let in', '/live', 101],
  ['that is refused', '/elsewhere', 404],
] as const) {
  test(`an upgrade ${what} is answered behind the slow answers to requests before it`, async () => {
    const answers: (() => void)[] = []
    const { server, port, stop } = await shared({}, (request, response) => {
      answers.push(() => void response.end(`answer to ${request.url}`))
    })
    const peer = await RawPeer.connect(port)
    peer.write(plain('/one') + plain('/two') + handshake({ target }))
    peer.write(frame(1, 'hello'))
    while (answers.length < 2) await turn()
    await turn()
    assert.equal(server.clients.size, 0)
    for (const answer of answers.reverse()) answer() // Node sends them in their order
    assert.equal((await peer.answer()).body, 'answer to /one')
    assert.equal((await peer.answer()).body, 'answer to /two')
    assert.equal((await peer.answer()).status, status)
    if (status === 101) {
      const [client] = server.clients
      assert.ok(client)
      assert.equal(await once(client, 'message'), 'hello')
    }
    peer.tcp.destroy()
    await stop()
  })
}

test('a peer that leaves before the answers to its requests is let in no more', async () => {
  const { server, http, port, stop } = await shared({}, () => {})
  const told = once(server, 'peerError')
  const upgraded = onceEmitted(http, 'upgrade')
  const peer = await RawPeer.connect(port)
  peer.write(plain('/never') + handshake({ target: '/live' }))
  await upgraded
  await peer.reset()
  assert.equal((await told).reason, 'left')
  assert.equal(server.clients.size, 0)
  await stop()
})

test('an upgrade behind a last answer is not answered: the connection ends with that', async () => {
  const { port, stop } = await shared({}, (_, response) => {
    response.setHeader('Connection', 'close').end('the last')
  })
  const peer = await RawPeer.connect(port)
  peer.write(plain('/one') + handshake({ target: '/live' }))
  assert.equal((await peer.answer()).body, 'the last')
  assert.equal((await peer.rest()).toString(), '')
  await stop()
})

test('a NUL in a header that a lenient parser lets pass gets 400, and is no header of its own', async () => {
  const { server, port, stop } = await shared({ insecureHTTPParser: true }, () => {})
  const told = once(server, 'peerError')
  const odd = { 'X-Odd': 'a\0Authorization\0Bearer forged' }
  const peer = await RawPeer.knock(port, { target: '/live', headers: odd })
  assert.equal((await peer.answer()).status, 400)
  assert.equal((await told).reason, 'request')
  assert.equal(server.clients.size, 0)
  await stop()
})

// Tests of a protocol and of a server, without a network.
// Run: node --conditions=source --import tsx --test samples/testing.ts
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import type { WebsocketConnection } from 'simplewebsockets'
import { cut, link, pair } from 'simplewebsockets/testing'

/** The code under test: answers each message in capitals. */
function shout(connection: WebsocketConnection): void {
  listen(connection, 'message', (message) => connection.send(String(message).toUpperCase()))
}

test('a message is answered in capitals', async () => {
  const [server, client] = pair() // the two ends of one connection
  shout(server)
  client.send('hello')
  assert.equal(await once(client, 'message'), 'HELLO')
})

test('a client without a token gets 401', async (t) => {
  const server = new WebsocketServer({ authorize: (request) => request.token() === 'open' })
  const client = new WebsocketClient({ headers: { authorization: 'Bearer open' } })
  t.after(() => client.close())
  const [, end] = await link(server, client)
  assert.equal(end.isOpen, true)
  await assert.rejects(link(server, new WebsocketClient()), { status: 401 })
})

test('a network failure closes with 1006', async () => {
  const [server, client] = pair()
  cut(server)
  const { code } = await once(client, 'close')
  assert.equal(code, 1006)
})

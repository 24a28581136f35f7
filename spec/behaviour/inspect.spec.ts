import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import { inspectLine } from '../../lib/format.ts'

const SECRETS = ['hush', 'payload', 'me:pass']

/** Returns what is printed of an object, which is one line without secrets. */
function printed(object: object): string {
  const line = inspect(object)
  assert.ok(!line.includes('\n'), line)
  for (const secret of SECRETS) assert.ok(!line.includes(secret), line)
  assert.equal(Object.prototype.toString.call(object), `[object ${line.split(' ')[0]}]`)
  return line
}

test('a server says its state, its port and how many clients it has', async () => {
  const server = new WebsocketServer({ authorize: () => ({ key: 'hush' }) })
  assert.equal(printed(server), 'WebsocketServer { closed, 0 clients }')
  const { port } = await server.serve(0)
  const client = new WebsocketClient({ headers: { cookie: 'a=hush' } })
  const accepted = once(server, 'client')
  const here = await client.open(`ws://me:pass@localhost:${port}/chat?token=hush`)
  const there = await accepted
  assert.equal(printed(server), `WebsocketServer { open, port ${port}, 1 client }`)
  assert.match(printed(client), /^WebsocketClient \{ open \}$/)
  const place = `${there.id}, path /chat`
  assert.equal(printed(there), `WebsocketConnection { server side, open, ${place} }`)
  assert.match(printed(here), /^WebsocketConnection \{ client side, open, .*path \/chat \}$/)
  await server.close()
  assert.equal(printed(server), 'WebsocketServer { closed, 0 clients }')
  assert.match(printed(there), / server side, closed, /)
  await client.close()
  assert.equal(printed(client), 'WebsocketClient { closed }')
})

test('a room says its name and how many members it has', async () => {
  const server = new WebsocketServer()
  const [there] = await link(server, new WebsocketClient())
  const room = server.room('lobby')
  assert.equal(printed(room), "Room { name: 'lobby', 0 members }")
  room.add(there)
  assert.equal(printed(room), "Room { name: 'lobby', 1 member }")
  assert.equal(printed(server.clients), "ReadonlyRoom { name: 'clients', 1 member }")
  assert.equal(inspect({ room }), "{ room: Room { name: 'lobby', 1 member } }")
  await server.close()
})

test('channels say their topic and their state', async () => {
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  const topic = channels.topic('room:*')
  listen(topic, 'join', (join) => void join.accept({ told: 'payload' }))
  const joined = once(topic, 'joined')
  const client = new ChannelClient({ params: { token: 'hush' } })
  assert.equal(printed(client), 'ChannelClient { closed }')
  await link(server, client, 'ws://localhost/socket')
  const channel = client.channel('room:1', { said: 'payload' })
  assert.equal(printed(channel), "ClientChannel { topic: 'room:1', closed }")
  await channel.join()
  const { channel: there } = await joined
  assert.equal(printed(channels), 'ChannelServer { 1 topic, 1 socket }')
  assert.equal(printed(client), 'ChannelClient { open }')
  assert.equal(printed(channel), "ClientChannel { topic: 'room:1', joined }")
  assert.equal(printed(there), "ServerChannel { topic: 'room:1', joined }")
  await client.close()
  await server.close()
})

test('a line of a peer stays one line, and moves no cursor', () => {
  const [tag, text] = ['Room', 'a\nb\u001b[2J']
  assert.equal(inspectLine({ [Symbol.toStringTag]: tag }, text), 'Room { a\\u000ab\\u001b[2J }')
})

test('a prototype can be printed', () => {
  for (const { prototype } of [WebsocketServer, WebsocketClient, ChannelServer, ChannelClient]) {
    assert.equal(typeof inspect(prototype), 'string')
  }
})

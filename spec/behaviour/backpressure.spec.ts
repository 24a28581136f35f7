import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type Data,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link, pair } from 'simplewebsockets/testing'
import { EMITTER } from '../../lib/internal.ts'
import { inUse } from '../support/heap.ts'
import { frame, RawPeer } from '../support/rawpeer.ts'
import { MIB, turn } from '../support/scene.ts'

const never = (): Promise<never> => new Promise(() => {})

/** Sends a message back, and waits while the peer has too much to read. */
async function echo(connection: WebsocketConnection, message: Data): Promise<void> {
  if (!connection.send(message)) await once(connection, 'drain')
}

test('a server that awaits `drain` echoes everything to a slow reader that is honest', async () => {
  const server = new WebsocketServer()
  listen(server, 'client', (connection) => {
    listen(connection, 'message', (message) => echo(connection, message))
  })
  const { port } = await server.serve(0)
  const client = await new WebsocketClient().open(`ws://localhost:${port}`)
  const closed = once(client, 'close')
  let heard = 0
  const all = new Promise<void>((resolve) => {
    listen(client, 'message', async () => {
      for (let count = 0; count < 3; count++) await turn()
      if (++heard === 200) resolve()
    })
  })
  for (let number = 0; number < 200; number++) await echo(client, 'x'.repeat(64 * 1024))
  await Promise.race([all, closed.then(({ code }) => assert.fail(`closed with ${code}`))])
  assert.equal(heard, 200)
  await server.close()
})

test('a pending once of `drain` leaves reading paused', async () => {
  const [server, client] = pair()
  listen(server, 'message', never)
  for (let number = 0; number < 100; number++) client.send('x'.repeat(1024))
  await turn()
  assert.ok(client.bufferedAmount > 0)
  void once(server, 'drain').catch(() => {})
  await turn()
  assert.ok(client.bufferedAmount > 0)
})

test('a peer that has gone silently behind a listener that never settles is given up', async () => {
  const server = new WebsocketServer({ keepaliveTimeout: 20, closeTimeout: 20 })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const peer = await RawPeer.enter(port) // which answers no ping
  const there = await entered
  listen(there, 'message', never)
  for (let number = 0; number < 100; number++) peer.write(frame(1, `${number}`, { masked: true }))
  const { code, description } = await once(server.clients, 'leave').then(() => once(there, 'close'))
  assert.deepEqual([code, description], [1006, 'could not ping the client.'])
  peer.tcp.destroy()
  await server.close()
})

test('an honest peer behind a listener of many keepalive periods loses nothing', async () => {
  const server = new WebsocketServer({ keepaliveTimeout: 20 })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const client = await new WebsocketClient({ keepaliveTimeout: false }).open(
    `ws://localhost:${port}`,
  )
  const there = await entered
  const heard: Data[] = []
  let settle = (): void => {}
  listen(there, 'message', (message) => {
    if (heard.push(message) > 1) return undefined
    return new Promise<void>((resolve) => {
      settle = resolve
    })
  })
  const pings = listen(client, 'ping')
  for (let number = 0; number < 3_000; number++) client.send(`${number}`.padEnd(1_000, '.'))
  for (let count = 0; count < 6; count++) await pings.next() // one each period
  assert.equal(there.isOpen, true)
  settle()
  await client.ping()
  assert.equal(heard.length, 3_000)
  await server.close()
})

test('a peer that never reads does not hold a server that awaits `drain`', async () => {
  const server = new WebsocketServer({ keepaliveTimeout: 20 })
  listen(server, 'client', (connection) => {
    listen(connection, 'message', (message) => echo(connection, message))
  })
  const { port } = await server.serve(0)
  const peer = await RawPeer.enter(port)
  const message = frame(1, 'x'.repeat(64 * 1024), { masked: true })
  const left = once(server.clients, 'leave')
  for (let number = 0; number < 200; number++) peer.write(message)
  await left
  assert.equal(server.clients.size, 0)
  peer.tcp.destroy()
  await server.close()
})

for (const [label, size] of [
  ['empty', 0],
  ['100-byte', 100],
  ['64-KiB', 64 * 1024],
] as const) {
  for (const side of ['server', 'client'] as const) {
    test(`${label} messages that wait on a ${side} take no more memory than it allows`, async () => {
      const options = { maxWaitingBytes: 4 * MIB, keepaliveTimeout: false } as const
      const server = new WebsocketServer(options)
      const client = new WebsocketClient(options)
      const [there, here] = await link(server, client)
      const [to, from] = side === 'server' ? [there, here] : [here, there]
      const before = inUse()
      const closed = once(from, 'close')
      let sent = 0
      while (from.isOpen && sent < 100_000) {
        for (let count = 0; count < 100; count++) from.send(new Uint8Array(size))
        sent += 100
        do await turn()
        while (from.isOpen && from.bufferedAmount > 4 * MIB)
      }
      assert.equal((await closed).code, 1008)
      inUse()
      await turn() // the memory of buffers is freed a turn after they were collected
      const cost = inUse() - before
      assert.ok(cost < 6 * MIB, `${cost} bytes`)
      assert.equal(to.isOpen, false)
      await server.close()
    })
  }
}

test('one message within the size limit always fits, and a second one closes with 1008', async () => {
  const [server, client] = pair({ server: { maxReceivedMessageSize: 1_000, maxWaitingBytes: 10 } })
  client.send('x'.repeat(1_000))
  await client.ping()
  assert.equal(server.isOpen, true)
  client.send('y')
  assert.equal((await once(client, 'close')).code, 1008)
})

test('close waits as long as messages are being taken', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const [server, client] = pair({ server: { closeTimeout: 100 } })
  const story: string[] = []
  let settle = (): void => {}
  listen(server, 'close', () => void story.push('close'))
  listen(server, 'message', (message) => {
    story.push(String(message))
    return new Promise<void>((resolve) => {
      settle = resolve
    })
  })
  for (const text of ['a', 'b', 'c', 'd']) client.send(text)
  void client.close()
  await turn()
  for (let count = 0; count < 4; count++) {
    t.mock.timers.tick(60) // longer than closeTimeout, all together
    settle()
    await turn()
  }
  assert.deepEqual(story, ['a', 'b', 'c', 'd', 'close'])
})

test('what waits for a listener that stands still is dropped at the close, and counted', async () => {
  const server = new WebsocketServer({ closeTimeout: 10 })
  const [there, here] = await link(server, new WebsocketClient())
  const heard: Data[] = []
  let settle = (): void => {}
  listen(there, 'message', (message) => {
    heard.push(message)
    return new Promise<void>((resolve) => {
      settle = resolve
    })
  })
  for (const text of ['handled', 'dropped', 'dropped too']) here.send(text)
  void here.close()
  await once(there, 'close')
  settle()
  await turn()
  assert.deepEqual(heard, ['handled'])
  assert.equal(server.stats().drops.unread, 2)
  await server.close()
})

test('awaiting the close takes no time where messages were never listened to', async () => {
  const server = new WebsocketServer({ closeTimeout: 2 ** 31 - 1 })
  const [there, here] = await link(server, new WebsocketClient())
  here.send('unread')
  await here.ping()
  const before = once(there, 'close')
  await here.close(4000, 'enough')
  assert.equal((await before).code, 4000)
  assert.equal(server.stats().drops.unread, 1)
  await server.close()
})

test('awaiting a close that has happened takes no time either', async () => {
  const [server, client] = pair({ server: { closeTimeout: 2 ** 31 - 1 } })
  client.send('unread')
  await client.close(4000, 'enough')
  assert.equal((await once(server, 'close')).code, 4000)
})

test('messages that wait keep no chunk alive of which they are a part', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const peers: { peer: RawPeer; there: WebsocketConnection }[] = []
  while (peers.length < 10) {
    const entered = once(server, 'client')
    const peer = await RawPeer.enter(port)
    peers.push({ peer, there: await entered })
  }
  const message = frame(2, Buffer.alloc(16_500))
  const filling = Buffer.concat(Array<Buffer>(8_000).fill(frame(10)))
  const before = inUse()
  const chunk = Buffer.concat([message, filling.subarray(0, 65_536 - message.length)])
  for (const { peer, there } of peers) {
    for (let count = 0; count < 40; count++) {
      peer.write(chunk)
      while (there.isOpen && there[EMITTER].queuedCount <= count) await turn()
      assert.ok(there.isOpen)
    }
  }
  assert.ok(inUse() - before < 10 * 1.5 * 40 * message.length, `${inUse() - before}`)
  for (const { peer } of peers) peer.tcp.destroy()
})

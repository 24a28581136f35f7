import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
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

/** The end that is heard, and what makes it hear a `ping` of this text. */
function pinged(): { end: WebsocketConnection; ping: (text: string) => Promise<unknown> } {
  const [end, peer] = pair()
  return { end, ping: (text) => peer.ping(text) }
}

/** Resolves with what several `next` gave. */
async function valuesOf(asked: Promise<IteratorResult<Data>>[]): Promise<unknown[]> {
  return (await Promise.all(asked)).map(({ value }) => value as unknown)
}

/** How many listen for the abortion of a signal. */
const waitingFor = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

test('a loop listens from its call, not from its first next', async () => {
  const [end, peer] = pair()
  const [pings, messages] = [listen(end, 'ping'), listen(end, 'message')]
  peer.send('hello')
  await peer.ping('one')
  assert.deepEqual(await pings.next(), { done: false, value: 'one' })
  assert.deepEqual(await messages.next(), { done: false, value: 'hello' })
})

test('a loop is its own iterable', () => {
  const loop = listen(pair()[0], 'message')
  assert.equal(loop[Symbol.asyncIterator](), loop)
})

test('break stops listening, and what the loop had not taken waits for the next one', async () => {
  const [end, peer] = pair()
  for (const text of ['one', 'two', 'three']) peer.send(text)
  for await (const text of listen(end, 'message')) {
    assert.equal(text, 'one')
    break
  }
  for await (const text of listen(end, 'message', {})) {
    assert.equal(text, 'two')
    break
  }
  assert.equal(await once(end, 'message'), 'three')
})

test('a loop that throws stops listening', async () => {
  const { end, ping } = pinged()
  const { signal } = new AbortController()
  const looped = (async () => {
    for await (const text of listen(end, 'ping', { signal })) throw new Error(`boom ${text}`)
  })()
  await ping('one')
  await assert.rejects(looped, /boom one/)
  assert.equal(waitingFor(signal), 0)
})

test('a return ends a loop for good: waiting values are gone, waiting calls are told', async () => {
  const { end, ping } = pinged()
  const done = { done: true, value: undefined }
  const full = listen(end, 'ping')
  await ping('one')
  assert.deepEqual(await full.return?.(), done)
  assert.deepEqual(await full.return?.(), done)
  const empty = listen(end, 'ping')
  const [first, second] = [empty.next(), empty.next()]
  await empty.return?.()
  await ping('two')
  for (const asked of [first, second, full.next(), empty.next()]) {
    assert.deepEqual(await asked, done)
  }
})

test('several next in flight get one value each, in order', async () => {
  for (const event of ['ping', 'message'] as const) {
    const [end, peer] = pair()
    const loop = listen(end, event)
    const asked = [loop.next(), loop.next(), loop.next()]
    for (const text of ['one', 'two', 'three', 'four']) {
      peer.send(text)
      await peer.ping(text)
    }
    assert.deepEqual(await valuesOf(asked), ['one', 'two', 'three'])
    assert.deepEqual(await loop.next(), { done: false, value: 'four' })
  }
})

test('several next in flight take what waits already', async () => {
  const [end, peer] = pair()
  for (const text of ['one', 'two']) peer.send(text)
  await peer.ping()
  const loop = listen(end, 'message')
  const asked = [loop.next(), loop.next(), loop.next()]
  peer.send('three')
  assert.deepEqual(await valuesOf(asked), ['one', 'two', 'three'])
})

test('two loops over one event get all of its values each', async () => {
  const [end, peer] = pair()
  const [one, other] = [listen(end, 'message'), listen(end, 'message')]
  for (const text of ['one', 'two']) peer.send(text)
  for (const value of ['one', 'two']) {
    assert.deepEqual(await one.next(), { done: false, value })
    assert.deepEqual(await other.next(), { done: false, value })
  }
})

test('a signal that is aborted already makes a loop of nothing', async () => {
  const [end, peer] = pair()
  peer.send('kept')
  const signal = AbortSignal.abort()
  for await (const value of listen(end, 'message', { signal })) assert.fail(String(value))
  for await (const value of listen(end, 'ping', { signal })) assert.fail(String(value))
  assert.equal(await once(end, 'message'), 'kept')
})

test('a signal ends a loop at once, without an error', async () => {
  for (const event of ['ping', 'message'] as const) {
    const [end, peer] = pair()
    const stopper = new AbortController()
    const loop = listen(end, event, { signal: stopper.signal })
    const asked = loop.next()
    peer.send('one')
    await peer.ping('one')
    assert.deepEqual(await asked, { done: false, value: 'one' })
    peer.send('two')
    await peer.ping('two')
    const waiting = [listen(end, 'pong', { signal: stopper.signal }).next()]
    stopper.abort(new Error('why'))
    waiting.push(loop.next())
    for (const next of waiting) assert.deepEqual(await next, { done: true, value: undefined })
    assert.equal(waitingFor(stopper.signal), 0)
  }
})

test('a signal that is aborted after the end of a loop is too late to matter', async () => {
  const { end, ping } = pinged()
  const stopper = new AbortController()
  const loop = listen(end, 'ping', { signal: stopper.signal })
  await ping('kept')
  await end.close()
  await once(end, 'close')
  stopper.abort()
  assert.deepEqual(await loop.next(), { done: false, value: 'kept' })
  assert.deepEqual(await loop.next(), { done: true, value: undefined })
})

test('a loop keeps the last 1,000 values of an event that is not held, and never ends for more', async () => {
  const { end, ping } = pinged()
  const loop = listen(end, 'ping')
  const texts = Array.from({ length: 1_002 }, (_, index) => String(index))
  for (const text of texts) await ping(text)
  for (const text of texts.slice(2))
    assert.deepEqual(await loop.next(), { done: false, value: text })
  await ping('and on it goes')
  assert.deepEqual(await loop.next(), { done: false, value: 'and on it goes' })
})

test('messages wait on their own, however many: a loop over them never ends for that', async () => {
  const [end, peer] = pair()
  const loop = listen(end, 'message')
  for (let count = 0; count < 2_000; count++) peer.send(count)
  for (let count = 0; count < 2_000; count++) {
    assert.deepEqual(await loop.next(), { done: false, value: String(count) })
  }
})

test('a loop ends when its connection does, after what it kept', async () => {
  const [end, peer] = pair()
  const [pings, messages, closes] = [
    listen(end, 'ping'),
    listen(end, 'message'),
    listen(end, 'close'),
  ]
  peer.send('message')
  await peer.ping('ping')
  const waiting = listen(end, 'pong').next()
  await Promise.all([peer.close(4000, 'enough'), messages.next()])
  await once(end, 'close')
  assert.deepEqual(await pings.next(), { done: false, value: 'ping' })
  assert.deepEqual((await closes.next()).value, { code: 4000, description: 'enough' })
  for (const next of [waiting, pings.next(), messages.next(), closes.next()]) {
    assert.deepEqual(await next, { done: true, value: undefined })
  }
})

test('a loop on an ended connection takes its end, and then ends', async () => {
  const [end, peer] = pair()
  for (const text of ['one', 'two']) peer.send(text)
  await peer.close(4000, 'enough')
  await once(end, 'close')
  const seen: unknown[] = []
  for await (const text of listen(end, 'message')) seen.push(text)
  for await (const { code } of listen(end, 'close')) seen.push(code)
  for await (const text of listen(end, 'ping')) seen.push(text)
  assert.deepEqual(seen, [4000])
})

test('a loop on a maker ends at closed, and one made then is for its next life', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  const [clients, connections] = [listen(server, 'client'), listen(client, 'connect')]
  const closes = listen(client, 'closed')
  const [there, here] = await link(server, client)
  await server.close({ code: 4000, description: 'enough' })
  await once(client, 'closed')
  assert.equal((await clients.next()).value, there)
  assert.equal((await connections.next()).value, here)
  assert.deepEqual((await closes.next()).value, { code: 4000, description: 'enough' })
  const late: unknown[] = []
  for await (const { code } of listen(client, 'closed')) late.push(code)
  assert.deepEqual(late, [4000])
  const next = listen(client, 'connect')
  const [, again] = await link(server, client)
  assert.equal((await next.next()).value, again)
  await client.close()
  assert.deepEqual(await next.next(), { done: true, value: undefined })
  for (const loop of [clients, connections, closes]) {
    assert.deepEqual(await loop.next(), { done: true, value: undefined })
  }
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PingTracker, pingPayload } from '../../lib/connection/pings.ts'
import { deferred, markHandled } from '../../lib/promises.ts'
import { toBytes, toText } from '../../lib/connection/message.ts'

test('a ping of 300 bytes is cut to 125', () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, index) => index % 256)
  assert.deepEqual(pingPayload(bytes), bytes.slice(0, 125))
  assert.deepEqual(pingPayload('x'.repeat(300)), toBytes('x'.repeat(125)))
})

test('the text of a ping is cut on a character boundary', () => {
  assert.equal(toText(pingPayload('€'.repeat(100))), '€'.repeat(41))
})

test('what a ping carries is a copy, also of a Buffer', () => {
  for (const bytes of [Uint8Array.of(1, 2), Buffer.from([1, 2])]) {
    const payload = pingPayload(bytes)
    bytes.fill(0)
    assert.deepEqual(payload, Uint8Array.of(1, 2))
  }
})

test('a short ping is left as it is', () => {
  assert.deepEqual(pingPayload('testping'), toBytes('testping'))
  assert.deepEqual(pingPayload(''), new Uint8Array())
  assert.deepEqual(pingPayload(new Uint8Array([1, 2])), new Uint8Array([1, 2]))
})

test('a pong settles the ping that it answers with its round trip', async () => {
  const pings = new PingTracker()
  const asked = deferred<number>()
  pings.add(toBytes('one'), asked)
  assert.equal(pings.onPong(toBytes('one')), 'asked')
  const latency = await asked.promise
  assert.ok(latency >= 0)
  assert.equal(pings.latency, latency)
  assert.equal(pings.size, 0)
})

test('a pong answers all earlier pings too, and no later one', async () => {
  const pings = new PingTracker()
  const [one, two, three] = [deferred<number>(), deferred<number>(), deferred<number>()]
  pings.add(toBytes('one'), one)
  pings.add(toBytes('two'), two)
  pings.add(toBytes('three'), three)
  pings.onPong(toBytes('two'))
  assert.ok((await one.promise) >= (await two.promise))
  assert.equal(pings.size, 1)
  pings.onPong(toBytes('three'))
  assert.equal(typeof (await three.promise), 'number')
})

test('pings with the same payload are answered in the order they went out', async () => {
  const pings = new PingTracker()
  const [one, two] = [deferred<number>(), deferred<number>()]
  pings.add(toBytes(''), one)
  pings.add(toBytes(''), two)
  pings.onPong(toBytes(''))
  await one.promise
  assert.equal(pings.size, 1)
  assert.equal(pings.hasWaiter, true)
  pings.onPong(toBytes(''))
  await two.promise
})

for (const payload of ['', 'other', 'on', 'ones', 'onf']) {
  test(`a pong with ${JSON.stringify(payload)} doesn't answer a ping with "one"`, () => {
    const pings = new PingTracker()
    pings.add(toBytes('one'), deferred())
    assert.equal(pings.onPong(toBytes(payload)), undefined)
    assert.equal(pings.size, 1)
  })
}

test('a pong that was not asked for answers nothing', () => {
  assert.equal(new PingTracker().onPong(toBytes('')), undefined)
})

test("the keepalive's own pings are told apart, and no caller waits for them", () => {
  const pings = new PingTracker()
  pings.add(toBytes('alive'), undefined)
  assert.equal(pings.hasWaiter, false)
  assert.equal(pings.size, 1)
  assert.equal(pings.onPong(toBytes('alive')), 'keepalive')
})

test("of the keepalive's pings only the last one counts", () => {
  const pings = new PingTracker()
  const asked = deferred<number>()
  pings.add(toBytes('one'), undefined)
  pings.add(toBytes('asked'), asked)
  pings.add(toBytes('two'), undefined)
  assert.equal(pings.size, 2)
  assert.equal(pings.hasWaiter, true)
  assert.equal(pings.onPong(toBytes('one')), undefined)
  assert.equal(pings.onPong(toBytes('two')), 'keepalive')
  assert.equal(pings.size, 0)
})

test("a ping is answered by the pong to a later one of the keepalive's", async () => {
  const pings = new PingTracker()
  const asked = deferred<number>()
  pings.add(toBytes('asked'), asked)
  pings.add(toBytes('alive'), undefined)
  assert.equal(pings.onPong(toBytes('alive')), 'keepalive')
  assert.ok((await asked.promise) >= 0)
})

test('all pings that wait are rejected together', async () => {
  const pings = new PingTracker()
  const asked = [deferred<number>(), deferred<number>()]
  for (const [index, one] of asked.entries()) {
    markHandled(one.promise)
    pings.add(toBytes(String(index)), one)
  }
  pings.add(toBytes('alive'), undefined)
  const error = new Error('closed')
  pings.reject(error)
  for (const { promise } of asked) await assert.rejects(promise, error)
  assert.equal(pings.size, 0)
  assert.equal(pings.hasWaiter, false)
})

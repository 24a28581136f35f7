import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { redisBackplane } from 'simplewebsockets/redis'
import { is, RunningEngine, without } from './engines.ts'

for (const slip of [undefined, null, 'redis://localhost', {}, { publish: () => {} }]) {
  test(`${JSON.stringify(slip)} is no client`, () => {
    assert.throws(
      () => redisBackplane(slip as unknown as Redis),
      /^TypeError: expected the client to be one of `redis` or of `ioredis`/,
    )
  })
}

for (const [options, message] of [
  [{ prefx: 'a' }, /^TypeError: .*`prefx`.*`prefix`/],
  [{ prefix: 'a b' }, /^TypeError: expected `prefix` to be a string without white space/],
  [{ heartbeat: 0 }, /^TypeError: expected `heartbeat` to be milliseconds from 1 up/],
  [{ maxBufferedAmount: -1 }, /^TypeError: expected `maxBufferedAmount` to be bytes/],
] as [object, RegExp][]) {
  test(`${JSON.stringify(options)} is told`, () => {
    assert.throws(() => redisBackplane(createClient(), options), message)
  })
}

suite('clients of Redis', { skip: without('redis'), timeout: 30_000 }, () => {
  test('one that was not told to connect is, and ends with its backplane', async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const client = createClient({ url })
    const backplane = redisBackplane(client)
    await is(backplane, 'up')
    assert.equal(client.isReady, true)
    await backplane.close()
    assert.equal(client.isOpen, false)
  })

  test('one that was connected stays open, and whose it is', async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const client = createClient({ url })
    await client.connect()
    const backplane = redisBackplane(client)
    await is(backplane, 'up')
    await backplane.close()
    assert.equal(await client.ping(), 'PONG')
    client.destroy()
  })

  test('one of ioredis that waits for a command gets one, and stays open', async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const client = new Redis(url, { lazyConnect: true })
    const backplane = redisBackplane(client)
    await is(backplane, 'up')
    await backplane.close()
    assert.equal(await client.ping(), 'PONG')
    client.disconnect()
  })

  test('programs with prefixes of their own hear nothing of each other', async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const [one, other] = [
      redisBackplane(createClient({ url }), { prefix: 'one.' }),
      redisBackplane(createClient({ url }), { prefix: 'other.' }),
    ]
    await Promise.all([is(one, 'up'), is(other, 'up')])
    await other.subscribe('news', () => assert.fail('it was said elsewhere'))
    const heard = new Promise((resolve) => void one.subscribe('news', resolve))
    await one.subscribe('others', () => {}) // by then the first one stands
    await one.publish('news', Uint8Array.of(1))
    assert.deepEqual([...((await heard) as Uint8Array)], [1])
    await Promise.all([one.close(), other.close()])
  })
})

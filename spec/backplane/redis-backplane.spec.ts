import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster } from 'redis'
import { redisBackplane } from 'simplewebsockets/redis'
import { is, RunningEngine, without } from '../support/engines.ts'

for (const slip of [undefined, null, 'redis://localhost', {}, { publish: () => {} }]) {
  test(`${JSON.stringify(slip)} is no client`, () => {
    assert.throws(
      () => redisBackplane(slip as unknown as Redis),
      /^TypeError: expected the client to be one of `redis` or of `ioredis`/,
    )
  })
}

for (const [kind, make] of [
  ['ioredis', () => new Cluster([{ port: 1 }], { lazyConnect: true })],
  ['redis', () => createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:1' }] })],
] as [string, () => unknown][]) {
  test(`a cluster of ${kind} is refused, with the cure`, () => {
    assert.throws(
      () => redisBackplane(make() as Redis),
      /^TypeError: expected the client to be one of a single node.*: pass `new Redis\({ host, port }\)`/,
    )
  })
}

test('a pool of clients is no client', () => {
  const pool = createClientPool({ url: 'redis://127.0.0.1:1' })
  assert.throws(() => redisBackplane(pool as unknown as Redis), /^TypeError: expected the client/)
})

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
    backplane.close()
    assert.equal(client.isOpen, false)
  })

  test('one that was connected stays open, and whose it is', async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const client = createClient({ url })
    await client.connect()
    const backplane = redisBackplane(client)
    await is(backplane, 'up')
    backplane.close()
    assert.equal(await client.ping(), 'PONG')
    client.destroy()
  })

  test('one of ioredis that waits for a command gets one, and stays open', async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const client = new Redis(url, { lazyConnect: true })
    const backplane = redisBackplane(client)
    await is(backplane, 'up')
    backplane.close()
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
    for (const backplane of [one, other]) backplane.close()
  })

  for (const [kind, make] of [
    ['redis', async (url: string) => createClient({ url }).connect()],
    ['ioredis', (url: string) => Promise.resolve(new Redis(url))],
  ] as [string, (url: string) => Promise<Redis>][]) {
    test(`one of ${kind} has the listeners of before when its backplanes are closed`, async (t) => {
      const { url } = await RunningEngine.start(t, 'redis')
      const client = await make(url)
      client.on('error', () => {}) // the test ends after its broker
      const count = (): number[] => client.eventNames().map((event) => client.listenerCount(event))
      const before = count()
      for (let times = 0; times < 3; times++) {
        const backplane = redisBackplane(client)
        await is(backplane, 'up')
        assert.notDeepEqual(count(), before)
        backplane.close()
      }
      assert.deepEqual(count(), before)
      client.disconnect()
    })
  }

  test('messages that leave late, for the process was busy, are not lost by a timeout of the client', async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const client = createClient({ url, commandOptions: { timeout: 10 } })
    const [one, other] = [redisBackplane(client), redisBackplane(createClient({ url }))]
    await Promise.all([is(one, 'up'), is(other, 'up')])
    let heard = 0
    await other.subscribe('news', () => {
      heard++
    })
    const sent = Array.from({ length: 100 }, (_, index) =>
      one.publish('news', Uint8Array.of(index)),
    )
    const end = performance.now() + 100
    while (performance.now() < end); // the process is busy for longer than the timeout
    for (const taken of sent) assert.equal(await taken, true)
    while (heard < 100) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(one.stats().dropped, 0)
    for (const backplane of [one, other]) backplane.close()
  })

  test('a message longer than the broker takes at once arrives, and disturbs no other', async (t) => {
    const options = ['--proto-max-bulk-len', '1mb']
    const { url } = await RunningEngine.start(t, 'redis', { options })
    const [one, other] = [
      redisBackplane(createClient({ url })),
      redisBackplane(createClient({ url })),
    ]
    await Promise.all([is(one, 'up'), is(other, 'up')])
    const heard: number[] = []
    const ended = new Promise<void>((resolve) => {
      void other.subscribe('news', ({ length }) => {
        heard.push(length)
        if (length === 3) resolve()
      })
    })
    await other.subscribe('others', () => {}) // by then the first one stands
    for (const length of [1, 5_000_000, 2, 1024 * 1024, 3]) {
      await one.publish('news', new Uint8Array(length))
    }
    await ended
    assert.deepEqual(heard, [1, 5_000_000, 2, 1024 * 1024, 3])
    for (const backplane of [one, other]) backplane.close()
  })
})

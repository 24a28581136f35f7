// The specs of a Redis that fails are in cluster/history.spec.ts.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { Cluster, Redis } from 'ioredis'
import { createClient } from 'redis'
import { redisHistory } from 'simplewebsockets/redis'
import { historyContract, type HistoryPair } from 'simplewebsockets/testing'
import { openAdmin, openHistory, redisWays } from '../../cluster/redis-histories.ts'
import { RunningEngine, without } from '../../support/engines.ts'

const bounds = { size: 100, ttl: 60_000, maxBytes: 1_000_000 }

test('a history is made of a client of Redis, and of nothing else', () => {
  for (const client of [undefined, null, 5, 'redis://localhost', {}, { call: true }] as unknown[]) {
    assert.throws(() => redisHistory(client as Redis), {
      name: 'TypeError',
      message: /^expected the client to be one of `redis` or of `ioredis`, got /,
    })
  }
  const cluster: unknown = new Cluster([{ port: 1 }], { lazyConnect: true })
  assert.throws(
    () => redisHistory(cluster as Redis),
    /^TypeError: expected the client to be one of a single node/,
  )
})

for (const [options, message] of [
  [{ prefx: 'a' }, /^TypeError: .*`prefx`.*`prefix`/],
  [{ durabel: true }, /^TypeError: .*`durabel`.*`durable`/],
  [{ durable: 'yes' }, /^TypeError: expected `durable` to be true or false/],
  [{ prefix: 'a b' }, /^TypeError: expected `prefix` to be a string without white space/],
  [{ prefix: 'a'.repeat(129) }, /^TypeError: expected `prefix`/],
  [null, /^TypeError: expected the options to be an object/],
] as [object, RegExp][]) {
  test(`${JSON.stringify(options)} is told, and no connection is made`, () => {
    assert.throws(() => redisHistory(createClient(), options), message)
  })
}

for (const way of redisWays) {
  suite(`${way}: a history in Redis`, { skip: without('redis'), timeout: 60_000 }, () => {
    let engine: Promise<RunningEngine> | undefined
    const ends: (() => unknown)[] = []
    const start = (): Promise<RunningEngine> => {
      engine ??= RunningEngine.start({ after: (end) => ends.push(end as () => unknown) }, 'redis')
      return engine
    }
    test.after(async () => {
      for (const end of ends) await end()
    })

    const make = async (): Promise<HistoryPair> => {
      const { url } = await start()
      const admin = await createClient({ url }).connect()
      const prefix = `${randomUUID()}.`
      return {
        nodes: [openHistory(way, url, { prefix }), openHistory(way, url, { prefix })],
        interrupt: () => admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']),
        lose: () => admin.flushAll(),
        release: () => admin.destroy(),
      }
    }
    for (const { name, run } of historyContract(make, { interrupts: true, loses: true })) {
      test(name, run)
    }

    test('leaves one key where nothing was recorded, and two for a topic, which expire', async (t) => {
      const { url } = await start()
      const admin = await openAdmin(t, url)
      await admin.flushAll()
      await admin.configResetStat()
      const history = openHistory(way, url, { prefix: 'shop.' })
      t.after(() => history.close())
      for (const topic of ['room:1', 'room:2', 'room:3']) {
        await history.read(topic, 0, bounds)
        const stop = await history.subscribe(topic, { receive: () => {}, interrupted: () => {} })
        stop()
      }
      assert.deepEqual(await admin.keys('*'), ['shop.history'])
      await history.append('room:1', 'a', bounds)
      const [head, entries] = ['shop.history:room:1', 'shop.history:room:1.entries']
      assert.deepEqual((await admin.keys('*')).sort(), ['shop.history', head, entries])
      const [position, kept] = [await admin.pTTL(head), await admin.pTTL(entries)]
      assert.ok(kept > 50_000 && kept <= 60_000, `${kept} ms`)
      assert.ok(position > 86_450_000 && position <= 86_460_000, `${position} ms`)
      const commands = (await admin.info('commandstats')).match(/(?<=cmdstat_)[\w|]+/g) ?? []
      assert.deepEqual(
        commands.filter((name) => /scan|flushdb|hgetall|multi/.test(name)),
        [],
      )
    })

    test('needs no other commands, keys and channels than the documentation says', async (t) => {
      const { url } = await start()
      const admin = await openAdmin(t, url)
      const docs = readFileSync(
        new URL('../../../docs/how-to/backplanes.md', import.meta.url),
        'utf8',
      )
      const [, shown = ''] = /redis-cli (ACL SETUSER history [^`]*)/.exec(docs) ?? []
      const command = shown.replace(/\\\n/g, '').replaceAll("'", '').trim().split(/\s+/)
      assert.equal(await admin.sendCommand(command), 'OK')
      const history = openHistory(way, url.replace('//', '//history:secret@'))
      t.after(() => history.close())
      const received: string[] = []
      const subscriber = {
        receive: ({ data }: { data: string }) => void received.push(data),
        interrupted: () => {},
      }
      const stop = await history.subscribe('room: 7', subscriber)
      const narrow = { ...bounds, size: 1 }
      for (const data of ['a', 'b', 'c']) await history.append('room: 7', data, narrow)
      const { entries } = await history.read('room: 7', 0, bounds)
      assert.deepEqual(entries, [{ offset: 3, data: 'c' }])
      await history.subscribe('room:8', subscriber) // by then all of the first one has come
      assert.deepEqual(received, ['a', 'b', 'c'])
      stop()
      assert.equal((await admin.aclLog()).length, 0)
    })

    test('ignores what another program publishes on its channels', async (t) => {
      const { url } = await start()
      const admin = await openAdmin(t, url)
      const history = openHistory(way, url, { prefix: 'shop.' })
      t.after(() => history.close())
      const got: string[] = []
      let end = (): void => {}
      const ended = new Promise<void>((resolve) => (end = resolve))
      const receive = ({ data }: { data: string }): void => {
        got.push(data)
        if (data === 'end') end()
      }
      await history.subscribe('room:9', { receive, interrupted: () => {} })
      for (const text of ['', 'x', '\0', '\0a', '\0a b c', '\0 1 c', '\0a 1']) {
        await admin.publish('shop.history:room:9', text)
      }
      await history.append('room:9', 'end', bounds)
      await ended
      assert.deepEqual(got, ['end'])
    })

    test('rejects what comes after its end, and what has waited for a subscription', async (t) => {
      const absent = await RunningEngine.start(t, 'redis', { started: false })
      const history = openHistory(way, absent.url)
      const none = { receive: () => {}, interrupted: () => {} }
      const waiting = history.subscribe('room:1', none)
      const refused = assert.rejects(
        history.append('room:1', 'a', bounds),
        /Redis is not connected/,
      )
      await refused
      history.close()
      await assert.rejects(waiting, /the history was closed/)
      await assert.rejects(history.append('room:1', 'a', bounds), /the history was closed/)
      await assert.rejects(history.read('room:1', 0, bounds), /the history was closed/)
      await assert.rejects(history.subscribe('room:1', none), /the history was closed/)
    })
  })
}

test(
  'works through a client of ioredis with a prefix of its own',
  { skip: without('redis') },
  async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const history = redisHistory(new Redis(url, { lazyConnect: true, keyPrefix: 'app:' }))
    t.after(() => history.close?.())
    let receive = (_: { data: string }): void => {}
    const received = new Promise<{ data: string }>((resolve) => (receive = resolve))
    await history.subscribe?.('room:1', { receive, interrupted: () => {} })
    await history.append('room:1', 'a', bounds)
    assert.equal((await received).data, 'a')
    assert.equal((await history.read('room:1', 0, bounds)).entries.length, 1)
    const admin = await openAdmin(t, url)
    assert.equal((await admin.keys('app:*')).length, 3)
  },
)

test(
  'a client of yours stays open, and has the listeners of before',
  { skip: without('redis') },
  async (t) => {
    const { url } = await RunningEngine.start(t, 'redis')
    const client = await createClient({ url }).connect()
    const count = (): number[] => client.eventNames().map((event) => client.listenerCount(event))
    const before = count()
    const history = redisHistory(client)
    await history.append('room:1', 'a', bounds)
    await history.close?.()
    assert.deepEqual(count(), before)
    assert.equal(await client.ping(), 'PONG')
    client.destroy()
  },
)

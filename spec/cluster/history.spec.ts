// A history in Redis after each fault of Redis: equal epochs only over what was not lost.
import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import type { HistoryPosition } from '../../lib/channels/history/store.ts'
import type { RedisHistory } from '../../lib/channels/history/redis-history.ts'
import type { RedisHistoryOptions } from '../../lib/redis.ts'
import { markHandled } from '../../lib/promises.ts'
import { RunningEngine, without } from '../support/engines.ts'
import { below, seeded } from '../support/random.ts'
import { openAdmin, openHistory, Proxy, redisWays, type RedisWay } from './redis-histories.ts'

const bounds = { size: 100, ttl: 60_000, maxBytes: 1_000_000 }
const AOF = ['--appendonly', 'yes', '--appendfsync', 'always']
const PATIENCE = 10_000 // milliseconds

/** Opens a history until the end of a test. Resolves once it is connected. */
async function open(
  t: TestContext,
  way: RedisWay,
  url: string,
  options?: RedisHistoryOptions,
  day?: number,
): Promise<RedisHistory> {
  const history = openHistory(way, url, { heartbeat: 100, ...options }, day)
  t.after(() => history.close())
  await retry(() => history.read('room:0', undefined, bounds))
  return history
}

/** Tries until something doesn't fail. */
async function retry<Value>(attempt: () => Promise<Value>): Promise<Value> {
  const end = Date.now() + PATIENCE
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (Date.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** Appends messages that are named after their number. */
async function fill(history: RedisHistory, from: number, to: number): Promise<HistoryPosition> {
  let position: HistoryPosition | undefined
  for (let n = from; n <= to; n++) position = await history.append('room:1', `m${n}`, bounds)
  assert.ok(position)
  return position
}

/** Subscribes, and writes down what happens. */
async function subscribe(history: RedisHistory): Promise<{
  readonly got: string[]
  readonly until: (line: string) => Promise<void>
}> {
  const got: string[] = []
  await history.subscribe('room:1', {
    receive: ({ offset, data }) => void got.push(`${offset} ${data}`),
    interrupted: () => void got.push('interrupted'),
  })
  const until = (line: string): Promise<void> =>
    retry(() => {
      assert.ok(got.includes(line), `${line} has not come, but ${got.join(', ')}`)
      return Promise.resolve()
    })
  return { got, until }
}

for (const way of redisWays) {
  suite(`${way}: a history`, { skip: without('redis'), timeout: 60_000 }, () => {
    test('in a Redis that was killed and kept nothing begins a new epoch, and is subscribed to', async (t) => {
      const engine = await RunningEngine.start(t, 'redis')
      const history = await open(t, way, engine.url)
      const before = await fill(history, 1, 3)
      const { got, until } = await subscribe(history)
      await engine.kill()
      await retry(async () => {
        await assert.rejects(history.append('room:1', 'lost', bounds), /Redis is not connected/)
      })
      await assert.rejects(history.read('room:1', 0, bounds), /Redis is not connected/)
      await engine.start()
      await until('interrupted')
      const page = await retry(() => history.read('room:1', 3, bounds))
      assert.notEqual(page.epoch, before.epoch)
      assert.deepEqual({ ...page, epoch: '' }, { epoch: '', offset: 0, entries: [] })
      const after = await history.append('room:1', 'new', bounds)
      assert.deepEqual(after, { epoch: page.epoch, offset: 1 })
      await until('1 new')
      assert.deepEqual([...new Set(got)], ['interrupted', '1 new'])
    })

    test('in a Redis that was killed and kept all begins a new epoch, as it can not know that', async (t) => {
      const engine = await RunningEngine.start(t, 'redis', { options: AOF })
      const before = await fill(await open(t, way, engine.url), 1, 3)
      await engine.kill()
      await engine.start()
      const history = await open(t, way, engine.url)
      const page = await history.read('room:1', 0, bounds)
      assert.notEqual(page.epoch, before.epoch)
      assert.deepEqual({ ...page, epoch: '' }, { epoch: '', offset: 0, entries: [] })
      assert.deepEqual(await history.append('room:1', 'new', bounds), {
        epoch: page.epoch,
        offset: 1,
      })
      const { entries } = await history.read('room:1', 0, bounds)
      assert.deepEqual(entries, [{ offset: 1, data: 'new' }])
    })

    test('in a durable Redis that was killed goes on in its epoch', async (t) => {
      const engine = await RunningEngine.start(t, 'redis', { options: AOF })
      const history = await open(t, way, engine.url, { durable: true })
      const before = await fill(history, 1, 3)
      const { until } = await subscribe(history)
      await engine.kill()
      await engine.start()
      await until('interrupted')
      const after = await retry(() => history.append('room:1', 'm4', bounds))
      assert.deepEqual(after, { epoch: before.epoch, offset: 4 })
      await until('4 m4')
      const { entries } = await history.read('room:1', 1, bounds)
      assert.deepEqual(
        entries.map(({ data }) => data),
        ['m2', 'm3', 'm4'],
      )
    })

    test('begins a new epoch after FLUSHALL', async (t) => {
      const engine = await RunningEngine.start(t, 'redis')
      const admin = await openAdmin(t, engine.url)
      for (const durable of [false, true]) {
        const history = await open(t, way, engine.url, { durable })
        const before = await fill(history, 1, 3)
        await admin.flushAll()
        const { epoch, offset } = await history.append('room:1', 'new', bounds)
        assert.equal(offset, 1)
        assert.notEqual(epoch, before.epoch)
      }
    })

    test('in a Redis that was frozen takes messages late, all of them and in order', async (t) => {
      const engine = await RunningEngine.start(t, 'redis')
      const history = await open(t, way, engine.url)
      const before = await fill(history, 1, 1)
      const { got, until } = await subscribe(history)
      engine.freeze()
      let settled = 0
      const appended = Array.from({ length: 20 }, async (_, index) => {
        const position = await history.append('room:1', `m${index + 2}`, bounds)
        settled++
        return position
      })
      await new Promise((resolve) => setTimeout(resolve, 500)) // several heartbeats
      assert.equal(settled, 0)
      engine.thaw()
      const positions = await Promise.all(appended)
      assert.deepEqual(
        positions,
        positions.map((_, index) => ({ epoch: before.epoch, offset: index + 2 })),
      )
      await until('21 m21')
      assert.deepEqual(
        got.filter((line) => line !== 'interrupted'),
        positions.map(({ offset }) => `${offset} m${offset}`),
      )
    })

    test('in a Redis that is frozen lets only so many bytes wait', async (t) => {
      const engine = await RunningEngine.start(t, 'redis')
      const history = await open(t, way, engine.url, { maxBufferedAmount: 10_000 })
      await fill(history, 1, 1)
      engine.freeze()
      const data = 'x'.repeat(1_000)
      const all = Array.from({ length: 100 }, () => history.append('room:1', data, bounds))
      const results = Promise.allSettled(all)
      await assert.rejects(all[99] ?? Promise.resolve(), /more than 10000 bytes wait for Redis/)
      engine.thaw()
      const kept = (await results).filter(({ status }) => status === 'fulfilled')
      assert.equal(kept.length, 9)
      assert.equal((await history.append('room:1', data, bounds)).offset, 11)
    })

    test('never records a message twice whose answer was lost', async (t) => {
      const engine = await RunningEngine.start(t, 'redis')
      const proxy = await Proxy.start(t, engine.port)
      const [history, direct] = [await open(t, way, proxy.url), await open(t, way, engine.url)]
      await fill(history, 1, 1)
      proxy.isMute = true
      const unanswered = history.append('room:1', 'm2', bounds)
      const failed = assert.rejects(unanswered)
      await retry(async () => {
        assert.equal((await direct.read('room:1', undefined, bounds)).offset, 2)
      })
      proxy.isMute = false
      proxy.cut()
      await failed
      const third = await retry(() => history.append('room:1', 'm3', bounds))
      assert.equal(third.offset, 3)
      const { entries } = await direct.read('room:1', 0, bounds)
      assert.deepEqual(
        entries.map(({ data }) => data),
        ['m1', 'm2', 'm3'],
      )
    })

    test('keeps the order of messages when Redis forgets its scripts', async (t) => {
      const engine = await RunningEngine.start(t, 'redis')
      const admin = await openAdmin(t, engine.url)
      const [history, other] = [await open(t, way, engine.url), await open(t, way, engine.url)]
      await fill(history, 1, 2)
      const wide = { ...bounds, size: 1_000 }
      const appended: Promise<HistoryPosition>[] = []
      const others: Promise<unknown>[] = []
      for (let n = 3; n <= 300; n++) {
        appended.push(markHandled(history.append('room:1', `m${n}`, wide)))
        others.push(markHandled(other.append('room:2', 'a', bounds)))
        if (n % 10 === 0) others.push(admin.scriptFlush())
        if (n % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      }
      await Promise.allSettled(others)
      const results = await Promise.allSettled(appended)
      const failed = results.filter(({ status }) => status === 'rejected')
      for (const result of failed)
        assert.match(String((result as PromiseRejectedResult).reason), /NOSCRIPT/)
      const { entries } = await history.read('room:1', 0, wide)
      assert.equal(entries.length, 300 - failed.length)
      const ns = entries.map(({ data }) => Number(data.slice(1)))
      assert.deepEqual(
        ns,
        ns.toSorted((left, right) => left - right),
      )
      t.diagnostic(`${failed.length} of 300 failed`)
    })

    test('begins a new epoch on a promoted replica, and another one when it fails back', async (t) => {
      const soon = ['--repl-diskless-sync-delay', '0']
      const primary = await RunningEngine.start(t, 'redis', { options: soon })
      const options = [...soon, '--replicaof', '127.0.0.1', String(primary.port)]
      const replica = await RunningEngine.start(t, 'redis', { options })
      const [here, there] = [await openAdmin(t, primary.url), await openAdmin(t, replica.url)]
      const proxy = await Proxy.start(t, primary.port)
      const history = await open(t, way, proxy.url)
      const { epoch } = await fill(history, 1, 3)
      await retry(async () => {
        assert.equal(await here.wait(1, 1_000), 1)
      })
      const { until } = await subscribe(history)

      await there.sendCommand(['REPLICAOF', 'NO', 'ONE'])
      await fill(await open(t, way, primary.url), 4, 5) // which are lost, and some have received them
      proxy.redirect(replica.port)
      await until('interrupted')
      const promoted = await retry(() => history.append('room:1', 'new', bounds))
      assert.equal(promoted.offset, 1)
      assert.notEqual(promoted.epoch, epoch)
      await until('1 new')

      await here.replicaOf('127.0.0.1', replica.port)
      await retry(async () => {
        assert.equal(await there.wait(1, 1_000), 1)
      })
      // The process that had given the offsets 4 and 5 of the first epoch is the primary again.
      await here.sendCommand(['REPLICAOF', 'NO', 'ONE'])
      proxy.redirect(primary.port)
      const back = await retry(() => history.append('room:1', 'newer', bounds))
      assert.equal(back.offset, 1)
      assert.ok(![epoch, promoted.epoch].includes(back.epoch))
    })

    test('whose counter has expired begins a new epoch', async (t) => {
      const engine = await RunningEngine.start(t, 'redis')
      const admin = await openAdmin(t, engine.url)
      const soon = { ...bounds, ttl: 20 }
      const history = await open(t, way, engine.url, {}, 150)
      const epochs = new Set<string>()
      for (let life = 1; life <= 5; life++) {
        for (const offset of [1, 2]) {
          const position = await history.append('room:1', 'a', soon)
          assert.equal(position.offset, offset)
          epochs.add(position.epoch)
        }
        assert.equal(epochs.size, life)
        await retry(async () => {
          assert.equal(await admin.exists('simplewebsockets.history:room:1'), 0)
        })
      }
    })

    test('that Redis evicts never has an equal epoch over a message that was lost', async (t) => {
      const options = ['--maxmemory', '4mb', '--maxmemory-policy', 'allkeys-lru']
      const engine = await RunningEngine.start(t, 'redis', { options })
      const admin = await openAdmin(t, engine.url)
      const history = await open(t, way, engine.url)
      const next = seeded(21)
      // All that was recorded, by topic and epoch: what a member may have received.
      const recorded = new Map<string, string[]>()
      const counts = { lives: 0, recovered: 0, lost: 0 }
      const since = new Map<string, HistoryPosition>()
      for (let n = 1; n <= 4_000; n++) {
        const topic = `room:${below(next, 200)}`
        const data = `${n} ${'x'.repeat(2_000)}`
        const { epoch, offset } = await history.append(topic, data, bounds)
        const life = recorded.get(`${topic} ${epoch}`) ?? []
        recorded.set(`${topic} ${epoch}`, [...life, data])
        assert.equal(offset, life.length + 1, `${topic}: an offset of ${epoch} is given twice`)
        if (offset === 1) counts.lives++

        const visited = `room:${below(next, 200)}`
        const position = since.get(visited)
        const page = await history.read(visited, position?.offset ?? 0, bounds)
        since.set(visited, page)
        if (page.epoch !== position?.epoch) continue
        const all = recorded.get(`${visited} ${page.epoch}`) ?? []
        assert.equal(page.offset, all.length)
        const isWhole = page.entries.length === page.offset - position.offset
        counts[isWhole ? 'recovered' : 'lost']++
        assert.deepEqual(
          page.entries.map((entry) => entry.data),
          all.slice(page.offset - page.entries.length),
        )
      }
      const evicted = /evicted_keys:(\d+)/.exec(await admin.info('stats'))?.[1]
      assert.ok(Number(evicted) > 100)
      assert.ok(counts.lives > 250 && counts.recovered > 100 && counts.lost > 0)
      t.diagnostic(`${evicted} keys evicted, ${JSON.stringify(counts)}`)
    })

    test('in a Redis that has no memory left records nothing by half', async (t) => {
      const options = ['--maxmemory-policy', 'noeviction']
      const engine = await RunningEngine.start(t, 'redis', { options })
      const admin = await openAdmin(t, engine.url)
      const history = await open(t, way, engine.url)
      const before = await fill(history, 1, 2)
      const { got, until } = await subscribe(history)
      await admin.configSet('maxmemory', '1')
      await assert.rejects(history.append('room:1', 'refused', bounds), /OOM/)
      await assert.rejects(history.append('room:2', 'refused', bounds), /OOM/)
      const { entries } = await history.read('room:1', 1, bounds)
      assert.deepEqual(entries, [{ offset: 2, data: 'm2' }])
      await admin.configSet('maxmemory', '0')
      assert.deepEqual(await fill(history, 3, 3), { ...before, offset: 3 })
      assert.equal((await history.append('room:2', 'first', bounds)).offset, 1)
      await until('3 m3')
      assert.deepEqual(got, ['3 m3'])
    })
  })
}

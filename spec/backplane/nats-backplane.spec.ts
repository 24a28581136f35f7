import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test, type TestContext } from 'node:test'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { natsBackplane } from 'simplewebsockets/nats'
import type { BrokerBackplane } from '../../lib/backplane/broker-backplane.ts'
import { is, open, RunningEngine, without, type Opened } from '../support/engines.ts'

const TOPICS = Array.from({ length: 10 }, (_, index) => `topic${index}`)

/** A server that takes so many subscriptions of each connection. */
interface LimitedServer {
  readonly engine: RunningEngine
  readonly setLimit: (limit: number) => Promise<void>
  readonly open: () => Promise<Opened>
}

async function startLimited(t: TestContext, limit: number): Promise<LimitedServer> {
  const folder = await mkdtemp(join(tmpdir(), 'nats-limit-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'nats.conf')
  const setLimit = (now: number): Promise<void> => writeFile(file, `max_subscriptions: ${now}\n`)
  await setLimit(limit)
  const engine = await RunningEngine.start(t, 'nats', { options: ['--config', file] })
  const openOne = async (): Promise<Opened> => {
    const opened = open('nats', engine.url, { heartbeat: 100 })
    t.after(opened.close)
    await is(opened.backplane, 'up')
    return opened
  }
  return { engine, setLimit, open: openOne }
}

/** Resolves when a backplane tells of so many refused channels, with their names. */
async function refuses(backplane: BrokerBackplane, count: number): Promise<string[]> {
  return new Promise((resolve) => {
    const look = (): void => {
      const { refused } = backplane.stats()
      if (refused.length === count) resolve(refused.map(({ channel }) => channel))
    }
    backplane.listen(look)
    look()
  })
}

for (const slip of [undefined, null, 'nats://localhost', {}, { publish: () => {} }]) {
  test(`${JSON.stringify(slip)} is no connection`, () => {
    assert.throws(
      () => natsBackplane(slip as unknown as NatsConnection),
      /^TypeError: expected the connection to be one of `@nats-io\/transport-node`/,
    )
  })
}

suite('connections of NATS', { skip: without('nats'), timeout: 30_000 }, () => {
  test('one that could not be had is told, and why', async () => {
    const backplane = natsBackplane(Promise.reject(new Error('no way')))
    await is(backplane, 'down')
    assert.match(String(backplane.stats().failure), /no way/)
    assert.equal(await backplane.publish('news', new Uint8Array()), false)
    backplane.close()
  })

  test('one stays open when its backplane is closed', async (t) => {
    const { url } = await RunningEngine.start(t, 'nats')
    const connection = await connect({ servers: url })
    const backplane = natsBackplane(connection)
    await is(backplane, 'up')
    backplane.close()
    await connection.flush()
    await connection.close()
  })

  test('one forgets a backplane that is closed', async (t) => {
    const { url } = await RunningEngine.start(t, 'nats')
    const connection = await connect({ servers: url })
    const ended: unknown[] = []
    const status = connection.status.bind(connection)
    connection.status = () => {
      const changes = status()
      ended.push((changes as unknown as { iterClosed: Promise<void> }).iterClosed)
      return changes
    }
    const backplane = natsBackplane(connection)
    await is(backplane, 'up')
    backplane.close()
    assert.equal(ended.length, 1)
    await Promise.all(ended)
    await connection.close()
  })

  test('one that has ended for good is told', async (t) => {
    const { url } = await RunningEngine.start(t, 'nats')
    const connection = await connect({ servers: url })
    const backplane = natsBackplane(connection)
    await is(backplane, 'up')
    const down = is(backplane, 'down')
    await connection.close()
    await down
    backplane.close()
  })

  test('what makes no sense on a subject is dropped and counted', async (t) => {
    const { url } = await RunningEngine.start(t, 'nats')
    const connection = await connect({ servers: url })
    const backplane = natsBackplane(connection, { prefix: 'own.' })
    await is(backplane, 'up')
    const heard: Uint8Array[] = []
    let lost = 0
    const hear = (message: Uint8Array): void => void heard.push(message)
    await backplane.subscribe('news', hear, () => {
      lost++
    })
    for (const junk of [[], [9], [1, 2, 3]]) {
      connection.publish('own.news', Uint8Array.from(junk))
    }
    await backplane.publish('news', Uint8Array.of(5))
    await connection.flush()
    assert.deepEqual(
      heard.map((message) => [...message]),
      [[5]],
    )
    assert.deepEqual([backplane.stats().dropped, lost], [3, 3])
    backplane.close()
    await connection.close()
  })

  test('topics past `max_subscriptions` are told by name, and heard once there is room for them', async (t) => {
    const print = t.mock.method(console, 'error', () => {})
    const server = await startLimited(t, 5)
    const [{ backplane: one }, { backplane: other }] = [await server.open(), await server.open()]
    const heard: string[] = []
    const stops = TOPICS.map((topic) => one.subscribe(topic, () => void heard.push(topic)))
    assert.deepEqual(
      await refuses(one, 5),
      TOPICS.slice(5).map((topic) => `simplewebsockets.${topic}`),
    )
    assert.match(one.stats().refused[0]?.reason ?? '', /maximum subscriptions exceeded/i)
    assert.equal(one.stats().state, 'up')
    assert.equal(print.mock.callCount(), 1)
    const text = String(print.mock.calls[0]?.arguments[0])
    assert.ok(
      text.includes('Raise `max_subscriptions` of the NATS server, and bound the rooms'),
      text,
    )
    await Promise.all(stops)
    const healed = refuses(one, 0)
    for (const stop of stops.slice(0, 5)) await (await stop)()
    await healed
    const all = new Promise<void>((resolve) => void one.subscribe('topic9', () => resolve()))
    for (const topic of TOPICS) await other.publish(topic, Uint8Array.of(1))
    await all
    assert.deepEqual(heard, TOPICS.slice(5))
  })

  test('after a reconnection those that are not told as refused are heard', async (t) => {
    t.mock.method(console, 'error', () => {})
    const server = await startLimited(t, 10)
    const { backplane } = await server.open()
    const heard = new Set<string>()
    let told = (): void => {}
    for (const topic of TOPICS) {
      await backplane.subscribe(topic, () => {
        heard.add(topic)
        told()
      })
    }
    await server.engine.kill()
    await is(backplane, 'down')
    await server.setLimit(4)
    await server.engine.start()
    const refused = await refuses(backplane, 6)
    const others = TOPICS.filter((topic) => !refused.includes(`simplewebsockets.${topic}`))
    const all = new Promise<void>((resolve) => {
      told = () => heard.size === others.length && resolve()
    })
    for (const topic of TOPICS) await backplane.publish(topic, Uint8Array.of(1))
    await all
    assert.deepEqual([...heard], others)
  })
})

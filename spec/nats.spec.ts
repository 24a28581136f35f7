import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { natsBackplane } from 'simplewebsockets/nats'
import { is, RunningEngine, without } from './engines.ts'

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
    await backplane.subscribe('news', (message) => void heard.push(message))
    for (const junk of [[], [9], [1, 2, 3]]) {
      connection.publish('own.news', Uint8Array.from(junk))
    }
    await backplane.publish('news', Uint8Array.of(5))
    await connection.flush()
    assert.deepEqual(
      heard.map((message) => [...message]),
      [[5]],
    )
    assert.equal(backplane.stats().dropped, 3)
    backplane.close()
    await connection.close()
  })
})

// What it keeps in a real Redis is in cluster/replay.spec.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redisHistory, type RedisCommander } from '../lib/redis.ts'

const bounds = { size: 5, age: 1_000 }

test('a history is asked of a client of Redis, and of nothing else', () => {
  for (const client of [undefined, null, 5, 'redis://localhost', {}, { call: true }] as unknown[]) {
    assert.throws(() => redisHistory(client as RedisCommander), {
      name: 'TypeError',
      message: /^expected the client to be one of `redis` or of `ioredis`, got /,
    })
  }
  const client: RedisCommander = { sendCommand: () => Promise.resolve() }
  assert.throws(() => redisHistory(client, { prefx: 'a' } as object), /did you mean `prefix`/)
  assert.throws(() => redisHistory(client, { prefix: 'a'.repeat(129) }), TypeError)
})

test('whatever a topic is called, its keys are in one place of a cluster, and no two are one', async () => {
  const asked: string[][] = []
  const history = redisHistory({
    sendCommand(command) {
      asked.push(command)
      return Promise.resolve()
    },
  })
  const topics = ['room:1', 'room:{1}', 'room:=1', 'a b', '', 'x'.repeat(255)]
  for (const topic of topics) await history.keep(topic, { sender: 's', n: 1, data: 'd' }, bounds)
  const keys = asked.map(([, , , stream = '', senders = '']) => [stream, senders])
  for (const pair of keys) {
    const places = pair.map((key) => /^\{([^{}]+)\}:\w+$/.exec(key)?.[1])
    assert.ok(places[0] !== undefined && places[0] === places[1], pair.join())
  }
  assert.equal(new Set(keys.flat()).size, 2 * topics.length)
})

test('an answer that makes no sense is no message', async () => {
  for (const answer of [
    undefined,
    null,
    'x',
    5,
    [],
    [[], [5, [], ['1-1']]],
    [5, 'x'],
  ] as unknown[]) {
    const history = redisHistory({ call: () => Promise.resolve(answer) })
    const { entries, senders } = await history.read('a', bounds)
    assert.equal(senders.length, 0)
    for (const { data, n } of entries) assert.deepEqual([data, n], ['', NaN])
  }
})

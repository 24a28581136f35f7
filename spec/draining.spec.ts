import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import type { CloseReason } from '../lib/close.ts'
import { Draining } from '../lib/draining.ts'
import { resolveClose, type CloseOptions } from '../lib/options/close.ts'

interface Farewell extends CloseReason {
  readonly client: number
  readonly at: number
}

/** Closes so many clients by a clock that is turned on by a millisecond at a time. */
async function drained(
  t: TestContext,
  count: number,
  options: CloseOptions,
): Promise<readonly Farewell[]> {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const said: Farewell[] = []
  let now = 0
  let over = false
  const clients = Array.from({ length: count }, (_, client) => client)
  const draining = new Draining(resolveClose(options)).over(clients, (client, reason) => {
    said.push({ client, at: now, ...reason })
  })
  void draining.then(() => (over = true))
  await Promise.resolve()
  for (; !over; now++) {
    mock.timers.tick(1)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return said
}

test('clients are closed in even batches, the first at once, each one once', async (t) => {
  const said = await drained(t, 100, { within: 1_000, batch: 20 })
  assert.deepEqual(
    said.map(({ client }) => client),
    [...Array(100).keys()],
  )
  const times = new Set(said.map(({ at }) => at))
  assert.equal(times.size, 5)
  assert.ok(Math.max(...times) < 1_000)
})

test('they are closed ten times a second, where nobody says how many at once', async (t) => {
  const said = await drained(t, 1_000, { within: 500 })
  assert.equal(said.length, 1_000)
  assert.equal(new Set(said.map(({ at }) => at)).size, 5)
})

test('fewer clients than steps are closed one by one', async (t) => {
  const said = await drained(t, 3, { within: 900 })
  assert.deepEqual(
    said.map(({ at }) => Math.round(at / 300)),
    [0, 1, 2],
  )
})

test('where there is nobody it is over at once', async (t) => {
  assert.deepEqual(await drained(t, 0, { within: 10_000 }), [])
})

test('each is told when to come back: before the next batch', async (t) => {
  const said = await drained(t, 200, { within: 1_000, batch: 100 })
  const waits = said.map(({ code, description }) => {
    assert.equal(code, 1012)
    return Number(/^Service restart retry=(\d+)$/.exec(description)?.[1])
  })
  assert.ok(waits.every((wait) => wait >= 0 && wait <= 500))
  assert.ok(new Set(waits).size > 50, 'and not all at the same time')
})

test('a text of yours stays, as much of it as there is room for', async (t) => {
  const [said] = await drained(t, 1, { within: 10, code: 1013, description: 'ü'.repeat(100) })
  assert.match(said?.description ?? '', /^ü{57,} retry=\d+$/)
  assert.ok(Buffer.byteLength(said?.description ?? '') <= 123)
})

test('a code that asks nobody to come back says nothing of it', async (t) => {
  const [said] = await drained(t, 1, { within: 10, code: 1001 })
  assert.equal(said?.description, 'Remote peer is going away')
})

test('who is at the door comes back when it is over, within as long again', () => {
  const draining = new Draining(resolveClose({ within: 20_000 }))
  const waits = Array.from({ length: 500 }, () => draining.retryAfter)
  assert.ok(waits.every((wait) => Number.isInteger(wait) && wait >= 20 && wait <= 40))
  assert.ok(new Set(waits).size > 10)
})

for (const options of [
  { within: -1 },
  { within: NaN },
  { within: 'a minute' },
  { batch: 0 },
  { batch: 1.5 },
  { wihtin: 5 },
]) {
  test(`closing with ${JSON.stringify(options)} throws a TypeError`, () => {
    assert.throws(() => resolveClose(options as CloseOptions), TypeError)
  })
}

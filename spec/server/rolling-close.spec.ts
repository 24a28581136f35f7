import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import type { CloseReason } from '../../lib/connection/close-codes.ts'
import { resolveClose, type CloseOptions } from '../../lib/options/close.ts'
import { RollingClose } from '../../lib/server/rolling-close.ts'

interface Farewell extends CloseReason {
  readonly client: number
  readonly at: number
}

const FOREVER = 100_000

/**
 * Closes so many clients by a clock that is turned on by `step` milliseconds at a time; `told` hears
 * the time before each step.
 */
async function closed(
  t: TestContext,
  count: number,
  options: CloseOptions,
  {
    step = 1,
    told = () => {},
  }: { step?: number; told?: (now: number, run: RollingClose) => void } = {},
): Promise<{ said: readonly Farewell[]; took: number }> {
  let now = 0
  mock.timers.enable({ apis: ['setTimeout'] })
  const clock = mock.method(performance, 'now', () => now)
  t.after(() => {
    mock.timers.reset()
    clock.mock.restore()
  })
  const said: Farewell[] = []
  let over = false
  const clients = Array.from({ length: count }, (_, client) => client)
  const rolling = new RollingClose(resolveClose(options))
  const running = rolling.run(clients, (client, reason) => {
    said.push({ client, at: now, ...reason })
  })
  void running.then(() => (over = true))
  await Promise.resolve()
  while (!over && now < FOREVER) {
    told(now, rolling)
    now += step
    mock.timers.tick(step)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { said, took: now }
}

test('clients are closed in even batches, the first at once, each one once', async (t) => {
  const { said } = await closed(t, 100, { within: 1_000, batch: 20 })
  assert.deepEqual(
    said.map(({ client }) => client),
    [...Array(100).keys()],
  )
  const times = new Set(said.map(({ at }) => at))
  assert.equal(times.size, 5)
  assert.ok(Math.max(...times) < 1_000)
})

test('they are closed ten times a second, where no `batch` is given', async (t) => {
  const { said } = await closed(t, 1_000, { within: 500 })
  assert.equal(said.length, 1_000)
  assert.equal(new Set(said.map(({ at }) => at)).size, 5)
})

test('fewer clients than steps are closed one by one', async (t) => {
  const { said } = await closed(t, 3, { within: 900 })
  assert.deepEqual(
    said.map(({ at }) => Math.round(at / 300)),
    [0, 1, 2],
  )
})

for (const step of [1, 7]) {
  test(`batches that are due faster than a timer fires, every ${step} ms, are in time`, async (t) => {
    const { said, took } = await closed(t, 5_000, { within: 500, batch: 1 }, { step })
    assert.deepEqual(
      said.map(({ client }) => client),
      [...Array(5_000).keys()],
    )
    assert.ok(took >= 490 && took <= 510, `it took ${took} ms`)
    const atOnce = new Map<number, number>()
    for (const { at } of said) atOnce.set(at, (atOnce.get(at) ?? 0) + 1)
    const most = Math.max(...atOnce.values())
    assert.ok(most <= 10 * step + 1, `${most} at once`)
  })
}

test('a run that is stopped ends at once, and leaves the others open with the reason given', async (t) => {
  const reason = { code: 1001, description: 'at once' }
  let rolling: RollingClose | undefined
  const told = (now: number, run: RollingClose): void => {
    rolling = run
    if (now === 50) run.stop(reason)
  }
  const { said, took } = await closed(t, 10, { within: 1_000, batch: 1 }, { told })
  assert.equal(said.length, 1)
  assert.equal(took, 51)
  assert.deepEqual(rolling?.reason, reason)
  rolling.stop({ code: 4000, description: 'the first one counts' })
  assert.deepEqual(rolling.reason, reason)
})

test('a run that was stopped before it began closes nothing', async () => {
  const rolling = new RollingClose(resolveClose({ within: 1_000 }))
  rolling.stop({ code: 1001, description: '' })
  await rolling.run([1, 2, 3], () => assert.fail('it was stopped'))
})

test('without clients it is over at once', async (t) => {
  assert.deepEqual((await closed(t, 0, { within: 10_000 })).said, [])
})

test('each is told when to come back: before the next batch', async (t) => {
  const { said } = await closed(t, 200, { within: 1_000, batch: 100 })
  const waits = said.map(({ code, description }) => {
    assert.equal(code, 1012)
    return Number(/^Service restart retry=(\d+)$/.exec(description)?.[1])
  })
  assert.ok(waits.every((wait) => wait >= 0 && wait <= 500))
  assert.ok(new Set(waits).size > 50, 'and not all at the same time')
})

test('a text of yours stays, as much of it as there is room for', async (t) => {
  const {
    said: [said],
  } = await closed(t, 1, { within: 10, code: 1013, description: 'ü'.repeat(100) })
  assert.match(said?.description ?? '', /^ü{57,} retry=\d+$/)
  assert.ok(Buffer.byteLength(said?.description ?? '') <= 123)
})

test('a code that asks no client to come back says nothing of it', async (t) => {
  const {
    said: [said],
  } = await closed(t, 1, { within: 10, code: 1001 })
  assert.equal(said?.description, 'Remote peer is going away')
})

test('a client that is refused meanwhile comes back when it is over, within as long again', () => {
  const rolling = new RollingClose(resolveClose({ within: 20_000 }))
  const waits = Array.from({ length: 500 }, () => rolling.retryAfter)
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

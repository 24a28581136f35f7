import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import { ErrorLog, errorLog } from '../lib/error-log.ts'
import { WebsocketError } from '../lib/errors.ts'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { printedBy } from './support/printed.ts'

const PLACE = '`message` of a connection'
const boom = new WebsocketError('boom')

/** Makes a log whose time is mocked, and what it prints. */
function begin(t: TestContext): { log: ErrorLog; printed: () => unknown[] } {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const print = t.mock.method(console, 'error', () => {})
  const printed = (): unknown[] => print.mock.calls.flatMap((call) => call.arguments as unknown[])
  return { log: new ErrorLog(), printed }
}

test('an error of a place is printed, and more of it within a second are counted', (t) => {
  const { log, printed } = begin(t)
  for (let count = 0; count < 413; count++) log.print(boom, PLACE)
  assert.deepEqual(printed(), [boom])
  t.mock.timers.tick(1_000)
  assert.deepEqual(printed().slice(1), [
    '… and 412 more like it in the last 1 s: `message` of a connection failed, last with "boom (ERR_UNEXPECTED)"',
  ])
})

test('after a second the next error of a place is printed again', (t) => {
  const { log, printed } = begin(t)
  const later = new WebsocketError('later')
  log.print(boom, PLACE)
  t.mock.timers.tick(1_000)
  log.print(later, PLACE)
  assert.deepEqual(printed(), [boom, later])
})

test('places are counted apart', (t) => {
  const { log, printed } = begin(t)
  const other = new WebsocketError('no database')
  log.print(boom, PLACE)
  log.print(other, '`authorize`')
  assert.deepEqual(printed(), [boom, other])
})

test('an error is printed once for each connection, and then counted, however late', (t) => {
  const { log, printed } = begin(t)
  const [one, two] = [{}, {}]
  log.print(boom, PLACE, one)
  t.mock.timers.tick(60_000)
  log.print(boom, PLACE, one)
  log.print(boom, PLACE, one)
  assert.deepEqual(printed(), [boom])
  t.mock.timers.tick(1_000)
  assert.match(String(printed()[1]), /^… and 2 more like it /)
  log.print(boom, PLACE, two)
  assert.deepEqual(printed().slice(2), [boom])
})

test('what is not about an object is printed again after a second', (t) => {
  const { log, printed } = begin(t)
  for (const about of [undefined, null, 'text', 7]) {
    log.print(boom, PLACE, about)
    log.print(boom, PLACE, about)
    t.mock.timers.tick(1_000)
  }
  assert.equal(printed().filter((line) => line === boom).length, 4)
})

test('a long message is cut beside a count, and stays on one line', (t) => {
  const { log, printed } = begin(t)
  log.print(boom, PLACE)
  log.print(new WebsocketError(`a\n${'b'.repeat(1_000)}`), PLACE)
  t.mock.timers.tick(1_000)
  assert.ok(String(printed()[1]).endsWith(`last with "a\\n${'b'.repeat(198)}"`))
})

test('a flush prints the counts at once, and begins anew', (t) => {
  const { log, printed } = begin(t)
  log.print(boom, PLACE)
  log.print(boom, PLACE)
  log.print(boom, '`authorize`')
  log.flush()
  assert.match(String(printed()[2]), /^… and 1 more like it /)
  log.print(boom, PLACE)
  assert.equal(printed().length, 4)
  t.mock.timers.tick(1_000)
  assert.equal(printed().length, 4)
})

test('a count that is still to be printed keeps no process alive', async () => {
  const log = new ErrorLog()
  const timers = mock.method(globalThis, 'setTimeout')
  await printedBy(() => log.print(boom, PLACE))
  const [call] = timers.mock.calls
  timers.mock.restore()
  assert.equal(call?.result?.hasRef(), false)
  log.flush()
})

test('a listener that fails for 1,000 clients at once is printed once, with the count', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] }) // the second doesn't end
  await using server = new WebsocketServer()
  listen(server, 'client', (client) => {
    listen(client, 'message', () => {
      throw new Error('boom')
    })
  })
  const lines = await printedBy(async () => {
    const ends = Array.from({ length: 1_000 }, async () => {
      const [there, here] = await link(server, new WebsocketClient())
      const closed = once(there, 'close')
      here.send('x')
      assert.equal((await closed).code, 1011)
    })
    await Promise.all(ends)
    errorLog.flush()
  })
  assert.equal(lines.length, 2)
  assert.equal((lines[0] as Error).message, 'boom')
  assert.match(String(lines[1]), /^… and 999 more like it .*: `message` of a connection failed/)
})

test('an authorize that fails for 1,000 peers at once is printed once, with the count', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] }) // the second doesn't end
  await using server = new WebsocketServer({
    authorize: () => Promise.reject(new Error('the database is down')),
  })
  const lines = await printedBy(async () => {
    const peers = Array.from({ length: 1_000 }, () => link(server, new WebsocketClient()))
    for (const { status } of await Promise.allSettled(peers)) assert.equal(status, 'rejected')
    errorLog.flush()
  })
  assert.equal(lines.length, 2)
  assert.equal((lines[0] as Error).message, 'the database is down')
  assert.match(String(lines[1]), /^… and 999 more like it .*: `authorize` failed, last with /)
})

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  CallbackError,
  FrameError,
  json,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type JsonOptions,
  type StandardSchema,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link, pair } from 'simplewebsockets/testing'
import { z } from 'zod'
import { printedBy } from '../support/printed.ts'

const Draw = z.object({ type: z.literal('draw'), x: z.number() })
type Draw = z.infer<typeof Draw>

/** Returns a server's end with these messages, and a client's end that sends what it likes. */
function ends<In = unknown>(
  options?: JsonOptions<In, unknown>,
): [server: WebsocketConnection<{}, In, unknown>, client: WebsocketConnection] {
  return pair({ server: { messages: json(options) } })
}

/** Returns a schema that is made of one function. */
function schemaOf<Value>(
  validate: StandardSchema<unknown, Value>['~standard']['validate'],
): StandardSchema<unknown, Value> {
  return { '~standard': { version: 1, vendor: 'spec', validate } }
}

suite('json', () => {
  test('messages are values on both ends, and JSON text between them', async () => {
    const [server, client] = ends({ in: Draw })
    listen(server, 'message', ({ x }) => server.send({ x: x + 1 }))
    client.send('{"type":"draw","x":1,"more":true}')
    assert.equal(await once(client, 'message'), '{"x":2}')
    client.send(new TextEncoder().encode('{"type":"draw","x":5}'))
    assert.equal(await once(client, 'message'), '{"x":6}')
  })

  test('a listener gets what the schema returns', async () => {
    const [server, client] = ends({ in: z.object({ at: z.coerce.date() }) })
    client.send('{"at":"2026-01-01T00:00:00Z","more":1}')
    assert.deepEqual(await once(server, 'message'), { at: new Date('2026-01-01T00:00:00Z') })
  })

  test('a room encodes a message once for all members, here and on other nodes', async () => {
    let count = 0
    const counted = {
      toJSON: () => {
        count++
        return 'hello'
      },
    }
    const server = new WebsocketServer({ messages: json() })
    const received: unknown[] = []
    for (let index = 0; index < 3; index++) {
      const [, client] = await link(server, new WebsocketClient({ messages: json() }))
      listen(client, 'message', (message) => received.push(message))
    }
    const [first] = server.clients
    const room = server.room('red')
    for (const member of server.clients) room.add(member)
    room.emit(counted)
    server.emit(counted)
    first?.broadcast(counted)
    await Promise.all([...server.clients].map((client) => client.ping()))
    assert.equal(count, 3)
    assert.deepEqual(received, Array(8).fill('hello'))
    await server.close()
  })

  for (const [what, sent] of [
    ['text that is no JSON', 'draw'],
    ['nothing', ''],
    ['bytes that are no text', Uint8Array.of(0xff)],
    ['a value and more', '{} {}'],
    ['1 MiB of nesting', '['.repeat(2 ** 20 - 1)],
    ['512 levels and one', '['.repeat(513) + ']'.repeat(513)],
  ] as const) {
    test(`${what} closes with 1007`, async () => {
      const [server, client] = ends({ invalid: 'drop' })
      const failed = once(server, 'error')
      client.send(sent)
      const error = await failed
      assert.ok(error instanceof FrameError)
      assert.deepEqual([error.code, error.closeCode], ['ERR_MESSAGE_INVALID', 1007])
      assert.equal((await once(client, 'close')).code, 1007)
    })
  }

  test('what the schema refuses closes with 1008, and the error has the issues', async () => {
    const [server, client] = ends({ in: Draw })
    const failed = once(server, 'error')
    client.send('{"type":"draw","x":"1"}')
    const error = await failed
    assert.ok(error instanceof FrameError)
    assert.deepEqual([error.code, error.closeCode], ['ERR_MESSAGE_INVALID', 1008])
    assert.deepEqual(
      error.issues?.map(({ path }) => path),
      [['x']],
    )
    assert.match(error.message, /^invalid message: x: .*number/)
    const { code, description } = await once(client, 'close')
    assert.deepEqual([code, description], [1008, error.message])
  })

  test("with `invalid: 'drop'` it is dropped and counted, and the next one comes", async () => {
    const server = new WebsocketServer({ messages: json({ in: Draw, invalid: 'drop' }) })
    const [one, client] = await link(server, new WebsocketClient())
    client.send('{"type":"draw","x":"1"}')
    client.send('{"type":"draw","x":2}')
    assert.deepEqual(await once(one, 'message'), { type: 'draw', x: 2 })
    assert.equal(server.stats().drops.invalid, 1)
    await server.close()
  })

  test('behind a refused message nothing is delivered, and before it everything is', async () => {
    const [server, client] = ends({ in: Draw })
    const received: number[] = []
    listen(server, 'message', ({ x }) => received.push(x))
    listen(server, 'error', () => {})
    for (const x of ['1', '2', '"three"', '4']) client.send(`{"type":"draw","x":${x}}`)
    await once(client, 'close')
    assert.deepEqual(received, [1, 2])
  })

  test('asynchronous schemas keep the order', async () => {
    const waits = new Map<number, () => void>()
    const slow = schemaOf<number>(async (value) => {
      if (value !== 2) await new Promise<void>((resolve) => waits.set(Number(value), resolve))
      return { value: Number(value) }
    })
    const [server, client] = ends({ in: slow })
    const received: number[] = []
    listen(server, 'message', (message) => received.push(message))
    for (const text of ['1', '2', '3']) client.send(text)
    await server.ping()
    waits.get(3)?.()
    await server.ping()
    assert.deepEqual(received, [])
    waits.get(1)?.()
    await server.ping()
    assert.deepEqual(received, [1, 2, 3])
  })

  test('`close` comes after messages that wait for a schema', async () => {
    let finish = (): void => {}
    const slow = schemaOf<string>(
      (value) => new Promise((resolve) => (finish = () => resolve({ value: String(value) }))),
    )
    const [server, client] = ends({ in: slow })
    const told: unknown[] = []
    listen(server, 'message', (message) => told.push(message))
    listen(server, 'close', ({ code }) => told.push(code))
    client.send('"last"')
    await client.close(4000)
    assert.deepEqual(told, [])
    finish()
    await once(server, 'close')
    assert.deepEqual(told, ['last', 4000])
  })

  test('what a schema does after `closeTimeout` is not told', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const stuck = schemaOf<unknown>(() => new Promise(() => {}))
    const [server, client] = ends({ in: stuck, timeout: 60_000 })
    const told: unknown[] = []
    listen(server, 'message', (message) => told.push(message))
    listen(server, 'error', (error) => told.push(error))
    client.send('1')
    await client.close(4000)
    const closed = once(server, 'close')
    t.mock.timers.tick(5_000)
    assert.equal((await closed).code, 4000)
    t.mock.timers.tick(60_000)
    await Promise.resolve()
    assert.deepEqual(told, [])
  })

  test('reading pauses while more wait for a schema than for a slow listener', async () => {
    const slow = schemaOf<unknown>(() => new Promise(() => {}))
    const [server, client] = pair({ server: { messages: json({ in: slow }), closeTimeout: 0 } })
    let seen = 0
    listen(server, 'message', () => seen++)
    const text = JSON.stringify('x'.repeat(50_000))
    let count = 0
    while (client.bufferedAmount === 0 && count < 1_000) {
      client.send(text)
      count++
      await new Promise(setImmediate)
    }
    assert.ok(count < 500, `${count} were taken`)
    assert.equal(server.isOpen, true)
    const closed = once(server, 'close')
    server.terminate()
    await closed
    assert.equal(seen, 0)
  })

  for (const [how, validate] of [
    ['throws', () => assert.fail('a defect')],
    ['rejects', () => Promise.reject(new Error('a defect'))],
  ] as const) {
    test(`a schema that ${how} is a failure of a listener: heard, the connection goes on`, async () => {
      const server = new WebsocketServer({
        messages: json({ in: schemaOf((value) => (value === 1 ? validate() : { value })) }),
      })
      const [one, client] = await link(server, new WebsocketClient())
      const failed = once(one, 'error')
      client.send('1')
      client.send('2')
      const error = await failed
      assert.ok(error instanceof CallbackError)
      assert.deepEqual([error.message, error.event], ['a defect', 'message'])
      assert.equal(await once(one, 'message'), 2)
      assert.equal(server.stats().drops.invalid, 1)
      await server.close()
    })
  }

  test('unheard, it is printed, and the connection closes with 1011', async () => {
    const [server, client] = ends({ in: schemaOf(() => assert.fail('a defect')) })
    listen(server, 'message', () => {})
    const printed = await printedBy(async () => {
      client.send('1')
      assert.equal((await once(client, 'close')).code, 1011)
    })
    assert.match(String(printed[0]), /a defect/)
  })

  test('a schema that never settles fails after `timeout`', async (t) => {
    const stuck = schemaOf<unknown>((value) => (value === 1 ? new Promise(() => {}) : { value }))
    const [server, client] = ends({ in: stuck })
    const received = once(server, 'message')
    const failed = once(server, 'error')
    t.mock.timers.enable({ apis: ['setTimeout'] })
    client.send('1')
    client.send('2')
    await client.ping()
    t.mock.timers.tick(5_000)
    assert.match((await failed).message, /decoding a message took more than 5000 ms/)
    assert.equal(await received, 2)
  })

  test('names such as `__proto__` are only names', async () => {
    const [server, client] = ends()
    client.send('{"__proto__":{"polluted":true},"constructor":1}')
    const message = await once(server, 'message')
    assert.ok(typeof message === 'object' && message !== null)
    assert.deepEqual(Object.keys(message), ['__proto__', 'constructor'])
    assert.equal(Reflect.get({}, 'polluted'), undefined)
    assert.equal(Object.getPrototypeOf(message), Object.prototype)
  })

  test('what can be no JSON throws where it is sent', () => {
    const [server] = ends()
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    for (const value of [undefined, () => {}, Symbol('a'), 1n, cycle]) {
      assert.throws(() => server.send(value), { name: 'TypeError', message: /can't be JSON/ })
      assert.throws(() => server.broadcast(value), TypeError)
    }
    assert.equal(server.isOpen, true)
  })

  test('`binary` sends JSON as bytes', async () => {
    const [server, client] = pair({
      server: { messages: json(), binary: true },
      client: { messages: json() },
    })
    server.send({ n: 1 })
    assert.deepEqual(await once(client, 'message'), { n: 1 })
    client.send([1])
    assert.deepEqual(await once(server, 'message'), [1])
  })

  test('options are checked', () => {
    const bad =
      (options: object): (() => unknown) =>
      () =>
        json(options)
    assert.throws(bad({ inn: Draw }), /did you mean `?in`?/)
    assert.throws(bad({ in: {} }), /expected `in` to be one that follows Standard Schema/)
    assert.throws(bad({ invalid: 'ignore' }), /'close' or 'drop'/)
    assert.throws(bad({ timeout: '5s' }), /milliseconds/)
    const misused = { messages: { encode: String } } as object
    assert.throws(() => new WebsocketServer(misused), /`messages` .*`json` or `codec`/)
  })
})

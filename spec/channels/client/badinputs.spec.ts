import assert from 'node:assert/strict'
import { once as onceOf } from 'node:events'
import type { AddressInfo } from 'node:net'
import { suite, test, type TestContext } from 'node:test'
import { FrameError, listen, once } from 'simplewebsockets'
import {
  amber,
  ChannelClient,
  phoenixV1,
  Presence,
  type Channel,
  type ChannelClientOptions,
} from 'simplewebsockets/channels'
import { WebSocketServer } from 'ws'
import { Books } from '../../support/channels/books.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Scene {
  readonly client: ChannelClient
  readonly books: Books
  readonly room: Channel
  /** The errors that the client has told. */
  readonly errors: Error[]
}

/** A client with one membership, called 1, at a server from the books. */
async function scene(t: TestContext, options?: ChannelClientOptions): Promise<Scene> {
  const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false, ...options })
  t.after(() => client.close())
  const books = await Books.meet(client)
  const room = await books.joined(client)
  const errors: Error[] = []
  listen(client, 'error', (error) => errors.push(error))
  listen(room, 'close', () => assert.fail('closed'))
  return { client, books, room, errors }
}

/** The membership is there: a push is answered, and by a second answer nothing is changed. */
async function goesOn({ client, books, room }: Scene): Promise<void> {
  const pushed = room.push('still', {})
  const [sent] = await books.take()
  await books.say(reply(sent?.[1], { status: 'ok', response: 1 }))
  await books.say(reply(sent?.[1], { status: 'error', response: 2 }))
  assert.equal(await pushed, 1)
  assert.equal(room.state, 'joined')
  assert.ok(client.isOpen)
}

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))
const long = 'x'.repeat(1024 * 1024)
const nested = `["1",null,"room:1","evt",${'['.repeat(100_000)}${']'.repeat(100_000)}]`
const said = (event: unknown, payload: unknown = {}): unknown => [
  '1',
  null,
  'room:1',
  event,
  payload,
]
const reply = (ref: unknown, payload: unknown): unknown => [
  '1',
  ref,
  'room:1',
  'phx_reply',
  payload,
]

type Row = readonly [what: string, frame: unknown]

const senseless: readonly Row[] = [
  ['no JSON', 'oops'],
  ['nothing', ''],
  ['half a frame', '["1","1","room:1"'],
  ['null', 'null'],
  ['a number', '7'],
  ['a text', '"text"'],
  ['an object', {}],
  ['a frame of version 1', { topic: 'room:1', event: 'evt', payload: {}, ref: null }],
  ['no elements', []],
  ['four elements', ['1', '1', 'room:1', 'evt']],
  ['a million nothings', `[${'0,'.repeat(1_000_000)}0]`],
  ['a nesting of 100,000', nested],
  ['a nesting without an end', '['.repeat(100_000)],
  ['a join_ref that is a number', [1, null, 'room:1', 'evt', {}]],
  ['a ref that is a number', ['1', 1, 'room:1', 'evt', {}]],
  ['a ref that is an object', ['1', { toString: 'x' }, 'room:1', 'evt', {}]],
  ['a ref of 1 MB', ['1', long, 'room:1', 'evt', {}]],
  ['a topic that is a number', ['1', null, 7, 'evt', {}]],
  ['a topic that is null', ['1', null, null, 'evt', {}]],
  ['an event that is a number', said(7)],
  ['an event that is null', said(null)],
  ['an event that is an object', said({ toString: 'evt' })],
  ['a reply of null', reply('1', null)],
  ['a reply of a list', reply('1', [])],
  ['a reply without a status', reply('1', {})],
  ['a status that is a number', reply('1', { status: 1, response: {} })],
  ['a join', said('phx_join')],
  ['a leave', said('phx_leave')],
  ['no bytes', new Uint8Array(0)],
  ['bytes of no kind', bytes('090909')],
  ['a push cut short in its lengths', bytes('0001')],
  ['a push cut short in its names', bytes('00ffffff')],
  ['a reply cut short', bytes('0101020602')],
  ['a broadcast cut short', bytes('020609726f6f6d')],
  ['JSON in bytes', Buffer.from('["1",null,"room:1","evt",{}]')],
  ['a topic in bytes that is no UTF-8', bytes('020203fffe657674')],
]

const harmless: readonly Row[] = [
  ['a sixth element', ['1', null, 'room:1', 'evt', {}, 'more']],
  ['an answer to nothing', reply('99', { status: 'ok', response: {} })],
  ['an answer to no ref', reply(null, { status: 'ok', response: {} })],
  ['an answer to an empty ref', reply('', { status: 'error', response: {} })],
  ['an answer of 1 MB to nothing', reply('99', { status: long, response: {} })],
  ['an answer to __proto__', reply('__proto__', { status: 'ok', response: {} })],
  ['the join refused after all', reply('1', { status: 'error', response: {} })],
  ['the join answered again', reply('1', { status: 'ok', response: { other: true } })],
  ['a heartbeat answered unasked', [null, '5', 'phoenix', 'phx_reply', { status: 'ok' }]],
  ['an event on the topic phoenix', [null, null, 'phoenix', 'evt', {}]],
  ['a topic without a join', [null, null, 'room:2', 'evt', {}]],
  ['a topic of 1 MB', [null, null, long, 'evt', {}]],
  ['a topic __proto__', [null, null, '__proto__', 'phx_close', {}]],
  ['an event of another membership', ['0', null, 'room:1', 'evt', {}]],
  ['the crash of another membership', ['0', '0', 'room:1', 'phx_error', {}]],
  ['the end of another membership', ['0', '0', 'room:1', 'phx_close', {}]],
  ['an empty join_ref in bytes', bytes('00000603726f6f6d3a3165767401')],
  ['bytes of no data', bytes('020603726f6f6d3a31657674')],
  ['a payload of null', said('evt', null)],
  ['a payload that is a number', said('evt', 7)],
  ['a payload with __proto__', '["1",null,"room:1","evt",{"__proto__":{"admin":true}}]'],
  ['an event named error', said('error')],
  ['an event named close', said('close')],
  ['an event named join', said('join')],
  ['an event named message', said('message')],
  ['an event named __proto__', said('__proto__')],
  ['an event of no name', said('')],
  ['an event of 1 MB', said(long)],
]

suite('what a server says and makes no sense is an error, and everything goes on', () => {
  for (const [what, frame] of senseless) {
    test(what, async (t) => {
      const here = await scene(t)
      listen(here.room, 'message', () => assert.fail('heard'))
      await here.books.say(frame)
      assert.equal(here.errors.length, 1)
      assert.ok(here.errors[0] instanceof FrameError)
      assert.ok(here.errors[0].message.length < 200)
      await goesOn(here)
    })
  }

  test('a client without listeners goes on, too', async (t) => {
    const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
    t.after(() => client.close())
    const books = await Books.meet(client)
    const room = await books.joined(client)
    for (const [, frame] of senseless) await books.say(frame)
    await goesOn({ client, books, room, errors: [] })
  })
})

suite('a frame of the server that concerns no membership changes nothing', () => {
  for (const [what, frame] of harmless) {
    test(what, async (t) => {
      const here = await scene(t)
      listen(here.room, 'error', () => assert.fail('an error'))
      listen(here.room, 'join', () => assert.fail('joined'))
      listen(here.room, 'message', () => {})
      await here.books.say(frame)
      assert.deepEqual(here.errors, [])
      await goesOn(here)
      assert.equal(({} as { admin?: boolean }).admin, undefined)
    })
  }
})

test('in other dialects what makes no sense is an error, too', async (t) => {
  for (const serializer of [phoenixV1, amber]) {
    const client = new ChannelClient({ serializer, keepaliveTimeout: false, reconnect: false })
    t.after(() => client.close())
    const books = await Books.meet(client)
    const errors: Error[] = []
    listen(client, 'error', (error) => errors.push(error))
    const wrongs = ['', 'oops', 'null', '[]', '{}', '{"event":7}', Uint8Array.of(0), nested]
    for (const wrong of wrongs) await books.say(wrong)
    assert.equal(errors.length, wrongs.length, serializer.name)
    assert.ok(client.isOpen)
  }
})

test('an answer that comes twice, with an application of yours awaiting both, counts once', async (t) => {
  const { room, books } = await scene(t)
  const pushes = [room.push('a', {}), room.push('b', {})]
  const sent = await books.take()
  await books.say(
    ...sent.flatMap((frame) => [
      reply(frame[1], { status: 'ok', response: frame[3] }),
      reply(frame[1], { status: 'error', response: frame[3] }),
    ]),
  )
  assert.deepEqual(await Promise.all(pushes), ['a', 'b'])
})

test('text that is no UTF-8, which no frame can follow, closes with 1007', async (t) => {
  const client = new ChannelClient({ keepaliveTimeout: false, reconnect: false })
  const server = new WebSocketServer({ port: 0, host: 'localhost' })
  t.after(() => server.close())
  await onceOf(server, 'listening')
  server.on('connection', (socket) => socket.send(Buffer.from([0xff]), { binary: false }))
  const told = once(client, 'error')
  const closed = once(client, 'close')
  await client.open(`ws://localhost:${(server.address() as AddressInfo).port}/socket`)
  assert.ok((await told) instanceof FrameError)
  assert.equal((await closed).code, 1007)
})

suite('more than can be', () => {
  test('what is longer than a message may be closes with 1009, and is told', async (t) => {
    const client = new ChannelClient({
      ...{ keepaliveTimeout: false, reconnect: false, maxReceivedMessageSize: 10_000 },
    })
    const books = await Books.meet(client)
    await books.joined(client)
    t.after(() => client.close())
    const [told, closed] = [once(client, 'error'), once(client, 'close')]
    await books.say(said('evt', { long }))
    assert.ok((await told) instanceof FrameError)
    assert.equal((await closed).code, 1009)
  })

  test('events beyond what may wait are dropped, told once, and the client goes on', async (t) => {
    const { client, books, room } = await scene(t)
    const errors: string[] = []
    listen(room, 'error', ({ message }) => errors.push(message))
    for (let n = 0; n < 3_000; n++) await books.say([null, null, 'room:1', 'evt', { n }])
    assert.equal(errors.length, 1)
    assert.match(String(errors[0]), /listen to `message`/)
    const heard: unknown[] = []
    listen(room.messages, 'evt', ({ payload }) => heard.push(payload.n))
    await turn()
    assert.deepEqual([heard.length, heard[0], client.isOpen], [1_000, 0, true])
  })

  test('of long and short events that nothing listens to the drop is told once, too', async (t) => {
    const { books, room } = await scene(t)
    const errors: string[] = []
    listen(room, 'error', ({ message }) => errors.push(message))
    const long = 'x'.repeat(600 * 1024)
    for (let n = 0; n < 10; n++) {
      await books.say([null, null, 'room:1', 'evt', n % 2 === 0 ? { long } : { n }])
    }
    assert.equal(errors.length, 1)
  })

  test('diffs without end before the first presence state are dropped, and told', async (t) => {
    const here = await scene(t)
    const who = new Presence(here.room)
    const told: string[] = []
    listen(here.room, 'error', ({ message }) => told.push(message))
    const diff = JSON.stringify([
      ...[null, null, 'room:1', 'presence_diff'],
      { joins: { ann: { metas: [{ phx_ref: 'a' }] } }, leaves: {} },
    ])
    for (let n = 0; n < 20; n++) await here.books.say(...Array<string>(501).fill(diff))
    assert.deepEqual([told.length, who.size], [20, 0])
    assert.match(String(told[0]), /too much before who is here/)
    await here.books.say(said('presence_state', {}))
    assert.equal(who.size, 1)
    await goesOn(here)
  })

  // A million keys: roster.spec.ts.
  test('as many metas as are kept: 100,000', async (t) => {
    const here = await scene(t)
    const who = new Presence(here.room)
    const synced = once(who, 'sync')
    const keys = Array.from({ length: 100 }, (_, key) => {
      const metas = Array.from({ length: 1_000 }, (_meta, n) => `{"phx_ref":"${key}.${n}"}`)
      return `"k${key}":{"metas":[${metas.join()}]}`
    })
    await here.books.say(`["1",null,"room:1","presence_state",{${keys.join()}}]`)
    await synced
    assert.deepEqual([who.size, who.get('k99').length], [100, 1_000])
    assert.deepEqual(here.errors, [])
    await goesOn(here)
  })
})

suite('a presence message that makes no sense is an error of the channel', () => {
  const key = (metas: unknown): unknown => ({ ann: { metas } })
  const states: readonly unknown[] = [
    ...[null, 7, 'ann', [], true],
    ...[{ ann: null }, { ann: 7 }, { ann: {} }, { ann: [] }],
    ...[key(null), key({}), key('x'), key([1]), key([null]), key([[]])],
  ]
  const diffs: readonly unknown[] = [
    ...states.filter((state) => state !== null && typeof state !== 'object'),
    ...[null, [], {}, { joins: {} }, { leaves: {} }, { joins: null, leaves: null }],
    ...states.map((state) => ({ joins: state, leaves: {} })),
    ...states.map((state) => ({ joins: {}, leaves: state })),
  ]
  for (const [event, payloads] of [
    ['presence_state', states],
    ['presence_diff', diffs],
  ] as const) {
    for (const payload of [...payloads, Uint8Array.of(1)]) {
      test(`${event} ${JSON.stringify(payload)}`, async (t) => {
        const here = await scene(t)
        const who = new Presence(here.room)
        await here.books.say(said('presence_state', { bob: { metas: [{ phx_ref: 'b' }] } }))
        listen(who, 'sync', () => assert.fail('synced'))
        const frame = said(event, payload)
        const isBytes = payload instanceof Uint8Array
        const name = Buffer.from(event).toString('hex')
        const size = event.length.toString(16).padStart(2, '0')
        await here.books.say(isBytes ? bytes(`0206${size}726f6f6d3a31${name}01`) : frame)
        assert.equal(here.errors.length, 1)
        assert.match(String(here.errors[0]?.message), new RegExp(`${event}.*none`))
        assert.deepEqual([...who], [['bob', [{ phx_ref: 'b' }]]])
        await goesOn(here)
      })
    }
  }

  test('metas without a ref, and leaves of strangers, do no harm', async (t) => {
    const here = await scene(t)
    const who = new Presence(here.room)
    const bob = { bob: { metas: [{ phx_ref: 'b' }] } }
    await here.books.say(said('presence_state', bob))
    await here.books.say(said('presence_diff', { joins: key([{}, {}]), leaves: {} }))
    await here.books.say(said('presence_diff', { joins: {}, leaves: { eve: { metas: [{}] } } }))
    await here.books.say(said('presence_diff', { joins: {}, leaves: key([{ phx_ref: 'no' }]) }))
    assert.deepEqual(
      [...who].map(([name]) => name),
      ['bob', 'ann'],
    )
    await here.books.say(said('presence_state', bob))
    assert.deepEqual(
      [...who].map(([name]) => name),
      ['bob'],
    )
    assert.deepEqual(here.errors, [])
    await goesOn(here)
  })
})

test('what a server says of a push, and at the end, forges no line of a log', async (t) => {
  const lines: string[] = []
  const { books, room, client } = await scene(t, {
    logger: (_, message) => lines.push(message),
  })
  const forged = 'no`\n[12:00] all is well\x1b[2J\x9b'
  const refused = room.push('evt', {})
  const [sent] = await books.take()
  await books.say(reply(sent?.[1], { status: forged, response: { reason: '\x9b' } }))
  const messages = [await refused.catch(String)]
  const lost = room.push('evt', {})
  await books.take()
  const closed = once(client, 'close')
  void books.connection?.close(4000, forged)
  assert.equal((await closed).description, forged)
  messages.push(await lost.catch(String))
  for (const text of [...messages, ...lines]) assert.doesNotMatch(String(text), /\p{Cc}/u)
  assert.match(String(messages[0]), /answered `no`\\u000a\[12:00\]/)
})

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { mock, test } from 'node:test'
import {
  ConnectError,
  listen,
  memoryBackplane,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketServer,
  type ServerOptions,
} from 'simplewebsockets'
import {
  amber,
  ChannelServer,
  phoenix,
  type ChannelServerOptions,
  type Serializer,
} from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import { RawPeer, type Answer, type Shake } from '../../support/rawpeer.ts'
import { AMBER, PHOENIX, PHOENIX_1, Raw, reply } from '../../support/channels/raw.ts'

/** Resolves with the answer to a request. */
async function connectRaw(port: number, shake: Shake): Promise<Answer> {
  const peer = await RawPeer.knock(port, shake)
  const answer = await peer.answer()
  peer.tcp.destroy()
  return answer
}

function serve(
  options?: ChannelServerOptions,
  serverOptions?: ServerOptions,
): { server: WebsocketServer; channels: ChannelServer } {
  const server = new WebsocketServer({ path: '/socket', ...serverOptions })
  const channels = new ChannelServer(server, options)
  return { server, channels }
}

test('members of three dialects share a topic, each in its own words', async () => {
  const { server, channels } = serve()
  channels.topic('room:*', { open: true })
  const [two, one, three] = [
    await Raw.enter(server, PHOENIX),
    await Raw.enter(server, PHOENIX_1),
    await Raw.enter(server, AMBER),
  ]
  assert.deepEqual(await two.ask(['3', '3', 'room:1', 'phx_join', {}]), [
    reply(['3', '3'], 'room:1', 'ok'),
  ])
  const joinOne = { topic: 'room:1', event: 'phx_join', payload: {}, ref: '1', join_ref: '1' }
  assert.deepEqual(await one.ask(joinOne), [
    { topic: 'room:1', event: 'phx_reply', payload: { status: 'ok', response: {} }, ref: '1' },
  ])
  assert.deepEqual(await three.ask({ event: 'join', topic: 'room:1' }), [])
  channels.emit('room:1', 'evt', { n: 1 })
  assert.deepEqual(await two.heard(), [[null, null, 'room:1', 'evt', { n: 1 }]])
  assert.deepEqual(await one.heard(), [
    { topic: 'room:1', event: 'evt', payload: { n: 1 }, ref: null },
  ])
  assert.deepEqual(await three.heard(), [
    { event: 'message', topic: 'room:1', subject: 'evt', payload: { n: 1 } },
  ])
})

test('what a dialect has no words for skips its members, and is counted', async () => {
  const { server, channels } = serve()
  channels.topic('room:*', { open: true })
  const two = await (await Raw.enter(server, PHOENIX)).join('room:1')
  const three = await Raw.enter(server, AMBER)
  await three.ask({ event: 'join', topic: 'room:1' })
  const before = server.stats().dropped
  channels.emit('room:1', 'shout_bin', Uint8Array.of(9, 8, 7))
  assert.deepEqual(await two.heard(), [
    `020609${Buffer.from('room:1shout_bin').toString('hex')}090807`,
  ])
  assert.deepEqual(await three.heard(), [])
  assert.equal(server.stats().dropped, before + 1)
})

test('an event is encoded once, however many members hear it, in whatever dialect', async () => {
  const { server, channels } = serve()
  channels.topic('room:*', { open: true })
  for (const url of [PHOENIX, PHOENIX, PHOENIX]) await (await Raw.enter(server, url)).join('room:1')
  for (const url of [AMBER, AMBER, AMBER]) {
    await (await Raw.enter(server, url)).ask({ event: 'join', topic: 'room:1' })
  }
  let written = 0
  channels.emit('room:1', 'evt', {
    toJSON: () => {
      written += 1
      return {}
    },
  })
  assert.equal(written, 1)
})

test('an event reaches the members on every node, in the dialect of each', async () => {
  const backplane = memoryBackplane()
  const [one, other] = [serve({}, { backplane }), serve({}, { backplane })]
  one.channels.topic('room:*', { open: true })
  other.channels.topic('room:*', { open: true })
  const here = await (await Raw.enter(one.server)).join('room:1')
  const there = await (await Raw.enter(other.server)).join('room:1')
  const amberThere = await Raw.enter(other.server, AMBER)
  await amberThere.ask({ event: 'join', topic: 'room:1' })
  one.channels.emit('room:1', 'evt', { n: 1 })
  one.channels.emit('room:1', 'bytes', Uint8Array.of(1))
  const bytes = `020605${Buffer.from('room:1bytes').toString('hex')}01`
  const expected = [[null, null, 'room:1', 'evt', { n: 1 }], bytes]
  assert.deepEqual(await here.heard(), expected)
  assert.deepEqual(await there.heard(), expected)
  assert.deepEqual(await amberThere.heard(), [
    { event: 'message', topic: 'room:1', subject: 'evt', payload: { n: 1 } },
  ])
})

test('a serializer of your own is given the same payload on every node', async () => {
  const backplane = memoryBackplane()
  const heard: unknown[] = []
  const own: Serializer = {
    ...phoenix,
    name: 'own',
    query: { vsn: 'own' },
    matches: (query) => query.get('vsn') === 'own',
    server: {
      ...phoenix.server,
      encode(frame) {
        if (frame.kind === 'push') heard.push(frame.payload)
        return phoenix.server.encode(frame)
      },
    },
  }
  const nodes = [1, 2].map(() => serve({ serializers: [phoenix, own] }, { backplane }))
  for (const { server, channels } of nodes) {
    listen(channels.topic('room:*'), 'join', ({ accept }) => accept())
    await (await Raw.enter(server, 'ws://localhost/socket/websocket?vsn=own')).join('room:1')
  }
  void nodes[0]?.channels.emit('room:1', 'evt', {
    at: new Date(0),
    left: undefined,
    list: [undefined],
  })
  await new Promise(setImmediate)
  const payload = { at: '1970-01-01T00:00:00.000Z', list: [null] }
  assert.deepEqual(heard, [payload, payload])
})

test('512 levels of JSON reach members everywhere, and one more is refused where it is said', async () => {
  const backplane = memoryBackplane()
  const nodes = [serve({}, { backplane }), serve({}, { backplane })]
  const deep: unknown = JSON.parse(`${'['.repeat(512)}${'"x",'.repeat(500)}1${']'.repeat(512)}`)
  const members: Raw[] = []
  const refusals: unknown[] = []
  for (const { server, channels } of nodes) {
    listen(channels.topic('room:*'), 'join', ({ channel, accept }) => {
      listen(channel.messages, 'echo', ({ payload, reply }) => {
        for (const say of [
          () => reply([payload]),
          () => channel.push('evt', [payload]),
          () => channel.broadcast('evt', [payload]),
          () => channels.emit('room:1', 'evt', [payload]),
        ]) {
          assert.throws(say, (error: Error) => refusals.push(error.message) > 0)
        }
        reply(payload)
        channels.emit('room:1', 'evt', payload)
      })
      accept()
    })
    members.push(await (await Raw.enter(server)).join('room:1'))
    const amberMember = await Raw.enter(server, AMBER)
    await amberMember.ask({ event: 'join', topic: 'room:1' })
    members.push(amberMember)
  }
  const [here, amberHere, there, amberThere] = members
  assert.ok(here && amberHere && there && amberThere)
  const event = [null, null, 'room:1', 'evt', deep]
  const inAmber = { event: 'message', topic: 'room:1', subject: 'evt', payload: deep }
  const heard = await here.ask(['1', '2', 'room:1', 'echo', deep])
  assert.deepEqual(heard, [reply(['1', '2'], 'room:1', 'ok', deep), event])
  assert.deepEqual(await there.heard(), [event])
  assert.deepEqual(await amberHere.heard(), [inAmber])
  assert.deepEqual(await amberThere.heard(), [inAmber])
  assert.equal(refusals.length, 4)
  for (const text of refusals) assert.match(String(text), /deeper than 512 levels of JSON/)
  const closed = here.closed()
  here.say(['1', '3', 'room:1', 'echo', [deep]])
  assert.equal((await closed).code, 1008)
})

test('what makes no sense on the backplane reaches no member, and is counted', async () => {
  const backplane = memoryBackplane()
  const { server, channels } = serve({}, { backplane })
  channels.topic('room:*', { open: true })
  const client = await (await Raw.enter(server)).join('room:1')
  const node = (number: number): number[] => [...new Uint8Array(16), 0, 0, 0, 0, 0, number]
  const junk = ['nope', '[]', '["3","3","room:1","phx_close",{}]', '["3",null,"room:1","evt",{}]']
  for (const [index, text] of junk.entries()) {
    const message = Uint8Array.of(0, ...node(index + 1), ...Buffer.from(text))
    await backplane.publish('topic:room:1', message)
  }
  await backplane.publish('topic:room:1', Uint8Array.of(1, ...node(9), 9, 9))
  assert.deepEqual(await client.heard(), [])
  assert.equal(server.stats().dropped, 5)
})

test('channels and rooms of one name on one backplane are not the same', async () => {
  const backplane = memoryBackplane()
  const { server, channels } = serve({}, { backplane })
  channels.topic('*', { open: true })
  const client = await (await Raw.enter(server)).join('lobby')
  new WebsocketServer({ backplane }).room('lobby').emit('[null,null,"lobby","evt",{}]')
  server.room('lobby').emit('[null,null,"lobby","evt",{}]')
  assert.deepEqual(await client.heard(), [])
})

const requests: [what: string, target: string, status: number, body?: string][] = [
  ['version 2', '/socket/websocket?vsn=2.0.0', 101],
  ['version 2 and a slash', '/socket/websocket/?vsn=2.0.0', 101],
  ['nested params', '/socket/websocket?nested%5Ba%5D=1&vsn=2.0.0', 101],
  ['version 1', '/socket/websocket?vsn=1.0.0', 101],
  ['no version', '/socket/websocket', 101],
  ['Amber', '/socket', 101],
  ['Amber and a slash', '/socket/', 101],
  ['version 2.1', '/socket/websocket?vsn=2.1.0', 403, ''],
  ['an empty version', '/socket/websocket?vsn=', 403, ''],
  ['a list of versions', '/socket/websocket?vsn[]=', 403, ''],
  ['somewhere else', '/socket/else', 404],
  ['below', '/socket/websocket/x', 404],
  ['above', '/websocket?vsn=2.0.0', 404],
]

for (const [what, target, status, body] of requests) {
  test(`a request for ${what} gets ${status}`, async (t) => {
    const { server } = serve()
    t.after(() => server.close())
    const { port } = await server.serve(0)
    const answer = await connectRaw(port, { target })
    assert.equal(answer.status, status)
    if (body !== undefined) assert.equal(answer.body, body)
  })
}

test('on an http server that is shared, both paths are taken and no other', async (t) => {
  const http = createServer()
  const { server } = serve()
  server.attach(http)
  await new Promise<void>((resolve) => http.listen(0, 'localhost', resolve))
  t.after(async () => {
    await server.close()
    http.close()
  })
  const { port } = http.address() as { port: number }
  for (const [target, status] of [
    ['/socket/websocket?vsn=2.0.0', 101],
    ['/socket', 101],
    ['/socket/else', 404],
  ] as const) {
    assert.equal((await connectRaw(port, { target })).status, status)
  }
})

test('a path that no dialect is for is 403 at the mount, and where there is no mount', async () => {
  for (const [path, url] of [
    ['/socket', AMBER],
    [undefined, 'ws://localhost/anywhere'],
  ] as const) {
    const { server } = serve({ serializers: [phoenix] }, { path })
    await assert.rejects(link(server, new WebsocketClient(), url), { status: 403 })
  }
})

test('params of the mount are known', async () => {
  const { server } = serve({}, { path: '/:tenant/socket' })
  const { there } = await Raw.enter(server, 'ws://localhost/acme/socket/websocket?vsn=2.0.0')
  assert.deepEqual({ ...there.request.params }, { tenant: 'acme' })
})

test('a peer unknown to authorize is answered 403 without a word, in Phoenix', async (t) => {
  const { server } = serve({}, { authorize: (request) => request.token() === 'secret' })
  t.after(() => server.close())
  const { port } = await server.serve(0)
  const refused = await connectRaw(port, { target: '/socket/websocket?vsn=2.0.0' })
  assert.deepEqual([refused.status, refused.body], [403, ''])
  assert.equal((await connectRaw(port, { target: '/socket' })).status, 401)
})

test('what the application chooses to answer is answered', async (t) => {
  const { server } = serve(
    {},
    {
      authorize: () => {
        throw new PeerConnectError('come back later', { status: 429 })
      },
    },
  )
  t.after(() => server.close())
  const { port } = await server.serve(0)
  const refused = await connectRaw(port, { target: '/socket/websocket?vsn=2.0.0' })
  assert.deepEqual([refused.status, refused.body], [429, 'come back later\n'])
})

test('a token that travels as a subprotocol is read, and `phoenix` answered', async () => {
  const token = 'base64url.bearer.phx.c2VjcmV0'
  const { server } = serve({}, { authorize: (request) => ({ token: request.token() }) })
  const client = new WebsocketClient({ protocols: ['phoenix', token] })
  const [there, here] = await link(server, client, PHOENIX)
  assert.equal(here.protocol, 'phoenix')
  assert.deepEqual(there.context, { token: 'secret' })
})

test('subprotocols of your own: one is answered, an offer of only others is refused', async (t) => {
  const { server } = serve({}, { protocols: ['v9.chat'] })
  t.after(() => server.close())
  const { port } = await server.serve(0)
  const target = '/socket/websocket?vsn=2.0.0'
  for (const [offered, status, answered] of [
    ['v9.chat', 101, 'v9.chat'],
    ['phoenix, v9.chat', 101, 'phoenix'],
    ['v8.chat', 403, undefined],
    [undefined, 101, undefined],
  ] as const) {
    const headers = { 'Sec-WebSocket-Protocol': offered }
    const answer = await connectRaw(port, { target, headers })
    assert.equal(answer.status, status)
    assert.equal(answer.headers.get('sec-websocket-protocol'), answered)
  }
})

test('unknown subprotocols do no harm where none is configured', async (t) => {
  const { server } = serve()
  t.after(() => server.close())
  const { port } = await server.serve(0)
  const headers = { 'Sec-WebSocket-Protocol': 'v8.chat' }
  const answer = await connectRaw(port, { target: '/socket/websocket?vsn=2.0.0', headers })
  assert.deepEqual([answer.status, answer.headers.get('sec-websocket-protocol')], [101, undefined])
})

test('text goes out as text, though the server sends and gives bytes', async () => {
  const { server, channels } = serve({}, { binary: true })
  const topic = channels.topic('room:*')
  listen(topic, 'join', ({ channel, accept }) => {
    listen(channel.messages, 'echo', ({ payload, reply: answer }) => answer(payload))
    accept()
  })
  const client = await (await Raw.enter(server)).join('room:1')
  channels.emit('room:1', 'evt', {})
  assert.deepEqual(await client.ask([null, '2', 'room:1', 'echo', { a: 1 }]), [
    [null, null, 'room:1', 'evt', {}],
    reply(['1', '2'], 'room:1', 'ok', { a: 1 }),
  ])
})

test('a Phoenix client that is silent for 60 seconds is closed; pings and frames count', async (t) => {
  mock.timers.enable({ apis: ['setInterval', 'setTimeout'] })
  t.after(() => mock.timers.reset())
  const { server, channels } = serve({}, { keepaliveTimeout: false })
  channels.topic('room:*', { open: true })
  const silent = await (await Raw.enter(server)).join('room:1')
  const [beating, pinging] = [await Raw.enter(server), await Raw.enter(server)]
  const quiet = await Raw.enter(server, AMBER)
  await silent.heard()
  const closed = silent.closed()
  for (let beats = 0; beats < 12; beats++) {
    mock.timers.tick(5_000)
    channels.emit('room:1', 'evt', {}) // the server's traffic doesn't count
    await beating.ask([null, '1', 'phoenix', 'heartbeat', {}])
    await pinging.here.ping()
  }
  assert.deepEqual(await closed, { code: 1002, description: 'nothing came for 60 seconds' })
  assert.ok(beating.here.isOpen && pinging.here.isOpen && quiet.here.isOpen)
})

test("Amber's clients hear a ping every 30 seconds", async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.after(() => mock.timers.reset())
  const { server } = serve({}, { keepaliveTimeout: false })
  const [one, other] = [await Raw.enter(server, AMBER), await Raw.enter(server)]
  mock.timers.tick(29_000)
  assert.deepEqual(await one.heard(), [])
  mock.timers.tick(1_000)
  assert.deepEqual(await one.heard(), ['ping'])
  assert.deepEqual(await other.heard(), [])
  mock.timers.tick(30_000)
  assert.deepEqual(await one.heard(), ['ping'])
})

test('messages of a connection are for its channels', async () => {
  const { server } = serve()
  const client = once(server, 'client')
  await Raw.enter(server)
  const connection = await client
  assert.throws(() => listen(connection, 'message', () => {}), /listen to the channels/)
})

test('a heartbeat is answered; another event on its topic is one of a topic not joined', async () => {
  const { server } = serve()
  const client = await Raw.enter(server)
  const answers = await client.ask(
    [null, '6', 'phoenix', 'heartbeat', {}],
    ['9', '7', 'phoenix', 'heartbeat', {}],
    ['9', '8', 'phoenix', 'else', {}],
  )
  assert.deepEqual(answers, [
    reply([null, '6'], 'phoenix', 'ok'),
    reply([null, '7'], 'phoenix', 'ok'),
    reply([null, '8'], 'phoenix', 'error', { reason: 'unmatched topic' }),
  ])
})

test('slips are told', () => {
  const slips: [() => unknown, RegExp][] = [
    // @ts-expect-error: a server
    [() => new ChannelServer(), /a WebsocketServer/],
    [() => serve({ joinTimeout: 0 }), /`joinTimeout` to be milliseconds/],
    // @ts-expect-error: joinTimeout
    [() => serve({ joinTimeOut: 5 }), /did you mean `joinTimeout`/],
    [() => serve({ serializers: [] }), /a list of serializers/],
    [() => serve({ maxChannels: 0 }), /`maxChannels` to be a whole number/],
    [() => serve().channels.topic('a*b'), /the pattern of a topic/],
    [() => serve().channels.topic(''), /the pattern of a topic/],
    // @ts-expect-error: a string
    [() => serve().channels.emit(5, 'evt', {}), /a topic to be a string/],
    [() => serve().channels.emit('room:1', 'phx_close', {}), /an event of your own/],
    [() => serve().channels.emit('room:1', 'evt', 5n), /can't be JSON/],
    [
      () => {
        const { server } = serve()
        return new ChannelServer(server)
      },
      /a ChannelServer already/,
    ],
    [
      () => {
        const { channels } = serve()
        channels.topic('a')
        return channels.topic('a')
      },
      /declared already/,
    ],
  ]
  for (const [slip, message] of slips) assert.throws(slip, { name: 'TypeError', message })
})

test('a server that serves already takes no channels', async (t) => {
  const server = new WebsocketServer()
  t.after(() => server.close())
  await server.serve(0)
  assert.throws(() => new ChannelServer(server), /before its server serves/)
})

test('loops over joins end when the server has closed, and joins go on when it serves again', async () => {
  const { server, channels } = serve()
  const topic = channels.topic('room:*', { open: true })
  const joins = listen(topic, 'join')
  await Raw.enter(server)
  await server.close()
  assert.deepEqual(await joins.next(), { done: true, value: undefined })
  assert.deepEqual(await (await Raw.enter(server)).ask(['1', '1', 'room:1', 'phx_join', {}]), [
    reply(['1', '1'], 'room:1', 'ok'),
  ])
})

test('when the server closes, memberships end as closed', async () => {
  const { server, channels } = serve({ serializers: [phoenix, amber] })
  const topic = channels.topic('room:*', { open: true })
  const client = await (await Raw.enter(server)).join('room:1')
  const leave = once(topic, 'leave')
  await server.close()
  assert.equal((await leave).reason, 'closed')
  assert.equal((await client.closed()).code, 1001)
})

test('a refusal is a ConnectError to a client of this package', async () => {
  const { server } = serve()
  const failed = link(server, new WebsocketClient(), `${PHOENIX_1}?vsn=9`)
  await assert.rejects(failed, (error) => error instanceof ConnectError && error.status === 403)
})

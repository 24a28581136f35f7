import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { TLSSocket } from 'node:tls'
import {
  ConnectError,
  listen,
  once,
  PeerConnectError,
  WebsocketClient,
  WebsocketServer,
  type AuthorizeDetails,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { printedBy } from '../../support/printed.ts'
import { collect } from '../../support/heap.ts'
import { certificate, frame, handshake, RawPeer } from '../../support/rawpeer.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Links to a server with such an `authorize`, and returns what the server was told. */
async function refusalOf(authorize: unknown): Promise<PeerConnectError> {
  const server = new WebsocketServer({ authorize: authorize as () => true })
  const told = once(server, 'peerError')
  await assert.rejects(link(server, new WebsocketClient()), ConnectError)
  return told
}

for (const [what, answer, shown] of [
  ['an array', [], 'an array of 0'],
  ['an Error', new Error('no such user'), 'an instance of Error'],
  ['a PeerConnectError', new PeerConnectError('banned'), 'an instance of PeerConnectError'],
  ['a Response', new Response('no', { status: 403 }), 'an instance of Response'],
  ['bytes', Buffer.from('ann'), 'an instance of Buffer'],
  ['a string', 'ann', '"ann"'],
  ['an empty string', '', '""'],
  ['a number', 1, '1'],
  ['zero', 0, '0'],
  ['a bigint', 1n, '1n'],
  ['a function', () => true, 'a function'],
  ['a symbol', Symbol('ann'), 'Symbol(ann)'],
] as [string, unknown, string][]) {
  test(`an authorize that answers with ${what} lets no peer in, and its error has the cure`, async () => {
    for (const authorize of [() => answer, () => Promise.resolve(answer)]) {
      const { status, cause } = await refusalOf(authorize)
      assert.equal(status, 401)
      assert.ok(cause instanceof TypeError)
      assert.equal(
        cause.message,
        'expected the answer of `authorize` to be a context such as { user }, true or false ' +
          `(throw an error, do not return it), got ${shown}`,
      )
    }
  })
}

test('an answer that is no context is printed where no `peerError` listener hears it', async () => {
  const server = new WebsocketServer({ authorize: () => ['ann'] })
  const printed = await printedBy(() => assert.rejects(link(server, new WebsocketClient())))
  assert.match(String((printed[0] as PeerConnectError).cause), /throw an error, do not return it/)
})

test('a context is any other object, of a class or a thenable', async () => {
  class User {
    readonly name = 'ann'
  }
  const user = new User()
  for (const answer of [user, new Map([['name', 'ann']]), Object.create(null) as {}]) {
    const server = new WebsocketServer({ authorize: () => answer })
    const [there] = await link(server, new WebsocketClient())
    assert.equal(there.context, answer)
  }
  const thenable = { then: (resolve: (value: unknown) => void) => resolve(user) }
  const server = new WebsocketServer({ authorize: () => thenable as unknown as Promise<User> })
  const [there] = await link(server, new WebsocketClient())
  assert.equal(there.context, user)
})

test('what authorize throws is the cause of the refusal', async () => {
  const failure = new Error('secret')
  const { status, cause, msg } = await refusalOf(() => {
    throw failure
  })
  assert.deepEqual([status, cause, msg], [500, failure, 'secret'])
})

/** A server whose `authorize` never answers, and what `authorize` was handed. */
function pending(options: ServerOptions = {}): {
  server: WebsocketServer
  asked: Promise<AuthorizeDetails>
} {
  let ask: (details: AuthorizeDetails) => void = () => {}
  const asked = new Promise<AuthorizeDetails>((resolve) => (ask = resolve))
  const authorize = (_: unknown, details: AuthorizeDetails): Promise<{}> => {
    ask(details)
    return new Promise(() => {})
  }
  return { server: new WebsocketServer({ ...options, authorize }), asked }
}

/** The reason that a signal is aborted with. */
async function reasonOf(signal: AbortSignal): Promise<unknown> {
  if (!signal.aborted) {
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  }
  return signal.reason
}

for (const [what, options, act, status, reason] of [
  ['the peer leaves', {}, (_, peer) => peer.reset(), 0, 'left'],
  ['the time is up', { handshakeTimeout: 20 }, () => {}, 503, 'handshakeTimeout'],
  ['the server closes', {}, (server) => server.close(), 503, 'closing'],
] as [
  string,
  ServerOptions,
  (server: WebsocketServer, peer: RawPeer) => unknown,
  number,
  string,
][]) {
  test(`the signal of authorize is aborted when ${what}, with the refusal as its reason`, async () => {
    const { server, asked } = pending(options)
    const { port } = await server.serve(0)
    const told = once(server, 'peerError')
    const peer = await RawPeer.knock(port)
    const { signal } = await asked
    await act(server, peer)
    assert.equal(await reasonOf(signal), await told)
    assert.deepEqual([(await told).status, (await told).reason], [status, reason])
    peer.tcp.destroy()
    await server.close()
  })
}

test('a peer that sends something before it is let in, and leaves, is noticed', async () => {
  const { server, asked } = pending({})
  const { port } = await server.serve(0)
  const told = once(server, 'peerError')
  const peer = await RawPeer.knock(port)
  const { signal } = await asked
  peer.write(frame(1, 'early'))
  peer.tcp.end()
  assert.equal(await reasonOf(signal), await told)
  assert.equal((await told).reason, 'left')
  await server.close()
})

test('what a peer sends before it is let in is heard afterwards', async () => {
  let admit = (): void => {}
  const admitted = new Promise<true>((resolve) => {
    admit = () => resolve(true)
  })
  await using server = new WebsocketServer({ authorize: () => admitted })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const peer = await RawPeer.connect(port)
  peer.write(Buffer.concat([Buffer.from(handshake()), frame(1, 'one')]))
  peer.write(frame(1, 'two'))
  await turn()
  peer.write(frame(1, 'x'.repeat(100_000)))
  for (let count = 0; count < 5; count++) await turn()
  admit()
  const client = await entered
  const heard = [await once(client, 'message'), await once(client, 'message')]
  assert.deepEqual(heard, ['one', 'two'])
  assert.equal((await once(client, 'message')).length, 100_000)
  peer.tcp.destroy()
})

for (const answer of [true, false]) {
  test(`the signal of authorize is not aborted once it has answered ${answer}`, async () => {
    const signals: AbortSignal[] = []
    const server = new WebsocketServer({
      handshakeTimeout: 20,
      authorize: (_, { signal }) => {
        signals.push(signal)
        return answer
      },
    })
    const entering = link(server, new WebsocketClient())
    const [, client] = answer ? await entering : [undefined, undefined]
    if (!answer) await assert.rejects(entering)
    await client?.close()
    await server.close()
    assert.deepEqual(
      signals.map(({ aborted }) => aborted),
      [false],
    )
  })
}

test('authorize is handed the request of Node, with the certificate of the client', async () => {
  const own = certificate()
  await using server = new WebsocketServer({
    tls: { ...own, ca: own.cert, requestCert: true },
    authorize: (_, { incoming }) => {
      const { socket } = incoming ?? {}
      return socket instanceof TLSSocket && { name: socket.getPeerCertificate().subject.CN }
    },
  })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const tls = { ...own, ca: own.cert }
  await new WebsocketClient({ tls }).open(`wss://localhost:${port}`)
  assert.deepEqual((await entered).context, { name: 'localhost' })
})

test('the request of Node is not kept: once the peer is let in it can be collected', async () => {
  let kept: WeakRef<IncomingMessage> | undefined
  await using server = new WebsocketServer({
    authorize: (_, { incoming }) => {
      if (incoming) kept = new WeakRef(incoming)
      return true
    },
  })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const client = await new WebsocketClient().open(`ws://localhost:${port}`)
  const there = await entered
  for (let turns = 0; kept?.deref() && turns < 100; turns++) {
    await turn()
    collect()
  }
  assert.equal(kept?.deref(), undefined)
  assert.ok(there.isOpen && client.isOpen)
})

test('over link there is no request of Node, and the signal is there', async () => {
  const { server, asked } = pending()
  const stop = new WebsocketClient()
  const entering = link(server, stop)
  const { incoming, signal } = await asked
  assert.equal(incoming, undefined)
  void stop.close()
  await assert.rejects(entering)
  assert.ok((await reasonOf(signal)) instanceof PeerConnectError)
})

for (const [what, authorize, read] of [
  ['a token', (request) => !!request.token(), 'token'],
  ['a name and a password', (request) => request.basicAuth(), 'basicAuth'],
  [
    'a token, refused by a throw,',
    (request) => {
      if (request.token() === undefined) throw new PeerConnectError('no', { status: 401 })
      return true
    },
    'token',
  ],
] as [string, NonNullable<ServerOptions['authorize']>, string][]) {
  test(`${what} in a url that was not asked for is printed once, with the cure and not the secret`, async () => {
    const server = new WebsocketServer({ authorize })
    const url = 'ws://localhost/?token=planted&username=planted&password=planted'
    const printed = await printedBy(async () => {
      for (let count = 0; count < 2; count++) {
        await assert.rejects(link(server, new WebsocketClient(), url), { status: 401 })
      }
    })
    assert.equal(printed.length, 1)
    const [line] = printed.map(String)
    assert.ok(line?.includes(`with \`${read}({ query: true })\`.`), line)
    assert.doesNotMatch(line ?? '', /planted/)
  })
}

test('nothing is printed of credentials in a url where they were not needed, asked for or the reason', async () => {
  const url = 'ws://localhost/?token=planted'
  const printed = await printedBy(async () => {
    const open = new WebsocketServer({ authorize: (request) => request.token() === undefined })
    await link(open, new WebsocketClient(), url)
    const asking = new WebsocketServer({
      authorize: (request) => request.token({ query: true }) === 'other',
    })
    await assert.rejects(link(asking, new WebsocketClient(), url), { status: 401 })
    const slow = new WebsocketServer({
      handshakeTimeout: 1,
      authorize: (request) => new Promise<true>(() => request.token()),
    })
    await assert.rejects(link(slow, new WebsocketClient(), url), { status: 503 })
  })
  assert.deepEqual(printed, [])
})

const MICROTASKS = 24 // more than lie between the answer of `authorize` and the `client` event

/** Waits for so many microtasks. */
async function microtasks(count: number): Promise<void> {
  for (let passed = 0; passed < count; passed++) await Promise.resolve()
}

for (const within of [0, 5]) {
  test(`a close within ${within} ms, begun in any microtask after authorize answered, leaves no connection open`, async () => {
    for (let count = 0; count < MICROTASKS; count++) {
      let answer: (verdict: true) => void = () => {}
      let asked: () => void = () => {}
      const thinking = new Promise<void>((resolve) => (asked = resolve))
      const server = new WebsocketServer({
        authorize: () => {
          asked()
          return new Promise<true>((resolve) => (answer = resolve))
        },
      })
      const entered: WebsocketConnection[] = []
      listen(server, 'client', (client) => void entered.push(client))
      const opening = link(server, new WebsocketClient())
      await thinking
      answer(true)
      await microtasks(count)
      await server.close({ within })
      assert.deepEqual(
        entered.map(({ isOpen }) => isOpen),
        entered.map(() => false),
        `closed ${count} microtasks later`,
      )
      const end = await opening.then(
        ([, client]) => client,
        () => undefined,
      )
      if (end?.isOpen) await once(end, 'close') // its close frame is on the way
      assert.equal(server.clients.size, 0)
    }
  })
}

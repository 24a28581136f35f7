import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import {
  ClosedError,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type Data,
  type WebsocketConnection,
} from 'simplewebsockets'
import { cut, link, pair } from 'simplewebsockets/testing'
import { exactly } from '../support/exactly.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** The end that is heard, and what makes it hear a `ping` of this text. */
function pinged(): { end: WebsocketConnection; ping: (text: string) => Promise<unknown> } {
  const [end, peer] = pair()
  return { end, ping: (text) => peer.ping(text) }
}

/** Two ends of which one is heard, and the last of both has been said. */
async function ended(): Promise<WebsocketConnection> {
  const [end, peer] = pair()
  await peer.close(4000, 'enough')
  await once(end, 'close')
  return end
}

/** How many listen for the abortion of a signal. */
const waitingFor = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

test('once resolves with the next value, and the one after it is for the next once', async () => {
  const [end, peer] = pair()
  const pings = [once(end, 'ping'), once(end, 'ping')] // both wait for the same one
  peer.send('one')
  await peer.ping('ping')
  peer.send('two')
  assert.deepEqual(await Promise.all(pings), ['ping', 'ping'])
  assert.equal(await once(end, 'message'), 'one')
  assert.equal(await once(end, 'message'), 'two')
})

test('once on an event without a value resolves with none', async () => {
  const [end, peer] = pair({ server: { highWaterMark: 1 } })
  const drained = once(end, 'drain')
  assert.equal(end.send('more than one byte'), false)
  assert.equal(await once(peer, 'message'), 'more than one byte')
  assert.deepEqual(await Promise.all([drained]), [undefined])
})

test('once rejects with the reason of a signal that is aborted already', async () => {
  const [end, peer] = pair()
  peer.send('kept')
  const reason = new Error('why')
  const signal = AbortSignal.abort(reason)
  await assert.rejects(once(end, 'message', { signal }), reason)
  assert.equal(await once(end, 'message'), 'kept')
})

test('once rejects with the reason of a signal that is aborted while it waits', async () => {
  const [end, peer] = pair()
  const stopper = new AbortController()
  const { signal } = stopper
  const waits = [once(end, 'message', { signal }), once(end, 'ping', { signal })]
  const reason = new Error('why')
  stopper.abort(reason)
  peer.send('kept')
  await peer.ping()
  for (const wait of waits) await assert.rejects(wait, reason)
  assert.equal(waitingFor(signal), 0)
  assert.equal(await once(end, 'message'), 'kept')
})

test('once that is given up in the middle of a dispatch takes nothing of it', async () => {
  const { end, ping } = pinged()
  const stopper = new AbortController()
  const reason = new Error('why')
  listen(end, 'ping', () => stopper.abort(reason))
  const wait = once(end, 'ping', { signal: stopper.signal })
  await ping('one')
  await assert.rejects(wait, reason)
})

test('once that has resolved leaves nothing at its signal', async () => {
  const { end, ping } = pinged()
  const stopper = new AbortController()
  const wait = once(end, 'ping', { signal: stopper.signal })
  await ping('one')
  stopper.abort()
  assert.equal(await wait, 'one')
  assert.equal(waitingFor(stopper.signal), 0)
})

test('once rejects with a ClosedError when its target ends first', async () => {
  const [end, peer] = pair()
  const waits = [once(end, 'message'), once(end, 'ping')]
  await peer.close(4000, 'enough')
  for (const wait of waits) {
    await assert.rejects(wait, (error) => {
      assert.ok(error instanceof ClosedError)
      assert.equal(error.closeCode, 4000)
      assert.equal(error.message, 'the connection has closed: 4000 enough')
      return true
    })
  }
})

test('once on an ended connection resolves with its end, and rejects for all else', async () => {
  const end = await ended()
  assert.deepEqual(await once(end, 'close'), { code: 4000, description: 'enough' })
  assert.deepEqual(await once(end, 'close'), { code: 4000, description: 'enough' })
  for (const event of ['message', 'ping', 'error', 'drain'] as const) {
    await assert.rejects(once(end, event), ClosedError)
  }
})

test('once on an ended connection may be given up in the same turn', async () => {
  const end = await ended()
  const stopper = new AbortController()
  const wait = once(end, 'close', { signal: stopper.signal })
  const reason = new Error('why')
  stopper.abort(reason)
  await assert.rejects(wait, reason)
})

test('once on a maker rejects when that closes, and afterwards it is for the next life', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  await link(server, client)
  const waits = [once(server, 'client'), once(server, 'listening'), once(client, 'connect')]
  await server.close()
  for (const wait of waits) await assert.rejects(wait, ClosedError)
  assert.equal((await once(client, 'closed')).code, 1001)
  assert.equal((await once(server, 'closed')).port, 0)
  const next = [once(server, 'client'), once(client, 'connect')]
  assert.deepEqual(await link(server, client), await Promise.all(next))
  const waiting = once(server, 'client')
  await server.close()
  await assert.rejects(waiting, { message: 'the server has closed' })
})

test('once and listen read a connection that was cut off the same way', async () => {
  const [end] = pair()
  const wait = once(end, 'message')
  cut(end)
  await assert.rejects(wait, (error) => error instanceof ClosedError && error.closeCode === 1006)
})

/** The listening end of a connection, and the sending one. */
type Ends = readonly [here: WebsocketConnection, there: WebsocketConnection]

/** The ways to a connection, each with what ends it. */
const ways: Readonly<Record<string, () => Promise<Ends & AsyncDisposable>>> = {
  pair: () =>
    Promise.resolve(
      Object.assign([...pair()] as const, { [Symbol.asyncDispose]: () => Promise.resolve() }),
    ),
  network: async () => {
    const server = new WebsocketServer()
    const accepted = once(server, 'client')
    const { port } = await server.serve(0)
    const there = await new WebsocketClient().open(`ws://localhost:${port}`)
    const ends = [await accepted, there] as const
    return Object.assign([...ends] as const, { [Symbol.asyncDispose]: () => server.close() })
  },
}

/** A listener that never takes a second message, as a callback and as a loop. */
const slowListeners: Readonly<Record<string, (here: WebsocketConnection) => unknown>> = {
  callback: (here) => listen(here, 'message', () => new Promise(() => {})),
  loop: async (here) => {
    for await (const message of listen(here, 'message')) await new Promise(() => message)
  },
}

/** Sends numbered messages, and waits until all have arrived. */
async function sendAll([, there]: Ends, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) there.send(`m${number}`)
  await there.ping()
}

/** Awaits one `once` after the other, until one gets nothing for a few turns. */
async function takeInTurn(here: WebsocketConnection, most: number): Promise<Data[]> {
  const taken: Data[] = []
  while (taken.length < most) {
    const stopper = new AbortController()
    const next = once(here, 'message', { signal: stopper.signal })
    const nothing = turn().then(turn).then(turn)
    const value = await Promise.race([next, nothing])
    if (value === undefined) {
      stopper.abort()
      break
    }
    taken.push(value)
  }
  return taken
}

for (const [way, connect] of Object.entries(ways)) {
  for (const [kind, listenSlowly] of Object.entries(slowListeners)) {
    test(`${way}: beside a slow ${kind}, each once gets the next message`, async () => {
      await using ends = await connect()
      void listenSlowly(ends[0])
      await sendAll(ends, 5)
      assert.deepEqual(await takeInTurn(ends[0], 6), ['m2', 'm3', 'm4', 'm5'])
    })
  }

  test(`${way}: beside a fast listener, ten once in a row get ten messages`, async () => {
    await using ends = await connect()
    const [here, there] = ends
    const heard: Data[] = []
    listen(here, 'message', (message) => void heard.push(message))
    const taken: Data[] = []
    const all = (async () => {
      while (taken.length < 10) taken.push(await once(here, 'message'))
    })()
    await sendAll(ends, 10)
    await all
    assert.deepEqual(taken, heard)
    assert.equal(taken.length, 10)
    there.send('m11') // nothing is left of the row
    await there.ping()
    assert.equal(heard.at(-1), 'm11')
  })

  test(`${way}: two once inside a listener get a header and its body`, async () => {
    await using ends = await connect()
    const [here, there] = ends
    const heard: Data[] = []
    const inner: Data[] = []
    listen(here, 'message', async (message) => {
      heard.push(message)
      if (message === 'start') inner.push(await once(here, 'message'), await once(here, 'message'))
    })
    for (const text of ['start', 'header', 'body']) there.send(text)
    await there.ping()
    await turn()
    assert.deepEqual(inner, ['header', 'body'])
    assert.deepEqual(heard, ['start', 'header', 'body'])
  })
}

test('an endless row of once beside a slow listener lets timers run', async () => {
  const ends = pair()
  listen(ends[0], 'message', () => new Promise(() => {}))
  await sendAll(ends, 3)
  const row = (async () => {
    for (;;) await once(ends[0], 'message')
  })()
  await new Promise((resolve) => setTimeout(resolve, 1))
  await ends[1].close()
  await assert.rejects(row, ClosedError)
})

test('once with `where` looks through what waits, and takes what it picks alone', async () => {
  const ends = pair()
  await sendAll(ends, 4)
  assert.equal(await once(ends[0], 'message', { where: (message) => message === 'm3' }), 'm3')
  const heard: Data[] = []
  listen(ends[0], 'message', (message) => void heard.push(message))
  await turn()
  assert.deepEqual(heard, ['m1', 'm2', 'm4'])
})

test('once with `where` waits for a message that has not come yet', async () => {
  const [here, there] = pair()
  const reply = once(here, 'message', { where: (message) => message === 'reply' })
  for (const text of ['noise', 'reply', 'reply']) there.send(text)
  assert.equal(await reply, 'reply')
  assert.deepEqual(await takeInTurn(here, 3), ['noise', 'reply'])
})

test('once with `where` gets its message before it waits behind a slow loop', async () => {
  const [here, there] = pair()
  const heard: Data[] = []
  const replies: Data[] = []
  const looping = (async () => {
    for await (const message of listen(here, 'message')) {
      heard.push(message)
      if (message !== 'question') continue
      replies.push(await once(here, 'message', { where: (other) => other === 'reply' }))
    }
  })()
  there.send('question')
  for (let number = 0; number < 100; number++) there.send(number) // more than may wait
  there.send('reply')
  await there.ping()
  assert.deepEqual(replies, ['reply'])
  void there.close()
  await looping
  assert.equal(heard.length, 102)
  assert.equal(heard.at(-1), 'reply') // it listened before, and gets the message in its turn
})

test('two requests under way get their own replies, in either order', async () => {
  const [here, there] = pair()
  const ask = (id: string): Promise<Data> =>
    once(here, 'message', { where: (message) => String(message).startsWith(id) })
  const [one, other] = [ask('1'), ask('2')]
  for (const text of ['2 b', '1 a']) there.send(text)
  assert.deepEqual(await Promise.all([one, other]), ['1 a', '2 b'])
})

test('replies in one chunk are found one after the other, beside a fast listener', async () => {
  const [here, there] = pair()
  listen(here, 'message', () => {})
  const taken: Data[] = []
  const all = (async () => {
    for (const id of ['1', '2', '3']) {
      taken.push(await once(here, 'message', { where: (message) => message === id }))
    }
  })()
  for (const text of ['1', '2', '3']) there.send(text)
  await all
  assert.deepEqual(taken, ['1', '2', '3'])
})

for (const [what, where, wanted] of [
  ['throws', () => assert.fail('broken'), /broken/],
  ['returns a promise', () => Promise.resolve(true), /`where` returns to be true or false/],
] as const) {
  test(`a predicate that ${what} rejects its own once alone`, async () => {
    const [here, there] = pair()
    const heard: Data[] = []
    const broken = once(here, 'message', { where: where as unknown as () => boolean })
    const sound = once(here, 'message', { where: () => true })
    listen(here, 'message', (message) => void heard.push(message))
    there.send('one')
    await assert.rejects(broken, wanted)
    assert.equal(await sound, 'one')
    assert.deepEqual(heard, ['one'])
    assert.equal(here.isOpen, true)
  })
}

test('a predicate narrows the type of what its once resolves with', () => {
  const [here] = pair()
  const isText = (message: Data): message is string => typeof message === 'string'
  const text = once(here, 'message', { where: isText })
  exactly<Promise<string>>()(text)
  exactly<Promise<Data>>()(once(here, 'message', { where: () => true }))
})

test('a predicate picks values of other events, too', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  const [there, here] = await link(server, client)
  const pong = once(here, 'pong', { where: (data) => data === 'second' })
  await here.ping('first')
  await here.ping('second')
  assert.equal(await pong, 'second')
  assert.equal(there.isOpen, true)
})

test('a `where` that is no function throws a TypeError, and nothing waits', () => {
  const [here] = pair()
  const where = 'reply' as unknown as () => boolean
  assert.throws(() => once(here, 'message', { where }), /expected `where` to be a function/)
})

test('a once with `where` ends with its connection, and with its signal', async () => {
  const [here, there] = pair()
  const stopper = new AbortController()
  const never = (): boolean => false
  const [stopped, ended] = [
    once(here, 'message', { where: never, signal: stopper.signal }),
    once(here, 'message', { where: never }),
  ]
  stopper.abort(new Error('why'))
  await assert.rejects(stopped, /why/)
  await there.close()
  await assert.rejects(ended, ClosedError)
  await assert.rejects(once(here, 'message', { where: never }), ClosedError)
})

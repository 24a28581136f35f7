import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import {
  CallbackError,
  listen,
  once,
  WebsocketClient,
  WebsocketConnection,
  WebsocketServer,
  type Data,
  type Listenable,
  type Unlisten,
} from 'simplewebsockets'
import { link, pair } from 'simplewebsockets/testing'

/** Lets what was put off to the end of the turn happen. */
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

test('a callback gets every value, until it is stopped', async () => {
  const { end, ping } = pinged()
  const texts: Data[] = []
  const unlisten = listen(end, 'ping', (text) => void texts.push(text))
  await ping('one')
  await ping('two')
  unlisten()
  await ping('three')
  assert.deepEqual(texts, ['one', 'two'])
})

test('a callback is given exactly one argument', async () => {
  const [end, peer] = pair()
  const given: unknown[][] = []
  listen(end, 'message', (...values: unknown[]) => void given.push(values))
  listen(end, 'ping', (...values: unknown[]) => void given.push(values))
  peer.send('message')
  await peer.ping('ping')
  assert.deepEqual(given, [['message'], ['ping']])
})

test('stopping twice is harmless, also when another listens since', async () => {
  const { end, ping } = pinged()
  const texts: Data[] = []
  const unlisten = listen(end, 'ping', () => assert.fail('it has stopped'))
  unlisten()
  listen(end, 'ping', (text) => void texts.push(text))
  unlisten()
  unlisten[Symbol.dispose]()
  await ping('one')
  assert.deepEqual(texts, ['one'])
})

test('using stops at the end of its block', async () => {
  const [end, peer] = pair()
  const texts: Data[] = []
  {
    using unlisten = listen(end, 'message', (text) => void texts.push(text))
    peer.send('inside')
    assert.equal(typeof unlisten, 'function')
    await peer.ping()
  }
  peer.send('outside')
  await peer.ping()
  assert.deepEqual(texts, ['inside'])
  assert.equal(await once(end, 'message'), 'outside')
})

test('all listeners of an event are called, in the order they came', async () => {
  const { end, ping } = pinged()
  const story: string[] = []
  for (const name of ['first', 'second', 'third']) {
    listen(end, 'ping', (text) => void story.push(`${name} ${text}`))
  }
  await ping('one')
  assert.deepEqual(story, ['first one', 'second one', 'third one'])
})

test('the same callback listens twice when it is given twice, and stops one at a time', async () => {
  for (const event of ['ping', 'message'] as const) {
    const [end, peer] = pair()
    const values: Data[] = []
    const callback = (value: Data): void => void values.push(value)
    const unlisten = listen(end, event, callback)
    const other = listen(end, event, callback)
    const speak = (text: string): Promise<unknown> => {
      peer.send(text)
      return peer.ping(text)
    }
    await speak('twice')
    unlisten()
    await speak('once')
    other()
    await speak('never')
    assert.deepEqual(values, ['twice', 'twice', 'once'])
  }
})

test('the option once stops after the first value', async () => {
  const [end, peer] = pair()
  const values: Data[] = []
  for (const event of ['ping', 'message'] as const) {
    listen(end, event, (value) => void values.push(`${event} ${value}`), { once: true })
  }
  for (const text of ['one', 'two']) {
    peer.send(text)
    await peer.ping(text)
  }
  assert.deepEqual(values, ['message one', 'ping one'])
  assert.equal(await once(end, 'message'), 'two')
})

test('a listener with the option once has stopped before it is called', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const [one] = await link(server, new WebsocketClient())
  const [other] = await link(server, new WebsocketClient())
  const joined: unknown[] = []
  listen(
    room,
    'join',
    (member) => {
      joined.push(member)
      room.add(other) // the same event again, in the middle of its own
    },
    { once: true },
  )
  room.add(one)
  assert.deepEqual(joined, [one])
})

test('once: false is the same as nothing', async () => {
  const { end, ping } = pinged()
  let count = 0
  listen(end, 'ping', () => (count += 1), { once: false, signal: undefined })
  await ping('one')
  await ping('two')
  assert.equal(count, 2)
})

test('a signal that is aborted already lets no callback begin', async () => {
  const { end, ping } = pinged()
  const signal = AbortSignal.abort()
  const unlisten = listen(end, 'ping', () => assert.fail('it never began'), { signal })
  await ping('one')
  unlisten()
})

test('a signal stops a callback, also in the middle of a dispatch', async () => {
  const { end, ping } = pinged()
  const stopper = new AbortController()
  const { signal } = stopper
  const texts: Data[] = []
  listen(
    end,
    'ping',
    (text) => {
      texts.push(text)
      if (text === 'two') stopper.abort()
    },
    { signal },
  )
  listen(end, 'ping', (text) => text === 'two' && assert.fail('it has stopped'), { signal })
  for (const text of ['one', 'two', 'three']) await ping(text)
  assert.deepEqual(texts, ['one', 'two'])
})

test('a callback that has stopped leaves nothing at its signal', () => {
  const { end } = pinged()
  const stopper = new AbortController()
  const unlisten = listen(end, 'ping', () => {}, { signal: stopper.signal })
  assert.equal(waitingFor(stopper.signal), 1)
  unlisten()
  assert.equal(waitingFor(stopper.signal), 0)
  stopper.abort()
})

test('a connection that has ended leaves nothing at a signal that lives on', async () => {
  const { signal } = new AbortController()
  const [end, peer] = pair()
  for (const event of ['message', 'ping', 'close'] as const) {
    listen(end, event, () => {}, { signal })
  }
  await peer.close()
  await once(end, 'close')
  listen(end, 'close', () => {}, { signal })
  await turn()
  assert.equal(waitingFor(signal), 0)
})

test('a signal stops what listens to a maker after the maker has closed, too', async () => {
  const stopper = new AbortController()
  const client = new WebsocketClient()
  listen(client, 'connect', () => assert.fail('it has stopped'), { signal: stopper.signal })
  await assert.rejects(link(new WebsocketServer({ path: '/other' }), client))
  await once(client, 'closed')
  stopper.abort()
  await link(new WebsocketServer(), client)
})

test('a listener may stop itself in the middle of a dispatch, and the others go on', async () => {
  for (const event of ['ping', 'message'] as const) {
    const [end, peer] = pair()
    const story: string[] = []
    const unlisten = listen(end, event, (text) => {
      unlisten()
      story.push(`first ${text}`)
    })
    listen(end, event, (text) => void story.push(`second ${text}`))
    for (const text of ['one', 'two']) {
      peer.send(text)
      await peer.ping(text)
    }
    assert.deepEqual(story, ['first one', 'second one', 'second two'])
  }
})

test('a listener may stop another in the middle of a dispatch, which is not called any more', async () => {
  for (const event of ['ping', 'message'] as const) {
    const [end, peer] = pair()
    let other: Unlisten | undefined = undefined as Unlisten | undefined
    listen(end, event, () => other?.())
    other = listen(end, event, () => assert.fail('it was stopped before its turn'))
    peer.send('one')
    await peer.ping('one')
  }
})

test('a listener added in the middle of a dispatch begins with the next value', async () => {
  for (const event of ['ping', 'message'] as const) {
    const [end, peer] = pair()
    const late: Data[] = []
    listen(end, event, () => listen(end, event, (text) => void late.push(text)), { once: true })
    for (const text of ['one', 'two']) {
      peer.send(text)
      await peer.ping(text)
    }
    assert.deepEqual(late, ['two'])
  }
})

test('a loop that is left in the middle of a dispatch takes nothing of it', async () => {
  for (const leave of ['return', 'signal'] as const) {
    const { end, ping } = pinged()
    const stopper = new AbortController()
    listen(end, 'ping', () => {
      if (leave === 'return') void loop.return?.()
      else stopper.abort()
    })
    const loop = listen(end, 'ping', { signal: stopper.signal })
    await ping('one')
    assert.deepEqual(await loop.next(), { done: true, value: undefined })
  }
})

test('a promise that a callback returns keeps its next message waiting', async () => {
  const [end, peer] = pair()
  const story: string[] = []
  listen(end, 'message', async (text) => {
    story.push(`begin ${text}`)
    await turn()
    story.push(`end ${text}`)
  })
  peer.send('one')
  peer.send('two')
  for (let turns = 0; turns < 4; turns++) await turn()
  assert.deepEqual(story, ['begin one', 'end one', 'begin two', 'end two'])
})

test('a thenable is awaited like a promise', async () => {
  const [end, peer] = pair()
  const story: string[] = []
  listen(end, 'message', (text) => {
    story.push(`begin ${text}`)
    return {
      then(resolve: () => void): void {
        setImmediate(() => {
          story.push(`end ${text}`)
          resolve()
        })
      },
    }
  })
  peer.send('one')
  peer.send('two')
  for (let turns = 0; turns < 6; turns++) await turn()
  assert.deepEqual(story, ['begin one', 'end one', 'begin two', 'end two'])
})

test('a thenable may be a function', async () => {
  const [end, peer] = pair()
  const failed = once(end, 'error')
  const rejecting = Object.assign(() => {}, {
    then: (_: unknown, reject: (cause: unknown) => unknown) => reject(new Error('boom')),
  })
  listen(end, 'message', () => rejecting)
  peer.send('x')
  assert.equal((await failed).message, 'boom')
})

for (const [what, thenable] of [
  ['rejects', { then: (_: unknown, no: (cause: unknown) => unknown) => no(new Error('boom')) }],
  [
    'throws when it is asked',
    {
      then: () => {
        throw new Error('boom')
      },
    },
  ],
  [
    "can't even be asked",
    {
      get then(): never {
        throw new Error('boom')
      },
    },
  ],
] as [string, unknown][]) {
  test(`a thenable that ${what} is one failure of its listener`, async () => {
    const [end, peer] = pair()
    const errors: string[] = []
    const seen: Data[] = []
    listen(end, 'error', (error) => void errors.push(error.message))
    listen(end, 'message', (message) => {
      seen.push(message)
      return message === 'one' ? thenable : undefined
    })
    peer.send('one')
    peer.send('two')
    await turn()
    assert.deepEqual(errors, ['boom'])
    assert.deepEqual(seen, ['one', 'two'])
  })
}

test('what is returned with a `then` that is no function is only a value', async () => {
  const [end, peer] = pair()
  const seen: Data[] = []
  listen(end, 'message', (message) => {
    seen.push(message)
    return { then: 'later' }
  })
  peer.send('one')
  peer.send('two')
  await peer.ping()
  assert.deepEqual(seen, ['one', 'two'])
})

for (const [thrown, message] of [
  [new RangeError('boom'), 'boom'],
  ['only text', 'only text'],
  [42, '42'],
  [false, 'false'],
  [Symbol('mark'), 'Symbol(mark)'],
  [{ code: 'E1' }, 'an object'],
  [Object.create(null) as unknown, 'an object'],
  [null, 'CallbackError'],
  [undefined, 'CallbackError'],
] as [unknown, string][]) {
  for (const manner of ['throws', 'rejects with'] as const) {
    test(`a listener that ${manner} ${typeof thrown} (${message}) harms no other`, async () => {
      const [end, peer] = pair()
      const seen: Data[] = []
      listen(end, 'message', () => {
        if (manner === 'rejects with') return Promise.reject(thrown)
        throw thrown
      })
      listen(end, 'message', (text) => void seen.push(text))
      const failed = once(end, 'error')
      peer.send('x')
      const error = await failed
      assert.ok(error instanceof CallbackError)
      assert.equal(error.event, 'message')
      assert.equal(error.message, message)
      assert.deepEqual(seen, ['x'])
      assert.ok(end.isOpen)
    })
  }
}

test('a listener with the option once that fails has stopped all the same', async () => {
  const { end, ping } = pinged()
  const errors: string[] = []
  listen(end, 'error', (error) => void errors.push(error.message))
  listen(end, 'ping', () => Promise.reject(new Error('boom')), { once: true })
  await ping('one')
  await ping('two')
  assert.deepEqual(errors, ['boom'])
})

test('a callback hears the end of an ended connection, in a later turn and once', async () => {
  const end = await ended()
  const reasons: unknown[] = []
  listen(end, 'close', (reason) => void reasons.push(reason))
  listen(end, 'close', (reason) => void reasons.push(reason), { once: true })
  listen(end, 'pong', () => assert.fail('nothing comes any more'))
  assert.deepEqual(reasons, [])
  await turn()
  const reason = { code: 4000, description: 'enough' }
  assert.deepEqual(reasons, [reason, reason])
})

test('a callback that stops at once never hears the end of an ended connection', async () => {
  const end = await ended()
  const unlisten = listen(end, 'close', () => assert.fail('it has stopped'))
  unlisten()
  await turn()
})

test('a callback placed on a closed maker is there when it begins again', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  await link(server, client)
  await server.close()
  await once(client, 'closed')
  const story: string[] = []
  listen(server, 'client', () => void story.push('client'))
  listen(client, 'connect', () => void story.push('connect'))
  const unlisten = listen(client, 'connect', () => assert.fail('it has stopped'))
  unlisten()
  await link(server, client)
  assert.deepEqual(story.sort(), ['client', 'connect'])
})

test('a callback placed on a closed maker hears of its next end', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  const codes: number[] = []
  const [there] = await link(server, client)
  await there.close(4000)
  await once(client, 'closed')
  listen(client, 'closed', ({ code }) => void codes.push(code))
  listen(client, 'closed', ({ code }) => void codes.push(code), { once: true })
  const [again] = await link(server, client)
  await again.close(4001)
  await once(client, 'closed')
  assert.deepEqual(codes, [4001, 4001])
})

test('the callbacks of a maker that closes stay for the next time', async () => {
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  const codes: number[] = []
  let clients = 0
  listen(server, 'client', () => (clients += 1))
  listen(client, 'closed', ({ code }) => void codes.push(code))
  for (const code of [4000, 4001]) {
    await link(server, client)
    await server.close({ code })
    await once(client, 'closed')
  }
  assert.equal(clients, 2)
  assert.deepEqual(codes, [4000, 4001])
})

for (const [what, callback, shown] of [
  ['undefined', undefined, 'undefined'],
  ['null', null, 'null'],
  ['a number', 5, '5'],
  ['a string', 'callback', '"callback"'],
  ['true', true, 'true'],
] as [string, unknown, string][]) {
  test(`a callback that is ${what} is a slip, not a wish for a loop`, () => {
    const [end] = pair()
    const slip = callback as () => void
    const error = new TypeError(
      `expected the callback for \`message\` to be a function, got ${shown}`,
    )
    assert.throws(() => listen(end, 'message', slip), error)
    assert.throws(() => listen(end, 'message', slip, { once: true }), error)
  })
}

for (const [what, target] of [
  ['undefined', undefined],
  ['null', null],
  ['an empty object', {}],
  ['a string', 'connection'],
  ['a number', 42],
  ['a function', () => {}],
  ['an EventTarget', new EventTarget()],
] as [string, unknown][]) {
  test(`listening to ${what} throws a TypeError that says what to listen to`, () => {
    const slip = target as WebsocketConnection
    const cure =
      /^TypeError: expected the target of `listen` to be a server, client, .* or presence, got/
    assert.throws(() => listen(slip, 'message', () => {}), cure)
    assert.throws(() => listen(slip, 'message'), cure)
    assert.throws(() => once(slip, 'message'), cure)
  })
}

/** Listens in all three ways to an event that isn't there. */
function refused<Events extends object>(
  target: Listenable<Events>,
  event: unknown,
  error: string,
): void {
  const slip = event as keyof Events
  assert.throws(() => listen(target, slip, () => {}), new TypeError(error))
  assert.throws(() => listen(target, slip), new TypeError(error))
  assert.throws(() => once(target, slip), new TypeError(error))
}

test('an event that a target does not have throws a TypeError with the nearest name', () => {
  const [end] = pair()
  const [server, client] = [new WebsocketServer(), new WebsocketClient()]
  refused(end, 'mesage', 'unknown event of a connection `mesage`: did you mean `message`?')
  refused(server, 'clients', 'unknown event of a server `clients`: did you mean `client`?')
  refused(client, 'close', 'unknown event of a client `close`: did you mean `closed`?')
  refused(server.room('x'), 'joined', 'unknown event of a room `joined`: did you mean `join`?')
})

test('an event like no other throws a TypeError with all the names there are', () => {
  const rooms = new WebsocketServer().clients
  for (const name of ['toString', '__proto__', '*', '', 'message']) {
    refused(rooms, name, `unknown event of a room \`${name}\`: there are join, leave`)
  }
})

test('an event that is no string throws like any that is unknown', () => {
  const [end] = pair()
  const names = 'there are message, ping, pong, drain, error, close'
  for (const slip of [Symbol('mark'), undefined, null, 5]) {
    refused(end, slip, `unknown event of a connection \`${String(slip)}\`: ${names}`)
  }
})

test('unknown options throw a TypeError, and nothing listens then', async () => {
  const { end, ping } = pinged()
  const fail = (): void => assert.fail('it never began')
  // @ts-expect-error: a slip
  assert.throws(() => listen(end, 'ping', fail, { onec: true }), /did you mean `once`/)
  // @ts-expect-error: a loop has no once
  assert.throws(() => listen(end, 'ping', { once: true }), /unknown option `once`/)
  // @ts-expect-error: a slip
  assert.throws(() => listen(end, 'ping', { singal: undefined }), /did you mean `signal`/)
  // @ts-expect-error: a slip
  assert.throws(() => once(end, 'ping', { sginal: undefined }), /did you mean `signal`/)
  await ping('one')
})

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { ChannelClient, ChannelServer } from 'simplewebsockets/channels'
import { link, pair } from 'simplewebsockets/testing'
import { ChannelError, HistoryError } from '../lib/channels/errors.ts'
import { messageOf } from '../lib/format.ts'
import { unknownNameError, invalidValue } from '../lib/validation.ts'
import {
  CallbackError,
  ClosedError,
  ConnectError,
  FrameError,
  WebsocketError,
} from '../lib/errors.ts'
import { PeerConnectError } from '../lib/server/handshake/peer-connect-error.ts'

const classes = [
  { Kind: WebsocketError, name: 'WebsocketError' },
  { Kind: ConnectError, name: 'ConnectError' },
  { Kind: PeerConnectError, name: 'PeerConnectError' },
  { Kind: CallbackError, name: 'CallbackError' },
  { Kind: FrameError, name: 'FrameError' },
  { Kind: ClosedError, name: 'ClosedError' },
]

for (const { Kind, name } of classes) {
  test(`a ${name} is a WebsocketError and an Error, and knows its name`, () => {
    const error = new Kind('it broke')
    assert.ok(error instanceof WebsocketError)
    assert.ok(error instanceof Error)
    assert.equal(error.name, name)
    assert.equal(String(error), `${name}: it broke`)
    assert.equal(error.msg, 'it broke')
    assert.equal(error.cause, undefined)
  })

  test(`a ${name} takes the message of the failure that it wraps`, () => {
    const cause = new RangeError('out of reach')
    const error = new Kind(cause)
    assert.equal(error.message, 'out of reach')
    assert.equal(error.msg, 'out of reach')
    assert.equal(error.cause, cause)
  })

  test(`a ${name} takes the name of the failure's type where that has no message`, () => {
    const error = new Kind(new RangeError())
    assert.equal(error.msg, 'RangeError')
  })

  test(`a ${name} made of nothing says its own name`, () => {
    for (const error of [new Kind(), new Kind(undefined), new Kind(null), new Kind('')]) {
      assert.equal(error.msg, name)
      assert.equal('cause' in error, false)
    }
  })

  test(`a ${name} keeps its own message beside its cause`, () => {
    const cause = new Error('the reason')
    const error = new Kind('it broke', { cause })
    assert.equal(error.msg, 'it broke')
    assert.equal(error.cause, cause)
  })

  test(`a ${name} without a message takes that of its cause`, () => {
    const cause = new Error('the reason')
    for (const error of [new Kind(undefined, { cause }), new Kind('', { cause })]) {
      assert.equal(error.msg, 'the reason')
      assert.equal(error.cause, cause)
    }
  })

  test(`the log of a ${name} prints its stack and its causes, and throws nothing`, () => {
    const print = mock.method(console, 'error', () => {})
    try {
      const error = new Kind(new Error('the reason', { cause: 'the root' }))
      error.log()
      assert.deepEqual(
        print.mock.calls.map((call) => call.arguments),
        [[error]],
      )
    } finally {
      print.mock.restore()
    }
  })
}

test('the stack of a CallbackError begins where the listener threw', () => {
  const boom = (): Error => new TypeError('my bug\nin two lines')
  const { stack = '' } = new CallbackError(boom(), { event: 'message' })
  assert.match(stack, /^CallbackError: my bug\nin two lines\n {4}at boom /)
  assert.match(new CallbackError('no error').stack ?? '', /^CallbackError: no error\n {4}at /)
})

test('what is thrown without being an Error is wrapped all the same', () => {
  const thrown = { reason: 'none' }
  const error = new CallbackError(thrown)
  assert.equal(error.msg, 'an object')
  assert.equal(error.cause, thrown)
  assert.equal(new CallbackError(0).msg, '0')
  assert.equal(new CallbackError(0).cause, 0)
  assert.equal(new CallbackError(false).msg, 'false')
})

test('a ConnectError tells what a server answered', () => {
  const headers = { 'retry-after': '5' }
  const error = new ConnectError('refused', { status: 503, headers, body: 'come back later' })
  assert.equal(error.status, 503)
  assert.equal(error.headers, headers)
  assert.equal(error.body, 'come back later')
})

test('a ConnectError has no answer where there was none', () => {
  const { status, headers, body } = new ConnectError('nobody there')
  assert.deepEqual([status, headers, body], [undefined, undefined, undefined])
})

test('a PeerConnectError answers 403 unless it says otherwise', () => {
  assert.equal(new PeerConnectError('no').status, 403)
  assert.equal(new PeerConnectError('no', { status: undefined }).status, 403)
  assert.equal(new PeerConnectError('no', { status: 429 }).status, 429)
  assert.equal(new PeerConnectError('gone', { status: 0 }).status, 0)
})

test('a CallbackError names the event whose listener failed', () => {
  assert.equal(new CallbackError('no', { event: 'message' }).event, 'message')
  assert.equal(new CallbackError('no').event, undefined)
})

test('a FrameError closes with 1002 unless it says otherwise', () => {
  assert.equal(new FrameError('no').closeCode, 1002)
  assert.equal(new FrameError('no', { closeCode: 1009 }).closeCode, 1009)
})

test('a ClosedError says 1006 unless it says otherwise', () => {
  assert.equal(new ClosedError('no').closeCode, 1006)
  assert.equal(new ClosedError('no', { closeCode: 1000 }).closeCode, 1000)
})

class Custom extends Error {
  override name = 'Custom'
}

const texts: [failure: unknown, text: string][] = [
  ['a text', 'a text'],
  ['', ''],
  [new Error('a message'), 'a message'],
  [new TypeError(), 'TypeError'],
  [new Custom(), 'Custom'],
  [new AggregateError([new Error('IPv4'), new Error('IPv6')]), 'IPv4; IPv6'],
  [new AggregateError([new Error('one')], 'all of them'), 'all of them'],
  [undefined, 'undefined'],
  [null, 'null'],
  [404, '404'],
  [Symbol('why'), 'Symbol(why)'],
]

for (const [failure, text] of texts) {
  test(`the text of ${String(failure)} (${typeof failure}) is ${JSON.stringify(text)}`, () => {
    assert.equal(messageOf(failure), text)
  })
}

const shown: [value: unknown, text: string][] = [
  ['5', '"5"'],
  ['a "quoted" one\n', String.raw`"a \"quoted\" one\n"`],
  [5, '5'],
  [NaN, 'NaN'],
  [Infinity, 'Infinity'],
  [5n, '5n'],
  [true, 'true'],
  [undefined, 'undefined'],
  [null, 'null'],
  [() => 5, 'a function'],
  [Date, 'a function'],
  [Symbol('s'), 'Symbol(s)'],
  [[1, 2, 3], 'an array of 3'],
  [{ password: 'secret' }, 'an object'],
  [Object.create(null), 'an object'],
  [{ constructor: 'no constructor' }, 'an object'],
  [new Map(), 'an instance of Map'],
  [new Float32Array(4), 'an instance of Float32Array'],
]

for (const [value, text] of shown) {
  test(`a value that isn't what it should be is shown as ${text}`, () => {
    const error = invalidValue('`port`', 'a number', value)
    assert.ok(error instanceof TypeError)
    assert.equal(error.message, `expected \`port\` to be a number, got ${text}`)
  })
}

const slips: [name: string, known: string[], message: string][] = [
  [
    'keepAliveTimeout',
    ['closeTimeout', 'keepaliveTimeout'],
    'unknown option `keepAliveTimeout`: did you mean `keepaliveTimeout`?',
  ],
  ['orgins', ['origins', 'path'], 'unknown option `orgins`: did you mean `origins`?'],
  ['Path', ['origins', 'path'], 'unknown option `Path`: did you mean `path`?'],
  ['pathh', ['path', 'paths'], 'unknown option `pathh`: did you mean `path`?'],
  ['closing', ['close', 'message'], 'unknown option `closing`: there are close, message'],
  [
    'maxMessageSize',
    ['maxMessagesSizes'],
    'unknown option `maxMessageSize`: did you mean `maxMessagesSizes`?',
  ],
  [
    'connection',
    ['client', 'connectError', 'closed'],
    'unknown option `connection`: did you mean `client`?',
  ],
  ['conection', ['connect', 'connectError'], 'unknown option `conection`: did you mean `connect`?'],
  ['connect', ['open', 'message'], 'unknown option `connect`: did you mean `open`?'],
  ['data', ['close', 'message'], 'unknown option `data`: did you mean `message`?'],
  ['disconnect', ['close', 'message'], 'unknown option `disconnect`: did you mean `close`?'],
  ['', ['close', 'message'], 'unknown option ``: there are close, message'],
  ['__proto__', ['close', 'message'], 'unknown option `__proto__`: there are close, message'],
  ['xx', ['', 'message'], 'unknown option `xx`: did you mean ``?'],
]

for (const [name, known, message] of slips) {
  test(`the error of the unknown name ${JSON.stringify(name)} offers what is known`, () => {
    const error = unknownNameError('option', name, known)
    assert.ok(error instanceof TypeError)
    assert.equal(error.message, message)
  })
}

const defaults: [error: WebsocketError, code: string][] = [
  [new WebsocketError('no'), 'ERR_UNEXPECTED'],
  [new ConnectError('no'), 'ERR_CONNECT_FAILED'],
  [new PeerConnectError('no'), 'ERR_NOT_AUTHORIZED'],
  [new CallbackError('no'), 'ERR_LISTENER_FAILED'],
  [new FrameError('no'), 'ERR_INVALID_FRAME'],
  [new ClosedError('no'), 'ERR_CLOSED'],
  [new ChannelError('no'), 'ERR_CHANNEL_FAILED'],
  [new HistoryError('no'), 'ERR_HISTORY_FAILED'],
]

for (const [error, code] of defaults) {
  test(`the code of a ${error.name} is ${code} unless it says otherwise`, () => {
    assert.equal(error.code, code)
    assert.ok(Object.hasOwn(error, 'code'), 'so that it is copied with the error')
  })
}

test('an error has the code that it is given, and a cause keeps its own', () => {
  const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
  const error = new ConnectError(cause, { code: 'ERR_LISTEN_FAILED' })
  assert.equal(error.code, 'ERR_LISTEN_FAILED')
  assert.equal(error.cause, cause)
  assert.equal(new ConnectError(cause, { code: undefined }).code, 'ERR_CONNECT_FAILED')
})

test('the code of a PeerConnectError follows from its reason', () => {
  assert.equal(new PeerConnectError('no', { reason: 'origin' }).code, 'ERR_ORIGIN_REFUSED')
  const code = 'ERR_AUTHORIZE_FAILED'
  assert.equal(new PeerConnectError('no', { reason: 'origin', code }).code, code)
})

test('the code of a FrameError follows from its close code', () => {
  assert.equal(new FrameError('no', { closeCode: 1007 }).code, 'ERR_INVALID_UTF8')
  assert.equal(new FrameError('no', { closeCode: 1008 }).code, 'ERR_MESSAGE_INVALID')
  assert.equal(new FrameError('no', { closeCode: 1009 }).code, 'ERR_MESSAGE_TOO_BIG')
  const code = 'ERR_RATE_LIMIT'
  assert.equal(new FrameError('no', { closeCode: 1008, code }).code, code)
})

test('the errors of a mistake in the program have codes', () => {
  const server = new WebsocketServer()
  assert.throws(() => server.room(5 as never), { name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' })
  assert.throws(() => listen(server, 'clinet' as never, () => {}), { code: 'ERR_UNKNOWN_NAME' })
  assert.throws(() => new WebsocketServer({ orgins: [] } as never), { code: 'ERR_UNKNOWN_NAME' })
  new ChannelServer(server)
  assert.throws(() => new ChannelServer(server), { code: 'ERR_INVALID_CALL' })
})

test('a refused handshake has a code on both sides', async () => {
  const server = new WebsocketServer()
  const refused = once(server, 'peerError')
  const client = new WebsocketClient({ headers: { Origin: 'https://elsewhere.example' } })
  await assert.rejects(link(server, client), { code: 'ERR_HANDSHAKE_REFUSED', status: 403 })
  assert.equal((await refused).code, 'ERR_ORIGIN_REFUSED')
})

test('a server that is not there has a code, and the system has its own', async () => {
  const opening = new WebsocketClient().open('ws://localhost:1/')
  const error: unknown = await opening.catch((cause: unknown) => cause)
  assert.ok(error instanceof ConnectError && error.cause instanceof Error)
  assert.equal(error.code, 'ERR_CONNECT_FAILED')
  assert.equal('code' in error.cause && error.cause.code, 'ECONNREFUSED')
  const nowhere = new WebsocketClient().open('nowhere')
  await assert.rejects(nowhere, { name: 'ConnectError', code: 'ERR_INVALID_ARGUMENT' })
})

test('a port that is taken has a code', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  try {
    await assert.rejects(new WebsocketServer().serve(port), { code: 'ERR_LISTEN_FAILED' })
    await assert.rejects(server.serve(port), { code: 'ERR_INVALID_CALL' })
  } finally {
    await server.close()
  }
})

test('a message that is too big has a code, and its close reason does not', async () => {
  const [server, client] = pair({ server: { maxReceivedMessageSize: 10 } })
  const failed = once(server, 'error')
  const closed = once(server, 'close')
  client.send('x'.repeat(11))
  const error = await failed
  assert.ok(error instanceof FrameError)
  assert.deepEqual([error.code, error.closeCode], ['ERR_MESSAGE_TOO_BIG', 1009])
  const description = 'Maximum message size of 10 Bytes exceeded'
  assert.deepEqual(await closed, { code: 1009, description })
})

test('messages that come too fast have a code, and the close reason does not', async () => {
  const [server, client] = await link(
    new WebsocketServer({ rateLimit: { messages: 1, per: 60_000 } }),
    new WebsocketClient(),
  )
  const failed = once(server, 'error')
  const closed = once(client, 'close')
  client.send('one')
  client.send('two')
  assert.equal((await failed).code, 'ERR_RATE_LIMIT')
  const description = 'more than 1 messages in 60000 ms'
  assert.deepEqual(await closed, { code: 1008, description })
})

test('a ping on a connection that has closed has a code', async () => {
  const [server] = pair()
  await server.close(4000)
  await assert.rejects(server.ping(), { code: 'ERR_CLOSED', closeCode: 4000 })
})

test('a listener that throws has a code', async () => {
  const [server, client] = pair()
  const failed = once(server, 'error')
  listen(server, 'message', () => {
    throw new Error('my bug')
  })
  client.send('hello')
  assert.equal((await failed).code, 'ERR_LISTENER_FAILED')
})

test('a refused join, a refused push and one without a reply have codes', async (t) => {
  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('room')
  listen(topic, 'join', ({ channel, accept }) => {
    listen(channel.messages, 'refused', ({ refuse }) => refuse({ reason: 'no' }))
    listen(channel.messages, 'ignored', () => {})
    accept()
  })
  const { port } = await server.serve(0)
  const client = new ChannelClient()
  t.after(async () => {
    await client.close()
    await server.close()
  })
  await client.open(`ws://localhost:${port}/socket`)
  const elsewhere = client.channel('elsewhere').join()
  await assert.rejects(elsewhere, { name: 'ChannelError', code: 'ERR_JOIN_REFUSED' })
  const room = client.channel('room')
  await room.join()
  await assert.rejects(room.push('refused', {}), { code: 'ERR_PUSH_REFUSED' })
  const ignored = room.push('ignored', {}, { timeout: 20 })
  await assert.rejects(ignored, { code: 'ERR_PUSH_TIMEOUT' })
})

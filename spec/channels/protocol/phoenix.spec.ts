import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Serializer as phoenixJs } from 'phoenix'
import { Serializer as phoenixJs17 } from 'phoenix-1.7'
import type { ServerFrame } from '../../../lib/channels/protocol/serializer.ts'
import { phoenix, phoenixV1 } from '../../../lib/channels/protocol/phoenix.ts'
import { RequestDetails } from '../../../lib/server/handshake/request.ts'
import { refuses, serializerContract } from '../../support/channels/contract.ts'
import { clientFixtures, serverFixtures } from '../../support/channels/fixtures.ts'
import { Random } from '../../support/channels/random.ts'

serializerContract({
  serializer: phoenix,
  silent: [
    ...['a push of bytes without a joinRef', 'a reply of bytes without a joinRef'],
    ...['an error of bytes', 'a ping'],
  ],
})

const { server, client } = phoenix
const clients = [
  ['phoenix.js 1.8.16', phoenixJs],
  ['phoenix.js 1.7.23', phoenixJs17],
] as const

for (const { what, wire, frame } of clientFixtures) {
  test(`Phoenix: a client's ${what} is byte for byte what was seen`, () => {
    assert.deepEqual(server.decode(wire), frame)
    assert.deepEqual(client.encode(frame), wire)
  })
}

for (const { what, wire, frame } of serverFixtures) {
  test(`Phoenix: a server's ${what} is byte for byte what was seen`, () => {
    assert.deepEqual(client.decode(wire), frame)
    assert.deepEqual(server.encode(frame), wire)
  })
}

type Message = Parameters<typeof phoenixJs.encode>[0]

/** Returns what phoenix.js makes of our bytes, or of its own message. */
function theirs(serializer: PhoenixSerializer): {
  encode: (message: Message) => string | Uint8Array
  decode: (data: string | Uint8Array | undefined) => Message
} {
  return {
    encode(message) {
      let encoded: string | Uint8Array = ''
      serializer.encode(message, (data) => {
        encoded = typeof data === 'string' ? data : new Uint8Array(data)
      })
      return encoded
    },
    decode(data) {
      assert.ok(data !== undefined)
      const decoded: Message[] = []
      const raw = typeof data === 'string' ? data : Uint8Array.from(data).buffer
      serializer.decode(raw, (message) => decoded.push(message))
      assert.ok(decoded[0])
      return decoded[0]
    },
  }
}

const plain = (value: unknown): unknown =>
  value instanceof ArrayBuffer ? new Uint8Array(value) : value

for (const [name, serializer] of clients) {
  const { encode, decode } = theirs(serializer)

  /** Names in which both can say everything: 1.7 writes one byte per character, always. */
  const nameOf = (random: Random): string =>
    name.endsWith('1.7.23') ? `room:${random.below(1e9)}` : random.text(20)

  test(`Phoenix: a server understands whatever ${name} says`, (context) => {
    const random = new Random()
    context.diagnostic(`seed ${random.seed}`)
    for (let round = 0; round < 2_000; round++) {
      const [topic, event] = [nameOf(random), nameOf(random)]
      const [joinRef, ref] = [String(random.below(1e6)), String(random.below(1e6))]
      const data = random.below(2) === 0 ? random.bytes(50) : undefined
      const payload = data ?? random.object(4)
      const said = encode({
        ...{ join_ref: joinRef, ref, topic, event },
        payload: data ? Uint8Array.from(data).buffer : payload,
      })
      const frame = { kind: 'push', topic, event, joinRef, ref, payload } as const
      assert.deepEqual(server.decode(said), frame)
      assert.deepEqual(client.encode(frame), said, 'and a client says it in the same bytes')
    }
  })

  test(`Phoenix: ${name} understands whatever a server says`, (context) => {
    const random = new Random()
    context.diagnostic(`seed ${random.seed}`)
    for (let round = 0; round < 2_000; round++) {
      // A letter first: in binary frames its decoder drops a byte order mark that a name starts with.
      const [topic, event] = [`t${random.text(20)}`, `e${random.text(20)}`]
      const status = `s${random.text(5)}`
      const [joinRef, ref] = [String(random.below(1e6)), String(random.below(1e6))]
      const payload = random.below(2) === 0 ? random.bytes(50) : random.object(4)
      const words = { topic, event, payload }
      const one = decode(server.encode({ kind: 'push', joinRef, ref: null, ...words }))
      const heard = { ...one, payload: plain(one.payload) }
      assert.deepEqual(heard, { join_ref: joinRef, ref: null, ...words })

      const all = decode(server.encode({ kind: 'push', joinRef: null, ref: null, ...words }))
      const shouted = { ...all, payload: plain(all.payload) }
      assert.deepEqual(shouted, { join_ref: null, ref: null, ...words })

      const answer = decode(server.encode({ kind: 'reply', topic, joinRef, ref, status, payload }))
      const { response, ...rest } = answer.payload as { response: unknown }
      const reply = { ...answer, payload: { ...rest, response: plain(response) } }
      const replied = { status, response: payload }
      assert.deepEqual(reply, {
        join_ref: joinRef,
        ref,
        topic,
        event: 'phx_reply',
        payload: replied,
      })
    }
  })

  test(`Phoenix: ${name} can read every frame that was seen from a server`, () => {
    for (const { wire, frame } of serverFixtures) {
      const heard = decode(server.encode(frame))
      const seen = decode(wire)
      assert.deepEqual(heard, seen)
      assert.ok(typeof heard.payload === 'object' && heard.payload !== null)
    }
  })
}

test('Phoenix: a name that phoenix.js 1.7 cuts to bytes is refused, if it is no UTF-8', () => {
  const said = theirs(phoenixJs17).encode({
    ...{ join_ref: '3', ref: '4', topic: 'café', event: 'menu', payload: new ArrayBuffer(1) },
  })
  refuses(server, said, 1007, /names in UTF-8/)
})

const push = (parts: readonly unknown[]): string => JSON.stringify(parts)
const long = 'a'.repeat(256)

const malformed: [what: string, text: string, why: RegExp][] = [
  ['four elements', '["3","4","room:1","new_msg"]', /array of join_ref, ref/],
  ['no element', '[]', /array of join_ref, ref/],
  ['an object', '{"topic":"t","event":"e","payload":{},"ref":"1"}', /array of join_ref, ref/],
  ['a numeric join_ref', push([3, '4', 't', 'e', {}]), /`join_ref` to be a string or null/],
  ['a numeric ref', push(['3', 4, 't', 'e', {}]), /`ref` to be a string or null/],
  ['a ref of true', push(['3', true, 't', 'e', {}]), /`ref` to be a string or null/],
  ['a long join_ref', push([long, '4', 't', 'e', {}]), /`join_ref` is longer than 255 bytes/],
  ['a long ref', push(['3', long, 't', 'e', {}]), /`ref` is longer than 255 bytes/],
  ['a ref of a megabyte', push(['3', 'é'.repeat(2 ** 19), 't', 'e', {}]), /`ref` is longer/],
  ['no topic', push(['3', '4', null, 'e', {}]), /`topic` to be a string/],
  ['a numeric topic', push(['3', '4', 1, 'e', {}]), /`topic` to be a string/],
  ['a topic with toString', push(['3', '4', { toString: 'x' }, 'e', {}]), /`topic` to be a/],
  ['a long topic', push(['3', '4', long, 'e', {}]), /`topic` is longer than 255 bytes/],
  ['a topic of 256 bytes', push(['3', '4', 'é'.repeat(128), 'e', {}]), /`topic` is longer/],
  ['a topic of a megabyte', push(['3', '4', long.repeat(4096), 'e', {}]), /`topic` is longer/],
  ['half a character', push(['3', '4', 'room:\ud83d', 'e', {}]), /`topic` has half a surrogate/],
  ['no event', push(['3', '4', 't', null, {}]), /`event` to be a string/],
  ['a list as event', push(['3', '4', 't', ['e'], {}]), /`event` to be a string/],
  ['a long event', push(['3', '4', 't', '😀'.repeat(64), {}]), /`event` is longer/],
  ['a reply', push(['3', '4', 't', 'phx_reply', {}]), /`phx_reply` is for a server to say/],
  ['an error', push(['3', '4', 't', 'phx_error', {}]), /`phx_error` is for a server to say/],
  ['a close', push(['3', '4', 't', 'phx_close', {}]), /`phx_close` is for a server to say/],
]

for (const [what, text, why] of malformed) {
  test(`Phoenix: a server refuses ${what}`, () => refuses(server, text, 1008, why))
}

test('Phoenix: refs are any texts and come back as they came', () => {
  for (const ref of ['', '0', 'a"b', '\ud83d\ude00', '__proto__', long.slice(1)]) {
    const frame = server.decode(JSON.stringify([ref, ref, 't', 'e', {}]))
    assert.ok(frame.kind === 'push')
    const { joinRef } = frame
    const answer = server.encode({
      ...{ kind: 'reply', topic: 't', joinRef, ref: frame.ref, status: 'ok', payload: {} },
    })
    const [first, second]: unknown[] = JSON.parse(String(answer)) as unknown[]
    assert.deepEqual([first, second], [ref, ref])
  }
})

test('Phoenix: a sixth element is ignored, and more of them too', () => {
  const frame = server.decode('["3","4","t","e",{}]')
  assert.deepEqual(server.decode('["3","4","t","e",{},"more"]'), frame)
  assert.deepEqual(server.decode(`["3","4","t","e",{}${',0'.repeat(1e6)}]`), frame)
})

test("Phoenix: a client's payload may be any JSON value", () => {
  for (const payload of [null, true, 0, -1.5e300, '', 'text', [], [[]], {}]) {
    const frame = server.decode(JSON.stringify(['3', '4', 't', 'e', payload]))
    assert.deepEqual(frame, {
      kind: 'push',
      topic: 't',
      event: 'e',
      joinRef: '3',
      ref: '4',
      payload,
    })
  }
})

test('Phoenix: a heartbeat is known by topic and event, whatever its join_ref', () => {
  assert.deepEqual(server.decode('["3","6","phoenix","heartbeat",{}]'), {
    ...{ kind: 'heartbeat', ref: '6' },
  })
  assert.equal(server.decode('[null,"6","room:1","heartbeat",{}]').kind, 'push')
  assert.equal(server.decode('[null,"6","phoenix","other",{}]').kind, 'push')
  assert.equal(server.decode('[null,"6","phoenix","phx_join",{}]').kind, 'join')
})

test('Phoenix: only an ok on its own topic answers a heartbeat', () => {
  const refusal = '[null,"6","phoenix","phx_reply",{"status":"error","response":{}}]'
  assert.equal(client.decode(refusal).kind, 'reply')
  const reply = '["3","6","room:1","phx_reply",{"status":"ok","response":{}}]'
  assert.equal(client.decode(reply).kind, 'reply')
})

test('Phoenix: a client takes names of any length from its server, and a reply without response', () => {
  const topic = 'search:'.repeat(100)
  const frame = { kind: 'push', topic, event: topic, joinRef: '3', ref: null, payload: {} } as const
  assert.deepEqual(client.decode(JSON.stringify(['3', null, topic, topic, {}])), frame)
  assert.deepEqual(client.decode('["3","4","t","phx_reply",{"status":"ok"}]'), {
    ...{ kind: 'reply', topic: 't', joinRef: '3', ref: '4', status: 'ok', payload: {} },
  })
})

test('Phoenix: a client refuses what no server may say', () => {
  refuses(client, '["3","4",5,"e",{}]', 1008, /`topic`/)
  refuses(client, '["3","4","t",5,{}]', 1008, /`event`/)
  refuses(client, '["3",4,"t","e",{}]', 1008, /`ref`/)
  refuses(client, '["3","4","t","phx_join",{}]', 1008, /`phx_join` is for a client to say/)
  refuses(client, '["3","4","t","phx_leave",{}]', 1008, /`phx_leave` is for a client to say/)
  for (const reply of ['null', '5', '"ok"', '[]', '{}', '{"status":5}']) {
    refuses(client, `["3","4","t","phx_reply",${reply}]`, 1008, /`status` to be a string/)
  }
})

const binary = (...parts: readonly (number | string)[]): Uint8Array =>
  Uint8Array.from(
    parts.flatMap((part) => (typeof part === 'string' ? [...Buffer.from(part)] : [part])),
  )

test('Phoenix: a binary frame may have names and data of no length; then a ref is empty, not null', () => {
  const empty = { kind: 'push', topic: '', event: '', payload: new Uint8Array() } as const
  assert.deepEqual(server.decode(binary(0, 0, 0, 0, 0)), { ...empty, joinRef: '', ref: '' })
  assert.deepEqual(client.decode(binary(0, 0, 0, 0)), { ...empty, joinRef: '', ref: null })
  assert.deepEqual(client.decode(binary(2, 0, 0)), { ...empty, joinRef: null, ref: null })
  assert.deepEqual(client.decode(binary(1, 0, 0, 0, 0)), {
    ...{ kind: 'reply', topic: '', joinRef: '', ref: '', status: '', payload: new Uint8Array() },
  })
})

test('Phoenix: a binary frame of unknown kind, or that only the other end sends, is refused', () => {
  for (const kind of [1, 2, 3, 4, 0x5b, 255]) {
    refuses(server, binary(kind, 1, 1, 1, 1, '34te'), 1008, /unknown kind/)
  }
  for (const kind of [3, 4, 0x5b, 255])
    refuses(client, binary(kind, 0, 0, 0, 0), 1008, /unknown kind/)
  for (const codec of [server, client]) {
    refuses(codec, binary(), 1008, /unknown kind/)
    refuses(codec, binary('["3","4","t","e",{}]'), 1008, /unknown kind/)
  }
})

test('Phoenix: a binary frame that ends too early is refused, wherever it does', () => {
  const whole = binary(0, 1, 2, 6, 6, '436room:1binary')
  for (let end = 1; end < whole.length; end++) {
    refuses(server, whole.subarray(0, end), 1008, /cut short/)
  }
  assert.equal(server.decode(whole).kind, 'push')
  refuses(server, binary(0, 255, 255, 255, 255, 'short'), 1008, /cut short/)
  refuses(client, binary(2, 1), 1008, /cut short/)
  refuses(client, binary(1, 0, 0, 0), 1008, /cut short/)
})

test('Phoenix: names of a binary frame are UTF-8, each for itself', () => {
  refuses(server, binary(0, 1, 1, 1, 1, '34', 0xff, 'e'), 1007, /UTF-8/)
  refuses(server, binary(0, 1, 1, 1, 1, '34', 0xc3, 0xa9), 1007, /UTF-8/)
  refuses(server, binary(0, 1, 1, 3, 1, '34', 0xed, 0xa0, 0x80, 'e'), 1007, /UTF-8/)
  const frame = server.decode(binary(0, 1, 1, 5, 4, '34', 'café', '😀', 255))
  assert.deepEqual(frame, {
    ...{ kind: 'push', joinRef: '3', ref: '4', topic: 'café', event: '😀' },
    payload: Uint8Array.of(255),
  })
})

test('Phoenix: joins, leaves and heartbeats are known in binary frames, too', () => {
  const join = server.decode(binary(0, 1, 1, 1, 8, '33t', 'phx_join', 7))
  assert.deepEqual(join, {
    ...{ kind: 'join', topic: 't', joinRef: '3', ref: '3', payload: Uint8Array.of(7) },
  })
  const leave = server.decode(binary(0, 1, 1, 1, 9, '34t', 'phx_leave'))
  assert.deepEqual(leave, { kind: 'leave', topic: 't', joinRef: '3', ref: '4' })
  const heartbeat = server.decode(binary(0, 0, 1, 7, 9, '6', 'phoenix', 'heartbeat'))
  assert.deepEqual(heartbeat, { kind: 'heartbeat', ref: '6' })
  refuses(server, binary(0, 1, 1, 1, 9, '34t', 'phx_close'), 1008, /for a server/)
})

test('Phoenix: a name too long to go with bytes throws for its sender', () => {
  const words = { topic: 't', event: 'e', joinRef: '3', ref: '4', payload: new Uint8Array(1) }
  const error = { name: 'RangeError', message: /`aaa.*…` to have at most 255 bytes.*got 256/ }
  for (const name of ['topic', 'event', 'joinRef', 'ref']) {
    assert.throws(() => client.encode({ kind: 'push', ...words, [name]: long }), error)
  }
  for (const name of ['topic', 'event']) {
    assert.throws(
      () => server.encode({ kind: 'push', ...words, joinRef: null, [name]: long }),
      error,
    )
  }
  const reply = { kind: 'reply', ...words, status: 'ok' } as const
  assert.throws(() => server.encode({ ...reply, status: long }), error)
  assert.throws(() => server.encode({ ...reply, topic: 'é'.repeat(128) }), /got 256/)
})

test("Phoenix: an application can't say Phoenix's own words, which would end memberships", () => {
  const own = ['phx_join', 'phx_leave', 'phx_reply', 'phx_error', 'phx_close', 'chan_reply_4']
  for (const event of own) {
    for (const payload of [{}, new Uint8Array(1)]) {
      const frame = { kind: 'push', topic: 't', event, joinRef: '3', ref: '4', payload } as const
      const error = {
        name: 'TypeError',
        message: new RegExp(`event of your own, got \`${event}\``),
      }
      assert.throws(() => server.encode({ ...frame, joinRef: null, ref: null }), error)
      assert.throws(() => client.encode(frame), error)
    }
  }
  const frame = {
    kind: 'push',
    topic: 't',
    event: 'phx_',
    joinRef: '3',
    ref: '4',
    payload: {},
  } as const
  assert.equal(client.encode(frame), '["3","4","t","phx_",{}]')
})

test('Phoenix: a server never pushes null, at which phoenix.js fails', () => {
  const push: ServerFrame = {
    ...{ kind: 'push', topic: 't', event: 'e', joinRef: null, ref: null, payload: null },
  }
  const error = { name: 'TypeError', message: /payload of `e` to be an object, got null/ }
  assert.throws(() => server.encode(push), error)
  assert.throws(() => server.encode({ ...push, payload: new Date(NaN) }), error)
  assert.equal(server.encode({ ...push, payload: 0 }), '[null,null,"t","e",0]')
})

const versions: [query: string, dialect: string | undefined][] = [
  ['', '1.0.0'],
  ['vsn=1.0.0', '1.0.0'],
  ['vsn=1.0.7', '1.0.0'],
  ['vsn=2.0.0', '2.0.0'],
  ['vsn=2.0.12&token=t', '2.0.0'],
  ['a=1&vsn=2.0.0', '2.0.0'],
  ['vsn=1.0.0&vsn=2.0.0', '2.0.0'],
  ['VSN=2.0.0', '1.0.0'],
  ['nested%5Bvsn%5D=5', '1.0.0'],
  ['vsn=', undefined],
  ['vsn', undefined],
  ['vsn=2', undefined],
  ['vsn=2.0', undefined],
  ['vsn=2.0.', undefined],
  ['vsn=2.0.x', undefined],
  ['vsn=2.0.0.0', undefined],
  ['vsn=2.0.0%0A', undefined],
  ['vsn=%202.0.0', undefined],
  ['vsn=2x0y0', undefined],
  ['vsn=2.1.0', undefined],
  ['vsn=3.0.0', undefined],
  ['vsn=12.0.0', undefined],
  ['vsn=abc', undefined],
  ['vsn=1&vsn=2', undefined],
  ['vsn=2.0.0&vsn=', undefined],
  ['vsn[]=', undefined],
  ['vsn[]=2.0.0', undefined],
  ['vsn%5B%5D=2.0.0', undefined],
  ['vsn=2.0.0&vsn[a]=1', undefined],
]

for (const [query, version] of versions) {
  test(`Phoenix: ?${query} asks for ${version ?? 'no version there is'}`, () => {
    const found = [phoenix, phoenixV1].filter(({ matches }) => matches(new URLSearchParams(query)))
    assert.deepEqual(
      found.map((serializer) => serializer.query),
      version === undefined ? [] : [{ vsn: version }],
    )
  })
}

test('Phoenix: a client asks in words that its server matches', () => {
  for (const serializer of [phoenix, phoenixV1]) {
    assert.ok(serializer.matches(new URLSearchParams(serializer.query)))
    assert.equal(serializer.path, '/websocket')
  }
})

test('Phoenix: a token travels as a subprotocol that a server can read, and may be sent', () => {
  for (const token of ['secret', '', '???>>>', 'café 😀', 'a', 'ab', 'abc', '\u00ff\u00fe']) {
    const [protocol, bearer = ''] = phoenix.protocolsFor?.(token) ?? []
    assert.equal(protocol, phoenix.protocol)
    assert.match(bearer, /^[\w!#$%&'*+.^`|~-]+$/) // a token of RFC 9110 §5.6.2
    const headers = ['sec-websocket-protocol', `phoenix, ${bearer}`]
    const request = new RequestDetails({ url: '/', rawHeaders: headers, remoteAddress: '' })
    assert.equal(request.token(), token)
  }
  assert.equal(phoenix.protocolsFor?.('secret')[1], 'base64url.bearer.phx.c2VjcmV0')
})

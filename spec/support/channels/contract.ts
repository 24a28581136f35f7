import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameError } from '../../../lib/errors.ts'
import type {
  ClientFrame,
  Codec,
  Frame,
  Serializer,
  ServerFrame,
} from '../../../lib/channels/protocol/serializer.ts'
import { Random } from './random.ts'

type Wire = string | Uint8Array

/** A serializer, the frames that it can't say, and what it loses of the rest. */
export interface Dialect {
  readonly serializer: Serializer
  /** Those of the frames below that it can't say. */
  readonly silent: readonly string[]
  /** Returns what a client hears of what a server said. Default: the same. */
  readonly clientHears?: (frame: ServerFrame) => ServerFrame
  /** Returns what a server hears of what a client said. Default: the same. */
  readonly serverHears?: (frame: ClientFrame) => ClientFrame
}

const bytes = Uint8Array.of(0, 1, 2, 255)
const [topic, event, joinRef, ref] = ['room:1', 'new_msg', '3', '4']
const payload = { body: 'hello', '"\\\n\u2028é名😀': [null, true, -1.5, '', {}] }

const clientFrames: Readonly<Record<string, ClientFrame>> = {
  'a join': { kind: 'join', topic, joinRef, ref: joinRef, payload: {} },
  'a join with a payload': { kind: 'join', topic, joinRef, ref: joinRef, payload },
  'a join with bytes': { kind: 'join', topic, joinRef, ref: joinRef, payload: bytes },
  'a leave': { kind: 'leave', topic, joinRef, ref },
  'a push': { kind: 'push', topic, event, joinRef, ref, payload },
  'a push without a joinRef': { kind: 'push', topic, event, joinRef: null, ref, payload },
  'a push that wants no answer': { kind: 'push', topic, event, joinRef, ref: null, payload },
  'a push of nothing': { kind: 'push', topic, event, joinRef, ref, payload: null },
  'a push of bytes': { kind: 'push', topic, event, joinRef, ref, payload: bytes },
  'a push of no bytes': { kind: 'push', topic, event, joinRef, ref, payload: new Uint8Array() },
  'a push of bytes without a joinRef': {
    ...{ kind: 'push', topic, event, joinRef: null, ref, payload: bytes },
  },
  'a heartbeat': { kind: 'heartbeat', ref },
}

const serverFrames: Readonly<Record<string, ServerFrame>> = {
  'a push to one': { kind: 'push', topic, event, joinRef, ref: null, payload },
  'a broadcast': { kind: 'push', topic, event, joinRef: null, ref: null, payload },
  'a push of bytes to one': { kind: 'push', topic, event, joinRef, ref: null, payload: bytes },
  'a broadcast of bytes': { kind: 'push', topic, event, joinRef: null, ref: null, payload: bytes },
  'a reply': { kind: 'reply', topic, joinRef, ref, status: 'ok', payload: {} },
  'a reply of nothing': { kind: 'reply', topic, joinRef, ref, status: 'ok', payload: null },
  'a refusal': { kind: 'reply', topic, joinRef: null, ref, status: 'error', payload },
  'a reply with a word of its own': { kind: 'reply', topic, joinRef, ref, status: 'é', payload },
  'a reply of bytes': { kind: 'reply', topic, joinRef, ref, status: 'ok', payload: bytes },
  'a reply of bytes without a joinRef': {
    ...{ kind: 'reply', topic, joinRef: null, ref, status: 'ok', payload: bytes },
  },
  'an error': { kind: 'error', topic, joinRef, payload: { reason: 'channel_crash' } },
  'an error of bytes': { kind: 'error', topic, joinRef, payload: bytes },
  'a close': { kind: 'close', topic, joinRef },
  'a close of any': { kind: 'close', topic, joinRef: null },
  'a heartbeat reply': { kind: 'heartbeatReply', ref },
  'a ping': { kind: 'ping' },
}

const strange = [
  ...['', '__proto__', 'constructor', 'toString', 'error', 'close', 'message', 'join', 'leave'],
  ...['"', '\\', '\n', '\0', '\u2028', '\ufeff', 'é'.repeat(127), '😀'.repeat(63), 'a'.repeat(255)],
]

const cycle: Record<string, unknown> = {}
cycle.itself = cycle
const unsayable: readonly (readonly [what: string, value: unknown, text: RegExp])[] = [
  ['a BigInt', { id: 1n }, /`new_msg` can't be JSON: .*BigInt/],
  ['a cycle', cycle, /`new_msg` can't be JSON: .*circular[^\n]*$/],
  ['a failing toJSON', { toJSON: (): never => boom() }, /`new_msg` can't be JSON: boom$/],
  ['a toJSON of undefined', { toJSON: (): void => {} }, /`new_msg` can't be JSON: .*`toJSON`/],
  ['undefined', undefined, /`new_msg` can't be JSON: it is undefined$/],
  ['a function', (): void => {}, /`new_msg` can't be JSON: it is a function$/],
  ['a symbol', Symbol('s'), /`new_msg` can't be JSON: it is Symbol\(s\)$/],
  ['an ArrayBuffer', new ArrayBuffer(4), /`new_msg` to be a JSON value or a Uint8Array, got an/],
  ['floats', new Float32Array(4), /`new_msg` to be a JSON value or a Uint8Array, got an/],
  ['what nests too deep', JSON.parse('['.repeat(1e5) + ']'.repeat(1e5)), /stack/],
]

function boom(): never {
  throw new Error('boom')
}

/** Asserts that decoding ends as the peer's fault, told by this code and a text that fits a close. */
export function refuses(codec: Codec, data: Wire, code: number, text?: RegExp): void {
  assert.throws(
    () => codec.decode(data),
    (error) => {
      assert.ok(error instanceof FrameError, String(error))
      assert.equal(error.closeCode, code, error.message)
      assert.match(error.message, text ?? /./)
      assert.ok(Buffer.byteLength(error.message) <= 123, error.message)
      return true
    },
  )
}

/** Tests what every serializer does, whatever its dialect. */
export function serializerContract(dialect: Dialect): void {
  const { serializer, silent } = dialect
  const { clientHears = (frame: ServerFrame): ServerFrame => frame } = dialect
  const { serverHears = (frame: ClientFrame): ClientFrame => frame } = dialect
  const { name, server, client } = serializer

  const outcome = (what: string): string =>
    silent.includes(what) ? "can't be said" : 'is what the other end hears'

  for (const [what, frame] of Object.entries(clientFrames)) {
    test(`${name}: ${what} ${outcome(what)}`, () => {
      const data = client.encode(frame)
      assert.equal(data === undefined, silent.includes(what))
      if (data !== undefined) assert.deepEqual(server.decode(data), serverHears(frame))
    })
  }

  for (const [what, frame] of Object.entries(serverFrames)) {
    test(`${name}: ${what} ${outcome(what)}`, () => {
      const data = server.encode(frame)
      assert.equal(data === undefined, silent.includes(what))
      if (data !== undefined) assert.deepEqual(client.decode(data), clientHears(frame))
    })
  }

  test(`${name}: every topic and event is only a name`, () => {
    for (const topic of strange) {
      for (const event of strange) {
        const asked = { kind: 'push', topic, event, joinRef, ref, payload } as const
        assert.deepEqual(server.decode(client.encode(asked) ?? ''), serverHears(asked))
        const told = { ...asked, ref: null }
        assert.deepEqual(client.decode(server.encode(told) ?? ''), clientHears(told))
      }
    }
  })

  test(`${name}: keys of a payload are only keys`, () => {
    const payload: unknown = JSON.parse('{"__proto__":{"admin":true},"constructor":1}')
    const frame = { kind: 'push', topic, event, joinRef: null, ref: null, payload } as const
    const heard = client.decode(server.encode(frame) ?? '')
    assert.ok(heard.kind === 'push')
    assert.equal(JSON.stringify(heard.payload), JSON.stringify(payload))
    assert.equal(Object.getPrototypeOf(heard.payload), Object.prototype)
  })

  for (const [what, value, text] of unsayable) {
    test(`${name}: a payload of ${what} throws for its sender`, () => {
      const frame = { kind: 'push', topic, event, joinRef, ref: null, payload: value } as const
      assert.throws(() => server.encode(frame), { name: 'TypeError', message: text })
      assert.throws(() => client.encode(frame), { name: 'TypeError', message: text })
    })
  }

  for (const codec of [server, client]) {
    const end = codec === server ? 'server' : 'client'

    test(`${name}: what isn't JSON is refused with 1007 by a ${end}`, () => {
      const texts = ['', ' ', 'hello', '{', '["3"', '[,]', "['']", '\ufeff[]', '\0', 'NaN', 'pong']
      for (const text of [
        ...texts,
        '"\\ud8"',
        '[1]'.repeat(2),
        '\\'.repeat(1e5),
        '"'.repeat(99_999),
      ]) {
        refuses(codec, text, 1007)
      }
    })

    test(`${name}: JSON of another shape is refused with 1008 by a ${end}`, () => {
      for (const text of ['null', 'true', '5', '"text"', '[]', '{}', '[[]]', '{"__proto__":{}}']) {
        refuses(codec, text, 1008)
      }
      refuses(codec, `[${'0,'.repeat(1e6)}0]`, 1008)
    })

    test(`${name}: nesting ends in a clean error for a ${end}`, () => {
      for (const depth of [515, 1e4, 1e5, 1e6]) {
        refuses(codec, '['.repeat(depth) + ']'.repeat(depth), 1008, /nested deeper than 512/)
        refuses(codec, '{"":'.repeat(depth) + '0' + '}'.repeat(depth), 1008, /nested deeper/)
        refuses(codec, '['.repeat(depth), depth > 1024 ? 1008 : 1007)
      }
    })

    test(`${name}: brackets in strings nest nothing for a ${end}`, () => {
      const words = ['['.repeat(9_999), '\\"{'.repeat(999), '\\\\', '\\\\\\"[', '{']
      refuses(codec, `[${words.map((word) => `"${word}"`).join(',')}`, 1007)
      refuses(codec, `[["${words.join('')}"]]`, 1008, /^expected/)
    })

    test(`${name}: bytes of any kind are a message or a FrameError for a ${end}`, (context) => {
      const random = new Random()
      context.diagnostic(`seed ${random.seed}`)
      for (let round = 0; round < 3_000; round++) {
        const noise = random.bytes(40)
        if (noise.length > 0) noise[0] = random.below(4)
        survives(codec, noise, random.seed)
        survives(codec, Buffer.from(noise).toString('latin1'), random.seed)
      }
    })
  }

  test(`${name}: what is said and then damaged is a message or a FrameError`, (context) => {
    const random = new Random()
    context.diagnostic(`seed ${random.seed}`)
    const asked = Object.values(clientFrames).flatMap((frame) => client.encode(frame) ?? [])
    const told = Object.values(serverFrames).flatMap((frame) => server.encode(frame) ?? [])
    for (let round = 0; round < 300; round++) {
      for (const wire of asked) agrees(server, client, damaged(wire, random), random.seed)
      for (const wire of told) agrees(client, server, damaged(wire, random), random.seed)
    }
  })

  test(`${name}: whatever is said is heard`, (context) => {
    const random = new Random()
    context.diagnostic(`seed ${random.seed}`)
    for (let round = 0; round < 1_000; round++) {
      const [topic, event, joinRef, ref] = [0, 0, 0, 0].map(() => random.text(40))
      if (topic === undefined || event === undefined || !joinRef || !ref) continue
      const payload = random.object(4)
      const asked = { kind: 'push', topic, event, joinRef, ref, payload } as const
      assert.deepEqual(server.decode(client.encode(asked) ?? ''), serverHears(asked))
      const told = { ...asked, ref: null }
      assert.deepEqual(client.decode(server.encode(told) ?? ''), clientHears(told))
    }
  })
}

function survives(codec: Codec, data: Wire, seed: number): Frame | undefined {
  try {
    return codec.decode(data)
  } catch (error) {
    assert.ok(error instanceof FrameError, `seed ${seed}: ${String(error)}`)
    assert.ok([1007, 1008].includes(error.closeCode), `seed ${seed}: ${error.closeCode}`)
    return undefined
  }
}

/** Whatever one end makes of damaged data, the other end can say again, and it is the same. */
function agrees<Read extends Frame, Written extends Frame>(
  reader: Codec<Read, Written>,
  writer: Codec<Written, Read>,
  data: Wire,
  seed: number,
): void {
  if (survives(reader, data, seed) === undefined) return
  const frame = reader.decode(data)
  const again = writer.encode(frame)
  if (again === undefined) return
  assert.deepEqual(writer.encode(reader.decode(again)), again, `seed ${seed}`)
}

function damaged(wire: Wire, random: Random): Wire {
  if (typeof wire !== 'string') {
    const copy = Uint8Array.from(wire)
    copy[random.below(6)] = random.below(12)
    copy[random.below(copy.length)] = random.below(256)
    return copy.subarray(0, random.below(4) > 0 ? copy.length : random.below(copy.length + 1))
  }
  const [from, length] = [random.below(wire.length), random.below(4)]
  const pieces: [string, ...string[]] = [
    '',
    '"',
    '\\',
    '[',
    ']',
    '{',
    '}',
    ',',
    ':',
    'null',
    '0',
    '""',
  ]
  return wire.slice(0, from) + random.pick(pieces) + wire.slice(from + length)
}

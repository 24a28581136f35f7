import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import { resolveServer } from '../../lib/options/server.ts'
import type { Compression } from '../../lib/options/wire.ts'
import { agreement, deflated, MOST_DEFLATED, thresholdOf } from '../../lib/transport/deflate.ts'

const TAIL = Buffer.from([0, 0, 0xff, 0xff]) // RFC 7692 §7.2.2

function inflated(payload: Uint8Array, windowBits: number): Buffer {
  const whole = Buffer.concat([payload, TAIL])
  return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH, windowBits })
}

/** Is bytes that don't compress, the same for the same seed. */
function noise(length: number, seed = 1): Buffer {
  let state = seed
  const bytes = Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state >>> 24
  })
  return Buffer.from(bytes)
}

const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade']
const name = 'Sec-WebSocket-Extensions'

const answers: [what: string, headers: readonly string[], windowBits: number | undefined][] = [
  ['no headers', [], undefined],
  ['no extension', head, undefined],
  ['another extension', [...head, `${name}: server_no_context_takeover`], undefined],
  ['a context that is kept', [...head, `${name}: permessage-deflate`], undefined],
  [
    'only the client without a context',
    [...head, `${name}: permessage-deflate; client_no_context_takeover`],
    undefined,
  ],
  ['no context', [...head, `${name}: permessage-deflate; server_no_context_takeover`], 15],
  [
    'no context on both sides',
    [`${name}: permessage-deflate; server_no_context_takeover; client_no_context_takeover`],
    15,
  ],
  [
    'the window of the client',
    [`${name}: permessage-deflate; server_no_context_takeover; client_max_window_bits=10`],
    15,
  ],
  [
    'a window in front',
    [`${name}: permessage-deflate; server_max_window_bits=11; server_no_context_takeover`],
    11,
  ],
  [
    'a name in small letters, with others behind it',
    [
      'sec-websocket-extensions: permessage-deflate; server_no_context_takeover',
      'Sec-WebSocket-Protocol: chat',
    ],
    15,
  ],
  [
    'a header with a name that only ends so',
    [`X-${name}: permessage-deflate; server_no_context_takeover`],
    undefined,
  ],
  ...[9, 10, 11, 12, 13, 14, 15].map((bits): [string, readonly string[], number] => [
    `a window of ${bits}`,
    [
      ...head,
      `${name}: permessage-deflate; server_no_context_takeover; server_max_window_bits=${bits}`,
    ],
    bits,
  ]),
  [
    'a window that is too small for zlib',
    [`${name}: permessage-deflate; server_no_context_takeover; server_max_window_bits=8`],
    undefined,
  ],
]

for (const [what, headers, windowBits] of answers) {
  test(`what was agreed on with ${what}: ${windowBits ?? 'nothing'}`, () => {
    assert.deepEqual(agreement(headers), windowBits === undefined ? undefined : { windowBits })
  })
}

const thresholds: [compression: boolean | Compression, threshold: number][] = [
  [true, 1024],
  [false, 1024],
  [{}, 1024],
  [{ threshold: undefined }, 1024],
  [{ threshold: 0 }, 0],
  [{ threshold: 5 }, 5],
  [{ level: 1 }, 1024],
]

for (const [compression, threshold] of thresholds) {
  const shown = JSON.stringify(compression)
  test(`with compression ${shown} messages from ${threshold} bytes are compressed`, () => {
    assert.equal(thresholdOf(resolveServer({ compression })), threshold)
  })
}

// Repeats itself nearer and farther than each of the windows reaches.
const payloads: [what: string, payload: Buffer][] = [
  ['nothing', Buffer.alloc(0)],
  ['one byte', Buffer.from('x')],
  ['a short text', Buffer.from('grüße 😀')],
  ['zeros', Buffer.alloc(MOST_DEFLATED)],
  ['noise', noise(MOST_DEFLATED)],
  ...[200, 300, 600, 1_500, 3_000, 6_000, 12_000, 30_000].map((length): [string, Buffer] => {
    const part = noise(length, length)
    return [`noise of ${length} twice`, Buffer.concat([part, part])]
  }),
]

for (const windowBits of [9, 10, 11, 12, 13, 14, 15]) {
  test(`what is compressed for a window of ${windowBits} can be inflated with it`, () => {
    for (const [what, payload] of payloads) {
      for (const compression of [true, { level: 9, memLevel: 9 }, { level: 1, memLevel: 1 }]) {
        const short = deflated(payload, { windowBits }, compression)
        assert.ok(inflated(short, windowBits).equals(payload), what)
      }
    }
  })
}

test('the tail that a flush leaves is left out, as often as output is full', () => {
  // zlib gives its output in pieces of 16 KiB: the tail may fall anywhere on their border.
  for (let length = 16_350; length < 16_400; length++) {
    const payload = noise(length)
    const short = deflated(payload, { windowBits: 15 }, true)
    assert.ok(inflated(short, 15).equals(payload), `${length} bytes`)
    assert.ok(short.length <= length + 20)
  }
})

test('each message stands for itself', () => {
  const payload = noise(5_000)
  const first = deflated(payload, { windowBits: 15 }, true)
  assert.deepEqual(deflated(payload, { windowBits: 15 }, true), first)
})

test('what is compressed may change afterwards', () => {
  const payload = noise(5_000)
  const short = deflated(payload, { windowBits: 15 }, true)
  payload.fill(0)
  assert.ok(inflated(short, 15).equals(noise(5_000)))
})

const prose = Buffer.from(
  Array.from({ length: 2_000 }, (_, index) => `${index * 7919} ways `).join(''),
)

/** Is the first bytes that a deflater gives with these options of zlib's. */
function expected(options: { level?: number; memLevel?: number }): Buffer {
  const finishFlush = constants.Z_SYNC_FLUSH
  return deflateRawSync(prose, { ...options, finishFlush, windowBits: 15 }).subarray(0, -4)
}

for (const compression of [
  { level: 0 },
  { level: 1 },
  { level: 9 },
  { memLevel: 1 },
  { memLevel: 9 },
  { level: 1, memLevel: 1 },
]) {
  test(`the options of zlib take effect: ${JSON.stringify(compression)}`, () => {
    const short = deflated(prose, { windowBits: 15 }, compression)
    assert.deepEqual(Buffer.from(short), expected(compression))
    assert.ok(inflated(short, 15).equals(prose))
  })
}

test('the options of zlib may be left out, and undefined is left out', () => {
  const plain = Buffer.from(deflated(prose, { windowBits: 15 }, true))
  assert.deepEqual(plain, expected({}))
  const undefineds = { level: undefined, memLevel: undefined }
  assert.deepEqual(Buffer.from(deflated(prose, { windowBits: 15 }, {})), plain)
  assert.deepEqual(Buffer.from(deflated(prose, { windowBits: 15 }, undefineds)), plain)
})

test('a deflater looks no farther back than the options let it', () => {
  const part = noise(4_000)
  const payload = Buffer.concat([part, part])
  const far = deflated(payload, { windowBits: 15 }, true)
  const near = deflated(payload, { windowBits: 15 }, { windowBits: 9 })
  assert.ok(far.length < 5_000, 'it sees the first half')
  assert.ok(near.length >= payload.length, 'it does not see the first half')
  assert.ok(inflated(near, 9).equals(payload))
})

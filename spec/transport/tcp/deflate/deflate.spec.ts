import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import { resolveClient } from '../../../../lib/options/node.ts'
import { resolveServer } from '../../../../lib/options/server.ts'
import type { Compression } from '../../../../lib/options/node-only.ts'
import { Deflate } from '../../../../lib/transport/tcp/deflate/deflate.ts'
import {
  acceptOffer,
  readAnswer,
  type DeflateParameters,
} from '../../../../lib/transport/tcp/deflate/extensions.ts'

const MAX_SYNC = 64 * 1024

const TAIL = Buffer.from([0, 0, 0xff, 0xff]) // RFC 7692 §7.2.2

function inflated(payload: Uint8Array, windowBits: number): Buffer {
  const whole = Buffer.concat([payload, TAIL])
  return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH, windowBits })
}

/** Returns bytes that don't compress, the same for the same seed. */
function noise(length: number, seed = 1): Buffer {
  let state = seed
  const bytes = Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state >>> 24
  })
  return Buffer.from(bytes)
}

/** Makes one end's compression, as if it was agreed that it may look back so far. */
function deflateFor(windowBits: number, compression: boolean | Compression): Deflate {
  const parameters = {
    send: { windowBits, keepsContext: false },
    receive: { windowBits: 15, keepsContext: false },
  }
  return new Deflate(parameters, resolveServer({ compression }))
}

/** Compresses a message of at most 64 KiB. */
function deflated(
  payload: Uint8Array,
  { windowBits }: { windowBits: number },
  compression: boolean | Compression,
): Uint8Array {
  const bytes = deflateFor(windowBits, compression).deflate(payload)
  assert.ok(bytes instanceof Uint8Array)
  return bytes
}

const NAME = 'permessage-deflate'
const BARE = `${NAME}; server_no_context_takeover; client_no_context_takeover`

const offers: [offer: string, answer: string, parameters: DeflateParameters][] = [
  [
    NAME,
    BARE,
    {
      send: { windowBits: 15, keepsContext: false },
      receive: { windowBits: 15, keepsContext: false },
    },
  ],
  [
    `${NAME}; client_max_window_bits`,
    BARE,
    {
      send: { windowBits: 15, keepsContext: false },
      receive: { windowBits: 15, keepsContext: false },
    },
  ],
  [
    `x-any, ${NAME}; unknown, ${NAME}; server_max_window_bits=10; client_max_window_bits=9`,
    `${BARE}; server_max_window_bits=10; client_max_window_bits=9`,
    {
      send: { windowBits: 10, keepsContext: false },
      receive: { windowBits: 9, keepsContext: false },
    },
  ],
]

for (const [offer, answer, parameters] of offers) {
  test(`a server answers ${offer}`, () => {
    assert.deepEqual(acceptOffer(offer, resolveServer({})), { answer, parameters })
  })
}

test('a server takes no offer that makes no sense, and throws for what is no list', () => {
  for (const offer of ['x-any', `${NAME}; unknown`, `${NAME}; server_max_window_bits=16`]) {
    assert.equal(acceptOffer(offer, resolveServer({})), undefined)
  }
  assert.throws(() => acceptOffer(`${NAME};;`, resolveServer({})), SyntaxError)
})

const answers: [answer: string, parameters: DeflateParameters | undefined][] = [
  [
    NAME,
    {
      send: { windowBits: 15, keepsContext: false },
      receive: { windowBits: 15, keepsContext: true },
    },
  ],
  [
    BARE,
    {
      send: { windowBits: 15, keepsContext: false },
      receive: { windowBits: 15, keepsContext: false },
    },
  ],
  [
    `${NAME}; client_max_window_bits=8; server_max_window_bits="10"`,
    {
      send: { windowBits: 8, keepsContext: false },
      receive: { windowBits: 10, keepsContext: true },
    },
  ],
]

for (const [answer, parameters] of answers) {
  test(`a client understands ${answer}`, () => {
    assert.deepEqual(
      readAnswer({ 'sec-websocket-extensions': answer }, resolveServer({})),
      parameters,
    )
  })
}

test('a client whose offer was declined has nothing to inflate', () => {
  assert.equal(readAnswer({}, resolveServer({})), undefined)
})

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
    assert.equal(deflateFor(15, compression).threshold, threshold)
  })
}

// Repeats itself nearer and farther than each of the windows reaches.
const payloads: [what: string, payload: Buffer][] = [
  ['nothing', Buffer.alloc(0)],
  ['one byte', Buffer.from('x')],
  ['a short text', Buffer.from('grüße 😀')],
  ['zeros', Buffer.alloc(MAX_SYNC)],
  ['noise', noise(MAX_SYNC)],
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

/** Returns the first bytes that a deflater gives with these options of zlib's. */
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

test('a deflater looks no farther back than was agreed on', () => {
  const part = noise(4_000)
  const payload = Buffer.concat([part, part])
  const far = deflated(payload, { windowBits: 15 }, true)
  const near = deflated(payload, { windowBits: 9 }, true)
  assert.ok(far.length < 5_000, 'it sees the first half')
  assert.ok(near.length >= payload.length, 'it does not see the first half')
  assert.ok(inflated(near, 9).equals(payload))
})

test('a longer message is compressed beside the event loop, and may change at once', async () => {
  const payload = Buffer.concat([noise(MAX_SYNC), Buffer.alloc(MAX_SYNC)])
  const deflate = deflateFor(12, true)
  const pending = deflate.deflate(payload)
  assert.ok(pending instanceof Promise)
  const expected = Buffer.from(payload)
  payload.fill(0)
  const short = await pending
  assert.ok(short.length < MAX_SYNC + 1_000)
  assert.ok(inflated(short, 12).equals(expected))
})

test('a message is compressed in a window that is no larger than it needs', () => {
  const deflate = deflateFor(15, true)
  const lengths = [0, 250, 251, 700, 1_024, 32_506, 32_507, 1_000_000]
  assert.deepEqual(
    lengths.map((length) => deflate.variantFor(length)),
    [9, 9, 10, 10, 11, 15, 15, 15],
  )
  assert.equal(deflateFor(12, true).variantFor(1_000_000), 12)
})

test('what is compressed for a window of 8 can be inflated with it', () => {
  for (const [what, payload] of payloads) {
    const short = deflated(payload, { windowBits: 8 }, { level: 9 })
    assert.ok(inflated(short, 8).equals(payload), what)
  }
})

test('one end inflates what the other has compressed', async () => {
  for (const [what, payload] of payloads) {
    const outcome = await deflateFor(15, true).inflate(deflated(payload, { windowBits: 15 }, true))
    assert.ok(Buffer.isBuffer(outcome) && outcome.equals(payload), what)
  }
})

const TAKEOVER = { serverNoContextTakeover: false, clientNoContextTakeover: false }

const negotiations: [compression: boolean | Compression, offer: string, answer: string][] = [
  [TAKEOVER, NAME, NAME],
  [TAKEOVER, `${NAME}; server_no_context_takeover`, `${NAME}; server_no_context_takeover`],
  [TAKEOVER, `${NAME}; client_no_context_takeover`, `${NAME}; client_no_context_takeover`],
  [{ serverNoContextTakeover: false }, NAME, `${NAME}; client_no_context_takeover`],
  [{ clientNoContextTakeover: false }, NAME, `${NAME}; server_no_context_takeover`],
  [
    { ...TAKEOVER, serverMaxWindowBits: 10, clientMaxWindowBits: 9 },
    `${NAME}; client_max_window_bits`,
    `${NAME}; server_max_window_bits=10; client_max_window_bits=9`,
  ],
  [
    { ...TAKEOVER, serverMaxWindowBits: 10, clientMaxWindowBits: 12 },
    `${NAME}; server_max_window_bits=9; client_max_window_bits=11`,
    `${NAME}; server_max_window_bits=9; client_max_window_bits=11`,
  ],
  // A client that does not offer the parameter can't be told to use a smaller window.
  [{ ...TAKEOVER, clientMaxWindowBits: 9 }, NAME, NAME],
]

for (const [compression, offer, answer] of negotiations) {
  test(`with ${JSON.stringify(compression)} a server answers ${offer} with ${answer}`, () => {
    const agreement = acceptOffer(offer, resolveServer({ compression }))
    assert.equal(agreement?.answer, answer)
    // The client comes to the same terms, seen from the other end.
    const seen = readAnswer(
      { 'sec-websocket-extensions': answer },
      resolveClient({ compression: { ...TAKEOVER, clientMaxWindowBits: 15 } }),
    )
    assert.deepEqual(
      [seen?.send, seen?.receive],
      [agreement.parameters.receive, agreement.parameters.send],
    )
  })
}

/** Makes two ends that look back at the messages before one in both directions. */
function withContext(windowBits: number): [Deflate, Deflate] {
  const direction = { windowBits, keepsContext: true }
  const make = (): Deflate =>
    new Deflate({ send: direction, receive: direction }, resolveServer({ compression: TAKEOVER }))
  return [make(), make()]
}

for (const windowBits of [9, 12, 15]) {
  test(`messages that look back ${windowBits} bits are inflated, those for all among them`, async () => {
    const [one, other] = withContext(windowBits)
    for (let index = 0; index < 60; index++) {
      const length = [30, 700, 5_000, 70_000][index % 4] ?? 0
      const payload = noise(length, 1 + (index % 7))
      const isShared = index % 3 === 0
      if (isShared) one.addToHistory(payload)
      const bytes = await (isShared ? one.deflateWithoutContext(payload) : one.deflate(payload))
      const outcome = await other.inflate(bytes)
      assert.ok(Buffer.isBuffer(outcome) && outcome.equals(payload), `message ${index}`)
    }
  })
}

test('a message that is like the one before it takes next to nothing', async () => {
  const [one] = withContext(15)
  const payload = noise(1_024)
  assert.ok((await one.deflate(payload)).length > 1_024)
  assert.ok((await one.deflate(payload)).length < 32)
})

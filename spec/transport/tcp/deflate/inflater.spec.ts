import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, createDeflateRaw, deflateRawSync } from 'node:zlib'
import type { CloseReason } from '../../../../lib/connection/close-codes.ts'
import { Inflater, type InflaterOptions } from '../../../../lib/transport/tcp/deflate/inflater.ts'

const TERMS: InflaterOptions = { windowBits: 15, keepsContext: false, maxSize: 1_000_000 }
const HELLO = 'f248cdc9c90700'
const FINAL_HELLO = 'f348cdc9c90700'

/** Returns a message compressed for itself, RFC 7692 §7.2.1. */
function deflated(data: Uint8Array | string): Buffer {
  return deflateRawSync(data, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)
}

/** Compresses one message after the other, each looking back at those before it. */
async function* looking(messages: readonly Buffer[], windowBits: number): AsyncGenerator<Buffer> {
  const zlib = createDeflateRaw({ windowBits })
  const parts: Buffer[] = []
  zlib.on('data', (part: Buffer) => void parts.push(part))
  for (const message of messages) {
    zlib.write(message)
    await new Promise<void>((resolve) => zlib.flush(constants.Z_SYNC_FLUSH, resolve))
    yield Buffer.concat(parts.splice(0)).subarray(0, -4)
  }
  zlib.close()
}

/** Resolves with the outcome of a message: its text, or the code that it is refused with. */
async function outcomeOf(payload: Uint8Array, inflater = new Inflater(TERMS)): Promise<unknown> {
  const outcome: Buffer | CloseReason = await inflater.inflate(payload)
  return 'code' in outcome ? outcome.code : outcome.toString()
}

const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex')

/** Returns bytes that don't compress, the same for the same seed. */
function noise(length: number, seed = 1): Buffer {
  let state = seed
  const next = (): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 24
  return Buffer.from(Uint8Array.from({ length }, next))
}

for (const [what, digits, outcome] of [
  ['the example of §7.2.3.1', HELLO, 'Hello'],
  ['nothing', '', ''],
  ['an empty block', '00', ''],
  ['a final block, and what is due behind it', `${FINAL_HELLO} 00`, 'Hello'],
  ['a final block, and nothing behind it', FINAL_HELLO, 'Hello'],
  ['a block behind a final one', `${FINAL_HELLO} ${HELLO}`, 'HelloHello'],
  ['two final blocks', FINAL_HELLO.repeat(2), 'HelloHello'],
  ['two final blocks, and what is due behind them', `${FINAL_HELLO.repeat(2)} 00`, 'HelloHello'],
  ['more than two final blocks', FINAL_HELLO.repeat(3), 1008],
  ['a block behind a final one that looks back over it', `${FINAL_HELLO} f200110000`, 'HelloHello'],
  ['a look behind the beginning', 'f200110000', 1007],
  ['a block behind a final one, broken off', `${FINAL_HELLO} f248cdc9`, 1007],
  ['a kind of block that there is not', '07ffff', 1007],
] as const) {
  test(`${what} is ${JSON.stringify(outcome)}`, async () => {
    assert.equal(await outcomeOf(hex(digits)), outcome)
  })
}

for (const [what, data] of [
  ['numbers', Buffer.from(Array.from({ length: 400 }, (_, index) => index * index).join())],
  ['noise', noise(700)],
  ['a long run', Buffer.alloc(100_000, 'x')],
] as const) {
  test(`${what}, broken off anywhere, are refused`, async () => {
    const payload = deflated(data)
    // The first byte of what doesn't compress is what an empty message is, too.
    for (let end = payload[0] === 0 ? 2 : 1; end < payload.length; end++) {
      assert.equal(await outcomeOf(payload.subarray(0, end)), 1007, `after ${end} bytes`)
    }
  })
}

test('a message of just the limit is one, and a byte more is too much', async () => {
  for (const data of [noise(1_000), Buffer.alloc(1_000)]) {
    const inflater = new Inflater({ ...TERMS, maxSize: 1_000 })
    assert.equal(await outcomeOf(deflated(data), inflater), data.toString())
    const more = Buffer.concat([data, Buffer.alloc(1)])
    assert.equal(await outcomeOf(deflated(more), inflater), 1009)
  }
  const inflater = new Inflater({ ...TERMS, maxSize: 9 })
  assert.equal(await outcomeOf(hex(`${FINAL_HELLO} ${HELLO}`), inflater), 1009)
})

for (const windowBits of [9, 12, 15]) {
  test(`messages look back ${windowBits} bits at those before them, and no farther`, async () => {
    const parts = [300, 3_000, 20_000, 40_000].map((length) => noise(length, length))
    const messages = [...parts, ...parts, ...parts.slice(0, 2).flatMap((part) => [part, part])]
    const inflater = new Inflater({ ...TERMS, windowBits, keepsContext: true })
    let index = 0
    for await (const payload of looking(messages, windowBits)) {
      assert.deepEqual(await inflater.inflate(payload), messages[index++])
    }
    assert.equal(index, messages.length)
  })
}

test('a message may end with anything, also with what is put behind it to find its end', async () => {
  const ends = ['0800f7ff', '0900f6ff', '0800f7ff0707070707070707', '0900f6ff070707070707070707']
  for (const end of [...ends, ...ends.map((each) => `${each}0300`), '0000ffff', '07'.repeat(20)]) {
    const data = Buffer.concat([noise(100), hex(end)])
    const stored = deflateRawSync(data, { level: 0, finishFlush: constants.Z_SYNC_FLUSH })
    const payload = stored.subarray(0, -4)
    const outcome = await new Inflater(TERMS).inflate(payload)
    assert.ok(Buffer.isBuffer(outcome) && outcome.equals(data), end)
    for (let missing = 1; missing < 30; missing++) {
      assert.equal(await outcomeOf(payload.subarray(0, -missing)), 1007, `${end} - ${missing}`)
    }
  }
})

test('what becomes long while it is inflated is inflated off the event loop, up to the limit', async () => {
  const maxSize = 1_000_000
  const inflater = new Inflater({ ...TERMS, maxSize })
  const whole = Buffer.alloc(maxSize, 'x')
  const payload = deflated(whole)
  assert.ok(payload.length < 2_000)
  const pending = inflater.inflate(payload)
  assert.ok(pending instanceof Promise)
  const outcome = await pending
  assert.ok(Buffer.isBuffer(outcome) && outcome.equals(whole))
  assert.ok(inflater.inflate(deflated(Buffer.alloc(1_000, 'x'))) instanceof Buffer, 'at once')
})

test('what may not look back has nothing to look back at', async () => {
  const inflater = new Inflater(TERMS)
  assert.equal(await outcomeOf(hex(HELLO), inflater), 'Hello')
  assert.equal(await outcomeOf(hex('f200110000'), inflater), 1007)
})

import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { test } from 'node:test'
import {
  constants,
  createDeflateRaw,
  createInflateRaw,
  deflateRawSync,
  type ZlibOptions,
} from 'node:zlib'
import { once, type Data } from 'simplewebsockets'
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  cuts,
  inBothRoles,
  KIB,
  Meeting,
  MIB,
  noise,
  PING,
  PONG,
  TEXT,
} from './meeting.ts'

// RFC 7692 §6 and §7.2, compressed messages.

const NAME = 'permessage-deflate'
const BARE = `${NAME}; server_no_context_takeover; client_no_context_takeover`
const terms = { options: { compression: true }, extensions: BARE }
const COMPRESSED = { reserved: 4 }
const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex')

/** Returns a message compressed for itself, RFC 7692 §7.2.1. */
function deflated(data: Data, options: ZlibOptions = {}): Buffer {
  return deflateRawSync(data, { finishFlush: constants.Z_SYNC_FLUSH, ...options }).subarray(0, -4)
}

/** Deflates or inflates one message after the other, each looking back at those before it. */
class Keeper implements Disposable {
  readonly #zlib: Zlib
  #read: Buffer[] = []

  constructor(zlib: Zlib) {
    this.#zlib = zlib
    zlib.on('data', (chunk: Buffer) => void this.#read.push(chunk))
  }

  async deflated(data: Data): Promise<Buffer> {
    return (await this.#through(Buffer.from(data))).subarray(0, -4)
  }

  inflated(payload: Buffer): Promise<Buffer> {
    return this.#through(Buffer.concat([payload, hex('0000ffff')]))
  }

  async #through(bytes: Buffer): Promise<Buffer> {
    this.#zlib.write(bytes)
    await new Promise<void>((resolve) => {
      this.#zlib.flush(constants.Z_SYNC_FLUSH, resolve)
    })
    return Buffer.concat(this.#read.splice(0))
  }

  [Symbol.dispose](): void {
    this.#zlib.close()
  }
}

type Zlib = ReturnType<typeof createDeflateRaw> | ReturnType<typeof createInflateRaw>

const TEXTS: readonly (readonly [what: string, payload: Buffer, text: string])[] = [
  ['the example of §7.2.3.1', hex('f248cdc9c90700'), 'Hello'],
  ['the example without compression of §7.2.3.3', hex('000500faff48656c6c6f00'), 'Hello'],
  ['the example with a final block of §7.2.3.4', hex('f348cdc9c9070000'), 'Hello'],
  ['the example with two blocks of §7.2.3.5', hex('f2480500 0000ffff cac9c90700'), 'Hello'],
  ['the empty one of §7.2.3.6', hex('00'), ''],
  ['an empty one with more empty blocks', hex('00 0000ffff 00 0000ffff 00'), ''],
  ['an empty final block', hex('0300 00'), ''],
  ['dynamic codes', deflated('grüße '.repeat(1_000)), 'grüße '.repeat(1_000)],
  ['fixed codes', deflated('abc'.repeat(50), { strategy: constants.Z_FIXED }), 'abc'.repeat(50)],
  ['stored blocks', deflated('ä'.repeat(70_000), { level: 0 }), 'ä'.repeat(70_000)],
  ['a full flush', deflated('full', { finishFlush: constants.Z_FULL_FLUSH }), 'full'],
  ['runs alone', deflated('x'.repeat(9_999), { strategy: constants.Z_RLE }), 'x'.repeat(9_999)],
  ['Huffman codes alone', deflated('huff', { strategy: constants.Z_HUFFMAN_ONLY }), 'huff'],
  ['level 9', deflated('a b c '.repeat(999), { level: 9 }), 'a b c '.repeat(999)],
  ['a small window', deflated('a b c '.repeat(999), { windowBits: 9 }), 'a b c '.repeat(999)],
]

for (const [what, payload, text] of TEXTS) {
  inBothRoles(
    `RFC 7692 §7.2.2 a message with ${what} is inflated`,
    async (meeting) => {
      meeting.send(TEXT, payload, COMPRESSED)
      meeting.send(BINARY, payload, COMPRESSED)
      await meeting.hears(text, Buffer.from(text))
    },
    terms,
  )

  inBothRoles(
    `RFC 7692 §7.2.2 a message with ${what} is inflated in fragments`,
    async (meeting) => {
      const places = payload.length > 50 ? cuts(payload.length, 10, 1) : [...payload.keys()]
      const ends = [...places, payload.length]
      for (const [index, end] of ends.entries()) {
        const part = payload.subarray(ends[index - 1] ?? 0, end)
        const fin = index === ends.length - 1
        if (index === 0) meeting.send(TEXT, part, { fin, ...COMPRESSED })
        else meeting.send(CONTINUATION, part, { fin })
      }
      await meeting.hears(text)
    },
    terms,
  )
}

for (const size of [1, 125, 126, 1_000, 65_535, 65_536, 1_000_000]) {
  inBothRoles(
    `RFC 7692 §7.2 ${size} bytes of noise are inflated and deflated`,
    async (meeting) => {
      const data = noise(size)
      meeting.send(BINARY, deflated(data), COMPRESSED)
      await meeting.hears(data)
      meeting.us.send(data)
      using inflater = new Keeper(createInflateRaw())
      const { opcode, reserved, payload } = (await meeting.peer.frame()) ?? {}
      assert.ok(payload)
      assert.equal(opcode, BINARY)
      assert.ok((reserved === 4 ? await inflater.inflated(payload) : payload).equals(data))
    },
    { ...terms, options: { compression: true, maxReceivedMessageSize: MIB } },
  )
}

inBothRoles(
  'RFC 7692 §6.1 long messages leave compressed, short ones as they are',
  async ({ us, peer }) => {
    for (const [data, reserved] of [
      ['x'.repeat(10_000), 4],
      ['short', 0],
      ['y'.repeat(100_000), 4],
    ] as const) {
      us.send(data)
      const sent = await peer.frame()
      assert.ok(sent)
      using inflater = new Keeper(createInflateRaw())
      assert.deepEqual([sent.opcode, sent.reserved], [TEXT, reserved])
      const whole = reserved === 4 ? await inflater.inflated(sent.payload) : sent.payload
      assert.equal(whole.toString(), data)
    }
  },
  terms,
)

inBothRoles(
  'RFC 7692 §6 messages that are not compressed come between those that are',
  async (meeting) => {
    const heard: string[] = []
    for (let count = 0; count < 20; count++) {
      const text = `${count} `.repeat(count)
      if (count % 2 === 0) meeting.send(TEXT, text)
      else meeting.send(TEXT, deflated(text), COMPRESSED)
      heard.push(text)
    }
    await meeting.hears(...heard)
  },
  terms,
)

inBothRoles(
  'RFC 7692 §6 a fragmented message that is not compressed is a message',
  async (meeting) => {
    meeting.send(TEXT, 'one', { fin: false })
    meeting.send(CONTINUATION, 'two')
    await meeting.hears('onetwo')
  },
  terms,
)

inBothRoles(
  'RFC 7692 §6.1 a compressed message with empty fragments is one',
  async (meeting) => {
    meeting.send(TEXT, '', { fin: false, ...COMPRESSED })
    meeting.send(CONTINUATION, '', { fin: false })
    meeting.send(CONTINUATION, deflated('hello'), { fin: false })
    meeting.send(CONTINUATION)
    await meeting.hears('hello')
  },
  terms,
)

inBothRoles(
  'RFC 7692 §6.1 control frames come between compressed fragments',
  async (meeting) => {
    const payload = deflated('x'.repeat(1_000))
    meeting.send(TEXT, payload.subarray(0, 3), { fin: false, ...COMPRESSED })
    meeting.send(PING, 'between')
    assert.equal((await meeting.peer.frame())?.payload.toString(), 'between')
    meeting.send(PONG)
    meeting.send(CONTINUATION, payload.subarray(3))
    await meeting.hears('x'.repeat(1_000))
  },
  terms,
)

inBothRoles(
  'RFC 7692 §7.2 what comes behind a long compressed message comes behind it',
  async (meeting) => {
    const long = 'x'.repeat(500_000)
    meeting.write(
      meeting.frame(TEXT, deflated(long), COMPRESSED),
      meeting.frame(TEXT, 'plain'),
      meeting.frame(TEXT, deflated('last'), COMPRESSED),
      meeting.closing(4000, 'bye'),
    )
    assert.deepEqual(await meeting.closes(4000), { code: 4000, description: 'bye' })
    assert.deepEqual(meeting.heard, [long, 'plain', 'last'])
  },
  terms,
)

for (const fin of [true, false]) {
  inBothRoles(
    `RFC 7692 §6.1 the bit on a ${fin ? 'last' : 'middle'} fragment gets 1002`,
    async (meeting) => {
      meeting.send(TEXT, deflated('one'), { fin: false, ...COMPRESSED })
      meeting.send(CONTINUATION, 'x', { fin, ...COMPRESSED })
      await meeting.fails(1002)
    },
    terms,
  )

  inBothRoles(
    `RFC 7692 §6.1 the bit on a ${fin ? 'last' : 'middle'} fragment alone gets 1002`,
    async (meeting) => {
      meeting.send(TEXT, 'one', { fin: false })
      meeting.send(CONTINUATION, deflated('two'), { fin, ...COMPRESSED })
      await meeting.fails(1002)
    },
    terms,
  )
}

for (const opcode of [CLOSE, PING, PONG]) {
  inBothRoles(
    `RFC 7692 §6.1 the bit on opcode ${opcode} gets 1002`,
    async (meeting) => {
      meeting.send(opcode, '', COMPRESSED)
      await meeting.fails(1002)
    },
    terms,
  )
}

for (const reserved of [1, 2, 3, 5, 6, 7]) {
  inBothRoles(
    `RFC 7692 §6.1 the reserved bits ${reserved.toString(2).padStart(3, '0')} get 1002`,
    async (meeting) => {
      meeting.send(TEXT, deflated('x'), { reserved })
      await meeting.fails(1002)
    },
    terms,
  )
}

for (const [what, payload] of [
  ['a block of a kind that is reserved', hex('07ffff')],
  ['a stored block whose lengths differ', hex('0005000000 48656c6c6f')],
  ['codes that say too much', hex('05ffffffffffffffff')],
  ['a distance before the beginning', hex('f2001100 00')],
  ['nothing but ones', Buffer.alloc(100, 0xff)],
] as const) {
  inBothRoles(
    `RFC 7692 §7.2.2 ${what} gets 1007`,
    async (meeting) => {
      meeting.send(TEXT, deflated('before'), COMPRESSED)
      meeting.send(BINARY, payload, COMPRESSED)
      meeting.send(TEXT, deflated('behind'), COMPRESSED)
      await meeting.fails(1007)
      assert.deepEqual(meeting.heard, ['before'])
    },
    terms,
  )

  inBothRoles(
    `RFC 7692 §7.2.2 ${what}, in fragments, gets 1007`,
    async (meeting) => {
      meeting.send(BINARY, payload.subarray(0, 2), { fin: false, ...COMPRESSED })
      meeting.send(CONTINUATION, payload.subarray(2))
      await meeting.fails(1007)
      assert.deepEqual(meeting.heard, [])
    },
    terms,
  )
}

inBothRoles(
  'RFC 7692 §7.2.2 compressed text that is no UTF-8 gets 1007',
  async (meeting) => {
    meeting.send(TEXT, deflated(hex('61ff')), COMPRESSED)
    await meeting.fails(1007)
    assert.deepEqual(meeting.heard, [])
  },
  terms,
)

inBothRoles(
  'RFC 7692 §7.2.2 compressed bytes need not be UTF-8',
  async (meeting) => {
    meeting.send(BINARY, deflated(hex('61ff')), COMPRESSED)
    await meeting.hears(hex('61ff'))
  },
  terms,
)

// Limits count what comes out

const limited = {
  extensions: BARE,
  options: { compression: true, maxReceivedMessageSize: 100 * KIB },
}

inBothRoles(
  '§10.4 a compressed message of just the limit is a message',
  async (meeting) => {
    const data = Buffer.alloc(100 * KIB)
    meeting.send(BINARY, deflated(data), COMPRESSED)
    await meeting.hears(data)
  },
  limited,
)

for (const [what, size] of [
  ['one byte too long', 100 * KIB + 1],
  ['64 MiB long', 64 * MIB],
] as const) {
  const payload = deflated(Buffer.alloc(size))

  inBothRoles(
    `§10.4 a compressed message that is ${what} gets 1009`,
    async (meeting) => {
      const before = process.memoryUsage().rss
      meeting.send(BINARY, payload, COMPRESSED)
      await meeting.fails(1009)
      assert.deepEqual(meeting.heard, [])
      assert.ok(process.memoryUsage().rss - before < 32 * MIB)
    },
    limited,
  )

  inBothRoles(
    `§10.4 a compressed message in fragments that is ${what} gets 1009`,
    async (meeting) => {
      const step = Math.ceil(payload.length / 20)
      for (let from = 0; from < payload.length; from += step) {
        const part = payload.subarray(from, from + step)
        if (from === 0) meeting.send(BINARY, part, { fin: false, ...COMPRESSED })
        else meeting.send(CONTINUATION, part, { fin: from + step >= payload.length })
      }
      await meeting.fails(1009)
      assert.deepEqual(meeting.heard, [])
    },
    limited,
  )
}

// Contexts

test('RFC 7692 §7.1.1.1 a client looks back at what came before from a server that may', async () => {
  await using meeting = await Meeting.of('client', { ...terms, extensions: NAME })
  using deflater = new Keeper(createDeflateRaw())
  const texts = Array.from({ length: 300 }, (_, index) => `message ${index % 7} of many, again`)
  for (const [index, text] of texts.entries()) {
    if (index % 10 === 9) meeting.send(TEXT, text)
    else meeting.send(TEXT, await deflater.deflated(text), COMPRESSED)
  }
  await meeting.hears(...texts)
})

test('RFC 7692 §7.2.3.2 a client inflates the example that looks back', async () => {
  await using meeting = await Meeting.of('client', { ...terms, extensions: NAME })
  meeting.send(TEXT, hex('f248cdc9c90700'), COMPRESSED)
  meeting.send(TEXT, hex('f200110000'), COMPRESSED)
  await meeting.hears('Hello', 'Hello')
})

test('RFC 7692 §7.1.1.1 a client looks back 32 KiB, over fragments and messages', async () => {
  await using meeting = await Meeting.of('client', { ...terms, extensions: NAME })
  using deflater = new Keeper(createDeflateRaw())
  const part = noise(15_000)
  for (let count = 0; count < 4; count++) {
    const payload = await deflater.deflated(part)
    if (count > 0) assert.ok(payload.length < 1_000, 'it looks back')
    meeting.send(BINARY, payload.subarray(0, 50), { fin: false, ...COMPRESSED })
    meeting.send(CONTINUATION, payload.subarray(50))
  }
  await meeting.hears(part, part, part, part)
})

for (const [what, extensions] of [
  ['may look back', NAME],
  ['may not look back', BARE],
] as const) {
  test(`RFC 7692 §7.1.1.2 what a client that ${what} sends can be inflated`, async () => {
    await using meeting = await Meeting.of('client', { ...terms, extensions })
    using keeper = new Keeper(createInflateRaw())
    const texts = Array.from({ length: 100 }, (_, index) => `${index} and so on, `.repeat(200))
    for (const text of texts) meeting.us.send(text)
    for (const text of texts) {
      const { reserved, payload } = (await meeting.peer.frame()) ?? {}
      assert.ok(reserved === 4 && payload)
      using fresh = new Keeper(createInflateRaw())
      const inflater = extensions === NAME ? keeper : fresh
      assert.equal((await inflater.inflated(payload)).toString(), text)
    }
  })
}

for (const offer of [NAME, `${NAME}; server_no_context_takeover`, BARE]) {
  test(`RFC 7692 §7.1.1.1 what a server sends can be inflated as agreed on ${offer}`, async () => {
    await using meeting = await Meeting.of('server', { ...terms, extensions: offer })
    using keeper = new Keeper(createInflateRaw())
    const texts = Array.from({ length: 100 }, (_, index) => `${index} and so on, `.repeat(200))
    for (const text of texts) meeting.us.send(text)
    for (const text of texts) {
      const { reserved, payload } = (await meeting.peer.frame()) ?? {}
      assert.ok(reserved === 4 && payload)
      using fresh = new Keeper(createInflateRaw())
      const inflater = offer === NAME ? keeper : fresh
      assert.equal((await inflater.inflated(payload)).toString(), text)
    }
  })
}

test('RFC 7692 §7.1.1.2 a message that looks back and may not gets 1007', async () => {
  await using meeting = await Meeting.of('server', terms)
  meeting.send(TEXT, hex('f248cdc9c90700'), COMPRESSED)
  meeting.send(TEXT, hex('f200110000'), COMPRESSED)
  await meeting.fails(1007)
  assert.deepEqual(meeting.heard, ['Hello'])
})

inBothRoles(
  'RFC 7692 §6.1 a message longer than fragmentationThreshold leaves with the bit once',
  async ({ us, peer }) => {
    const text = noise(20_000).toString('base64')
    us.send(text)
    const parts: Buffer[] = []
    for (let last = false; !last;) {
      const sent = await peer.frame()
      assert.ok(sent)
      assert.equal(sent.reserved, parts.length === 0 ? 4 : 0)
      assert.equal(sent.opcode, parts.length === 0 ? TEXT : CONTINUATION)
      parts.push(sent.payload)
      last = sent.fin
    }
    assert.ok(parts.length > 1)
    using inflater = new Keeper(createInflateRaw())
    assert.equal((await inflater.inflated(Buffer.concat(parts))).toString(), text)
  },
  { ...terms, options: { compression: true, fragmentationThreshold: 5_000 } },
)

test('RFC 7692 §7.2 TCP that ends while a message is inflated is 1006', async () => {
  await using meeting = await Meeting.of('server', terms)
  const frame = meeting.frame(BINARY, deflated(Buffer.alloc(MIB)), COMPRESSED)
  meeting.peer.tcp.end(frame)
  await onceEmitted(meeting.peer.tcp, 'finish')
  assert.equal((await once(meeting.us, 'close')).code, 1006)
})

// A final block ends nothing but itself: padded to a byte, the next one follows it.

inBothRoles(
  'RFC 7692 §7.2.1 a message goes on behind a final block',
  async (meeting) => {
    meeting.send(TEXT, hex('f348cdc9c90700 f248cdc9c90700'), COMPRESSED)
    meeting.send(TEXT, hex('f348cdc9c90700 f348cdc9c90700 00'), COMPRESSED)
    await meeting.hears('HelloHello', 'HelloHello')
  },
  terms,
)

test('RFC 7692 §7.2.2 a client looks back over a final block, too', async () => {
  await using meeting = await Meeting.of('client', { ...terms, extensions: NAME })
  meeting.send(TEXT, hex('f348cdc9c9070000'), COMPRESSED)
  meeting.send(TEXT, hex('f200110000'), COMPRESSED)
  await meeting.hears('Hello', 'Hello')
})

// A message that ends inside a block is incomplete: half of it must not be heard as a whole one.

for (const [what, missing] of [
  ['a byte', 1],
  ['six bytes', 6],
  ['a hundred bytes', 100],
] as const) {
  inBothRoles(
    `RFC 7692 §7.2.2 a message that lacks ${what} at its end gets 1007`,
    async (meeting) => {
      const squares = Array.from({ length: 1_000 }, (_, index) => index * index)
      meeting.send(TEXT, deflated(squares.join()).subarray(0, -missing), COMPRESSED)
      await meeting.failsAtOnce(1007)
      assert.deepEqual(meeting.heard, [])
    },
    terms,
  )
}

inBothRoles(
  '§10.4 a message of just the limit is one where compressing makes it longer',
  async (meeting) => {
    const data = noise(100 * KIB)
    assert.ok(deflated(data).length > data.length)
    meeting.send(BINARY, deflated(data), COMPRESSED)
    await meeting.hears(data)
  },
  limited,
)

import assert from 'node:assert/strict'
import type { Data } from 'simplewebsockets'
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  cuts,
  inBothRoles,
  MIB,
  noise,
  PING,
  PONG,
  TEXT,
} from './meeting.ts'

// RFC 6455 §5.2, the base framing.

const SIZES = [0, 1, 2, 3, 4, 5, 7, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, MIB]
const terms = { options: { maxReceivedMessageSize: MIB } }

/** Returns a payload of a size, of text or of bytes. */
const payloadOf = (opcode: number, size: number): Data =>
  opcode === TEXT ? noise(size).toString('base64').slice(0, size) : noise(size)

for (const size of SIZES) {
  inBothRoles(
    `§5.2 a payload of ${size} bytes arrives`,
    async (meeting) => {
      const [text, bytes] = [payloadOf(TEXT, size), payloadOf(BINARY, size)]
      meeting.send(TEXT, text)
      meeting.send(BINARY, bytes)
      await meeting.hears(text, bytes)
    },
    terms,
  )

  inBothRoles(
    `§5.2 a payload of ${size} bytes leaves with a length of as few bytes as can be`,
    async ({ role, peer, us }) => {
      const length = size < 126 ? 0 : size < 65_536 ? 2 : 8
      for (const opcode of [TEXT, BINARY]) {
        const before = peer.tcp.bytesRead
        const data = payloadOf(opcode, size)
        us.send(data)
        const sent = await peer.frame()
        assert.ok(sent)
        const { key, payload, ...head } = sent
        assert.deepEqual(head, { fin: true, reserved: 0, opcode, masked: role === 'client' })
        assert.ok(payload.equals(Buffer.from(data)))
        assert.equal(peer.tcp.bytesRead - before, 2 + length + key.length + size)
      }
    },
    terms,
  )
}

for (const size of [0, 1, 125, 126, 300]) {
  inBothRoles(`§5.2 a payload of ${size} bytes arrives byte by byte`, async (meeting) => {
    const bytes = meeting.frame(BINARY, noise(size))
    await meeting.drip(bytes, bytes.keys())
    await meeting.hears(noise(size))
  })
}

for (const size of [125, 126, 65_535, 65_536, 200_000]) {
  inBothRoles(`§5.2 a payload of ${size} bytes arrives cut anywhere`, async (meeting) => {
    const bytes = meeting.frame(BINARY, noise(size))
    for (let seed = 1; seed <= 5; seed++) await meeting.drip(bytes, cuts(bytes.length, 20, seed))
    await meeting.hears(...Array<Data>(5).fill(noise(size)))
  })
}

for (const size of [126, 65_536]) {
  inBothRoles(
    `§5.2 a header before ${size} bytes arrives cut at each of its places`,
    async (meeting) => {
      const bytes = meeting.frame(BINARY, noise(size))
      const header = bytes.length - size
      for (let cut = 1; cut <= header; cut++) await meeting.drip(bytes, [cut])
      await meeting.hears(...Array<Data>(header).fill(noise(size)))
    },
  )
}

inBothRoles('§5.2 a thousand frames in one chunk arrive in order', async (meeting) => {
  const texts = Array.from({ length: 1_000 }, (_, index) => `${'x'.repeat(index % 300)}${index}`)
  meeting.write(...texts.map((text) => meeting.frame(TEXT, text)))
  await meeting.hears(...texts)
})

for (let seed = 1; seed <= 5; seed++) {
  inBothRoles(
    `§5.2 frames of all sizes arrive in order, cut by chance ${seed}`,
    async (meeting) => {
      const sizes = [0, 125, 126, 1, 65_535, 0, 65_536, 127, 2, 10_000]
      const payloads = sizes.map((size) => noise(size, seed))
      const bytes = Buffer.concat(payloads.map((payload) => meeting.frame(BINARY, payload)))
      await meeting.drip(bytes, cuts(bytes.length, 40, seed))
      await meeting.hears(...payloads)
    },
  )
}

for (const [what, reserved] of [
  ['the first reserved bit', 4],
  ['the second reserved bit', 2],
  ['the third reserved bit', 1],
  ['the first two reserved bits', 6],
  ['the outer two reserved bits', 5],
  ['the last two reserved bits', 3],
  ['all reserved bits', 7],
] as const) {
  for (const opcode of [TEXT, BINARY, CLOSE, PING, PONG]) {
    inBothRoles(`§5.2 ${what} on opcode ${opcode} get 1002`, async (meeting) => {
      meeting.send(opcode, '', { reserved })
      await meeting.fails(1002)
    })
  }

  inBothRoles(`§5.2 ${what} on a continuation get 1002`, async (meeting) => {
    meeting.send(TEXT, 'a', { fin: false })
    meeting.send(CONTINUATION, 'b', { reserved })
    await meeting.fails(1002)
    assert.deepEqual(meeting.heard, [])
  })
}

for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
  inBothRoles(`§5.2 the reserved opcode ${opcode} gets 1002`, async (meeting) => {
    meeting.send(opcode, 'x')
    await meeting.fails(1002)
  })

  inBothRoles(`§5.2 the reserved opcode ${opcode} without its end gets 1002`, async (meeting) => {
    meeting.send(opcode, 'x', { fin: false })
    await meeting.fails(1002)
  })

  inBothRoles(`§5.2 the reserved opcode ${opcode} inside a message gets 1002`, async (meeting) => {
    meeting.send(TEXT, 'a', { fin: false })
    meeting.send(opcode, 'x')
    await meeting.fails(1002)
  })
}

inBothRoles('§5.2 a bad frame is refused at its first two bytes', async (meeting) => {
  meeting.write(meeting.frame(3, noise(1_000)).subarray(0, 2))
  await meeting.fails(1002)
})

inBothRoles(
  '§7.1.7 what comes before a bad frame is heard, and nothing behind it',
  async (meeting) => {
    meeting.write(
      meeting.frame(TEXT, 'before'),
      meeting.frame(3, 'bad'),
      meeting.frame(TEXT, 'behind'),
      meeting.frame(PING, 'behind'),
      meeting.closing(1000),
    )
    await meeting.fails(1002)
    assert.deepEqual(meeting.heard, ['before'])
  },
)

// "In all cases, the minimal number of bytes MUST be used to encode the length."

for (const [what, size, bytes] of [
  ['no bytes in two', 0, 2],
  ['no bytes in eight', 0, 8],
  ['124 bytes in two', 124, 2],
  ['125 bytes in two', 125, 2],
  ['125 bytes in eight', 125, 8],
  ['126 bytes in eight', 126, 8],
  ['65,535 bytes in eight', 65_535, 8],
] as const) {
  inBothRoles(`§5.2 a length of ${what} gets 1002`, async (meeting) => {
    meeting.send(BINARY, Buffer.alloc(size), { length: { value: size, bytes } })
    await meeting.failsAtOnce(1002)
    assert.deepEqual(meeting.heard, [])
  })

  inBothRoles(`§5.2 a length of ${what}, of a fragment, gets 1002`, async (meeting) => {
    meeting.send(BINARY, 'one', { fin: false })
    meeting.send(CONTINUATION, Buffer.alloc(size), { length: { value: size, bytes } })
    await meeting.failsAtOnce(1002)
    assert.deepEqual(meeting.heard, [])
  })
}

// "The most significant bit MUST be 0."

for (const [what, value] of [
  ['2^63', 2n ** 63n],
  ['2^63 and a few', 2n ** 63n + 1_000n],
  ['2^64 - 1', 2n ** 64n - 1n],
] as const) {
  inBothRoles(`§5.2 a length of ${what} gets 1002`, async (meeting) => {
    meeting.send(BINARY, '', { length: { value, bytes: 8 } })
    await meeting.failsAtOnce(1002)
  })
}

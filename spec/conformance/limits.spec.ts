import assert from 'node:assert/strict'
import { BINARY, CONTINUATION, inBothRoles, KIB, MIB, noise, TEXT } from './meeting.ts'

// RFC 6455 §10.4, limits of an implementation.

const terms = { options: { maxReceivedMessageSize: MIB } }
const large = { options: { maxReceivedMessageSize: 16 * MIB } }

for (const [what, length] of [
  ['one byte more than the limit', { value: MIB + 1, bytes: 8 }],
  ['2^31', { value: 2 ** 31, bytes: 8 }],
  ['2^32', { value: 2 ** 32, bytes: 8 }],
  ['2^53 - 1', { value: 2 ** 53 - 1, bytes: 8 }],
  ['2^53', { value: 2 ** 53, bytes: 8 }],
  ['2^63 - 1', { value: 2n ** 63n - 1n, bytes: 8 }],
] as const) {
  inBothRoles(
    `§10.4 a length of ${what} gets 1009 before its payload comes`,
    async (meeting) => {
      const header = meeting.frame(BINARY, '', { length })
      meeting.write(header.subarray(0, 10))
      await meeting.fails(1009)
    },
    terms,
  )
}

for (const [what, sizes] of [
  ['one byte', [MIB, 1]],
  ['one byte, of many fragments', [...Array<number>(16).fill(64 * KIB), 1]],
  ['the most there can be', [1, MIB]],
] as [string, number[]][]) {
  inBothRoles(
    `§10.4 a fragmented message that is too long by ${what}, gets 1009`,
    async (meeting) => {
      const last = sizes.length - 1
      for (const [index, size] of sizes.entries()) {
        const opcode = index === 0 ? BINARY : CONTINUATION
        meeting.send(opcode, Buffer.alloc(size), { fin: index === last })
      }
      await meeting.fails(1009)
      assert.deepEqual(meeting.heard, [])
    },
    terms,
  )
}

inBothRoles(
  '§10.4 a fragmented message of just the limit arrives, and the count starts anew',
  async (meeting) => {
    const whole = noise(MIB)
    for (let round = 0; round < 2; round++) {
      meeting.send(BINARY, whole.subarray(0, MIB - 1), { fin: false })
      meeting.send(CONTINUATION, whole.subarray(MIB - 1))
    }
    await meeting.hears(whole, whole)
  },
  terms,
)

inBothRoles(
  '§10.4 a message of 16 MiB in one frame arrives',
  async (meeting) => {
    const whole = Buffer.alloc(16 * MIB, 'x')
    meeting.send(BINARY, whole)
    await meeting.settled()
    assert.ok(whole.equals(Buffer.from(meeting.heard[0] ?? '')))
  },
  large,
)

inBothRoles(
  '§10.4 a text of 16 MiB in fragments of 4 KiB arrives',
  async (meeting) => {
    const whole = 'x'.repeat(16 * MIB)
    const part = 'x'.repeat(4 * KIB)
    const middle = meeting.frame(CONTINUATION, part, { fin: false })
    meeting.write(
      meeting.frame(TEXT, part, { fin: false }),
      ...Array<Buffer>(4 * KIB - 2).fill(middle),
      meeting.frame(CONTINUATION, part),
    )
    await meeting.settled()
    assert.ok(meeting.heard[0] === whole)
  },
  large,
)

inBothRoles('§10.4 a message of 16,384 fragments of a byte arrives', async (meeting) => {
  meeting.write(
    meeting.frame(TEXT, 'x', { fin: false }),
    ...Array<Buffer>(16 * KIB - 2).fill(meeting.frame(CONTINUATION, 'x', { fin: false })),
    meeting.frame(CONTINUATION, 'x'),
  )
  await meeting.hears('x'.repeat(16 * KIB))
})

// How many fragments a message may have grows with how long it may be: 64 bytes each are honest.

for (const [what, opcode, size] of [
  ['text', TEXT, 64],
  ['bytes', BINARY, 64],
  ['bytes', BINARY, 256],
] as const) {
  inBothRoles(
    `§5.4 ${what} of 16 MiB in fragments of ${size} bytes arrive`,
    async (meeting) => {
      const part = Buffer.alloc(size, 'x')
      const middle = meeting.frame(CONTINUATION, part, { fin: false })
      const count = (16 * MIB) / size
      const parts = [
        meeting.frame(opcode, part, { fin: false }),
        ...Array<Buffer>(count - 2).fill(middle),
        meeting.frame(CONTINUATION, part),
      ]
      meeting.write(Buffer.concat(parts))
      await meeting.settled()
      const heard = Buffer.from(meeting.heard[0] ?? '')
      assert.ok(heard.equals(Buffer.alloc(16 * MIB, 'x')))
    },
    large,
  )
}

for (const [what, size] of [
  ['empty fragments', 0],
  ['fragments of a byte', 1],
] as const) {
  inBothRoles(
    `§10.4 a message of endless ${what} is refused before its length is`,
    async (meeting) => {
      const middle = meeting.frame(CONTINUATION, 'x'.repeat(size), { fin: false })
      meeting.send(BINARY, '', { fin: false })
      meeting.write(Buffer.concat(Array<Buffer>((16 * MIB) / 64 + 1).fill(middle)))
      await meeting.failsAtOnce(1008)
      assert.deepEqual(meeting.heard, [])
    },
    large,
  )
}

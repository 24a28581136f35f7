import assert from 'node:assert/strict'
import {
  BINARY,
  CONTINUATION,
  cuts,
  inBothRoles,
  noise,
  PING,
  PONG,
  TEXT,
  type Meeting,
} from './meeting.ts'

// RFC 6455 §5.4, fragmentation.

/** Returns a message in fragments, each of these parts one. */
function fragments(
  meeting: Meeting,
  opcode: number,
  parts: readonly (string | Buffer)[],
): Buffer[] {
  const last = parts.length - 1
  return parts.map((part, index) =>
    meeting.frame(index === 0 ? opcode : CONTINUATION, part, { fin: index === last }),
  )
}

for (const [what, parts] of [
  ['two fragments', ['one', 'two']],
  ['three fragments', ['one', 'two', 'three']],
  ['an empty first fragment', ['', 'two']],
  ['an empty last fragment', ['one', '']],
  ['an empty fragment in the middle', ['one', '', 'three']],
  ['nothing but empty fragments', ['', '', '', '']],
  ['empty fragments around one byte', ['', '', 'x', '', '']],
  ['a hundred fragments of a byte', [...'x'.repeat(100)]],
  ['fragments of all lengths', [125, 126, 65_535, 65_536, 1].map((size) => 'x'.repeat(size))],
] as [string, string[]][]) {
  inBothRoles(`§5.4 text of ${what} is one message`, async (meeting) => {
    meeting.write(...fragments(meeting, TEXT, parts))
    await meeting.hears(parts.join(''))
  })

  inBothRoles(`§5.4 bytes of ${what} are one message`, async (meeting) => {
    meeting.write(...fragments(meeting, BINARY, parts))
    await meeting.hears(Buffer.from(parts.join('')))
  })
}

inBothRoles('§5.4 a fragmented message arrives byte by byte', async (meeting) => {
  const bytes = Buffer.concat(fragments(meeting, TEXT, ['one', '', 'two', 'x'.repeat(130)]))
  await meeting.drip(bytes, bytes.keys())
  await meeting.hears('onetwo' + 'x'.repeat(130))
})

for (let seed = 1; seed <= 5; seed++) {
  inBothRoles(`§5.4 a message cut into fragments by chance ${seed} arrives`, async (meeting) => {
    const whole = noise(20_000, seed)
    const places = [0, ...cuts(whole.length, 30, seed), whole.length]
    const parts = places.slice(1).map((to, index) => whole.subarray(places[index], to))
    const bytes = Buffer.concat(fragments(meeting, BINARY, parts))
    await meeting.drip(bytes, cuts(bytes.length, 30, seed + 1))
    await meeting.hears(whole)
  })
}

inBothRoles('§5.4 whole and fragmented messages follow each other', async (meeting) => {
  for (let round = 0; round < 3; round++) {
    meeting.send(TEXT, 'whole')
    meeting.write(...fragments(meeting, BINARY, ['by', 'tes']))
    meeting.write(...fragments(meeting, TEXT, ['te', 'xt']))
  }
  await meeting.hears(
    ...['whole', Buffer.from('bytes'), 'text'],
    ...['whole', Buffer.from('bytes'), 'text'],
    ...['whole', Buffer.from('bytes'), 'text'],
  )
})

inBothRoles('§5.4 a message is not heard before its last fragment', async (meeting) => {
  meeting.send(TEXT, 'one', { fin: false })
  await meeting.hears()
  meeting.send(CONTINUATION, 'two', { fin: false })
  await meeting.hears()
  meeting.send(CONTINUATION, 'three')
  await meeting.hears('onetwothree')
})

inBothRoles('§5.4 pings between fragments are answered at once, in order', async (meeting) => {
  const { peer } = meeting
  for (let count = 0; count < 10; count++) {
    const opcode = count === 0 ? TEXT : CONTINUATION
    meeting.send(opcode, String(count), { fin: false })
    meeting.send(PING, `ping ${count}`)
    meeting.send(PING, `and ${count}`)
    assert.equal((await peer.frame())?.payload.toString(), `ping ${count}`)
    assert.equal((await peer.frame())?.payload.toString(), `and ${count}`)
    assert.deepEqual(meeting.heard, [])
  }
  meeting.send(CONTINUATION)
  await meeting.hears('0123456789')
})

inBothRoles('§5.4 pongs between fragments change nothing', async (meeting) => {
  meeting.send(TEXT, 'one', { fin: false })
  meeting.send(PONG, 'nobody asked')
  meeting.send(CONTINUATION, 'two')
  await meeting.hears('onetwo')
  assert.deepEqual(meeting.pongs, ['nobody asked'])
})

inBothRoles(
  '§5.4 control frames between fragments in one chunk change nothing',
  async (meeting) => {
    const parts = fragments(meeting, TEXT, ['a', 'b', 'c', 'd'])
    meeting.write(...parts.flatMap((part) => [part, meeting.frame(PONG, 'x'), meeting.frame(PONG)]))
    await meeting.hears('abcd')
  },
)

inBothRoles('§5.4 a close in the middle of a message ends it', async (meeting) => {
  meeting.send(TEXT, 'one', { fin: false })
  meeting.write(meeting.closing(1001, 'bye'))
  assert.deepEqual(await meeting.closes(1001), { code: 1001, description: 'bye' })
  assert.deepEqual(meeting.heard, [])
})

for (const fin of [true, false]) {
  const which = fin ? 'last' : 'middle'
  inBothRoles(`§5.4 a ${which} fragment of no message gets 1002`, async (meeting) => {
    meeting.send(CONTINUATION, 'x', { fin })
    await meeting.fails(1002)
  })

  inBothRoles(`§5.4 a ${which} fragment after a whole message gets 1002`, async (meeting) => {
    meeting.send(TEXT, 'whole')
    meeting.send(CONTINUATION, 'x', { fin })
    await meeting.fails(1002)
    assert.deepEqual(meeting.heard, ['whole'])
  })

  inBothRoles(`§5.4 a ${which} fragment after the last one gets 1002`, async (meeting) => {
    meeting.write(...fragments(meeting, TEXT, ['one', 'two']))
    meeting.send(CONTINUATION, 'x', { fin })
    await meeting.fails(1002)
    assert.deepEqual(meeting.heard, ['onetwo'])
  })

  for (const [first, next] of [
    [TEXT, TEXT],
    [TEXT, BINARY],
    [BINARY, TEXT],
    [BINARY, BINARY],
  ] as const) {
    const kind = fin ? 'a whole message' : 'a first fragment'
    inBothRoles(
      `§5.4 ${kind} of opcode ${next} inside one of opcode ${first} gets 1002`,
      async (meeting) => {
        meeting.send(first, 'one', { fin: false })
        meeting.send(next, 'two', { fin })
        await meeting.fails(1002)
        assert.deepEqual(meeting.heard, [])
      },
    )
  }

  inBothRoles(
    `§5.4 ${fin ? 'a whole message' : 'a first fragment'} after an empty first fragment gets 1002`,
    async (meeting) => {
      meeting.send(TEXT, '', { fin: false })
      meeting.send(TEXT, '', { fin })
      await meeting.fails(1002)
    },
  )
}

for (const [what, data] of [
  ['text', 'grüße '.repeat(1_000)],
  ['bytes', noise(10_000)],
] as const) {
  inBothRoles(
    `§5.4 ${what} longer than fragmentationThreshold leaves in fragments`,
    async ({ us, peer }) => {
      us.send(data)
      us.send('short')
      const parts: Buffer[] = []
      for (let last = false; !last;) {
        const read = await peer.frame()
        assert.ok(read)
        assert.equal(read.opcode, parts.length > 0 ? CONTINUATION : what === 'text' ? TEXT : BINARY)
        assert.ok(read.payload.length <= 1_000)
        parts.push(read.payload)
        last = read.fin
      }
      assert.ok(parts.length > 1)
      assert.ok(Buffer.concat(parts).equals(Buffer.from(data)))
      const { fin, opcode, payload } = (await peer.frame()) ?? {}
      assert.deepEqual([fin, opcode, payload?.toString()], [true, TEXT, 'short'])
    },
    { options: { fragmentationThreshold: 1_000 } },
  )
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { once } from 'simplewebsockets'
import { closePayload } from '../support/rawpeer.ts'
import { CLOSE, CONTINUATION, inBothRoles, Meeting, PING, TEXT, turn } from './meeting.ts'

// RFC 6455 §5.5.1 and §7, the closing handshake and its codes.

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

const VALID = [
  ...range(1000, 1003),
  ...range(1007, 1014),
  ...[3000, 3001, 3500, 3999, 4000, 4001, 4500, 4999],
]
const INVALID = [
  ...[0, 1, 999, 1004, 1005, 1006, 1015],
  ...range(1016, 1020),
  ...[1099, 1100, 1999, 2000, 2500, 2999, 5000, 5001, 10_000, 32_768, 65_535],
]

for (const code of VALID) {
  inBothRoles(`§7.4 a close with ${code} is answered with it`, async (meeting) => {
    meeting.write(meeting.closing(code, 'why'))
    assert.deepEqual(await meeting.closes(code), { code, description: 'why' })
  })
}

for (const code of INVALID) {
  inBothRoles(`§7.4 a close with ${code} gets 1002`, async (meeting) => {
    meeting.write(meeting.closing(code, 'why'))
    await meeting.fails(1002)
  })
}

for (const code of [1000, 1001, 1013, 3000, 4999]) {
  inBothRoles(`§7.4 we close with ${code} where we are asked to`, async (meeting) => {
    const { us, peer } = meeting
    const closed = us.close(code, 'why')
    assert.deepEqual(await peer.closed(), { code, description: 'why' })
    meeting.write(meeting.closing(code))
    peer.tcp.end()
    assert.deepEqual(await closed, { code, description: 'why' })
  })
}

inBothRoles('§5.5.1 a close without a code is answered without one', async (meeting) => {
  meeting.send(CLOSE)
  assert.equal((await meeting.closes(1005)).code, 1005)
})

inBothRoles('§5.5.1 a close of one byte gets 1002', async (meeting) => {
  meeting.send(CLOSE, Buffer.of(3))
  await meeting.fails(1002)
})

for (const [what, text] of [
  ['no text', ''],
  ['a text of 1 byte', 'x'],
  ['a text of 123 bytes', 'x'.repeat(123)],
  ['a text of 123 bytes of many-byte characters', '😀'.repeat(30) + '€'],
] as const) {
  inBothRoles(`§5.5.1 a close with ${what} is a close`, async (meeting) => {
    meeting.write(meeting.closing(4000, text))
    const { code, description } = await meeting.closes(4000)
    assert.deepEqual([code, description], [4000, text])
  })

  inBothRoles(`§5.5.1 a close with ${what} is one byte by byte, too`, async (meeting) => {
    const bytes = meeting.closing(4000, text)
    await meeting.drip(bytes, bytes.keys())
    assert.equal((await meeting.closes(4000)).description, text)
  })
}

for (const size of [124, 125, 1_000]) {
  inBothRoles(`§5.5.1 a close with a text of ${size} bytes gets 1002`, async (meeting) => {
    meeting.write(meeting.closing(1000, 'x'.repeat(size)))
    await meeting.fails(1002)
  })
}

for (const [what, bytes] of [
  ['a byte that is never there', [0xff]],
  ['a character that ends too soon', [0x61, 0xe2, 0x82]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['an overlong character', [0xc0, 0xaf]],
] as const) {
  inBothRoles(`§5.5.1 a close whose text has ${what} gets 1007`, async (meeting) => {
    meeting.write(meeting.closing(1000, Uint8Array.from(bytes)))
    await meeting.fails(1007)
  })
}

inBothRoles('§5.5.1 nothing behind a close is read', async (meeting) => {
  meeting.write(
    meeting.frame(TEXT, 'before'),
    meeting.closing(1000, 'bye'),
    meeting.frame(TEXT, 'behind'),
    meeting.frame(PING, 'behind'),
    meeting.closing(4000, 'again'),
    meeting.frame(3),
  )
  assert.deepEqual(await meeting.closes(1000), { code: 1000, description: 'bye' })
  assert.deepEqual(meeting.heard, ['before'])
})

inBothRoles('§5.5.1 junk in chunks of its own behind a close is not read', async (meeting) => {
  meeting.write(meeting.closing(1000, 'bye'))
  for (let count = 0; count < 10; count++) {
    meeting.write(Buffer.alloc(1_000, 0xff))
    await turn()
  }
  assert.deepEqual(await meeting.closes(1000), { code: 1000, description: 'bye' })
})

inBothRoles('§5.5.1 what comes before the answer to our close is heard', async (meeting) => {
  const { us, peer } = meeting
  const closed = us.close(4000, 'enough')
  meeting.send(TEXT, 'one')
  meeting.send(TEXT, 'two', { fin: false })
  meeting.send(CONTINUATION, 'three')
  assert.deepEqual(await peer.closed(), { code: 4000, description: 'enough' })
  meeting.write(meeting.closing(4000), meeting.frame(TEXT, 'behind'))
  peer.tcp.end()
  assert.deepEqual(await closed, { code: 4000, description: 'enough' })
  assert.deepEqual(meeting.heard, ['one', 'twothree'])
})

inBothRoles('§5.5.1 we send nothing behind our close', async (meeting) => {
  const { us, peer } = meeting
  us.send('before')
  void us.close()
  assert.equal(us.send('behind'), false)
  void us.ping('behind')
  meeting.write(meeting.closing(1000))
  peer.tcp.end()
  assert.equal((await peer.frame())?.payload.toString(), 'before')
  assert.equal((await peer.frame())?.opcode, CLOSE)
  assert.equal((await peer.rest()).length, 0)
})

inBothRoles('§5.5.1 what we sent before the answer to a close comes before it', async (meeting) => {
  const { us, peer } = meeting
  us.send('x'.repeat(100_000))
  us.send('last')
  meeting.write(meeting.closing(1000))
  assert.equal((await peer.frame())?.payload.length, 100_000)
  assert.equal((await peer.frame())?.payload.toString(), 'last')
  await meeting.closes(1000)
})

inBothRoles('§5.5.1 two closes that cross are one close', async (meeting) => {
  const { us, peer } = meeting
  const closed = us.close(4000, 'ours')
  meeting.write(meeting.closing(4001, 'theirs'))
  assert.deepEqual(await peer.closed(), { code: 4000, description: 'ours' })
  peer.tcp.end()
  assert.equal((await peer.rest()).length, 0)
  assert.deepEqual(await closed, { code: 4000, description: 'ours' })
  assert.deepEqual(meeting.errors, [])
})

inBothRoles('§7.1.5 TCP that ends without a close is 1006', async (meeting) => {
  meeting.send(TEXT, 'last')
  meeting.peer.tcp.end()
  assert.equal((await once(meeting.us, 'close')).code, 1006)
  assert.deepEqual(meeting.heard, ['last'])
  assert.deepEqual(meeting.errors, [])
})

inBothRoles('§7.1.5 TCP that ends inside a frame is 1006', async (meeting) => {
  meeting.write(meeting.frame(TEXT, 'half').subarray(0, -1))
  meeting.peer.tcp.end()
  assert.equal((await once(meeting.us, 'close')).code, 1006)
  assert.deepEqual(meeting.heard, [])
})

inBothRoles('§7.1.5 TCP that ends inside a message is 1006', async (meeting) => {
  meeting.send(TEXT, 'half', { fin: false })
  meeting.peer.tcp.end()
  assert.equal((await once(meeting.us, 'close')).code, 1006)
  assert.deepEqual(meeting.heard, [])
})

test('§7.1.1 a server that was closed ends TCP by itself', async () => {
  await using meeting = await Meeting.of('server')
  meeting.write(meeting.closing(1000))
  assert.equal((await meeting.peer.closed())?.code, 1000)
  assert.equal((await meeting.peer.rest()).length, 0)
  assert.ok(meeting.peer.tcp.readableEnded)
})

test('§7.1.1 a server that closed ends TCP once it is answered, not before', async () => {
  await using meeting = await Meeting.of('server')
  const { us, peer } = meeting
  void us.close(1000)
  assert.equal((await peer.closed())?.code, 1000)
  meeting.send(TEXT, 'still here')
  assert.equal(await once(us, 'message'), 'still here')
  assert.ok(!peer.tcp.readableEnded)
  meeting.write(meeting.closing(1000))
  assert.equal((await peer.rest()).length, 0)
})

inBothRoles(
  '§7.1.1 a peer that never answers our close is cut after closeTimeout',
  async ({ us, peer }) => {
    const closed = us.close(4000, 'enough')
    assert.equal((await peer.closed())?.code, 4000)
    await peer.rest()
    assert.deepEqual(await closed, { code: 4000, description: 'enough' })
  },
  { options: { closeTimeout: 20 } },
)

inBothRoles('§7.1.7 bad frames behind our close end it', async (meeting) => {
  const { us, peer } = meeting
  const closed = us.close(4000, 'enough')
  meeting.send(3)
  assert.equal((await peer.closed())?.code, 4000)
  assert.equal((await peer.rest()).length, 0)
  assert.deepEqual(await closed, { code: 4000, description: 'enough' })
})

inBothRoles('§7.4.1 a close answered without its code is still a close', async (meeting) => {
  const closed = meeting.us.close(4000, 'enough')
  await meeting.peer.closed()
  meeting.send(CLOSE)
  meeting.peer.tcp.end()
  assert.equal((await closed).code, 4000)
})

inBothRoles('§7.4.2 codes that may not be sent are refused before they leave', async (meeting) => {
  for (const code of [...INVALID, 1004.5, -1, NaN]) {
    assert.throws(() => void meeting.us.close(code), RangeError)
  }
  await meeting.hears()
  meeting.send(CLOSE, closePayload(1000))
  await meeting.closes(1000)
})

// "A client SHOULD wait for the server to close the TCP connection."

for (const who of ['the server', 'the client'] as const) {
  test(`§7.1.1 a client waits for the server to end TCP where ${who} closed`, async () => {
    await using meeting = await Meeting.of('client', { options: { closeTimeout: 5_000 } })
    const { us, peer } = meeting
    if (who === 'the client') void us.close(1000)
    else meeting.write(meeting.closing(1000))
    assert.equal((await peer.closed())?.code, 1000)
    if (who === 'the client') meeting.write(meeting.closing(1000))
    const rest = peer.rest()
    for (let count = 0; count < 20; count++) await turn()
    assert.ok(!peer.tcp.readableEnded, 'the client has not ended it')
    peer.tcp.end()
    assert.equal((await rest).length, 0)
    assert.equal((await once(us, 'close')).code, 1000)
  })
}

import assert from 'node:assert/strict'
import { once } from 'simplewebsockets'
import { CLOSE, inBothRoles, noise, PING, PONG, TEXT } from './meeting.ts'

// RFC 6455 §5.5, control frames; the closing handshake has a spec of its own.

inBothRoles('§5.5.2 pings of 0 to 125 bytes are answered exactly, in order', async (meeting) => {
  const payloads = Array.from({ length: 126 }, (_, size) => noise(size, size))
  meeting.write(...payloads.map((payload) => meeting.frame(PING, payload)))
  for (const payload of payloads) {
    const { key, ...pong } = (await meeting.peer.frame()) ?? {}
    assert.equal(key?.length, meeting.role === 'client' ? 4 : 0)
    const masked = meeting.role === 'client'
    assert.deepEqual(pong, { fin: true, reserved: 0, opcode: PONG, masked, payload })
  }
  await meeting.hears()
})

for (const size of [0, 1, 125]) {
  inBothRoles(`§5.5.2 a ping of ${size} bytes is answered byte by byte, too`, async (meeting) => {
    const bytes = meeting.frame(PING, noise(size))
    await meeting.drip(bytes, bytes.keys())
    assert.deepEqual((await meeting.peer.frame())?.payload, noise(size))
    await meeting.hears()
  })
}

inBothRoles('§5.5.2 a ping is told of, as text or as bytes', async (meeting) => {
  for (const [sent, told] of [
    ['grüße', 'grüße'],
    [Buffer.from([0xff]), Uint8Array.of(0xff)],
    ['', ''],
  ] as const) {
    const ping = once(meeting.us, 'ping')
    meeting.send(PING, sent)
    assert.deepEqual(await ping, told)
  }
})

inBothRoles('§5.5.2 pongs come in order with what is answered to messages', async (meeting) => {
  const { us, peer } = meeting
  us.send('before')
  meeting.send(PING, 'ping')
  assert.deepEqual((await peer.frame())?.payload.toString(), 'before')
  assert.deepEqual((await peer.frame())?.payload.toString(), 'ping')
})

for (const opcode of [CLOSE, PING, PONG]) {
  for (const size of [126, 127, 1_000, 65_536]) {
    inBothRoles(`§5.5 opcode ${opcode} with ${size} bytes gets 1002`, async (meeting) => {
      meeting.send(opcode, Buffer.alloc(size, 1))
      await meeting.fails(1002)
    })
  }

  inBothRoles(`§5.5 opcode ${opcode} in fragments gets 1002`, async (meeting) => {
    meeting.send(opcode, 'ab', { fin: false })
    await meeting.fails(1002)
  })

  inBothRoles(`§5.5 opcode ${opcode} in fragments inside a message gets 1002`, async (meeting) => {
    meeting.send(TEXT, 'one', { fin: false })
    meeting.send(opcode, '', { fin: false })
    await meeting.fails(1002)
    assert.deepEqual(meeting.heard, [])
  })
}

inBothRoles('§5.5.3 a pong that was not asked for changes nothing', async (meeting) => {
  for (const size of [0, 1, 125]) meeting.send(PONG, 'x'.repeat(size))
  await meeting.hears()
  assert.deepEqual(meeting.pongs, ['', 'x', 'x'.repeat(125)])
})

inBothRoles('§5.5.3 a pong answers its ping, and all before it', async (meeting) => {
  const { us, peer } = meeting
  const pings = ['one', 'two', 'three'].map((text) => us.ping(text))
  for (const text of ['one', 'two', 'three']) {
    const { opcode, payload } = (await peer.frame()) ?? {}
    assert.deepEqual([opcode, payload?.toString()], [PING, text])
  }
  meeting.send(PONG, 'three')
  await Promise.all(pings)
  await meeting.hears()
})

inBothRoles('§5.5.2 our pings are of 125 bytes at most', async ({ us, peer }) => {
  void us.ping(noise(200))
  assert.deepEqual((await peer.frame())?.payload, noise(200).subarray(0, 125))
})

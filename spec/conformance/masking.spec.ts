import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  inBothRoles,
  Meeting,
  noise,
  PING,
  PONG,
  TEXT,
} from './meeting.ts'

// RFC 6455 §5.3, and §5.1: a client masks, a server doesn't.

for (const [what, opcode] of [
  ['text', TEXT],
  ['bytes', BINARY],
  ['a ping', PING],
  ['a pong', PONG],
  ['a close', CLOSE],
] as const) {
  test(`§5.1 ${what} without a mask gets 1002 from a server`, async () => {
    await using meeting = await Meeting.of('server')
    meeting.send(opcode, '', { masked: false })
    await meeting.fails(1002)
  })

  test(`§5.1 ${what} with a mask gets 1002 from a client`, async () => {
    await using meeting = await Meeting.of('client')
    meeting.send(opcode, '', { masked: true })
    await meeting.fails(1002)
  })
}

test('§5.1 a fragment without a mask gets 1002 from a server', async () => {
  await using meeting = await Meeting.of('server')
  meeting.send(TEXT, 'a', { fin: false })
  meeting.send(CONTINUATION, 'b', { masked: false })
  await meeting.fails(1002)
})

test('§5.1 a fragment with a mask gets 1002 from a client', async () => {
  await using meeting = await Meeting.of('client')
  meeting.send(TEXT, 'a', { fin: false })
  meeting.send(CONTINUATION, 'b', { masked: true })
  await meeting.fails(1002)
})

for (const key of [
  [0, 0, 0, 0],
  [255, 255, 255, 255],
  [1, 0, 0, 0],
  [0, 0, 0, 1],
  [0x80, 0x7f, 0xff, 0x01],
]) {
  test(`§5.3 payloads of every length up to 70 are unmasked of ${key}`, async () => {
    await using meeting = await Meeting.of('server')
    const payloads = Array.from({ length: 71 }, (_, size) => noise(size, size))
    const options = { key: Uint8Array.from(key) }
    meeting.write(...payloads.map((payload) => meeting.frame(BINARY, payload, options)))
    await meeting.hears(...payloads)
  })
}

for (let offset = 0; offset < 16; offset++) {
  test(`§5.3 long payloads that begin ${offset} bytes off are unmasked`, async () => {
    await using meeting = await Meeting.of('server')
    const payloads = [126, 1_000, 1_001, 1_002, 1_003, 65_535, 65_537].map((size) => noise(size))
    const before = noise(offset, 2)
    for (const payload of payloads) {
      meeting.write(meeting.frame(BINARY, before), meeting.frame(BINARY, payload))
    }
    await meeting.hears(...payloads.flatMap((payload) => [before, payload]))
  })
}

test('§5.3 each fragment is unmasked of a key of its own', async () => {
  await using meeting = await Meeting.of('server')
  const whole = noise(1_000)
  const keys = Array.from({ length: 10 }, (_, index) => noise(4, index + 1))
  for (const [index, key] of keys.entries()) {
    const part = whole.subarray(index * 99, index === 9 ? 1_000 : (index + 1) * 99)
    meeting.send(index === 0 ? BINARY : CONTINUATION, part, { fin: index === 9, key })
  }
  await meeting.hears(whole)
})

test('§5.3 a payload cut inside its mask, and after each byte of it, is unmasked', async () => {
  await using meeting = await Meeting.of('server')
  const bytes = meeting.frame(BINARY, noise(40))
  for (let cut = 2; cut < bytes.length; cut++) await meeting.drip(bytes, [cut])
  await meeting.hears(...Array<Uint8Array>(bytes.length - 2).fill(noise(40)))
})

test('§5.3 a client masks every frame with another key', async () => {
  await using meeting = await Meeting.of('client')
  for (let count = 0; count < 50; count++) {
    meeting.us.send('the same')
    void meeting.us.ping('the same')
  }
  const keys = new Set<string>()
  for (let count = 0; count < 100; count++) {
    const read = await meeting.peer.frame()
    assert.ok(read?.masked)
    assert.equal(read.payload.toString(), 'the same')
    keys.add(read.key.toString('hex'))
  }
  void meeting.us.close(1000, 'done')
  const last = await meeting.peer.next(CLOSE)
  assert.ok(last?.masked)
  keys.add(last.key.toString('hex'))
  assert.ok(keys.size > 99, `${keys.size} of 101 keys differ`)
})

test('§5.1 a server masks nothing', async () => {
  await using meeting = await Meeting.of('server')
  const { us, peer } = meeting
  us.send('text')
  us.send(noise(10))
  us.send(noise(70_000))
  void us.ping('ping')
  meeting.send(PING, 'pong')
  await meeting.peer.next(PONG)
  void us.close()
  assert.equal((await peer.next(CLOSE))?.masked, false)
})

inBothRoles('§5.3 what is sent stays as it was where it is masked', async ({ us, peer }) => {
  const data = noise(1_000)
  us.send(data)
  assert.ok((await peer.frame())?.payload.equals(noise(1_000)))
  assert.ok(data.equals(noise(1_000)))
})

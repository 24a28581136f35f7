import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listen, once, type Data } from 'simplewebsockets'
import { frame, handshake, RawPeer } from '../support/rawpeer.ts'
import { MIB, Scene, turn } from '../support/scene.ts'

const CROWD = process.env.CI ? 10_000 : 1_000 // both ends of each are in this process: 2 ms
const AT_ONCE = 250

test(`${CROWD} connections opened, never used and cut get 408, and leave nothing`, async () => {
  await using scene = await Scene.set({ handshakeTimeout: 1_000 })
  let answered = 0
  for (let opened = 0; opened < CROWD; opened += AT_ONCE) {
    const some = Array.from({ length: AT_ONCE }, () => RawPeer.connect(scene.port, scene))
    for (const peer of await Promise.all(some)) {
      peer.tcp.once('data', (answer: Buffer) => {
        assert.match(answer.toString(), /^HTTP\/1\.1 408 /)
        answered++
        peer.tcp.destroy()
      })
    }
  }
  await scene.calm()
  while (answered < CROWD) await once(scene.server, 'peerError').then(turn)
  assert.ok(scene.refused.every((status) => status === 408))
  await scene.calm()
})

test('2,000 connections that are let in and never used delay no other', async () => {
  await using scene = await Scene.set()
  const peers: RawPeer[] = []
  while (peers.length < 2_000) {
    const some = Array.from({ length: AT_ONCE }, () => RawPeer.enter(scene.port))
    peers.push(...(await Promise.all(some)))
  }
  await scene.calmBut(peers.length)
  await scene.server.close()
  for (const peer of peers) await peer.gone()
})

for (const [what, head] of [
  ['a handshake', ''],
  ['a header', 'GET / HTTP/1.1\r\nX-Slow: '],
  [
    'a body that the server does not want',
    'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n',
  ],
] as const) {
  test(`a peer that drips ${what} for longer than a handshake may take is cut`, async () => {
    await using scene = await Scene.set({ handshakeTimeout: 100 })
    const peer = await RawPeer.connect(scene.port)
    peer.write(head)
    const answer = peer.answer()
    const bytes = head === '' ? handshake({ headers: { 'X-Long': 'x'.repeat(9_000) } }) : ''
    let at = 0
    const drip = setInterval(() => peer.write(bytes[at++] ?? 'x'), 5)
    const { status } = await answer
    clearInterval(drip)
    assert.equal(status, head.startsWith('POST') ? 426 : 408)
    await peer.gone()
    await scene.calm()
  })
}

test('a million TCP chunks of a byte are frames like any other', { timeout: 60_000 }, async () => {
  await using scene = await Scene.set()
  const { peer, there } = await scene.stranger()
  peer.tcp.setNoDelay(true)
  const message = once(there, 'message')
  const bytes = frame(2, Buffer.alloc(1_000_000 - 14, 7))
  for (let at = 0; at < bytes.length; at++) {
    peer.tcp.write(bytes.subarray(at, at + 1))
    if (at % 1_024 === 0) await turn()
  }
  assert.equal(bytes.length, 1_000_000)
  assert.equal((await message).length, 1_000_000 - 14)
  const gone = once(there, 'close')
  await peer.reset()
  await gone
  await scene.calm()
})

test('a fast peer of a listener that takes 10 ms a message gets order, not memory', async () => {
  await using scene = await Scene.set()
  const { peer, there } = await scene.stranger()
  const SIZE = 4_096
  const seen: number[] = []
  const ENOUGH = 60
  const enough = new Promise<void>((resolve) => {
    listen(there, 'message', async (message: Data) => {
      seen.push(Buffer.from(message).readUInt32BE())
      if (seen.length === ENOUGH) resolve()
      await new Promise((next) => setTimeout(next, 10))
    })
  })
  let sent = 0
  let taken = 0
  const flood = setInterval(() => {
    for (let count = 0; count < 500 && peer.tcp.writableLength < 64 * MIB; count++) {
      const payload = Buffer.alloc(SIZE)
      payload.writeUInt32BE(sent++)
      peer.write(frame(2, payload))
    }
    taken = peer.tcp.bytesWritten - peer.tcp.writableLength
  }, 5)
  await enough
  clearInterval(flood)
  await scene.calmBut(1)
  assert.ok(sent > 1_000, `only ${sent} were sent`)
  assert.ok(taken < 32 * MIB, `${taken} bytes were taken for ${ENOUGH * SIZE} heard`)
  assert.deepEqual(seen.slice(0, ENOUGH), [...Array(ENOUGH).keys()])
  const gone = once(there, 'close')
  await peer.reset()
  await gone
  await scene.calm()
})

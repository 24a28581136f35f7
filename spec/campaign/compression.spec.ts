import assert from 'node:assert/strict'
import { once as emitted } from 'node:events'
import { mock, test } from 'node:test'
import { constants, deflateRawSync } from 'node:zlib'
import { listen, once } from 'simplewebsockets'
import { Deflate } from '../../lib/transport/tcp/deflate/deflate.ts'
import { bomb } from '../support/bomb.ts'
import { inUse } from '../support/heap.ts'
import { noise, seeded } from '../support/random.ts'
import { frame } from '../support/rawpeer.ts'
import { MIB, Scene, turn } from '../support/scene.ts'

const KIB = 1024
const DEFLATE = { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } }
const EMPTY_BLOCK = Buffer.of(0x00, 0x00, 0x00, 0xff, 0xff)
const FINAL_HELLO = Buffer.from('f348cdc9c90700', 'hex')

const compressed = (payload: Uint8Array, opcode = 2): Buffer =>
  frame(opcode, payload, { reserved: 4 })
const deflated = (data: Uint8Array | string): Buffer =>
  deflateRawSync(data, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)

const gibibyte = bomb(1024)

for (const [what, payload, code] of [
  ['a bomb of 1 GiB', gibibyte, 1009],
  ['a bomb of 60 GiB', Buffer.concat(Array<Buffer>(60).fill(gibibyte)), 1009],
  ['64 final blocks', Buffer.concat(Array<Buffer>(64).fill(FINAL_HELLO)), 1008],
  ['209,000 empty blocks, and a bad one', emptyBlocks(209_000, 0x07), 1007],
  ['noise that is no block', Buffer.concat([Buffer.of(0x07), noise(seeded(1), 10_000)]), 1007],
] as const) {
  test(`${what} gets ${code}, at the cost of the limit`, async () => {
    await using scene = await Scene.set({ compression: true })
    const { peer, there, errors } = await scene.stranger(DEFLATE)
    const before = process.memoryUsage().rss
    peer.write(compressed(payload))
    assert.equal((await peer.closed())?.code, code)
    assert.ok(process.memoryUsage().rss - before < 32 * MIB + 2 * payload.length)
    await once(there, 'close')
    assert.deepEqual(errors, [code])
    peer.tcp.destroy()
    await scene.calm()
  })
}

/** Makes a message of blocks without content; the last byte begins another one. */
function emptyBlocks(count: number, last: number): Buffer {
  return Buffer.concat([...Array<Buffer>(count).fill(EMPTY_BLOCK), Buffer.of(last)])
}

test('209,000 empty blocks are an empty message', async () => {
  await using scene = await Scene.set({ compression: true })
  const { peer, there } = await scene.stranger(DEFLATE)
  const heard = once(there, 'message')
  peer.write(compressed(emptyBlocks(209_000, 0x00), 1))
  await scene.calmBut(1)
  assert.equal(await heard, '')
  await peer.reset()
})

test('an empty block, in one fragment after the other for ever, gets 1009', async () => {
  await using scene = await Scene.set({ compression: true, maxReceivedMessageSize: 64 * KIB })
  const { peer } = await scene.stranger(DEFLATE)
  const part = frame(0, emptyBlocks(200, 0x00).subarray(0, -1), { fin: false })
  peer.write(frame(2, '', { fin: false, reserved: 4 }))
  for (let count = 0; count < 100; count++) peer.write(part)
  assert.equal((await peer.closed())?.code, 1009)
  peer.tcp.destroy()
  await scene.calm()
})

test('300 peers that sent and got 1 KiB compressed take less than 40 KiB each', async () => {
  await using scene = await Scene.set({ compression: true, maxConnections: 1_000 })
  listen(scene.server, 'client', (client) => {
    listen(client, 'message', (message) => void client.send(message))
  })
  const payload = deflated('The quick brown fox jumps over! '.repeat(32))
  const before = inUse() + process.memoryUsage().external
  const strangers = []
  for (let count = 0; count < 300; count++) {
    const { peer } = await scene.stranger(DEFLATE)
    peer.write(compressed(payload, 1))
    strangers.push(peer)
  }
  for (const peer of strangers) assert.equal((await peer.frame())?.reserved, 4)
  const each = (inUse() + process.memoryUsage().external - before) / strangers.length
  assert.ok(each < 40 * KIB, `${each} bytes each`)
  await scene.calmBut(strangers.length)
  await Promise.all(strangers.map((peer) => peer.reset()))
})

test('1,000 long messages at once are inflated four at a time, and reading goes on for the others', async () => {
  const size = 300 * KIB
  await using scene = await Scene.set({ compression: true })
  const strangers: Awaited<ReturnType<Scene['stranger']>>[] = []
  let heard = 0
  for (let count = 0; count < 50; count++) strangers.push(await scene.stranger(DEFLATE))
  const all = new Promise<void>((resolve) => {
    for (const { there } of strangers) {
      listen(there, 'message', ({ length }) => {
        assert.equal(length, size)
        if (++heard === 1_000) resolve()
      })
    }
  })
  const message = compressed(deflated(Buffer.alloc(size, 'x')))
  const before = process.memoryUsage().rss
  for (let count = 0; count < 20; count++) for (const { peer } of strangers) peer.write(message)
  await scene.calmBut(strangers.length)
  await all
  assert.ok(process.memoryUsage().rss - before < 64 * MIB)
  await Promise.all(strangers.map(({ peer }) => peer.reset()))
})

test('a broadcast of 100 KiB is compressed once for all', async () => {
  await using scene = await Scene.set({ compression: true })
  const strangers = []
  for (let count = 0; count < 20; count++) strangers.push((await scene.stranger(DEFLATE)).peer)
  const compress = mock.method(Deflate.prototype, 'deflateWithoutContext')
  const text = 'The quick brown fox jumps over! '.repeat(3_200)
  scene.server.emit(text)
  const frames = await Promise.all(strangers.map((peer) => peer.frame()))
  assert.equal(compress.mock.callCount(), 1)
  compress.mock.restore()
  for (const each of frames) assert.deepEqual(each, frames[0])
  await Promise.all(strangers.map((peer) => peer.reset()))
})

for (const [what, bytes] of [
  ['inside a compressed message', compressed(bomb(16)).subarray(0, 5_000)],
  ['while its message is inflated', compressed(deflated(Buffer.alloc(MIB)))],
] as const) {
  test(`a peer whose TCP dies ${what} leaves nothing behind`, async () => {
    await using scene = await Scene.set({ compression: true })
    for (let round = 0; round < 10; round++) {
      const { peer, there } = await scene.stranger(DEFLATE)
      const gone = once(there, 'close')
      await new Promise((resolve) => peer.tcp.write(bytes, resolve))
      if (round % 2 === 0) await turn()
      await peer.reset()
      assert.equal((await gone).code, 1006)
    }
    await scene.calm()
  })
}

test('a peer whose TCP dies while a message for it is compressed leaves nothing behind', async () => {
  await using scene = await Scene.set({ compression: true })
  for (let round = 0; round < 10; round++) {
    const { peer, there } = await scene.stranger(DEFLATE)
    const gone = once(there, 'close')
    for (let count = 0; count < 5; count++) there.send('x'.repeat(MIB + count))
    if (round % 2 === 0) await turn()
    peer.tcp.resetAndDestroy()
    await emitted(peer.tcp, 'close')
    assert.equal((await gone).code, 1006)
  }
  await scene.calm()
})

for (const [what, message, count] of [
  ['60,000 compressed messages without content', compressed(Buffer.of(0), 1), 60_000],
  ['1,000 compressed messages of 256 KiB', compressed(deflated(Buffer.alloc(256 * KIB))), 1_000],
] as const) {
  test(`${what} come in many turns of the event loop, in their order, and none is lost`, async () => {
    await using scene = await Scene.set({ compression: true })
    const { peer, there } = await scene.stranger(DEFLATE)
    let turns = 0
    let heard = 0
    const all = new Promise<void>((resolve) => {
      const step = (): void => {
        turns += 1
        if (heard < count) setImmediate(step)
        else resolve()
      }
      listen(there, 'message', () => {
        if (heard++ === 0) setImmediate(step)
      })
    })
    peer.write(Buffer.concat(Array<Buffer>(count).fill(message)))
    await all
    assert.equal(heard, count)
    assert.ok(turns >= 5, `${turns} turns`)
    await peer.reset()
  })
}

test('many short answers behind a long one that is compressed come in their order', async () => {
  await using scene = await Scene.set({ compression: true })
  const { peer, there } = await scene.stranger(DEFLATE)
  there.send('x'.repeat(MIB))
  for (let number = 0; number < 50_000; number++) there.send(`${number}`)
  assert.ok(there.bufferedAmount > 50_000 * 100, 'what waits counts with what it takes')
  assert.equal((await peer.frame())?.opcode, 1)
  for (let number = 0; number < 50_000; number++) {
    assert.equal((await peer.frame())?.payload.toString(), `${number}`)
  }
  await peer.reset()
})

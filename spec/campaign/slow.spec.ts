import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listen, once, type Data } from 'simplewebsockets'
import { closePayload } from '../support/rawpeer.ts'
import { inUse } from '../support/heap.ts'
import { MIB, Scene, turn } from '../support/scene.ts'

const BROADCASTS = 10_000
const SIZE = 1_024
const MOST = 2 * MIB
const CLOSE_FRAME = 127 // comes on top
const SLACK = 6 * MIB // what both kernels hold is outside; the frames under way are not

/** Returns a broadcast: its number, and letters up to its size. */
const numbered = (number: number): string => `${number}`.padEnd(SIZE, '.')

for (const slowConsumer of ['close', 'drop'] as const) {
  test(`with '${slowConsumer}' a peer that reads nothing costs maxBufferedAmount`, async () => {
    await using scene = await Scene.set({ maxBufferedAmount: MOST, slowConsumer })
    const { peer, there } = await scene.stranger()
    const heard = scene.neighbours.map(() => 0)
    const all = scene.neighbours.map(
      (neighbour, index) =>
        new Promise<void>((resolve, reject) => {
          const stop = listen(neighbour, 'message', (message: Data) => {
            const number = heard[index] ?? 0
            heard[index] = number + 1
            if (message !== numbered(number)) reject(new Error(`${message} instead of ${number}`))
            if (number + 1 < BROADCASTS) return
            stop()
            resolve()
          })
        }),
    )
    const honest = [...scene.server.clients].filter((client) => client !== there)
    const before = inUse()
    let most = 0
    for (let number = 0; number < BROADCASTS; number++) {
      scene.server.emit(numbered(number))
      most = Math.max(most, there.bufferedAmount)
      if (number % 50 > 0) continue
      do await turn()
      while (honest.some(({ bufferedAmount }) => bufferedAmount > MOST / 2)) // a busy machine
    }
    await Promise.all(all)
    assert.ok(most > MOST / 2, `only ${most} bytes waited`)
    assert.ok(most <= MOST + CLOSE_FRAME, `${most} bytes waited`)
    const cost = inUse() - before
    assert.ok(cost < MOST + SLACK, `it costs ${cost} bytes`)
    const { dropped } = scene.server.stats()
    if (slowConsumer === 'close') {
      assert.equal(dropped, 1)
      assert.equal(there.isOpen, false)
      const reason = { code: 1013, description: `more than ${MOST} bytes wait to be read` }
      assert.deepEqual(await once(there, 'close'), reason)
    } else {
      assert.ok(there.isOpen)
      assert.ok(dropped > 0 && dropped < BROADCASTS, `${dropped} were dropped`)
      let got = 0
      let last = -1
      const reading = (async () => {
        for (let frame = await peer.next(1); frame; frame = await peer.next(1)) {
          const number = parseInt(frame.payload.toString())
          assert.ok(number > last, `${number} after ${last}`)
          last = number
          got++
        }
      })()
      await once(there, 'drain')
      await there.close()
      peer.tcp.end()
      await reading
      assert.equal(got + dropped, BROADCASTS)
    }
    await peer.reset()
    await scene.calm()
  })
}

test('where messages are dropped, pings, pongs and the close frame are not', async () => {
  await using scene = await Scene.set({ maxBufferedAmount: MOST, slowConsumer: 'drop' })
  const { peer, there } = await scene.stranger()
  const asked: Data[] = []
  const pinged = new Promise<void>((resolve) => {
    listen(there, 'ping', (payload) => {
      asked.push(payload)
      resolve()
    })
  })
  while (scene.server.stats().drops.slowConsumer === 0) {
    there.send('x'.repeat(SIZE))
    await turn()
  }
  peer.send(9, 'are you there?')
  await pinged
  const trip = there.ping('and you?')
  for (let count = 0; count < 10; count++) there.send('x'.repeat(MOST)) // there is no room for it
  const controls = new Map<number, string>()
  while (controls.size < 2) {
    const read = await peer.frame()
    assert.ok(read)
    if (read.opcode > 8) controls.set(read.opcode, read.payload.toString())
  }
  assert.deepEqual([controls.get(9), controls.get(10)], ['and you?', 'are you there?'])
  peer.send(10, 'and you?')
  assert.ok((await trip) >= 0)
  const closing = there.close(4000, 'enough')
  assert.deepEqual(await peer.closed(), { code: 4000, description: 'enough' })
  peer.send(8, closePayload(4000))
  await closing
  assert.deepEqual(asked, ['are you there?'])
  assert.deepEqual(scene.server.stats().drops.closing, 0)
  await peer.reset()
  await scene.calm()
})

test('messages of 10 bytes that wait for a peer take less than twice their bytes', async () => {
  await using scene = await Scene.set({ maxBufferedAmount: 16 * MIB })
  const { peer, there } = await scene.stranger()
  for (let count = 0; count < 8; count++) there.send('x'.repeat(MIB)) // what both kernels hold
  do await turn()
  while (there.bufferedAmount === 0)
  const before = { memory: inUse(), bytes: there.bufferedAmount }
  while (there.bufferedAmount < before.bytes + MIB) {
    there.send('0123456789')
    await turn()
  }
  const cost = (inUse() - before.memory) / (there.bufferedAmount - before.bytes)
  assert.ok(cost < 2, `each byte takes ${cost}`)
  await peer.reset()
  await scene.calm()
})

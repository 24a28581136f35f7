import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { Pongs } from '../../lib/transport/pongs.ts'
import { Wire } from './wire.ts'

const MOST_WAITING = 64 * 1024

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Makes one on a wire; what it sends is written down. */
function onWire(): { pongs: Pongs; wire: Wire; sent: string[] } {
  const wire = new Wire()
  const sent: string[] = []
  const tcp = wire as unknown as Socket // all that it knows of a socket is that it is a stream
  const pongs = new Pongs(tcp, (payload) => sent.push(Buffer.from(payload).toString()))
  return { pongs, wire, sent }
}

test('every ping is answered while the peer reads', () => {
  const { pongs, sent } = onWire()
  for (const text of ['a', 'b', '', 'a']) pongs.answer(Buffer.from(text))
  assert.deepEqual(sent, ['a', 'b', '', 'a'])
})

test('every ping is answered up to the bound', () => {
  const { pongs, wire, sent } = onWire()
  wire.stall()
  wire.write(Buffer.alloc(MOST_WAITING))
  pongs.answer(Buffer.from('a'))
  pongs.answer(Buffer.from('b'))
  assert.deepEqual(sent, ['a', 'b'])
})

test('above it only the latest is, once all was read', async () => {
  const { pongs, wire, sent } = onWire()
  wire.stall()
  wire.write(Buffer.alloc(MOST_WAITING + 1))
  for (let number = 0; number < 100; number++) pongs.answer(Buffer.from(`${number}`))
  assert.deepEqual(sent, [])
  assert.equal(wire.listenerCount('drain'), 1)
  wire.flow()
  await turn()
  assert.deepEqual(sent, ['99'])
  pongs.answer(Buffer.from('next'))
  assert.deepEqual(sent, ['99', 'next'])
})

test('it happens again where the peer stops to read again', async () => {
  const { pongs, wire, sent } = onWire()
  for (const text of ['first', 'second']) {
    wire.stall()
    wire.write(Buffer.alloc(MOST_WAITING + 1))
    pongs.answer(Buffer.from('dropped'))
    pongs.answer(Buffer.from(text))
    wire.flow()
    await turn()
  }
  assert.deepEqual(sent, ['first', 'second'])
  assert.equal(wire.listenerCount('drain'), 0)
})

test('what waits is a copy: it may change, and keeps nothing else alive', async () => {
  const { pongs, wire, sent } = onWire()
  const payload = Buffer.from('ping')
  wire.stall()
  wire.write(Buffer.alloc(MOST_WAITING + 1))
  pongs.answer(payload)
  payload.fill(0)
  wire.flow()
  await turn()
  assert.deepEqual(sent, ['ping'])
})

test('a peer that has left is answered nothing', async () => {
  const { pongs, wire, sent } = onWire()
  wire.stall()
  wire.write(Buffer.alloc(MOST_WAITING + 1))
  pongs.answer(Buffer.from('a'))
  wire.destroy()
  wire.flow()
  await turn()
  assert.deepEqual(sent, [])
})

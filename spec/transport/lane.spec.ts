import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { PeerConnectError } from '../../lib/errors.ts'
import { resolveServer, type ServerOptions } from '../../lib/options/server.ts'
import * as lane from '../../lib/transport/lane.ts'
import { LaneTransport } from '../../lib/transport/lane.ts'
import type { Receiver, Transport } from '../../lib/transport/transport.ts'
import { WsTransport } from '../../lib/transport/ws.ts'
import { closePayload, frame } from '../rawpeer.ts'
import { transportContract } from './contract.ts'
import { join, turned } from './join.ts'
import { serve, unmasked, Wire, type End } from './wire.ts'

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==' // with its answer, of RFC 6455 §1.3
const PROOF = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

const deaf: Receiver = {
  message: () => {},
  ping: () => {},
  pong: () => {},
  written: () => {},
  closing: () => {},
  invalid: () => {},
  closed: () => {},
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

transportContract('lane, from the server', () => join(lane))
transportContract('lane, from the client', () => turned(lane))

/** Lets somebody in on a wire who asks with these headers. */
function enter(headers: Record<string, string>, options: ServerOptions = {}): [Transport, Wire] {
  const wire = new Wire()
  const request = new IncomingMessage(wire as unknown as Socket) // all that is known of it is that
  request.method = 'GET'
  const asked = { upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': KEY }
  Object.assign(request.headers, asked, headers)
  return [lane.makeUpgrader(resolveServer(options))(request, wire, Buffer.alloc(0)), wire]
}

const answer = ({ written }: Wire): string => Buffer.concat(written).toString()

/** Opens a server's end, with a receiver that hears all. */
async function open(receiver: Partial<Receiver>, and: Buffer = Buffer.alloc(0)): Promise<End> {
  let opened: End | undefined
  await serve(lane, {}, and, (end) => {
    end.transport.start({ ...deaf, ...receiver })
    opened = end
  })
  return opened ?? assert.fail()
}

test('the key is answered as RFC 6455 §1.3 has it', () => {
  const [transport, wire] = enter({})
  assert.ok(transport instanceof LaneTransport)
  assert.equal(
    answer(wire),
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${PROOF}\r\n\r\n`,
  )
})

for (const key of ['', 'short', `${KEY}=`, 'dGhlIHNhbXBsZSBub25jZQ', 'dGhlIHNhbXBsZSBub25jZ!==']) {
  test(`a key that is none is refused: ${JSON.stringify(key)}`, () => {
    assert.throws(
      () => enter({ 'sec-websocket-key': key }),
      (error) => error instanceof PeerConnectError && error.status === 400,
    )
  })
}

test('the first subprotocol offered that is spoken is chosen', () => {
  const [transport, wire] = enter(
    { 'sec-websocket-protocol': 'a, c, b' },
    { protocols: ['b', 'c'] },
  )
  assert.equal(transport.protocol, 'c')
  assert.match(answer(wire), /\r\nSec-WebSocket-Protocol: c\r\n\r\n$/)
})

test('where none of the subprotocols is spoken, none is chosen', () => {
  const [transport, wire] = enter({ 'sec-websocket-protocol': 'a' }, { protocols: ['b'] })
  assert.equal(transport.protocol, '')
  assert.doesNotMatch(answer(wire), /protocol:/i)
})

for (const offer of ['', 'a,', 'a b', 'a, a', 'ü']) {
  test(`a list of subprotocols that is none is refused: ${JSON.stringify(offer)}`, () => {
    assert.throws(
      () => enter({ 'sec-websocket-protocol': offer }, { protocols: ['a'] }),
      (error) => error instanceof PeerConnectError && error.status === 400,
    )
  })
}

test('a peer that has left is not let in', () => {
  const gone = new Wire()
  gone.destroy()
  const request = new IncomingMessage(gone as unknown as Socket)
  request.headers['sec-websocket-key'] = KEY
  const upgrade = lane.makeUpgrader(resolveServer())
  assert.throws(
    () => upgrade(request, gone, Buffer.alloc(0)),
    (error) => error instanceof PeerConnectError && error.status === 0,
  )
  assert.equal(answer(gone), '')
})

test('what is sent in fragments, or with an extension agreed on, is left to ws', () => {
  const offer = { 'sec-websocket-extensions': 'permessage-deflate' }
  const isLeft = (headers: Record<string, string>, options: ServerOptions): boolean =>
    enter(headers, options)[0] instanceof WsTransport
  assert.equal(isLeft(offer, { compression: true }), true)
  assert.equal(isLeft({}, { fragmentationThreshold: 100 }), true)
  assert.equal(isLeft(offer, {}), false)
  assert.equal(isLeft({}, { compression: true }), false)
})

test('both ends of a client and a server take the lane where nothing is extended', async () => {
  for (const [options, Kind] of [
    [{}, LaneTransport],
    [{ compression: true }, WsTransport],
    [{ fragmentationThreshold: 100 }, WsTransport],
  ] as const) {
    const { ends, release } = await join(lane, options)
    for (const end of ends) assert.ok(end instanceof Kind)
    const closed = ends.map(
      (end) => new Promise<unknown>((resolve) => end.start({ ...deaf, closed: resolve })),
    )
    ends[0].cut()
    await Promise.all(closed)
    await release()
  }
})

test('what comes with the handshake is read', async () => {
  const heard: unknown[] = []
  const { wire } = await open({ message: (data) => heard.push(data) }, frame(1, 'early'))
  await turn()
  assert.deepEqual(heard, ['early'])
  wire.destroy()
})

test('nothing is written behind a close frame', async () => {
  const { transport, wire } = await open({})
  transport.close({ code: 1000, description: 'x' })
  transport.send('late')
  transport.ping(Buffer.from('late'))
  transport.close({ code: 1001, description: 'later' })
  wire.bring(frame(9, 'late'))
  await turn()
  assert.deepEqual(unmasked(Buffer.concat(wire.written)), ['88 3 3 03e878'])
  wire.destroy()
})

test('a ping that waits for room is not answered behind a close frame', async () => {
  const { transport, wire } = await open({})
  wire.stall()
  transport.send(new Uint8Array(100_000))
  await turn()
  wire.bring(frame(9, 'waits'))
  transport.close({ code: 1000, description: '' })
  wire.flow()
  await turn()
  const written = unmasked(Buffer.concat(wire.written))
  assert.deepEqual(
    written.map((what) => what.slice(0, 2)),
    ['82', '88'],
  )
  wire.destroy()
})

test('of what waits unread when TCP breaks nothing is lost', async () => {
  const heard: unknown[] = []
  let over = 0
  const { transport, wire } = await open({
    message: (data) => heard.push(data),
    closed: ({ code }) => (over = code),
  })
  transport.pause()
  await turn()
  for (const text of ['one', 'two', 'three']) wire.bring(frame(1, text))
  transport.resume() // in the same turn
  wire.destroy(new Error('reset'))
  await turn()
  assert.deepEqual(heard, ['one', 'two', 'three'])
  assert.equal(over, 1006)
})

test('a bad frame of a peer that has left is not told of behind the end', async () => {
  const told: string[] = []
  const { transport, wire } = await open({
    invalid: () => told.push('invalid'),
    closed: () => told.push('closed'),
  })
  transport.pause()
  await turn()
  wire.bring(frame(3))
  wire.destroy()
  await turn()
  assert.deepEqual(told, ['closed'])
})

test('what the peer says first is what counts, also where both came at once', async () => {
  const told: number[] = []
  const { transport, wire } = await open({
    invalid: ({ code }) => {
      told.push(code)
      transport.close({ code, description: '' })
    },
  })
  transport.pause()
  await turn()
  wire.bring(frame(1, Buffer.of(0xff)))
  wire.bring(frame(8, closePayload(1000)))
  transport.resume()
  await turn()
  assert.deepEqual(told, [1007])
  assert.deepEqual(wire.ends, ['fin'])
  wire.destroy()
})

test('a masked frame that is dribbled is read once it is whole', async () => {
  const heard: unknown[] = []
  const { wire } = await open({ message: (data) => heard.push(data) })
  const text = 'grüße '.repeat(2_000)
  const bytes = frame(1, text, { key: Buffer.of(1, 2, 3, 4) })
  for (const byte of bytes) wire.bring(Buffer.of(byte))
  assert.deepEqual(heard, [text])
  wire.destroy()
})

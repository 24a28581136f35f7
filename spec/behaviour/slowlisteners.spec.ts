import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { constants, deflateRawSync } from 'node:zlib'
import { FrameError, listen, once, WebsocketServer, type Data } from 'simplewebsockets'
import { below, noise, pick, seeded, type Random } from '../support/random.ts'
import { closePayload, frame, RawPeer } from '../support/rawpeer.ts'

// A peer that keeps to the limits loses nothing and is closed for nothing, however slow the listener
// is. A run is repeated with the seed it printed: SEED=1 ROUNDS=1.
const { SEED, ROUNDS = '40' } = process.env
const seed = Number(SEED ?? Date.now() % 1e9)
const KIB = 1024
const MAX_CHUNKS = 5_000
const MAX_BYTES = 4 * 1024 * KIB // of all messages, so that a run ends within its time
const limited = { timeout: 120_000 } // what never comes fails, rather than to hang
const OFFER = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_no_context_takeover' }

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** The messages of an honest peer, and how slowly it is listened to. */
interface Plan {
  readonly maxReceivedMessageSize: number
  readonly maxReceivedFrameSize: number | false
  readonly compression: boolean
  readonly messages: readonly Data[]
  /** The bytes to be written, in chunks. */
  readonly chunks: readonly Buffer[]
  /** Turns of the event loop that the listener takes for each message. */
  readonly pace: readonly number[]
  readonly way: 'listener' | 'loop'
}

function draw(random: Random): Plan {
  const maxReceivedMessageSize = pick(random, [128, 4_096, 100 * KIB, 1024 * KIB])
  const maxReceivedFrameSize = pick<number | false>(random, [false, false, 300])
  const compression = random() < 0.5
  const count = 1 + below(random, pick(random, [20, 300]))
  const messages: Data[] = []
  for (let bytes = 0; messages.length < count && bytes < MAX_BYTES;) {
    const message = drawMessage(random, maxReceivedMessageSize)
    messages.push(message)
    bytes += message.length
  }
  const frames = messages.flatMap((message) =>
    framesOf(
      random,
      message,
      compression && random() < 0.8,
      maxReceivedFrameSize === false ? Infinity : maxReceivedFrameSize,
    ),
  )
  const slowness = pick(random, [0, 1, 3])
  return {
    maxReceivedMessageSize,
    maxReceivedFrameSize,
    compression,
    messages,
    chunks: cut(random, Buffer.concat([...frames, frame(8, closePayload(4000, 'bye'))])),
    pace: messages.map(() => below(random, slowness + 1)),
    way: pick(random, ['listener', 'loop']),
  }
}

function drawMessage(random: Random, limit: number): Data {
  const most = pick(random, [10, 500, 20 * KIB, limit])
  const size = random() < 0.1 ? limit : below(random, Math.min(most, limit) + 1)
  if (random() < 0.5) return Uint8Array.from(noise(random, size))
  return pick(random, ['a', 'ab c', 'xyz ']).repeat(size).slice(0, size)
}

/** Frames a message as a client may: compressed or not, in fragments or not, with pings between. */
function framesOf(
  random: Random,
  message: Data,
  isCompressed: boolean,
  maxFrame: number,
): Buffer[] {
  const opcode = typeof message === 'string' ? 1 : 2
  const flushed = { finishFlush: constants.Z_SYNC_FLUSH }
  const payload = isCompressed
    ? deflateRawSync(message, flushed).subarray(0, -4)
    : Buffer.from(message)
  const parts: Buffer[] = []
  for (let at = 0; at < payload.length || parts.length === 0;) {
    const left = payload.length - at
    const size = Math.min(maxFrame, random() < 0.8 ? left : below(random, left + 1))
    parts.push(payload.subarray(at, at + size))
    at += size
    if (size === 0 && left === 0) break
  }
  return parts.flatMap((part, index) => {
    const fin = index === parts.length - 1
    const reserved = isCompressed && index === 0 ? 4 : 0
    const made = frame(index === 0 ? opcode : 0, part, { fin, reserved, key: noise(random, 4) })
    return random() < 0.05 ? [frame(9, 'ping'), made] : [made]
  })
}

function cut(random: Random, stream: Buffer): Buffer[] {
  const sizes = [100, 5_000, 64 * KIB].filter((size) => stream.length / size < MAX_CHUNKS)
  const most = pick(random, [stream.length, ...sizes])
  const chunks: Buffer[] = []
  for (let at = 0; at < stream.length;) {
    const size = stream.length / most > 200 ? most : 1 + below(random, most)
    chunks.push(stream.subarray(at, at + size))
    at += size
  }
  return chunks
}

const servers = new Set<WebsocketServer>()
after(() => Promise.all([...servers].map((server) => server.close())))

async function play(plan: Plan): Promise<void> {
  const { maxReceivedMessageSize, maxReceivedFrameSize, compression, messages, pace, way } = plan
  const server = new WebsocketServer({
    ...{ maxReceivedMessageSize, maxReceivedFrameSize, compression },
    closeTimeout: 60_000,
  })
  servers.add(server)
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const peer = await RawPeer.enter(port, { headers: OFFER })
  const us = await entered
  const heard: Data[] = []
  const errors: string[] = []
  listen(us, 'error', (error) => {
    errors.push(error instanceof FrameError ? `${error.closeCode} ${error.message}` : String(error))
  })
  const take = async (message: Data): Promise<void> => {
    heard.push(message)
    for (let turns = pace[heard.length - 1] ?? 0; turns > 0; turns--) await turn()
  }
  const closed = once(us, 'close')
  if (way === 'listener') listen(us, 'message', take)
  const consumed = way === 'loop' && consume(listen(us, 'message'), take)
  peer.tcp.resume()
  for (const chunk of plan.chunks) {
    peer.write(chunk)
    if (peer.tcp.writableLength > 256 * KIB) await new Promise((go) => peer.tcp.once('drain', go))
    else if (chunk.length < KIB) await turn()
  }
  const { code, description } = await closed
  await consumed
  assert.deepEqual(errors, [])
  assert.equal(heard.length, messages.length)
  for (const [index, message] of heard.entries()) {
    assert.ok(same(message, messages[index]), `message ${index}`)
  }
  assert.deepEqual([code, description], [4000, 'bye'])
  assert.equal(server.stats().dropped, 0)
  peer.tcp.destroy()
  servers.delete(server)
  await server.close()
}

async function consume(
  loop: AsyncIterable<Data>,
  take: (message: Data) => Promise<void>,
): Promise<void> {
  for await (const message of loop) await take(message)
}

function same(one: Data, other: Data | undefined): boolean {
  if (typeof one === 'string' || typeof other === 'string') return one === other
  return other !== undefined && Buffer.from(one.buffer, one.byteOffset, one.length).equals(other)
}

test(`an honest peer loses nothing to a slow listener, seed ${seed}`, limited, async (t) => {
  let count = 0
  for (let round = 0; round < Number(ROUNDS); round++) {
    const plan = draw(seeded(seed + round))
    count += plan.messages.length
    const { messages, chunks, way, compression, maxReceivedMessageSize } = plan
    const shape = `${messages.length} messages in ${chunks.length} chunks to a ${way}`
    const how = `limit ${maxReceivedMessageSize}, compressed: ${compression}`
    await play(plan).catch((cause: unknown) => {
      throw new Error(`SEED=${seed + round} ROUNDS=1: ${shape}, ${how}: ${String(cause)}`, {
        cause,
      })
    })
  }
  t.diagnostic(`${count} messages in ${ROUNDS} rounds, seed ${seed}`)
})

for (const [what, count, size, options, compressed] of [
  ['40 compressed messages of 100 KiB', 40, 100 * KIB, { compression: true }, true],
  ['200 compressed messages of 20 KiB', 200, 20 * KIB, { compression: true }, true],
  [
    '200 messages of 500 bytes, eight of which may wait',
    200,
    500,
    { maxReceivedMessageSize: 4096 },
  ],
] as const) {
  test(`${what} all arrive at a listener that is slow`, limited, async () => {
    const message = 'x'.repeat(size)
    const random = seeded(1)
    const frames = Array.from({ length: count }, () =>
      framesOf(random, message, compressed === true, Infinity),
    )
    await play({
      maxReceivedMessageSize: 1024 * KIB,
      maxReceivedFrameSize: false,
      compression: false,
      ...options,
      messages: Array<Data>(count).fill(message),
      chunks: [Buffer.concat([...frames.flat(), frame(8, closePayload(4000, 'bye'))])],
      pace: Array<number>(count).fill(5),
      way: 'listener',
    })
  })
}

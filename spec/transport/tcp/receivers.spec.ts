import assert from 'node:assert/strict'
import type { Writable } from 'node:stream'
import { test } from 'node:test'
import * as ws from 'ws'
import type { Data } from '../../../lib/connection/message.ts'
import { resolveServer } from '../../../lib/options/server.ts'
import { Deflate } from '../../../lib/transport/tcp/deflate/deflate.ts'
import { frame } from '../../support/rawpeer.ts'
import { below, noise, pick, seeded, type Random } from '../../support/random.ts'
import { Hostile } from '../../support/transport/hostile.ts'
import { Recording } from '../../support/transport/recording.ts'
import { digest } from '../../support/transport/wire.ts'

// The same bytes into the receiver of `ws` and into our parser. A run is repeated with the seed it
// printed, and goes on for longer: SEED=1 ROUNDS=1, MINUTES=10.
const { SEED, ROUNDS, MINUTES } = process.env
const seed = Number(SEED ?? Date.now() % 1e9)
const rounds = Number(ROUNDS ?? Infinity)
const duration = MINUTES === undefined ? 3_000 : Number(MINUTES) * 60_000
const MANY = 50 // rounds between two looks at the clock

/** The exports of `ws` that its types don't have. */
interface Exports {
  readonly Receiver: new (options: object) => Writable
  readonly PerMessageDeflate: new (options: object) => { accept(offers: object[]): unknown }
}
const { Receiver, PerMessageDeflate } = ws as unknown as Exports

/** A stream of bytes in chunks, and how it is read. */
interface Script {
  readonly isServer: boolean
  readonly isCompressed: boolean
  /** Whether a compressed message may look at those before it. */
  readonly keepsContext: boolean
  readonly limit: number
  readonly chunks: readonly Buffer[]
  /** Whether reading pauses, at each message. */
  readonly pauses: readonly boolean[]
}

function draw(random: Random): Script {
  const isServer = random() < 0.5
  const isCompressed = random() < 0.4
  const keepsContext = random() < 0.5
  const limit = pick(random, [50, 1_000, 1_000, 70_000])
  const peer = new Hostile(random, isServer, limit)
  const badness = pick(random, [0, 0.05, 0.3])
  const frames = peer.frames(below(random, 12), badness)
  if (isCompressed) {
    const sender = deflateOf(keepsContext, limit)
    for (let count = below(random, 4); count > 0; count--) {
      frames.splice(
        below(random, frames.length + 1),
        0,
        compressed(random, isServer, limit, sender),
      )
    }
  }
  const pauses = Array.from({ length: 20 }, () => random() < 0.3)
  return { isServer, isCompressed, keepsContext, limit, chunks: peer.chunks(frames), pauses }
}

/** Makes one end's compression. */
function deflateOf(keepsContext: boolean, maxReceivedMessageSize: number): Deflate {
  const direction = { windowBits: 15, keepsContext }
  const settings = resolveServer({ maxReceivedMessageSize })
  return new Deflate({ send: direction, receive: direction }, settings)
}

/** Returns a compressed message, in fragments or not; now and then it is none. */
function compressed(random: Random, masked: boolean, limit: number, sender: Deflate): Buffer {
  const payload =
    random() < 0.9
      ? Buffer.from(
          // Some are like the one before, as their bytes come from the same few.
          sender.deflate(
            noise(seeded(below(random, 3)), below(random, Math.min(limit, 5_000))),
          ) as Uint8Array,
        )
      : Buffer.of(0x07, 0xff, 0xff)
  const cut = random() < 0.5 ? payload.length : below(random, payload.length + 1)
  const fin = cut === payload.length
  const opcode = random() < 0.1 ? 1 : 2
  const key = noise(random, 4)
  const first = frame(opcode, payload.subarray(0, cut), { fin, reserved: 4, masked, key })
  return fin ? first : Buffer.concat([first, frame(0, payload.subarray(cut), { masked, key })])
}

const said = (data: Data | Buffer, isText: boolean): string =>
  `${isText ? 'text' : 'bytes'} ${data.length} ${digest(data)}`

/** Resolves with what the receiver of `ws` tells of a stream. */
async function byWs({
  isServer,
  isCompressed,
  keepsContext,
  limit,
  chunks,
}: Script): Promise<string[]> {
  const told: string[] = []
  const extension = new PerMessageDeflate({ isServer, maxPayload: limit })
  if (isCompressed) {
    const both = { client_no_context_takeover: [true], server_no_context_takeover: [true] }
    extension.accept([keepsContext ? {} : both])
  }
  const receiver = new Receiver({
    isServer,
    maxPayload: isCompressed ? 2 * limit + 1024 : limit, // compressing makes some longer
    extensions: isCompressed ? { 'permessage-deflate': extension } : {},
  })
  const over = new Promise<void>((resolve) => {
    receiver
      .on('message', (data: Buffer, isBinary: boolean) => {
        told.push(said(isBinary ? data : data.toString(), !isBinary))
      })
      .on('ping', (payload: Buffer) => told.push(`ping ${digest(payload)}`))
      .on('pong', (payload: Buffer) => told.push(`pong ${digest(payload)}`))
      .on('conclude', (code: number, reason: Buffer) => {
        told.push(`close ${code} ${reason}`)
        resolve() // what comes behind it is not told of
      })
      .on('error', (error: Error & { code: string }) => {
        told.push(`refused ${codes.get(error.code) ?? 1002}`)
        resolve()
      })
      .on('finish', resolve)
  })
  let isOver = false
  void over.then(() => (isOver = true))
  for (const chunk of chunks) {
    const written = new Promise((resolve) => receiver.write(Buffer.from(chunk), resolve))
    await Promise.race([written, over])
    if (isOver) break
  }
  if (!isOver) receiver.end()
  await over
  return [...told]
}

const codes = new Map([
  ['WS_ERR_INVALID_UTF8', 1007],
  ['WS_ERR_TOO_MANY_BUFFERED_PARTS', 1008],
  ['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 1009],
  ['WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH', 1009],
  ['Z_DATA_ERROR', 1007],
  ['Z_BUF_ERROR', 1007],
])

/** Resolves with what our parser tells of a stream; it pauses now and then. */
async function byOurs(
  script: Script,
): Promise<{ ours: string[]; hasEmptyPayload: boolean; isMidMessage: boolean }> {
  const { isServer, isCompressed, keepsContext, limit, chunks, pauses } = script
  const options = { maxReceivedMessageSize: limit }
  const deflate = deflateOf(keepsContext, limit)
  const told: string[] = []
  let hasEmptyPayload = false
  let inflating: [Uint8Array, boolean] | undefined
  const recording = new Recording({ isMasked: isServer, mayCompress: isCompressed, ...options })
  const { parser } = recording
  Object.assign(recording, {
    onMessage: (data: Data) => {
      if (pauses[told.length]) parser.pause()
      told.push(said(data, typeof data === 'string'))
    },
    onCompressedMessage: (payload: Uint8Array, isText: boolean) => {
      parser.pause()
      hasEmptyPayload ||= payload.length === 0
      inflating = [payload, isText]
    },
    onPing: (payload: Uint8Array) => told.push(`ping ${digest(payload)}`),
    onPong: (payload: Uint8Array) => told.push(`pong ${digest(payload)}`),
    onClose: ({ code, description }: { code: number; description: string }) =>
      told.push(`close ${code} ${description}`),
    onInvalid: ({ code }: { code: number }) => told.push(`refused ${code}`),
  })
  const inflate = async (): Promise<void> => {
    while (inflating) {
      const [payload, isText] = inflating
      inflating = undefined
      const outcome = await deflate.inflate(payload)
      const bad = 'code' in outcome ? outcome.code : isText && !isUtf8(outcome) ? 1007 : undefined
      if (bad !== undefined || 'code' in outcome) {
        parser.stop()
        told.push(`refused ${bad}`)
        return
      }
      told.push(said(isText ? outcome.toString() : outcome, isText))
      parser.resume()
    }
  }
  for (const chunk of chunks) {
    parser.push(Buffer.from(chunk))
    await inflate()
  }
  while (parser.hasHeldBytes) {
    parser.resume()
    await inflate()
  }
  return { ours: told, hasEmptyPayload, isMidMessage: parser.isMidFrame }
}

/**
 * Returns whether two stories differ only as they should: `ws` lets longer lengths pass than needed
 * (1002), judges a text when its message ends, and takes half a compressed message for a whole one
 * (1007). Where messages may be compressed its limit has to be higher here (1009).
 */
function isStricter(
  { isCompressed }: Script,
  ours: readonly string[],
  theirs: readonly string[],
): boolean {
  const codes = isCompressed ? [1002, 1007, 1009] : [1002, 1007]
  if (!codes.some((code) => ours.at(-1) === `refused ${code}`)) return false
  return ours.slice(0, -1).every((line, index) => line === theirs[index])
}

/** Returns whether `ws` refused a compressed message of which the end never came: it inflates each part. */
function isEarlier(ours: readonly string[], theirs: readonly string[]): boolean {
  return theirs.at(-1) === 'refused 1007' && theirs.slice(0, -1).join() === ours.join()
}

function isUtf8(bytes: Uint8Array): boolean {
  return Buffer.from(Buffer.from(bytes).toString()).equals(bytes)
}

test(`our parser tells what the receiver of ws tells, seed ${seed}`, async (t) => {
  const until = Date.now() + duration
  let round = 0
  let count = 0
  let stricter = 0
  for (; round < rounds && (round % MANY > 0 || Date.now() < until); round++) {
    const script = draw(seeded(seed + round))
    const [told, theirs] = await Promise.all([byOurs(script), byWs(script)])
    const { ours, hasEmptyPayload, isMidMessage } = told
    count += ours.length
    if (ours.join() === theirs.join()) continue
    // With a context, a compressed message without payload has the inflater of `ws` wait for the rest of
    // a block, which it then takes from the next message; RFC 7692 §7.2.3.6 has one byte there.
    if (hasEmptyPayload && script.keepsContext) continue
    if (script.isCompressed && isMidMessage && isEarlier(ours, theirs)) continue
    stricter++
    const what = `SEED=${seed + round} ROUNDS=1: ${ours.join(', ')} | ${theirs.join(', ')}`
    assert.ok(isStricter(script, ours, theirs), what)
  }
  t.diagnostic(`${round} streams, ${count} things told, ${stricter} refused earlier, seed ${seed}`)
})

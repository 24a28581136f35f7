import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { amber } from '../../lib/channels/protocol/amber.ts'
import type { PushFrame, Serializer } from '../../lib/channels/protocol/serializer.ts'
import { phoenix, phoenixV1 } from '../../lib/channels/protocol/phoenix.ts'
import { FrameError } from '../../lib/errors.ts'
import { runs, textOf } from './chance.ts'

const MOST_NAME = 255 // bytes

const words = fc.oneof(
  fc.constantFrom('phx_join', 'phx_leave', 'phx_reply', 'heartbeat', 'phoenix', 'join', 'message'),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'x'.repeat(256), '', 'room:1'),
  fc.jsonValue(),
)
const named = fc.dictionary(
  fc.constantFrom('topic', 'event', 'subject', 'payload', 'ref', 'join_ref', '__proto__'),
  words,
)
const said = fc.oneof(
  fc.array(words, { minLength: 4, maxLength: 7 }).map((all) => JSON.stringify(all)),
  named.map((all) => JSON.stringify(all)),
  fc.json(),
  textOf(
    '[',
    ']',
    '{',
    '}',
    '"',
    ',',
    ':',
    '"topic"',
    '"event"',
    '"ref"',
    'null',
    '\\u',
    '1e9',
    ' ',
  ),
  fc.uint8Array({ maxLength: 40 }),
  fc
    .tuple(fc.nat({ max: 3 }), fc.uint8Array({ maxLength: 4, max: 9 }), fc.uint8Array())
    .map(([kind, lengths, rest]) => Uint8Array.of(kind, ...lengths, ...rest)),
)

for (const { name, server, client } of [phoenix, phoenixV1, amber] satisfies Serializer[]) {
  test(`whatever is said, ${name} reads a frame or throws a FrameError`, () => {
    fc.assert(
      fc.property(said, (data) => {
        for (const [codec, most] of [
          [server, MOST_NAME],
          [client, Infinity],
        ] as const) {
          try {
            const frame = codec.decode(data)
            for (const key of ['topic', 'event'] as const) {
              if (!(key in frame)) continue
              const text: unknown = Reflect.get(frame, key)
              assert.ok(typeof text === 'string' && Buffer.byteLength(text) <= most)
            }
            for (const key of ['ref', 'joinRef']) {
              const ref: unknown = Reflect.get(frame, key) ?? ''
              assert.ok(typeof ref === 'string' && Buffer.byteLength(ref) <= MOST_NAME)
            }
          } catch (error) {
            assert.ok(error instanceof FrameError, String(error))
            assert.ok([1007, 1008].includes(error.closeCode))
          }
        }
      }),
      runs(3_000),
    )
  })

  test(`what a client pushes in the words of ${name} is what its server reads`, () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 })
    const payload = fc.dictionary(text, fc.jsonValue().map(plain))
    fc.assert(
      fc.property(text, text, text, payload, (topic, event, ref, body) => {
        if (event.startsWith('phx_') || (topic === 'phoenix' && event === 'heartbeat')) return
        const frame: PushFrame = { kind: 'push', topic, event, joinRef: '1', ref, payload: body }
        const wire = client.encode(frame)
        assert.ok(wire !== undefined)
        const read = server.decode(wire)
        const refs = name === amber.name ? { joinRef: null, ref: null } : {}
        assert.deepEqual(plain(read), plain({ ...frame, ...refs }))
      }),
      runs(1_000),
    )
  })
}

/** Returns a value as JSON hands it on: -0 is 0 there. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

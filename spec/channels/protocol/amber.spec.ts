import assert from 'node:assert/strict'
import { test } from 'node:test'
import { amber } from '../../../lib/channels/protocol/amber.ts'
import type { ClientFrame, ServerFrame } from '../../../lib/channels/protocol/serializer.ts'
import { refuses, serializerContract } from '../../support/channels/contract.ts'

const withoutRefs = <F extends ClientFrame | ServerFrame>(frame: F): F => ({
  ...frame,
  ...('joinRef' in frame && { joinRef: null }),
  ...('ref' in frame && { ref: null }),
})

serializerContract({
  serializer: amber,
  silent: [
    ...['a join with bytes', 'a push of bytes', 'a push of no bytes', 'a heartbeat'],
    ...['a push of bytes without a joinRef', 'a push of bytes to one', 'a broadcast of bytes'],
    ...['a reply', 'a reply of nothing', 'a refusal', 'a reply with a word of its own'],
    ...['a reply of bytes', 'a reply of bytes without a joinRef', 'an error', 'an error of bytes'],
    ...['a close', 'a close of any', 'a heartbeat reply'],
  ],
  clientHears: withoutRefs,
  serverHears: withoutRefs,
})

const none = { joinRef: null, ref: null } as const
const topic = 'chat_room:hello'
const said: [text: string, frame: ClientFrame][] = [
  [`{"event":"join","topic":"${topic}"}`, { kind: 'join', topic, ...none, payload: {} }],
  [`{"event":"leave","topic":"${topic}"}`, { kind: 'leave', topic, ...none }],
  [
    `{"event":"message","topic":"${topic}","subject":"msg:new","payload":{"message":"hi"}}`,
    { kind: 'push', topic, event: 'msg:new', ...none, payload: { message: 'hi' } },
  ],
]

test("Amber: a client's words", () => {
  for (const [text, frame] of said) {
    assert.deepEqual(amber.server.decode(text), frame)
    assert.equal(amber.client.encode(frame), text)
  }
})

test("Amber: a server's words", () => {
  const text = `{"event":"message","topic":"${topic}","subject":"msg:new","payload":{"message":"hi"}}`
  const frame: ServerFrame = {
    ...{ kind: 'push', topic, event: 'msg:new', ...none, payload: { message: 'hi' } },
  }
  assert.equal(amber.server.encode(frame), text)
  assert.deepEqual(amber.client.decode(text), frame)
  assert.equal(amber.server.encode({ kind: 'ping' }), 'ping')
  assert.deepEqual(amber.client.decode('ping'), { kind: 'ping' })
})

test('Amber: a payload that was left out is an empty one', () => {
  const text = `{"event":"message","topic":"${topic}","subject":"typing"}`
  const frame = { kind: 'push', topic, event: 'typing', ...none, payload: {} }
  assert.deepEqual(amber.server.decode(text), frame)
  assert.deepEqual(amber.client.decode(text), frame)
})

test('Amber: words are taken in any order, with others between them', () => {
  const text = `{"x":1,"payload":5,"subject":"s","topic":"t","event":"message"}`
  const frame = { kind: 'push', topic: 't', event: 's', ...none, payload: 5 }
  assert.deepEqual(amber.server.decode(text), frame)
})

const malformed: [text: string, why: RegExp][] = [
  ['{"event":"join"}', /`topic`/],
  ['{"event":"join","topic":null}', /`topic`/],
  ['{"event":"join","topic":{"toString":"t"}}', /`topic`/],
  [`{"event":"join","topic":"${'t'.repeat(256)}"}`, /`topic` is longer than 255 bytes/],
  ['{"event":"join","topic":"\\ud800"}', /`topic` has half a surrogate pair/],
  ['{"topic":"t"}', /`event` to be join, leave or message/],
  ['{"event":"rejoin","topic":"t"}', /`event` to be join, leave or message/],
  ['{"event":["join"],"topic":"t"}', /`event` to be join, leave or message/],
  ['{"event":"message","topic":"t","payload":{}}', /`subject`/],
  ['{"event":"message","topic":"t","subject":7,"payload":{}}', /`subject`/],
  [`{"event":"message","topic":"t","subject":"${'é'.repeat(128)}"}`, /`subject` is longer/],
]

for (const [text, why] of malformed) {
  test(`Amber: a server refuses ${text.slice(0, 60)}`, () => refuses(amber.server, text, 1008, why))
}

test('Amber: a client refuses what is no message', () => {
  refuses(amber.client, '{"event":"join","topic":"t"}', 1008, /`event`/)
  refuses(amber.client, '{"event":"message","subject":"s"}', 1008, /`topic`/)
  refuses(amber.client, '{"event":"message","topic":"t"}', 1008, /`subject`/)
})

test('Amber: there are no binary frames, nor pings of a client', () => {
  refuses(amber.server, Buffer.from(said[0]?.[0] ?? ''), 1008, /no binary frames/)
  refuses(amber.client, Buffer.from('ping'), 1008, /no binary frames/)
  refuses(amber.server, 'ping', 1007)
})

test('Amber: any request on the path of the route asks for it', () => {
  assert.equal(amber.path, '')
  assert.ok(amber.matches(new URLSearchParams('vsn=2.0.0')))
  assert.deepEqual([amber.query, amber.protocol, amber.replies], [{}, undefined, false])
})

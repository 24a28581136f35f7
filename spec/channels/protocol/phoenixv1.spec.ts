import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientFrame, ServerFrame } from '../../../lib/channels/protocol/serializer.ts'
import { phoenixV1 } from '../../../lib/channels/protocol/phoenix.ts'
import { refuses, serializerContract } from '../../support/channels/contract.ts'

serializerContract({
  serializer: phoenixV1,
  silent: [
    ...['a join with bytes', 'a push of bytes', 'a push of no bytes', 'a push of bytes to one'],
    ...['a push of bytes without a joinRef', 'a broadcast of bytes', 'a reply of bytes'],
    ...['a reply of bytes without a joinRef', 'an error of bytes', 'a ping'],
  ],
  // Answers never carry the join_ref; an error and a close tell it as their ref.
  clientHears: (frame) =>
    frame.kind === 'push' || frame.kind === 'reply' ? { ...frame, joinRef: null } : frame,
})

const { server, client } = phoenixV1
const topic = 'realtime:public'

const said: [what: string, text: string, frame: ClientFrame][] = [
  [
    'a join',
    `{"topic":"${topic}","event":"phx_join","payload":{"user":1},"ref":"1","join_ref":"1"}`,
    { kind: 'join', topic, joinRef: '1', ref: '1', payload: { user: 1 } },
  ],
  [
    'a join of an old client, without join_ref',
    `{"topic":"${topic}","event":"phx_join","payload":{},"ref":"1"}`,
    { kind: 'join', topic, joinRef: null, ref: '1', payload: {} },
  ],
  [
    'a push',
    `{"topic":"${topic}","event":"new_msg","payload":{"body":"hi"},"ref":"2","join_ref":"1"}`,
    { kind: 'push', topic, event: 'new_msg', joinRef: '1', ref: '2', payload: { body: 'hi' } },
  ],
  [
    'a leave',
    `{"topic":"${topic}","event":"phx_leave","payload":{},"ref":"3","join_ref":"1"}`,
    { kind: 'leave', topic, joinRef: '1', ref: '3' },
  ],
  [
    'a heartbeat',
    '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"4"}',
    { kind: 'heartbeat', ref: '4' },
  ],
]

for (const [what, text, frame] of said) {
  test(`Phoenix 1: ${what} of a client`, () => {
    assert.deepEqual(server.decode(text), frame)
    assert.equal(client.encode(frame), text)
  })
}

const answered: [what: string, text: string, frame: ServerFrame][] = [
  [
    'a reply',
    `{"topic":"${topic}","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`,
    { kind: 'reply', topic, joinRef: '1', ref: '1', status: 'ok', payload: {} },
  ],
  [
    'a push',
    `{"topic":"${topic}","event":"evt","payload":{"n":1},"ref":null}`,
    { kind: 'push', topic, event: 'evt', joinRef: '1', ref: null, payload: { n: 1 } },
  ],
  [
    'an error',
    `{"topic":"${topic}","event":"phx_error","payload":{"reason":"channel_crash"},"ref":"1"}`,
    { kind: 'error', topic, joinRef: '1', payload: { reason: 'channel_crash' } },
  ],
  [
    'a close',
    `{"topic":"${topic}","event":"phx_close","payload":{},"ref":"1"}`,
    { kind: 'close', topic, joinRef: '1' },
  ],
  [
    'a close to who sent no join_ref',
    `{"topic":"${topic}","event":"phx_close","payload":{},"ref":null}`,
    { kind: 'close', topic, joinRef: null },
  ],
  [
    'a heartbeat reply',
    '{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"4"}',
    { kind: 'heartbeatReply', ref: '4' },
  ],
]

for (const [what, text, frame] of answered) {
  test(`Phoenix 1: ${what} of a server has four words, and never a join_ref`, () => {
    assert.equal(server.encode(frame), text)
    assert.deepEqual(Object.keys(JSON.parse(text) as object).length, 4)
  })
}

test('Phoenix 1: words are taken in any order, with others between them', () => {
  const text = '{"ref":null,"x":1,"payload":5,"event":"e","__proto__":{"ref":"7"},"topic":"t"}'
  const frame = { kind: 'push', topic: 't', event: 'e', joinRef: null, ref: null, payload: 5 }
  assert.deepEqual(server.decode(text), frame)
})

const malformed: [text: string, why: RegExp][] = [
  ['{"event":"e","payload":{},"ref":"1"}', /`topic` to be a string/],
  ['{"topic":"t","payload":{},"ref":"1"}', /`event` to be a string/],
  ['{"topic":"t","event":"e","ref":"1"}', /a `payload`/],
  ['{"topic":"t","event":"e","payload":{}}', /`ref` to be a string or null/],
  ['{"topic":"t","event":"e","payload":{},"ref":1}', /`ref` to be a string or null/],
  ['{"topic":"t","event":"e","payload":{},"ref":"1","join_ref":1}', /`join_ref` to be a string/],
  ['{"topic":{},"event":"e","payload":{},"ref":"1"}', /`topic` to be a string/],
  ['{"topic":"t","event":"phx_close","payload":{},"ref":"1"}', /for a server to say/],
  ['{"__proto__":{"topic":"t","event":"e","payload":{},"ref":"1"}}', /a `payload`/],
  ['["1","1","t","e",{}]', /a `payload`/],
]

for (const [text, why] of malformed) {
  test(`Phoenix 1: a server refuses ${text}`, () => refuses(server, text, 1008, why))
}

test('Phoenix 1: there are no binary frames', () => {
  const text = said[0]?.[1] ?? ''
  refuses(server, Buffer.from(text), 1008, /1\.0\.0 has no binary frames/)
  refuses(client, Buffer.from(text), 1008, /1\.0\.0 has no binary frames/)
})

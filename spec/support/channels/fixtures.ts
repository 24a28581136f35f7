import type { ClientFrame, ServerFrame } from '../../../lib/channels/protocol/serializer.ts'

/** A frame as it was seen on the wire, and what it says. */
export interface Fixture<Said> {
  readonly what: string
  /** Text, or bytes in hexadecimal digits. */
  readonly wire: string | Uint8Array
  readonly frame: Said
}

const bytes = (hex: string): Uint8Array =>
  Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
const hex = (text: string): string => Buffer.from(text).toString('hex')

const topic = 'room:1'
const mine = { topic, joinRef: '3' } as const
const broadcast = { topic, joinRef: null, ref: null } as const

/** The frames of phoenix.js, in its version 2 of the protocol. */
export const clientFixtures: readonly Fixture<ClientFrame>[] = [
  {
    what: 'a join',
    wire: '["3","3","room:1","phx_join",{"name":"ann"}]',
    frame: { kind: 'join', ...mine, ref: '3', payload: { name: 'ann' } },
  },
  {
    what: 'a push',
    wire: '["3","4","room:1","new_msg",{"body":"hi"}]',
    frame: { kind: 'push', ...mine, ref: '4', event: 'new_msg', payload: { body: 'hi' } },
  },
  {
    what: 'a leave',
    wire: '["3","10","room:1","phx_leave",{}]',
    frame: { kind: 'leave', ...mine, ref: '10' },
  },
  {
    what: 'a heartbeat',
    wire: '[null,"6","phoenix","heartbeat",{}]',
    frame: { kind: 'heartbeat', ref: '6' },
  },
  {
    what: 'a push of bytes',
    wire: bytes(`00 01 02 06 06 34 33 36 ${hex('room:1')} ${hex('binary')} 00 01 02 ff`),
    frame: {
      ...{ kind: 'push', topic, joinRef: '4', ref: '36', event: 'binary' },
      payload: bytes('00 01 02 ff'),
    },
  },
]

/** The frames of Phoenix, in its version 2 of the protocol. */
export const serverFixtures: readonly Fixture<ServerFrame>[] = [
  {
    what: 'a reply',
    wire: '["3","3","room:1","phx_reply",{"status":"ok","response":{"id":7}}]',
    frame: { kind: 'reply', ...mine, ref: '3', status: 'ok', payload: { id: 7 } },
  },
  {
    what: 'a refused join',
    wire: '[null,"3","room:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]',
    frame: {
      ...{ kind: 'reply', topic, joinRef: null, ref: '3', status: 'error' },
      payload: { reason: 'unmatched topic' },
    },
  },
  {
    what: 'a reply with a status of the application',
    wire: '["3","4","room:1","phx_reply",{"status":"later","response":[]}]',
    frame: { kind: 'reply', ...mine, ref: '4', status: 'later', payload: [] },
  },
  {
    what: 'a push',
    wire: '["3",null,"room:1","evt",{"n":1}]',
    frame: { kind: 'push', ...mine, ref: null, event: 'evt', payload: { n: 1 } },
  },
  {
    what: 'a broadcast',
    wire: '[null,null,"room:1","evt",{"n":1}]',
    frame: { kind: 'push', ...broadcast, event: 'evt', payload: { n: 1 } },
  },
  {
    what: 'the answer to a leave',
    wire: '["3","10","room:1","phx_reply",{"status":"ok","response":{}}]',
    frame: { kind: 'reply', ...mine, ref: '10', status: 'ok', payload: {} },
  },
  {
    what: 'the end of a membership',
    wire: '["3","3","room:1","phx_close",{}]',
    frame: { kind: 'close', ...mine },
  },
  {
    what: 'the crash of a membership',
    wire: '["3","3","room:1","phx_error",{"reason":"channel_crash"}]',
    frame: { kind: 'error', ...mine, payload: { reason: 'channel_crash' } },
  },
  {
    what: 'the crash of a membership before 1.8.10',
    wire: '["3","3","room:1","phx_error",{}]',
    frame: { kind: 'error', ...mine, payload: {} },
  },
  {
    what: 'the answer to a heartbeat',
    wire: '[null,"6","phoenix","phx_reply",{"status":"ok","response":{}}]',
    frame: { kind: 'heartbeatReply', ref: '6' },
  },
  {
    what: 'who is there',
    wire: '["3",null,"room:1","presence_state",{"ann":{"metas":[{"phx_ref":"F1","at":1}]}}]',
    frame: {
      ...{ kind: 'push', ...mine, ref: null, event: 'presence_state' },
      payload: { ann: { metas: [{ phx_ref: 'F1', at: 1 }] } },
    },
  },
  {
    what: 'who comes and goes',
    wire: '[null,null,"room:1","presence_diff",{"joins":{},"leaves":{}}]',
    frame: {
      ...{ kind: 'push', ...broadcast, event: 'presence_diff' },
      payload: { joins: {}, leaves: {} },
    },
  },
  {
    what: 'a push of bytes',
    wire: bytes(`00 01 06 06 34 ${hex('room:1')} ${hex('binary')} 00 01 02 ff`),
    frame: {
      ...{ kind: 'push', topic, joinRef: '4', ref: null, event: 'binary' },
      payload: bytes('00 01 02 ff'),
    },
  },
  {
    what: 'a reply of bytes',
    wire: bytes(`01 01 02 06 02 34 33 36 ${hex('room:1')} ${hex('ok')} 00 01 02 ff`),
    frame: {
      ...{ kind: 'reply', topic, joinRef: '4', ref: '36', status: 'ok' },
      payload: bytes('00 01 02 ff'),
    },
  },
  {
    what: 'a broadcast of bytes',
    wire: bytes(`02 06 09 ${hex('room:1')} ${hex('shout_bin')} 09 08 07`),
    frame: { kind: 'push', ...broadcast, event: 'shout_bin', payload: bytes('09 08 07') },
  },
]
